"""The profiles of a day as their rules read: loops in loops over lists of dictionaries.

For each user all events, orders and messages are looked through, and for each other person the events that they may
share. Nothing is indexed but the owners of addresses.
"""

import re
import time
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.rivals import CANCELLED, COLUMNS, COOLDOWN_DAYS, FRIEND_EVENTS, KEY_FIELDS, NOT_COUNTED, PROFILE_FIELDS

Record = dict[str, Any]
CARRIED = ("id", "email", *PROFILE_FIELDS, "time_zone")


def profiles(log: Path, day: date, out: Path, seconds: float = float("inf")) -> dict[str, float]:
    """Compute the profiles as of a day, of as many users as the seconds allow.

    Returns:
        `done`, the share of users that were done, and `seconds_of_all`, the time that all would take, extrapolated
        from those.
    """
    started = time.perf_counter()
    versions = pq.read_table(log / "users.parquet").to_pylist()
    users = latest(versions, day)
    events, orders, messages = (
        latest(pq.read_table(log / f"{kind}.parquet").to_pylist(), day) for kind in ("events", "orders", "messages")
    )
    events = [event for event in events if event["date"] <= day and event["status"] not in CANCELLED]
    events.sort(key=lambda event: (event["date"], event["id"]))
    persons = identify(versions, users, events, day)
    prepared = time.perf_counter()
    rows: list[Record] = []
    for user in users:
        if rows and time.perf_counter() - started > seconds:
            break
        rows.append(profile(user, persons, day, events=events, orders=orders, messages=messages))
    looped = time.perf_counter() - prepared
    pq.write_table(pa.table({name: [row[name] for row in rows] for name in COLUMNS}), out)
    done = len(rows) / len(users)
    return {"done": done, "seconds_of_all": prepared - started + looped / done}


def in_order(record: Record) -> tuple[Any, ...]:
    """The order of versions: by day, by their own time of change, by arrival."""
    changed_at = record["changed_at"]
    return record["partition_date"], changed_at is not None, changed_at and changed_at.timestamp(), record["sequence"]


def latest(versions: list[Record], day: date) -> list[Record]:
    """The last version of each record that was known by the day, unless it was deleted by then."""
    last: dict[str, Record] = {}
    for version in versions:
        if version["partition_date"] > day:
            continue
        known = last.get(version["id"])
        if known is None or in_order(version) > in_order(known):
            last[version["id"]] = version
    return [record for record in last.values() if record["deleted_date"] is None or record["deleted_date"] > day]


def identify(versions: list[Record], users: list[Record], events: list[Record], day: date) -> list[Record]:
    """Note on each event which people are on its list, and on each user their name; the people who came to any.

    An address is the user's who has it now, else of whoever had it last, else it stands for itself.
    """
    last_of_day: dict[tuple[str, date], Record] = {}
    for version in sorted(versions, key=in_order):
        if version["partition_date"] <= day:
            last_of_day[version["id"], version["partition_date"]] = version
    owner_of: dict[str, tuple[tuple[Any, ...], Record]] = {}
    live = {user["id"]: user for user in users}
    held = [v for v in last_of_day.values() if v["deleted_date"] is None or v["deleted_date"] > v["partition_date"]]
    days_of: dict[tuple[str, str], list[int]] = {}
    for version in held:
        days_of.setdefault((version["email"], version["id"]), []).append(version["partition_date"].toordinal())
    for (address, id), days in days_of.items():
        if id not in live:
            continue
        is_current = live[id]["email"] == address
        claim = (not is_current, min(days) if is_current else -max(days), id)
        if address not in owner_of or claim < owner_of[address][0]:
            owner_of[address] = claim, live[id]
    people: dict[str, Record] = {user["id"]: user for user in users}
    for event in events:
        event["people"] = []
        for address in event["participants"] or []:
            person = owner_of[address][1] if address in owner_of else {"id": address, "email": address, "name": None}
            people.setdefault(person["id"], person)
            if person["id"] not in event["people"]:
                event["people"].append(person["id"])
    return list(people.values())


def display_name(person: Record) -> str:
    """The person's name, else the words of the address before its `@`, capitalised."""
    words = [word for word in re.split("[._-]+", person["email"].split("@", maxsplit=1)[0]) if word]
    made = " ".join(word[0].upper() + word[1:].lower() for word in words)
    return (person["name"] or "").strip() or made or person["email"]


