"""Whose profile may differ from the day before.

What belongs here: from versions of records to the users they touch, with the reasons. What does not: what then
becomes of the profile.
"""

import ibis
import ibis.expr.types as ir
from ibis import _

from profile_pipeline.features.attendance import invitations
from profile_pipeline.features.people import identity_changes, people
from profile_pipeline.history import days_touched
from profile_pipeline.policy import Policy
from profile_pipeline.tables import TOUCHED_USERS
from profile_pipeline.window import Window


def touched_users(
    users: ir.Table, orders: ir.Table, events: ir.Table, messages: ir.Table, *, window: Window, policy: Policy
) -> ir.Table:
    """The users touched by a record that appears, changes, happens or disappears on a day.

    An event touches everyone on its list and everyone it dropped from it. Someone who becomes known by another
    name or address (a new, renamed or deleted user, or one who changed e-mail) touches whoever may be a friend,
    because friends see them by name. Users who are not known yet are left out: their own record touches them when
    it comes.

    Args:
        users: `versions` of `raw_users` up to the window's end.
        orders: the same of `raw_orders`.
        events: the same of `raw_events`.
        messages: the same of `raw_messages`.
        window: the days asked for.
        policy: how many shared events make a friend.

    Returns:
        The columns of `touched_users`.
    """
    users = users.select("id", "email", "name", "valid_from", "valid_to").cache()
    orders = orders.select("user_id", "date", "valid_from", "valid_to").cache()
    messages = messages.select("user_id", "sent_date", "valid_from", "valid_to").cache()
    identities = people(users).cache()
    changes = identity_changes(identities).filter(_.day.between(window.start, window.end)).cache()
    lists = invitations(events.select("id", "date", "participants", "valid_from", "valid_to")).cache()
    on_lists = days_touched(lists, ["address"], occurs="date").filter(_.day.between(window.start, window.end))
    touches = ibis.union(
        _because("user", days_touched(users.select("id", "valid_from", "valid_to"), ["id"]).rename(user_id="id")),
        _because("order", days_touched(orders, ["user_id"], occurs="date")),
        _because("message", days_touched(messages, ["user_id"], occurs="sent_date")),
        _because("event", _owners(on_lists, identities)),
        _because("identity", _owners(changes.select("address", "day"), identities)),
        _because("identity", _possible_friends(changes, users, lists, identities, window=window, policy=policy)),
    ).filter(_.day.between(window.start, window.end))
    known = [
        touches.user_id == users.id,
        users.valid_from <= touches.day,
        touches.day <= users.valid_to,
    ]
    return (
        touches.distinct()
        .pipe(lambda touches: touches.semi_join(users, known))
        .group_by(partition_date=_.day, user_id=_.user_id)
        .agg(touched_by=_.reason.collect().sort())
        .select(list(TOUCHED_USERS.columns))
    )


def _because(reason: str, touches: ir.Table) -> ir.Table:
    return touches.select("user_id", "day", reason=ibis.literal(reason))


def _possible_friends(
    changes: ir.Table, users: ir.Table, lists: ir.Table, people: ir.Table, *, window: Window, policy: Policy
) -> ir.Table:
    """The users who may be friends of someone whose identity changed, on the day it did: `user_id` and `day`.

    They share enough lists of past events with the addresses of whoever gained or lost the changed address; whether
    an event was cancelled is not asked. Whoever takes an address on the window's last day is not looked for: their
    own record touches them, and on the first day of a log that is everybody.
    """
    claimed = users.group_by(user_id=_.id, related=_.email).agg(since=_.valid_from.min())
    # What an owner is called later is not known yet.
    by_then = claimed.since <= changes.day
    related = ibis.union(
        changes.select("address", "day", related=_.address),
        *(
            changes.join(claimed, [changes[owner] == claimed.user_id, by_then], rname="claimed_{name}").select(
                "address", "day", "related"
            )
            for owner in ("user_id", "previous_user_id")
        ),
    ).distinct()
    on_list = [
        lists.address == related.related,
        lists.date <= related.day,
        lists.valid_from <= related.day,
        related.day < lists.valid_to,
    ]
    attended = lists.join(related, on_list, rname="changed_{name}").select(
        "id", "valid_from", "day", changed="changed_address"
    )
    known = users.filter(_.valid_from < window.end).select(address="email").distinct()
    of_known = lists.semi_join(known, "address")
    seen = of_known.join(attended.distinct(), ["id", "valid_from"]).select("id", "address", "day", "changed")
    owned = [seen.address == people.address, people.valid_from <= seen.day, seen.day < people.valid_to]
    met = seen.join(people.filter(_.user_id.notnull()), owned, rname="person_{name}")
    shared = met.group_by("changed", "day", "user_id").agg(count=_.id.nunique())
    return shared.filter(_["count"] >= policy.friend_min_shared_events).select("user_id", "day").distinct()


def _owners(touched_addresses: ir.Table, people: ir.Table) -> ir.Table:
    """The users behind addresses on their days, and those who ceased to be on that very day."""
    owned = [
        touched_addresses.address == people.address,
        people.valid_from <= touched_addresses.day,
        touched_addresses.day <= people.valid_to,
    ]
    return (
        touched_addresses.join(people.filter(_.user_id.notnull()), owned, rname="person_{name}")
        .select("user_id", "day")
        .distinct()
    )
