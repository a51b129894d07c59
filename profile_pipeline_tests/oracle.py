"""The naive oracle: every user's profile as of a day, by plain loops over the log.

What belongs here: the meaning of each field, written a second time from its description alone, so that a
mistake in the pipeline's set-based expressions shows as a difference. What does not: speed, and anything
taken from `history.py`, `features/` or `profiles/`; an oracle that shares code shares its mistakes. From the
package it takes the catalogue of columns and the policy only. The wording of `decision_reasons` is not
computed; the summary is in `oracle_summary.py`, the way from documents to a log in `oracle_log.py`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from profile_pipeline.policy import Policy
from profile_pipeline.tables import PROFILE_FIELDS, USER_PROFILES

Row = dict[str, Any]
"""One row of a raw table, or a record's document."""

Log = dict[str, list[Row]]
"""Kind of record (users, orders, events, messages) to the rows of its raw table."""

Profile = dict[str, Any]
"""Field name to value: the columns of `user_profiles` but the partition, the clock fields, the decision."""

Person = tuple[str, str]
"""("user", user id) or ("address", e-mail address)."""

KINDS = ("users", "orders", "events", "messages")
FACT_FIELDS = tuple(name for name in USER_PROFILES.columns if name != "partition_date")
KEY_FIELDS = ("interests", "cuisine_preference", "age", "occupation")
CANCELLED = ("cancelled", "canceled")
NOT_AN_ORDER = (*CANCELLED, "refunded")
CENT = Decimal("0.01")
DAYS_PER_MONTH = Decimal("30.4375")


def version_order(row: Row) -> tuple[date, bool, datetime, int]:
    """What makes one version of a record later than another; an unknown time of change comes first."""
    changed_at = row["changed_at"]
    return (row["partition_date"], changed_at is not None, changed_at or datetime.min, row["sequence"])


def latest_versions(rows: Iterable[Row], day: date) -> dict[str, Row]:
    """Record id to its latest version known by the day, tombstones included."""
    latest: dict[str, Row] = {}
    for row in sorted(rows, key=version_order):
        if row["partition_date"] <= day:
            latest[row["id"]] = row
    return latest


def is_gone(row: Row, day: date) -> bool:
    """Whether the version is a tombstone as of the day."""
    return row["deleted_date"] is not None and row["deleted_date"] <= day


def live_records(rows: Iterable[Row], day: date) -> dict[str, Row]:
    """Record id to its latest version known by the day, of the records not deleted by then."""
    return {key: row for key, row in latest_versions(rows, day).items() if not is_gone(row, day)}


def normalised(address: str) -> str:
    """The address as it is compared: trimmed and casefolded."""
    return address.strip().casefold()


def held_addresses(rows: Iterable[Row], day: date) -> dict[str, dict[str, list[date]]]:
    """Address to user id to the days by the end of which a version of that day gave the user the address.

    A version that is a tombstone on its own day gives nobody an address.
    """
    ends_of_days: dict[tuple[str, date], Row] = {}
    for row in sorted(rows, key=version_order):
        if row["partition_date"] <= day:
            ends_of_days[row["id"], row["partition_date"]] = row
    held: dict[str, dict[str, list[date]]] = {}
    for (user_id, version_day), row in ends_of_days.items():
        if is_gone(row, version_day):
            continue
        held.setdefault(normalised(row["email"]), {}).setdefault(user_id, []).append(version_day)
    return held


def address_owners(log: Log, day: date) -> dict[str, str]:
    """Address to the id of the live user whose address it is as of the day; nobody's addresses are left out.

    The user whose current address it is comes first (of several, who claimed it first), then who had it last.
    """
    live = live_records(log["users"], day)
    owners = {}
    for address, holders in held_addresses(log["users"], day).items():
        current = [user for user in holders if user in live and normalised(live[user]["email"]) == address]
        former = [user for user in holders if user in live and user not in current]
        if current:
            owners[address] = sorted(current, key=lambda user: (min(holders[user]), user))[0]
        elif former:
            owners[address] = sorted(former, key=lambda user: (-max(holders[user]).toordinal(), user))[0]
    return owners


def name_from_address(address: str) -> str:
    """`Mike Jones` for `mike.jones@…`; the address where nothing is left to make a name from."""
    local = address.partition("@")[0]
    words = local.replace("_", ".").replace("-", ".").split(".")
    return " ".join(word.capitalize() for word in words if word) or address


