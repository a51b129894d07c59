"""Versions, validity and the as-of join: how a log becomes facts that hold on a day.

What belongs here: turning logs into intervals of validity, finding whom a window of days touches, and the one
join that looks facts up as of a day. What does not: what a fact means (`features/`) and any input or output.

An interval holds from `valid_from` up to, but without, `valid_to`. Intervals of one record never overlap, so
looking one up is a range join and needs no ranking.
"""

from collections.abc import Sequence
from datetime import date

import ibis
import ibis.expr.types as ir
from ibis import _

from profile_pipeline.window import Window

FOREVER = date(9999, 12, 31)
"""The end of what still holds: the largest date that every engine and pandas' `datetime.date` can store."""

LATEST_FIRST = "partition_date DESC, changed_at DESC NULLS LAST, sequence DESC"
"""Which version of a record is its latest, for what looks it up in DuckDB; `versions` has the same order."""

IS_LATEST = f"row_number() OVER (PARTITION BY id ORDER BY {LATEST_FIRST}) = 1"
"""Picks the latest version of each record, after QUALIFY."""


def versions(log: ir.Table, through: date) -> ir.Table:
    """The validity of each version of each record, as far as it was known by the end of a day.

    Only the last version of a record on a partition counts, by its own time of change and then by arrival. A
    deletion ends a record on its day.

    Args:
        log: a raw table.
        through: the last partition to look at; nothing known later is seen.

    Returns:
        The log's own columns without those that only keep it a log, with `valid_from` and `valid_to`; one row
        for each interval in which one version holds.
    """
    known = log.filter(_.partition_date <= through)
    latest_last = ibis.window(
        group_by="id",
        order_by=[_.partition_date, _.changed_at.notnull(), _.changed_at, _.sequence],
    )
    forever = ibis.literal(FOREVER)
    return (
        known.mutate(next_date=_.partition_date.lead().over(latest_last))
        .mutate(
            valid_from=_.partition_date,
            valid_to=ibis.least(_.next_date.coalesce(forever), _.deleted_date.coalesce(forever)),
        )
        .filter(_.valid_from < _.valid_to)
        .drop(
            "partition_date", "next_date", "created_at", "updated_at", "deleted_at", "deleted_date",
            "changed_at", "document", "content_hash", "source",
        )
    )  # fmt: skip


def holding_from(facts: ir.Table, first: date) -> ir.Table:
    """The intervals that hold on a day or later, begun on it at the earliest: what held before costs nothing then."""
    return facts.filter(_.valid_to > first).mutate(valid_from=ibis.greatest(_.valid_from, first))


def with_past(concerned: ir.Table, log: ir.Table) -> ir.Table:
    """All rows of a log of the records that have one among some of its rows.

    Making `versions` takes sorting whole logs, which grow with all that was ever recorded; a night concerns a few
    records of them.
    """
    return log.semi_join(concerned.select("id").distinct(), "id")


def touching(log: ir.Table, window: Window, occurs: str | None = None) -> ir.Table:
    """All rows of a log of the records of which a version may appear, happen or disappear within a window.

    Args:
        log: a raw table.
        window: the days.
        occurs: the column that says on which day a record happens, if it does.
    """
    days = [name for name in ("partition_date", "deleted_date", occurs) if name]
    return with_past(log.filter(ibis.or_(*(log[day].between(window.start, window.end) for day in days))), log)


def days_touched(facts: ir.Table, keys: Sequence[str], occurs: str | None = None) -> ir.Table:
    """The days on which a fact appears, happens and disappears.

    Args:
        facts: intervals with `keys`.
        keys: the columns to keep.
        occurs: the column that says on which day the fact happens, if it does; it counts if the fact is valid
            on that day.

    Returns:
        `keys` and `day`, with repeats.
    """
    days = facts.select(*keys, day=_.valid_from)
    days = days.union(facts.filter(_.valid_to < FOREVER).select(*keys, day=_.valid_to))
    if occurs is not None:
        happening = facts.filter((_[occurs] >= _.valid_from) & (_[occurs] < _.valid_to))
        days = days.union(happening.select(*keys, day=_[occurs]))
    return days


def as_of_join(pairs: ir.Table, facts: ir.Table, key: str) -> ir.Table:
    """Each pair with each fact that holds for its key on its day; pairs without a fact are left out.

    Args:
        pairs: rows with `key` and `as_of`.
        facts: intervals with `key`.
        key: the column that both sides share.

    Returns:
        The columns of both sides, without the interval.
    """
    holds = [
        pairs[key] == facts[key],
        facts.valid_from <= pairs.as_of,
        pairs.as_of < facts.valid_to,
    ]
    joined = pairs.join(facts, holds, rname="fact_{name}")
    return joined.drop(f"fact_{key}", "valid_from", "valid_to")


def held_on(day: ir.DateValue, facts: ir.ArrayValue) -> ir.ArrayValue:
    """The facts of a list that hold on a day; each is a struct with its interval."""
    return facts.filter(lambda fact: (fact.valid_from <= day) & (day < fact.valid_to))


def states(touched: ir.Table, changes: ir.Table) -> ir.Table:
    """The days on which a user's feature can have changed, with the touched days until the next of them.

    Between them it reads the same, so it is computed for the first and carried to the others by `on_each_day`.

    Args:
        touched: rows of `touched_users`.
        changes: `user_id` and `day`, with any repeats: when something that the feature depends on changes.

    Returns:
        `user_id`, `as_of` and `days`: each touched day is in one list. Days before the first change are carried from
        the first of them.
    """
    touches = touched.select("user_id", day=_.partition_date, is_touch=ibis.literal(True))
    marks = touches.union(changes.select("user_id", "day", is_touch=ibis.literal(False)))
    # On one day the change comes first.
    so_far = ibis.window(group_by="user_id", order_by=["day", "is_touch"], preceding=None, following=0)
    changed = ibis.ifelse(_.is_touch, None, _.day).max().over(so_far)
    dated = marks.mutate(as_of=changed.coalesce(_.day.min().over(so_far))).filter(_.is_touch)
    return dated.group_by("user_id", "as_of").agg(days=_.day.collect())


def on_each_day(features: ir.Table) -> ir.Table:
    """Rows with `days` of `states`, as one row for each day with `partition_date`."""
    return features.mutate(partition_date=_.days.unnest()).drop("days")


def touches_because(touched: ir.Table, reasons: Sequence[str]) -> ir.Table:
    """The days that touched a user for one of some reasons: `user_id` and `day`.

    Args:
        touched: rows of `touched_users`.
        reasons: values of `touched_by`.
    """
    concerned = touched.filter(ibis.or_(*(_.touched_by.contains(reason) for reason in reasons)))
    return concerned.select("user_id", day=_.partition_date)