def profile(
    user: Record,
    persons: list[Record],
    day: date,
    *,
    events: list[Record],
    orders: list[Record],
    messages: list[Record],
) -> Record:
    """One user's profile."""
    attended = [event for event in events if user["id"] in event["people"]]
    bought = [
        order
        for order in orders
        if order["user_id"] == user["id"] and order["date"] <= day and order["status"] not in NOT_COUNTED
    ]
    written = [message for message in messages if message["user_id"] == user["id"]]
    return (
        {name: user[name] for name in CARRIED}
        | {"name": display_name(user)}
        | from_events(attended)
        | friends(user, persons, attended)
        | from_messages(written, day)
        | from_orders(bought)
        | flags(user, len(attended))
    )


def from_events(attended: list[Record]) -> Record:
    """Counts, dates, history and favourites."""
    hosts, venues, types = (favorites(attended, column) for column in ("host", "venue", "event_type"))
    return {
        "number_of_events_attended": len(attended),
        "first_event_date": attended[0]["date"] if attended else None,
        "last_event_date": attended[-1]["date"] if attended else None,
        "event_history": [{name: event[name] for name in ("name", "date", "venue")} for event in attended],
        "event_history_hosts": hosts,
        "top_host_event_count": sum(1 for event in attended if hosts and event["host"] == hosts[0]),
        "venue_history": venues,
        "favorite_event_types": types[:3],
    }


def favorites(attended: list[Record], column: str) -> list[str]:
    """The values of a column: most often first, then most recently, then by name."""
    ranks = []
    for value in {event[column] for event in attended if event[column] is not None}:
        dates = [event["date"] for event in attended if event[column] == value]
        ranks.append((-len(dates), -max(dates).toordinal(), value))
    return [value for _, _, value in sorted(ranks)]


def friends(user: Record, persons: list[Record], attended: list[Record]) -> Record:
    """Everyone else who came to enough of the same events."""
    found = []
    for person in persons:
        if person["id"] == user["id"]:
            continue
        shared = [event["date"] for event in attended if person["id"] in event["people"]]
        if len(shared) >= FRIEND_EVENTS:
            found.append((-len(shared), shared[FRIEND_EVENTS - 1], person["email"], display_name(person)))
    details = [
        {"email": email, "name": name, "shared_events": -fewest, "since": since}
        for fewest, since, email, name in sorted(found)
    ]
    return {"friends": [friend["name"] for friend in details], "friend_details": details}


def from_messages(written: list[Record], day: date) -> Record:
    """Counts of queued and sent messages, and the day of the last."""
    queued = [message for message in written if message["status"] == "queued"]
    sent = [
        message["sent_date"]
        for message in written
        if message["status"] == "sent" and message["sent_date"] is not None and message["sent_date"] <= day
    ]
    return {
        "queued_message_count": len(queued),
        "has_queued_messages": bool(queued),
        "total_messages_sent": len(sent),
        "has_sent_messages": bool(sent),
        "last_message_sent_date": max(sent, default=None),
        "next_eligible_date": max(sent) + timedelta(days=COOLDOWN_DAYS) if sent else None,
    }


def from_orders(bought: list[Record]) -> Record:
    """Counts, sums and dates of the orders that count."""
    total = sum((order["amount"] for order in bought), Decimal("0.00"))
    mean = (total / len(bought)).quantize(Decimal("0.01"), ROUND_HALF_UP) if bought else None
    return {
        "total_orders": len(bought),
        "total_spent": total,
        "average_order_value": mean,
        "first_order_date": min((order["date"] for order in bought), default=None),
        "last_order_date": max((order["date"] for order in bought), default=None),
    }


def flags(user: Record, attended: int) -> Record:
    """What is known of the user, and how engaged they are."""
    missing = [field for field in KEY_FIELDS if user[field] is None]
    return {
        "missing_key_fields": missing,
        "has_enough_fields_to_personalize": len(missing) <= 1,
        "should_request_more_details": len(missing) > 2,
        "is_first_time_user": attended == 0,
        "is_healthy_active_user": attended >= 3,
        "is_on_team": bool(user["is_on_team"]),
        "personalization_score": 7 * sum(user[field] is not None for field in PROFILE_FIELDS) + 5 * min(attended, 6),
    }