def display_name(user: Row) -> str:
    """The user's name, else one made from the address."""
    return user["name"] or name_from_address(normalised(user["email"]))


def profiles(log: Log, day: date, policy: Policy) -> dict[str, Profile]:
    """User id to the full profile as of the end of the day, of every user known by then.

    A deleted user's profile is null but for `id`, `is_deleted` and `as_of`.
    """
    if policy.fold_email_aliases:
        raise NotImplementedError("the oracle does not fold aliases")
    attendances = people_at_events(log, day)
    result = {}
    for user_id, user in latest_versions(log["users"], day).items():
        if is_gone(user, day):
            result[user_id] = deleted_profile(user_id, day)
            continue
        profile = user_fields(user)
        profile |= event_fields(user_id, attendances, log, day, policy)
        profile |= message_fields(user_id, log, day, policy)
        profile |= order_fields(user_id, log, day)
        profile |= personalization_fields(user, profile, policy)
        profile |= {"as_of": day}
        result[user_id] = profile | {"decision": decision(profile)}
    return result


def facts(profile: Profile) -> Profile:
    """The part of a profile that does not depend on the clock: what `user_profiles` stores."""
    return {field: profile[field] for field in FACT_FIELDS}


def must_be_touched(log: Log, day: date, policy: Policy) -> set[str]:
    """The users whose stored facts differ from the day before; more may be touched, these must be.

    A user who comes and goes within one day was never there.
    """
    before = profiles(log, day - timedelta(days=1), policy)
    after = {key: row for key, row in profiles(log, day, policy).items() if key in before or not row["is_deleted"]}
    return {key for key, row in after.items() if key not in before or facts(row) != facts(before[key])}


def deleted_profile(user_id: str, day: date) -> Profile:
    empty: Profile = dict.fromkeys(FACT_FIELDS)
    clock = ("days_since_last_event", "average_events_per_month", "days_since_last_message")
    more = ("can_send_new_message", "days_since_last_order", "decision")
    return empty | dict.fromkeys((*clock, *more)) | {"id": user_id, "is_deleted": True, "as_of": day}


def user_fields(user: Row) -> Profile:
    fields = {field: user[field] for field in (*PROFILE_FIELDS, "id", "time_zone")}
    return fields | {"email": normalised(user["email"]), "name": display_name(user), "is_deleted": False}


def days_since(moment: date | None, day: date) -> int | None:
    return None if moment is None else (day - moment).days


def people_at_events(log: Log, day: date) -> list[tuple[Row, set[Person]]]:
    """Each event that took place by the day, oldest first (then by id), with who attended it."""
    owners = address_owners(log, day)
    held = []
    for event in live_records(log["events"], day).values():
        if event["date"] > day or event["status"] in CANCELLED:
            continue
        people: set[Person] = set()
        for participant in event["participants"] or []:
            address = normalised(participant)
            if address in owners:
                people.add(("user", owners[address]))
            elif address:
                people.add(("address", address))
        held.append((event, people))
    return sorted(held, key=lambda item: (item[0]["date"], item[0]["id"]))


def most_attended(events: Sequence[Row], field: str) -> list[str]:
    """Distinct values of the field: most attended first, then most recent, then by name."""
    times = Counter(event[field] for event in events if event[field])
    latest = {value: max(event["date"] for event in events if event[field] == value) for value in times}
    return sorted(times, key=lambda value: (-times[value], -latest[value].toordinal(), value))


def event_fields(
    user_id: str, attendances: list[tuple[Row, set[Person]]], log: Log, day: date, policy: Policy
) -> Profile:
    attended = [event for event, people in attendances if ("user", user_id) in people]
    count = len(attended)
    first = attended[0]["date"] if attended else None
    last = attended[-1]["date"] if attended else None
    hosts = most_attended(attended, "host")
    friends = friend_details(user_id, attendances, log, day, policy)
    return {
        "number_of_events_attended": count,
        "first_event_date": first,
        "last_event_date": last,
        "days_since_last_event": days_since(last, day),
        "event_history": [{key: event[key] for key in ("name", "date", "venue")} for event in attended],
        "event_history_hosts": hosts,
        "top_host_event_count": sum(event["host"] == hosts[0] for event in attended) if hosts else 0,
        "venue_history": most_attended(attended, "venue"),
        "favorite_event_types": most_attended(attended, "event_type")[: policy.favorite_event_type_count],
        "average_events_per_month": events_per_month(count, first, day),
        "friends": [friend["name"] for friend in friends],
        "friend_details": friends,
    }


