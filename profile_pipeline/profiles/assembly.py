"""The stored profile: facts of every layer side by side.

What belongs here: joining users and their features into rows of `user_profiles`. What does not: how a feature
comes about (`features/`), and anything that depends on the day it is read (`reading.py`).
"""

from functools import reduce

import ibis
import ibis.expr.types as ir

from profile_pipeline.features.names import display_name
from profile_pipeline.tables import (
    EVENT_FEATURES,
    MESSAGE_FEATURES,
    MONEY,
    ORDER_FEATURES,
    PROFILE_FIELDS,
    USER_PROFILES,
)

KEY = ("user_id", "partition_date")


def _none_yet() -> dict[str, ir.Scalar]:
    """What counts, flags and lists of features say about a user who did nothing of their kind."""
    columns = EVENT_FEATURES.types | MESSAGE_FEATURES.types | ORDER_FEATURES.types
    empty = {"int64": 0, "boolean": False}
    lists = {name: ibis.literal([], type_) for name, type_ in columns.items() if type_.startswith("array")}
    values = {name: ibis.literal(empty[type_], type_) for name, type_ in columns.items() if type_ in empty}
    # The mean of no orders is unknown, but their sum is 0.
    return lists | values | {"total_spent": ibis.literal(0, MONEY)}


NONE_YET = _none_yet()


def user_profiles(
    touched: ir.Table,
    users: ir.Table,
    *,
    event_features: ir.Table,
    message_features: ir.Table,
    order_features: ir.Table,
    flags: ir.Table,
) -> ir.Table:
    """Each touched user's profile as of the end of the day they were touched on.

    A user without a record as of that day is deleted: `is_deleted` is true and every fact null, features
    included, should a table still hold some. A live user whom a feature table leaves out did nothing of that
    kind: counts are 0, flags false, lists empty, dates null.

    Args:
        touched: one row per (`user_id`, `partition_date`); other columns are ignored.
        users: `versions` of `raw_users`.
        event_features: as `tables.EVENT_FEATURES`.
        message_features: as `tables.MESSAGE_FEATURES`.
        order_features: as `tables.ORDER_FEATURES`.
        flags: as `tables.PERSONALIZATION_FLAGS`.

    Returns:
        The columns of `tables.USER_PROFILES`; one row per row of `touched`. Those of live users come in the order of
        `event_features`, the others after them.
    """
    record = users.select("id", "valid_from", "valid_to", "email", "name", "time_zone", *PROFILE_FIELDS)
    keys, times = touched.select(*KEY), users.select("id", "valid_from", "valid_to")
    alive = keys.join(times, _holds(keys, times)).select(*KEY)
    # Numbers first, in a table of their own, then lists, then users: whatever is kept in memory for a join is narrow
    # then, or there once for each user, and rows with lists only pass.
    numbers = reduce(_join, map(_own, (message_features, order_features, flags)), alive).cache()
    rows = _join(numbers, _own(event_features))
    rows = rows.left_join(record, _holds(rows, record))
    live = rows.select(**{name: _fact(rows, name).cast(type_) for name, type_ in USER_PROFILES.types.items()})
    nothing = {name: ibis.null(type_) for name, type_ in USER_PROFILES.types.items()}
    gone = keys.anti_join(times, _holds(keys, times))
    return live.union(
        gone.select(**nothing | {"partition_date": gone.partition_date, "id": gone.user_id, "is_deleted": True})
    )


def _holds(rows: ir.Table, users: ir.Table) -> list[ir.BooleanValue]:
    """What is true of a user's record as of the day of a row."""
    return [rows.user_id == users.id, users.valid_from <= rows.partition_date, rows.partition_date < users.valid_to]


def _join(left: ir.Table, right: ir.Table) -> ir.Table:
    """A left join on the key, which is kept once."""
    joined = left.left_join(right, list(KEY), rname="{name}_right")
    return joined.drop(*(f"{name}_right" for name in KEY))


def _own(features: ir.Table) -> ir.Table:
    """The key of a feature table, and its columns that are facts of a profile."""
    return features.select(
        *KEY, *(name for name in features.columns if name in USER_PROFILES.columns and name not in KEY)
    )


def _fact(rows: ir.Table, name: str) -> ir.Value:
    """One column of a live user's profile: as joined, or the value that says "none yet"."""
    if name == "id":
        return rows.user_id
    if name == "is_deleted":
        return ibis.literal(False)
    if name == "name":
        return display_name(rows.name, rows.email)
    if name not in NONE_YET:
        return rows[name]
    return ibis.coalesce(rows[name], NONE_YET[name])
