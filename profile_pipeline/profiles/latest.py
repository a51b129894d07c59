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
    # Only the two narrow columns take part in the ranking; the wide ones are read for the rows that won.
    latest = user_profiles.filter(_.partition_date <= day).group_by("id").agg(partition_date=_.partition_date.max())
    live = user_profiles.filter(_.partition_date <= day, ~_.is_deleted)
    return live.semi_join(latest, ["id", "partition_date"])