def events_per_month(count: int, first: date | None, day: date) -> float:
    if first is None:
        return 0.0
    months = max(Decimal(1), Decimal((day - first).days) / DAYS_PER_MONTH)
    return float((count / months).quantize(CENT, ROUND_HALF_UP))


def friend_details(
    user_id: str, attendances: list[tuple[Row, set[Person]]], log: Log, day: date, policy: Policy
) -> list[dict[str, Any]]:
    """Everyone else who attended enough of the same events, in the order of `friends`."""
    shared: dict[Person, list[date]] = {}
    most = policy.friend_max_event_participants
    for event, people in attendances:  # oldest first, so that the dates below ascend
        if ("user", user_id) in people and (most is None or len(event["participants"]) <= most):
            for person in people - {("user", user_id)}:
                shared.setdefault(person, []).append(event["date"])
    users = live_records(log["users"], day)
    friends = []
    for (kind, key), dates in sorted(shared.items()):
        if len(dates) >= policy.friend_min_shared_events:
            address = normalised(users[key]["email"]) if kind == "user" else key
            name = display_name(users[key]) if kind == "user" else name_from_address(key)
            since = dates[policy.friend_min_shared_events - 1]
            friends.append({"email": address, "name": name, "shared_events": len(dates), "since": since})
    return sorted(friends, key=lambda friend: (-friend["shared_events"], friend["since"], friend["email"]))


def message_fields(user_id: str, log: Log, day: date, policy: Policy) -> Profile:
    messages = [row for row in live_records(log["messages"], day).values() if row["user_id"] == user_id]
    queued = sum(message["status"] == "queued" for message in messages)
    dates = [message["sent_date"] for message in messages if message["status"] == "sent"]
    sent = [sent_on for sent_on in dates if sent_on is not None and sent_on <= day]
    last = max(sent, default=None)
    next_eligible = None if last is None else last + timedelta(days=policy.cooldown_days)
    return {
        "queued_message_count": queued,
        "has_queued_messages": queued > 0,
        "total_messages_sent": len(sent),
        "has_sent_messages": bool(sent),
        "last_message_sent_date": last,
        "days_since_last_message": days_since(last, day),
        "next_eligible_date": next_eligible,
        "can_send_new_message": next_eligible is None or next_eligible <= day,
    }


def order_fields(user_id: str, log: Log, day: date) -> Profile:
    orders = [row for row in live_records(log["orders"], day).values() if row["user_id"] == user_id]
    orders = [order for order in orders if order["date"] <= day and order["status"] not in NOT_AN_ORDER]
    spent = sum((order["amount"] for order in orders), Decimal("0.00"))
    last = max((order["date"] for order in orders), default=None)
    return {
        "total_orders": len(orders),
        "total_spent": spent,
        "average_order_value": (spent / len(orders)).quantize(CENT, ROUND_HALF_UP) if orders else None,
        "first_order_date": min((order["date"] for order in orders), default=None),
        "last_order_date": last,
        "days_since_last_order": days_since(last, day),
    }


def personalization_fields(user: Row, profile: Profile, policy: Policy) -> Profile:
    missing = [field for field in KEY_FIELDS if not user[field]]
    filled = len(KEY_FIELDS) - len(missing)
    attended = profile["number_of_events_attended"]
    domain = profile["email"].rpartition("@")[2]
    fields_filled = sum(1 for field in PROFILE_FIELDS if user[field])
    return {
        "missing_key_fields": missing,
        "has_enough_fields_to_personalize": filled >= policy.enough_fields_min,
        "should_request_more_details": filled < policy.request_details_below,
        "is_first_time_user": attended == 0,
        "is_healthy_active_user": attended >= policy.healthy_active_min_events,
        "is_on_team": bool(user["is_on_team"]) or domain in [normalised(team) for team in policy.team_domains],
        "personalization_score": policy.score_per_field * fields_filled
        + policy.score_per_event * min(attended, policy.score_max_events),
    }


def decision(profile: Profile) -> str:
    if profile["can_send_new_message"] and profile["has_enough_fields_to_personalize"]:
        return "send_personalized_message"
    return "request_more_details" if profile["should_request_more_details"] else "wait"
