"""Event features: what a user's attendance says about them.

What belongs here: counts, dates, history and favourites from events. What does not: friends (`friends.py`), and
anything that depends on the day of reading (`profiles/reading.py`).
"""

from dataclasses import replace

import ibis
import ibis.expr.types as ir
from ibis import _

from profile_pipeline.features.attendance import attendances, invitations
from profile_pipeline.features.friends import can_make_friends, circles, friends_on
from profile_pipeline.features.people import people
from profile_pipeline.history import FOREVER, held_on, on_each_day, states
from profile_pipeline.policy import Policy
from profile_pipeline.tables import EVENT_FEATURES

VISIT_COLUMNS = ("name", "venue", "host", "event_type", "is_small")
"""What matters of an event beside its day and its guests; versions that agree in it are one visit."""


def event_features(touched: ir.Table, users: ir.Table, events: ir.Table, policy: Policy) -> ir.Table:
    """Event features of each touched user and day, as of the end of the day.

    Args:
        touched: rows of `touched_users`.
        users: `versions` of `raw_users`.
        events: `versions` of `raw_events`, with `participant_count`.
        policy: thresholds.

    Returns:
        The columns of `event_features`, one row for each row of `touched`.
    """
    users = users.select("id", "email", "name", "valid_from", "valid_to").cache()
    lifetime = lifetimes(touched, users, events.drop("sequence").cache(), policy)
    lived = states(touched, changes(lifetime)).left_join(lifetime, "user_id", rname="lived_{name}")
    day = lived.as_of
    seen = lived.mutate(
        visits=held_on(day, lived.visits),
        hosts=favorites_on(day, lived.host_visits),
        venues=favorites_on(day, lived.venue_visits),
        event_types=favorites_on(day, lived.event_type_visits),
        friend_details=friends_on(day, lived.circle),
    )
    found = seen.select(
        "user_id",
        "days",
        "friend_details",
        number_of_events_attended=_.visits.length(),
        first_event_date=_.visits[0].date,
        last_event_date=_.visits[-1].date,
        event_history=_.visits.map(
            lambda visit: ibis.struct({"name": visit["name"], "date": visit.date, "venue": visit.venue})
        ),
        event_history_hosts=_.hosts.map(lambda rank: rank.value),
        top_host_event_count=-_.hosts[0].fewest,
        venue_history=_.venues.map(lambda rank: rank.value),
        favorite_event_types=_.event_types[: policy.favorite_event_type_count].map(lambda rank: rank.value),
        friends=_.friend_details.map(lambda friend: friend["name"]),
    )
    return on_each_day(_with_defaults(found)).select(list(EVENT_FEATURES.columns))


def lifetimes(touched: ir.Table, users: ir.Table, events: ir.Table, policy: Policy) -> ir.Table:
    """All that the touched users' event features may depend on, one row for each who ever attended.

    What holds on a day is then picked from the row's lists, without grouping or sorting the days apart: a
    thousand days of a user cost little more than one.

    Returns:
        `user_id`, `visits`, `host_visits`, `venue_visits`, `event_type_visits` and `circle`.
    """
    identities = people(users).cache()
    relevant = _attended_by(touched, identities, events.mutate(is_small=can_make_friends(events, policy)))
    attendance = attendances(relevant, identities)
    asked = attendance.persons.semi_join(touched, "user_id").select("person_key", "user_id").cache()
    visits = (
        attendance.facts.drop("date", "event")
        .semi_join(asked, "person_key")
        .join(relevant.select("event_key", "date", *VISIT_COLUMNS).distinct(), "event_key")
        # Lists of what lies side by side take a third less to make.
        .order_by("person_key", "event_key")
        .cache()
    )
    close = attendance
    if policy.friend_max_event_participants is not None:
        close = replace(attendance, facts=attendance.facts.semi_join(relevant.filter(_.is_small), "event_key"))
    lifetime = asked
    for part in (
        histories(visits),
        *(favorites(visits, column) for column in ("host", "venue", "event_type")),
        circles(close, asked.select("person_key"), users, policy),
    ):
        lifetime = lifetime.left_join(part.cache(), "person_key").drop("person_key_right")
    return lifetime.drop("person_key").cache()


