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
from profile_pipeline.tables import TOUCHED_USERS
from profile_pipeline.window import Window


def touched_users(users: ir.Table, orders: ir.Table, events: ir.Table, messages: ir.Table, window: Window) -> ir.Table:
    """The users touched by a record that appears, changes, happens or disappears on a day.

    An event touches everyone on its list and everyone it dropped from it. Someone who becomes known by another
    name or address (a new, renamed or deleted user, or one who changed e-mail) touches everyone on the lists
    they are on, because those may be friends, who see them by name. Users who are not known yet are left out:
    their own record touches them when it comes.

    Args:
        users, orders, events, messages: `versions` of the raw tables up to the window's end.
        window: the days asked for.

    Returns:
        The columns of `touched_users`.
    """
    identities = people(users).cache()
    lists = invitations(events.select("id", "date", "participants", "valid_from", "valid_to")).cache()
    touched_addresses = ibis.union(
        days_touched(lists, ["address"], occurs="date").mutate(reason=ibis.literal("event")),
        _seen_with(lists, identity_changes(identities)).mutate(reason=ibis.literal("identity")),
    ).filter(_.day.between(window.start, window.end))
    touches = ibis.union(
        days_touched(users.select("id", "valid_from", "valid_to"), ["id"])
        .rename(user_id="id")
        .mutate(reason=ibis.literal("user")),
        days_touched(orders, ["user_id"], occurs="date").mutate(reason=ibis.literal("order")),
        days_touched(messages, ["user_id"], occurs="sent_date").mutate(reason=ibis.literal("message")),
        _owners(touched_addresses, identities),
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


def _seen_with(lists: ir.Table, changes: ir.Table) -> ir.Table:
    """Every address on a list, valid on the day, on which a changed address stands: `address` and `day`."""
    on_list = [
        lists.address == changes.address,
        lists.valid_from <= changes.day,
        changes.day < lists.valid_to,
    ]
    shared = lists.join(changes, on_list, rname="changed_{name}").select("id", "valid_from", "day").distinct()
    return lists.join(shared, ["id", "valid_from"]).select("address", "day")


def _owners(touched_addresses: ir.Table, people: ir.Table) -> ir.Table:
    """The users behind addresses on their days, and those who ceased to be on that very day."""
    owned = [
        touched_addresses.address == people.address,
        people.valid_from <= touched_addresses.day,
        touched_addresses.day <= people.valid_to,
    ]
    return (
        touched_addresses.join(people.filter(_.user_id.notnull()), owned, rname="person_{name}")
        .select("user_id", "day", "reason")
        .distinct()
    )
