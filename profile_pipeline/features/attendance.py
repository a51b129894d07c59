"""Who attended what, and when that holds.

What belongs here: attendance as intervals of validity between integer keys. What does not: what follows from
it about a user (`events.py`, `friends.py`), and whom an address belongs to (`people.py`).

A person attended an event as of a day when an address of theirs is a participant, the event's date is on or
before the day and its status is not cancelled.
"""

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
from ibis import _

CANCELLED = ("cancelled", "canceled")
"""Statuses of an event that did not take place, in both spellings."""


@dataclass(frozen=True)
class Attendance:
    """Attendance between integers, because pairs of people are many and strings are slow to group by.

    Attributes:
        facts: intervals of `person_key`, `event`, its version `event_key` and `date`; one row on any day.
        persons: `person_key` with `user_id`, or else the `address` that stands for itself.
    """

    facts: ir.Table
    persons: ir.Table


def with_participant_count(events: ir.Table) -> ir.Table:
    """The log of events with `participant_count`, which stays when lists are cut to whoever matters."""
    return events.mutate(participant_count=_.participants.length())


def invitations(events: ir.Table) -> ir.Table:
    """Each address on the list of each event version, cancelled or not.

    Args:
        events: `versions` of `raw_events`.

    Returns:
        Intervals of the event's columns with one `address` in place of `participants`.
    """
    return events.mutate(address=_.participants.unnest()).drop("participants")


def attendances(events: ir.Table, people: ir.Table) -> Attendance:
    """When who counts as having attended what.

    A person who is on a list under two of their addresses attended once: such intervals are united.

    Args:
        events: `versions` of `raw_events`, with integers: `event` for each event, `event_key` for each version.
        people: the person behind each address, by intervals; an address that is not there stands for itself.
    """
    took_place = (
        invitations(events.select("event", "event_key", "date", "status", "participants", "valid_from", "valid_to"))
        .filter(~_.status.isin(CANCELLED).fill_null(False))
        .mutate(valid_from=ibis.greatest(_.valid_from, _.date))
        .filter(_.valid_from < _.valid_to)
    )
    same_time = [
        took_place.address == people.address,
        people.valid_from < took_place.valid_to,
        took_place.valid_from < people.valid_to,
    ]
    by_person = (
        took_place.left_join(people, same_time, rname="person_{name}")
        .select(
            "event",
            "event_key",
            "date",
            "user_id",
            address=ibis.ifelse(_.user_id.isnull(), _.address, None),
            valid_from=ibis.greatest(_.valid_from, _.person_valid_from.coalesce(_.valid_from)),
            valid_to=ibis.least(_.valid_to, _.person_valid_to.coalesce(_.valid_to)),
        )
        .cache()
    )
    persons = (
        by_person.select("user_id", "address").distinct().mutate(person_key=ibis.row_number().cast("int32")).cache()
    )
    is_person = [
        by_person.user_id.identical_to(persons.user_id),
        by_person.address.identical_to(persons.address),
    ]
    facts = by_person.join(persons, is_person, rname="person_{name}").select(
        "person_key", "event", "event_key", "date", "valid_from", "valid_to"
    )
    return Attendance(unite(facts, ["person_key", "event", "event_key", "date"]).cache(), persons)


def unite(facts: ir.Table, keys: list[str]) -> ir.Table:
    """Unite intervals of the same keys that overlap or touch, so that each fact holds once on any day."""
    before = ibis.window(group_by=keys, order_by=["valid_from", "valid_to"], preceding=(None, 1))
    # Of equal intervals the one that starts first: the two windows may order them differently.
    in_order = ["valid_from", "valid_to", _.starts.desc()]
    up_to = ibis.window(group_by=keys, order_by=in_order, preceding=None, following=0)
    starts = (_.valid_from > _.valid_to.max().over(before)).fill_null(True)
    return (
        facts.mutate(starts=starts.cast("int64"))
        .mutate(island=_.starts.sum().over(up_to))
        .group_by(*keys, "island")
        .agg(valid_from=_.valid_from.min(), valid_to=_.valid_to.max())
        .drop("island")
    )
