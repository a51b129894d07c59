"""Who keeps meeting whom.

What belongs here: shared attendance of two people, and friendship as of a day. What does not: attendance
itself (`attendance.py`).

Friends as of a day are two people who both attended at least `friend_min_shared_events` of the same events.
"""

import ibis
import ibis.expr.types as ir
from ibis import _

from profile_pipeline.features.attendance import Attendance
from profile_pipeline.features.people import BEGINNING
from profile_pipeline.history import FOREVER, held_on
from profile_pipeline.policy import Policy
from profile_pipeline.profiles.names import display_name


def shared_events(attendance: Attendance, asked: ir.Table, policy: Policy) -> ir.Table:
    """All that two people ever shared, where it can be enough for a friendship.

    Two people who are both asked about are joined once and mirrored, which halves the largest join there is.

    Args:
        attendance: of everyone, for the events that matter.
        asked: `person_key` of those whose friends are asked for.
        policy: how many shared events make a friendship.

    Returns:
        One row for `person_key` (asked) and `friend_key`, with `shared`: a list of the shared events' `date`
        and interval.
    """
    facts = attendance.facts.left_join(asked.distinct().mutate(is_asked=True), "person_key")
    facts = facts.mutate(is_asked=_.is_asked.fill_null(False)).drop("person_key_right").cache()
    mine, theirs = facts.filter(_.is_asked), facts.view()
    together = [
        mine.event_key == theirs.event_key,
        mine.person_key != theirs.person_key,
        ~theirs.is_asked | (mine.person_key < theirs.person_key),
        mine.valid_from < theirs.valid_to,
        theirs.valid_from < mine.valid_to,
    ]
    meetings = (
        mine.join(theirs, together, rname="friend_{name}")
        .select(
            "person_key",
            "date",
            friend_key="friend_person_key",
            is_mutual="friend_is_asked",
            valid_from=ibis.greatest(_.valid_from, _.friend_valid_from),
            valid_to=ibis.least(_.valid_to, _.friend_valid_to),
        )
        .cache()
    )
    pair = ["person_key", "friend_key", "is_mutual"]
    enough = meetings.group_by(pair).agg(count=_.count())
    enough = enough.filter(_["count"] >= policy.friend_min_shared_events)
    meeting = ibis.struct({"date": _.date, "valid_from": _.valid_from, "valid_to": _.valid_to})
    shared = meetings.semi_join(enough, pair).group_by(pair).agg(shared=meeting.collect()).cache()
    mirrored = shared.filter(_.is_mutual).select(person_key="friend_key", friend_key="person_key", shared="shared")
    return shared.drop("is_mutual").union(mirrored)


def circles(attendance: Attendance, asked: ir.Table, users: ir.Table, policy: Policy) -> ir.Table:
    """Everyone whom a person may count as a friend on some day, with what it depends on.

    Args:
        attendance: of everyone, for the events that matter.
        asked: `person_key` of those whose friends are asked for.
        users: `versions` of `raw_users`, for names and addresses.
        policy: how many shared events make a friendship.

    Returns:
        One row for each asked person who has any, with `circle`: a list of `email`, `name`, the interval in which
        they are called so, and their `meetings`, to be read by `friends_on`.
    """
    meetings = shared_events(attendance, asked, policy)
    named = meetings.join(shown(attendance.persons, users), "friend_key")
    member = ibis.struct(
        {
            "email": _.email,
            "name": _.name,
            "valid_from": _.valid_from,
            "valid_to": _.valid_to,
            "meetings": _.shared,
        }
    )
    return named.group_by("person_key").agg(circle=member.collect())


def friends_on(day: ir.DateValue, circle: ir.ArrayColumn, policy: Policy) -> ir.ArrayColumn:
    """The friends of a person as of a day, as `friend_details`.

    Most shared events first; ties: who reached the threshold earlier, then by e-mail. `since` is the date of the
    shared event, in order of date, that reached the threshold.

    Args:
        day: as of which day.
        circle: from `circles`.
        policy: how many shared events make a friendship.
    """
    threshold = policy.friend_min_shared_events
    return (
        circle.filter(lambda member: (member.valid_from <= day) & (day < member.valid_to))
        .map(
            lambda member: ibis.struct(
                {
                    "email": member.email,
                    "name": member["name"],
                    "dates": held_on(day, member.meetings).map(lambda meeting: meeting.date),
                }
            )
        )
        .filter(lambda member: member.dates.length() >= threshold)
        .map(
            lambda member: ibis.struct(
                {
                    "fewest": -member.dates.length(),
                    "since": member.dates.sort()[threshold - 1],
                    "email": member.email,
                    "name": member["name"],
                }
            )
        )
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