def changes(lifetime: ir.Table) -> ir.Table:
    """The days on which anything in `lifetimes` begins or ceases to hold: `user_id` and `day`."""
    bounds = (
        lifetime.select("user_id", day=part.map(lambda fact, end=end: fact[end]).unnest())
        for part in (lifetime.visits, lifetime.circle)
        for end in ("valid_from", "valid_to")
    )
    # Rows and not one list of all: Ibis writes each list that it joins or makes unique out several times over.
    return ibis.union(*bounds, distinct=True).filter(_.day < FOREVER)


def _attended_by(touched: ir.Table, people: ir.Table, events: ir.Table) -> ir.Table:
    """The event versions that any of the users may have attended.

    With integers: `event` for the event, and `event_key` for what versions of it say alike, in order of date and id.
    """
    theirs = people.semi_join(touched, "user_id").select("address").distinct()
    lists = invitations(events.select("id", "valid_from", "participants")).semi_join(theirs, "address")
    return (
        events.semi_join(lists, ["id", "valid_from"])
        .mutate(
            event=ibis.dense_rank().over(order_by="id").cast("int32"),
            event_key=ibis.dense_rank().over(order_by=["date", "id", *VISIT_COLUMNS]).cast("int32"),
        )
        .cache()
    )


def histories(visits: ir.Table) -> ir.Table:
    """All that a person ever attended: `person_key` and `visits`, oldest first, then by id."""
    visit = ibis.struct(
        {
            "event_key": _.event_key,
            "name": _.name,
            "date": _.date,
            "venue": _.venue,
            "valid_from": _.valid_from,
            "valid_to": _.valid_to,
        }
    )
    return visits.group_by("person_key").agg(visits=visit.collect().sort())


def favorites(visits: ir.Table, column: str) -> ir.Table:
    """All values of a column that a person ever met, to be read by `favorites_on`.

    Returns:
        `person_key` and `{column}_visits`, a list of `value` and its `visits`, oldest first.
    """
    visit = ibis.struct({"date": _.date, "valid_from": _.valid_from, "valid_to": _.valid_to})
    entry = ibis.struct({"value": _.value, "visits": _.visits})
    return (
        visits.filter(_[column].notnull())
        .group_by("person_key", value=_[column])
        .agg(visits=visit.collect().sort())
        .group_by("person_key")
        .agg(entry.collect().name(f"{column}_visits"))
    )


def favorites_on(day: ir.DateValue, entries: ir.ArrayColumn) -> ir.ArrayColumn:
    """The values met as of a day, most attended first; ties: most recent first, then by name.

    Returns:
        A list of `fewest` (the count, negative), `oldest` (the latest day, negative) and `value`.
    """
    return (
        entries.map(lambda entry: ibis.struct({"value": entry.value, "visits": held_on(day, entry.visits)}))
        .filter(lambda entry: entry.visits.length() > 0)
        .map(
            lambda entry: ibis.struct(
                {
                    "fewest": -entry.visits.length(),
                    "oldest": -entry.visits[-1].date.epoch_days(),
                    "value": entry.value,
                }
            )
        )
        .sort()
    )


def _with_defaults(found: ir.Table) -> ir.Table:
    """Users who attended nothing count zero and have empty lists."""
    lists = {
        name: _[name].coalesce(ibis.literal([], type=type_))
        for name, type_ in EVENT_FEATURES.types.items()
        if type_.startswith("array")
    }
    return found.mutate(
        number_of_events_attended=_.number_of_events_attended.fill_null(0),
        top_host_event_count=_.top_host_event_count.fill_null(0),
        **lists,
    )
