"""Which rows of the logs a few days or a few users depend on.

What belongs here: narrowing logs so that what is computed from the rest comes out the same as from all, in a time that
follows what changed. What does not: what is computed (`touched.py`, `events.py`).
"""

import ibis
import ibis.expr.types as ir
from ibis import _

from profile_pipeline.features.friends import can_make_friends
from profile_pipeline.history import touching, with_past
from profile_pipeline.policy import Policy
from profile_pipeline.window import Window


def concerning_days(
    users: ir.Table, orders: ir.Table, events: ir.Table, messages: ir.Table, *, window: Window
) -> dict[str, ir.Table]:
    """The rows of the logs from which `touched_users` of a window comes out the same as from all.

    Of users these are the ones on whom a record of the window bears, and all who ever had an address that may be
    asked about: those on the lists of the window's events, those that anyone had whose record changed in it, and
    those on any list with one of these.

    Args:
        users: `raw_users`.
        orders: `raw_orders`.
        events: `raw_events`.
        messages: `raw_messages`.
        window: the days asked for.

    Returns:
        The raw tables by kind of record.
    """
    orders, messages = touching(orders, window, "date"), touching(messages, window, "sent_date")
    lists = _lists(events)
    changed = touching(users, window).select("email").distinct()
    related = with_past(users.semi_join(changed, "email"), users).select(address="email").distinct()
    met = ibis.union(
        lists.semi_join(related, "address").select("id"), touching(events, window, "date").select("id")
    ).distinct()
    asked = ibis.union(lists.semi_join(met, "id").select("address"), related).distinct()
    ids = ibis.union(
        users.semi_join(asked, users.email == asked.address).select("id"),
        *(records.select(id="user_id") for records in (orders, messages)),
    )
    return {"users": with_past(ids, users), "orders": orders, "events": with_past(met, events), "messages": messages}


def concerning_users(touched: ir.Table, users: ir.Table, events: ir.Table, policy: Policy) -> dict[str, ir.Table]:
    """The rows of the logs from which `event_features` of some users come out the same as from all.

    Events are those that have one of the users on their list. Of the others there, only who may be a friend matters:
    whoever is on enough of these lists with one of them. Anyone may stand behind an address who ever had it, on
    whatever day, and counts on each list with any of theirs; so nobody is passed over who is a friend on some day.

    Args:
        touched: rows of `touched_users`.
        users: `raw_users`.
        events: `raw_events`, with `participant_count`.
        policy: which and how many shared events make a friendship.

    Returns:
        `users` and `events`; `participants` without the addresses that do not matter.
    """
    held = users.select(user_id="id", address="email").distinct()
    theirs = held.semi_join(touched, "user_id").select("address").distinct()
    concerned = with_past(_lists(events).semi_join(theirs, "address"), events)
    entries = (
        _lists(concerned)
        .distinct()
        .left_join(held, "address")
        .select("id", "address", person=ibis.coalesce(_.user_id, _.address))
        .cache()
    )
    asked = touched.select(person="user_id").distinct()
    meetings = entries.semi_join(asked, "person").select("id", asked="person").join(entries, "id")
    if policy.friend_max_event_participants is not None:
        meetings = meetings.semi_join(concerned.filter(can_make_friends(concerned, policy)), "id")
    enough = meetings.group_by("asked", "person").agg(count=_.count())
    friends = enough.filter(_["count"] >= policy.friend_min_shared_events)
    matter = entries.semi_join(friends.select("person").union(asked), "person").select("address").distinct().cache()
    listed = (
        concerned.mutate(address=_.participants.unnest())
        .select("sequence", "address")
        .semi_join(matter, "address")
        .group_by("sequence")
        .agg(participants=_.address.collect())
    )
    return {
        "users": with_past(users.semi_join(matter, users.email == matter.address), users),
        "events": concerned.drop("participants").left_join(listed, "sequence").drop("sequence_right"),
    }


def _lists(events: ir.Table) -> ir.Table:
    """The addresses that were ever on the list of an event: `id` and `address`, with repeats."""
    return events.select("id", address=_.participants.unnest())
