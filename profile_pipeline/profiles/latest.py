"""Which stored row speaks for a user on a day.

What belongs here: choosing rows of `user_profiles`. What does not: anything that reads their facts.
"""

from datetime import date

import ibis.expr.types as ir
from ibis import _


def latest_profiles(user_profiles: ir.Table, day: date) -> ir.Table:
    """For every user who is not deleted as of a day, the latest row on or before that day.

    Args:
        user_profiles: as `tables.USER_PROFILES`, with any rows after the day, too.
        day: the day.

    Returns:
        Some of the rows, unchanged; at most one for each `id`.
    """
    known = user_profiles.filter(_.partition_date <= day)
    # Only narrow columns take part in the ranking; the wide ones are read for the rows that won. Who is deleted is
    # asked of the ranking, too: as a condition on the wide rows it takes as long as reading them.
    latest = known.group_by("id").agg(
        partition_date=_.partition_date.max(), deleted_on=_.partition_date.max(where=_.is_deleted)
    )
    live = latest.filter(_.deleted_on.isnull() | (_.deleted_on < _.partition_date))
    return known.semi_join(live, ["id", "partition_date"])
