"""Who keeps meeting whom.

What belongs here: shared attendance of two people, and friendship as of a day. What does not: attendance
itself (`attendance.py`).

Friends as of a day are two people who both attended at least `friend_min_shared_events` of the same events, none of
which had more than `friend_max_event_participants` on its list.
"""

import ibis
import ibis.expr.types as ir
from ibis import _

from profile_pipeline.features.attendance import Attendance
from profile_pipeline.features.names import display_name
from profile_pipeline.features.people import BEGINNING
from profile_pipeline.history import FOREVER, held_on
from profile_pipeline.policy import Policy


def can_make_friends(events: ir.Table, policy: Policy) -> ir.BooleanValue:
    """Whether an event had few enough people on its list; `events` has `participant_count`."""
    most = policy.friend_max_event_participants
    return ibis.literal(True) if most is None else events.participant_count <= most


def meetings(attendance: Attendance, asked: ir.Table, policy: Policy) -> ir.Table:
    """The events that two people ever shared, where they can be enough for a friendship.

    Two people who are both asked about are looked at once.

    Args:
        attendance: of everyone, for the events that matter.
        asked: `person_key` of those whose friends are asked for.
        policy: how many shared events make a friendship.

    Returns:
        One row for each pair of `person_key` (asked) and `friend_key`, with `shared`, a list of the shared events'
        `date` and interval, and `is_mutual`: the friend is asked about, too, and has no row of the opposite pair.
    """
    facts = attendance.facts.left_join(asked.distinct().mutate(is_asked=True), "person_key")
    facts = facts.mutate(is_asked=_.is_asked.fill_null(False)).drop("person_key_right").cache()
    pairs, theirs = acquaintances(facts, policy).cache(), facts.view()
    mine = pairs.join(facts.drop("is_asked"), "person_key")
    together = [
        mine.friend_key == theirs.person_key,
        mine.event_key == theirs.event_key,
        mine.valid_from < theirs.valid_to,
        theirs.valid_from < mine.valid_to,
    ]
    meeting = ibis.struct(
        {
            "date": _.date,
            "valid_from": ibis.greatest(_.valid_from, _.friend_valid_from),
            "valid_to": ibis.least(_.valid_to, _.friend_valid_to),
        }
    )
    return (
        mine.join(theirs, together, rname="friend_{name}")
        .group_by("person_key", "friend_key", is_mutual="is_asked")
        .agg(shared=meeting.collect())
    )


def acquaintances(facts: ir.Table, policy: Policy) -> ir.Table:
    """The pairs that attended enough events together, whether at the same time or not: few that are not friends.

    Whom a person met, sorted, once for each event, tells who was met often enough: they stand there again so many
    places on. Most pairs meet only once, and joining and counting them all takes several times as long.

    Args:
        facts: attendance, with `is_asked`; an event counts once, however many versions of it someone attended.
        policy: how many shared events make a friendship.

    Returns:
        `person_key` (asked) and `friend_key`; of two who are both asked about, the smaller is `person_key`.
    """
    guests = facts.select("person_key", "event", "is_asked").distinct()
    # Those who are asked about come first, so that from one of them on the list has whom to look at.
    listed = ibis.struct({"is_other": ~_.is_asked, "key": _.person_key})
    lists = guests.group_by("event").agg(listed=listed.collect().sort().map(lambda person: person.key))
    place = ibis.row_number().over(ibis.window(group_by="event", order_by="person_key"))
    placed = guests.filter(_.is_asked).select("person_key", "event", place=place).join(lists, "event")
    met = (
        placed.select("person_key", met=placed.listed[placed.place + 1 :])
        .group_by("person_key")
        .agg(met=_.met.collect().flatten().sort())
    )
    again = policy.friend_min_shared_events - 1
    often = met.met.filter(lambda key, place: met.met[place + again] == key)
    return met.select("person_key", friend_key=often.unnest()).distinct()


def friendships(shared: ir.Table, policy: Policy) -> ir.Table:
    """When two people are friends, and since which shared event.

    Args:
        shared: from `meetings`.
        policy: how many shared events make a friendship.

    Returns:
        Intervals of the pair with `fewest` (the number of shared events, negative) and `since`, the date of the
        shared event, in order of date, that reached the threshold.
    """
    threshold = policy.friend_min_shared_events
    bounds = shared.shared.map(lambda meeting: ibis.array([meeting.valid_from, meeting.valid_to])).flatten()
    points = shared.mutate(points=bounds.unique()).mutate(valid_from=_.points.unnest())
    points = points.filter(points.valid_from < FOREVER)
    states = points.mutate(
        dates=held_on(points.valid_from, points.shared).map(lambda meeting: meeting.date).sort(),
        valid_to=points.points.filter(lambda point: point > points.valid_from).mins(),
    )
    return states.filter(_.dates.length() >= threshold).select(
        "person_key",
        "friend_key",
        "is_mutual",
        "valid_from",
        "valid_to",
        fewest=-_.dates.length(),
        since=_.dates[threshold - 1],
    )


def circles(attendance: Attendance, asked: ir.Table, users: ir.Table, policy: Policy) -> ir.Table:
    """Everyone who is a friend of a person on some day.

    Args:
        attendance: of everyone, for the events that matter.
        asked: `person_key` of those whose friends are asked for.
        users: `versions` of `raw_users`, for names and addresses.
        policy: how many shared events make a friendship.

    Returns:
        One row for each asked person who has any, with `circle`: a list of intervals of `fewest`, `since`, `email`
        and `name`, to be read by `friends_on`.
    """
    pairs = friendships(meetings(attendance, asked, policy), policy).cache()
    mirrored = pairs.filter(_.is_mutual).mutate(person_key=_.friend_key, friend_key=_.person_key)
    friends = pairs.union(mirrored)
    called = shown(attendance.persons, users)
    same_time = [
        friends.friend_key == called.friend_key,
        friends.valid_from < called.valid_to,
        called.valid_from < friends.valid_to,
    ]
    named = friends.join(called, same_time, rname="called_{name}")
    member = ibis.struct(
        {
            "fewest": _.fewest,
            "since": _.since,
            "email": _.email,
            "name": _.name,
            "valid_from": ibis.greatest(_.valid_from, _.called_valid_from),
            "valid_to": ibis.least(_.valid_to, _.called_valid_to),
        }
    )
    return named.group_by("person_key").agg(circle=member.collect())


def friends_on(day: ir.DateValue, circle: ir.ArrayColumn) -> ir.ArrayColumn:
    """The friends of a person as of a day, as `friend_details`.

    Most shared events first; ties: who reached the threshold earlier, then by e-mail.

    Args:
        day: as of which day.
        circle: from `circles`; its members sort in that order by their first fields.
    """
    return (
        held_on(day, circle)
        .sort()
        .map(
            lambda member: ibis.struct(
                {
                    "email": member.email,
                    "name": member["name"],
                    "shared_events": -member.fewest,
                    "since": member.since,
                }
            )
        )
    )


def shown(persons: ir.Table, users: ir.Table) -> ir.Table:
    """How others see a person: intervals of `friend_key`, `email` and `name`."""
    owners = persons.join(users, persons.user_id == users.id).select(
        "email", "valid_from", "valid_to", friend_key="person_key", name=display_name(_.name, _.email)
    )
    addresses = persons.filter(_.address.notnull()).select(
        email="address",
        valid_from=ibis.literal(BEGINNING),
        valid_to=ibis.literal(FOREVER),
        friend_key="person_key",
        name=display_name(ibis.null("string"), _.address),
    )
    return owners.union(addresses)
