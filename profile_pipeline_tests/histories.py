"""Random histories: what happens to a source over a few days, and which days are run in between.

What belongs here: Hypothesis strategies for small sources that change under the pipeline's feet. The universe
is tiny, so that people meet again, addresses change hands and days collide. What does not: the laws that
these histories are to keep (`properties/`), and records that break their model, which never reach the log.
"""

import copy
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from profile_pipeline.window import Window

Document = dict[str, Any]
Documents = dict[str, list[Document]]
Source = dict[str, dict[str, Document]]
"""Kind of record to record id to the latest document, the only one that most sources keep."""

FIRST_DAY = date(2024, 1, 1)
LAST_DAY = FIRST_DAY + timedelta(days=7)
USERS = ("u1", "u2", "u3", "u4", "u5")
EVENTS = ("e1", "e2", "e3", "e4", "e5")
ORDERS = ("o1", "o2", "o3")
MESSAGES = ("m1", "m2", "m3", "m4")
ADDRESSES = ("ann.lee@x.org", "bob_ray@x.org", "cy@x.org", "dee-dee@team.org", "eve@x.org", "fay@team.org")


class Step(NamedTuple):
    """The source as it reads now, and the days that are run on it."""

    documents: Documents
    window: Window


@st.composite
def histories(draw: st.DrawFn, max_steps: int = 6) -> list[Step]:
    """A source that changes a little before each run: of a day, of a range, or of earlier days again."""
    source = draw(st.sampled_from((community, community, community, nothing)))()
    today = FIRST_DAY
    steps = []
    for _ in range(draw(st.integers(1, max_steps))):
        for change in draw(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=6)):
            change(draw, source, today)
        documents = {kind: list(copy.deepcopy(records).values()) for kind, records in source.items()}
        steps.append(Step(documents, draw(windows(today))))
        today = min(LAST_DAY, today + timedelta(days=draw(st.integers(0, 2))))
    return steps


def nothing() -> Source:
    """A source without a record."""
    return {"users": {}, "orders": {}, "events": {}, "messages": {}}


def community() -> Source:
    """A few people who have met and will meet again; drawn at random, they would hardly ever be friends."""
    day = [(FIRST_DAY + timedelta(days=offset)).isoformat() for offset in range(8)]
    people = [ADDRESSES[0:3], ADDRESSES[0:4], ADDRESSES[1:5], [*ADDRESSES[0:3], "guest@y.org"]]
    tastes = {"interests": ["chess"], "age": 32, "cuisine_preference": ["Thai"]}
    users = [{"id": key, "email": email} for key, email in zip(USERS[:4], ADDRESSES, strict=False)]
    events = [
        {
            "id": key,
            "name": "Dinner",
            "date": on,
            "participants": [*who],
            "host": "Mario",
            "created_at": day[0],
        }
        for key, on, who in zip(EVENTS, (day[0], day[0], day[2], day[5]), people, strict=False)
    ]
    messages = [
        {"id": "m1", "user_id": "u1", "content": "Hello", "status": "sent", "sent_date": day[0]},
        {"id": "m2", "user_id": "u2", "content": "Hello", "status": "sent", "sent_date": day[3]},
    ]
    order = {"id": "o1", "user_id": "u1", "amount": "12.50", "date": day[1]}
    documents: Documents = {
        "users": [users[0] | tastes, users[1] | tastes, *users[2:]],
        "orders": [order],
        "events": events,
        "messages": messages,
    }
    return {kind: {record["id"]: record for record in records} for kind, records in documents.items()}


@st.composite
def windows(draw: st.DrawFn, today: date) -> Window:
    """The day that it is, a range up to it, all days so far, earlier days again, or days to come."""
    days = st.dates(FIRST_DAY, today)
    match draw(st.sampled_from(("today", "up to today", "all", "earlier", "ahead"))):
        case "today":
            return Window(today, today)
        case "up to today":
            return Window(draw(days), today)
        case "all":
            return Window(FIRST_DAY, today)
        case "earlier":
            return Window(*sorted((draw(days), draw(days))))
        case _:
            return Window(today, draw(st.dates(today, LAST_DAY)))


def timestamps(day: date) -> st.SearchStrategy[str | int]:
    """A moment on the day, in one of the forms that sources write."""

    def forms(hour: int) -> tuple[str | int, ...]:
        instant = datetime(day.year, day.month, day.day, hour, 30, tzinfo=UTC)
        ahead = instant.astimezone(datetime.strptime("+0530", "%z").tzinfo)
        return (
            day.isoformat(),
            instant.replace(tzinfo=None).isoformat(),
            instant.isoformat().replace("+00:00", "Z"),
            ahead.isoformat(),
            int(instant.timestamp() * 1000),
        )

    return st.sampled_from((0, 9, 23)).flatmap(lambda hour: st.sampled_from(forms(hour)))


def recent_days(today: date) -> st.SearchStrategy[date]:
    """From shortly before the first partition to tomorrow: late, on time, or early."""
    return st.dates(FIRST_DAY - timedelta(days=2), today + timedelta(days=1))


def all_days() -> st.SearchStrategy[date]:
    """Business dates: before the first partition, on any day of the universe, or after it."""
    return st.dates(FIRST_DAY - timedelta(days=1), LAST_DAY + timedelta(days=1))


def spellings(address: str) -> st.SearchStrategy[str]:
    """The same address as people type it."""
    return st.sampled_from((address, address, address.title(), f" {address.upper()} "))


def stamp(draw: st.DrawFn, today: date, old: Document, new: Document, created: str = "created_at") -> Document:
    """The new document with times: honest ones, late ones lying in the past, or none at all."""
    match draw(st.sampled_from(("honest", "honest", "late", "none"))):
        case "honest":
            now = draw(timestamps(today))
            return new | ({created: old[created]} if created in old else {created: now}) | {"updated_at": now}
        case "late":
            fields = draw(st.sampled_from(((created,), ("updated_at",), (created, "updated_at"))))
            return new | {field: draw(timestamps(draw(recent_days(today)))) for field in fields}
        case _:
            return new


def edit(draw: st.DrawFn, source: Source, kind: str, today: date, **fields: Any) -> None:
    """Set fields of one existing record, if there is any."""
    if source[kind]:
        key = draw(st.sampled_from(sorted(source[kind])))
        write(draw, source, kind, today, source[kind][key] | fields)


def write(draw: st.DrawFn, source: Source, kind: str, today: date, document: Document) -> None:
    """Overwrite a record by a later state of it."""
    old = source[kind].get(document["id"], {})
    created = "created_date" if kind == "messages" else "created_at"
    source[kind][document["id"]] = stamp(draw, today, old, document, created)


def put_user(draw: st.DrawFn, source: Source, today: date) -> None:
    """Create a user, or overwrite one, undoing a deletion; an address may be one that another user holds."""
    profile = st.fixed_dictionaries(
        {"id": st.sampled_from(USERS), "email": st.sampled_from(ADDRESSES).flatmap(spellings)},
        optional={
            "name": st.sampled_from(("Ann Lee", "Bob", " ", None)),
            "interests": st.sampled_from((["hiking", "hiking", " "], ["chess"], [], [" "])),
            "cuisine_preference": st.sampled_from((["Thai", "Greek"], [])),
            "dietary_restrictions": st.sampled_from((["vegan"], ["gluten-free"])),
            "age": st.sampled_from((18, 32)),
            "gender": st.sampled_from(("Female", "male", "other")),
            "occupation": st.sampled_from(("Engineer", "")),
            "relationship_status": st.sampled_from(("Married", "Single")),
            "home_neighborhood": st.just("Mission"),
            "is_on_team": st.booleans(),
            "extra": st.integers(0, 1),
        },
    )
    write(draw, source, "users", today, draw(profile))


def change_email(draw: st.DrawFn, source: Source, today: date) -> None:
    """Somebody moves to another address."""
    edit(draw, source, "users", today, email=draw(st.sampled_from(ADDRESSES).flatmap(spellings)))


def take_over_email(draw: st.DrawFn, source: Source, today: date) -> None:
    """Somebody gives up an address, which another user has from then on."""
    if len(source["users"]) >= 2:
        giver, taker = draw(st.permutations(sorted(source["users"])))[:2]
        given = source["users"][giver]["email"]
        other = draw(st.sampled_from(ADDRESSES))
        write(draw, source, "users", today, source["users"][giver] | {"email": other})
        write(draw, source, "users", today, source["users"][taker] | {"email": given})


def rename_user(draw: st.DrawFn, source: Source, today: date) -> None:
    """Somebody goes by another name, or by none."""
    edit(draw, source, "users", today, name=draw(st.sampled_from(("Zoe", "Kim Q", None))))


def participants() -> st.SearchStrategy[list[str]]:
    """Addresses of users and others, in any spelling, some twice, some blank."""
    some = st.sampled_from((*ADDRESSES, "guest@y.org", "")).flatmap(spellings)
    return st.lists(some, min_size=2, max_size=7)


def put_event(draw: st.DrawFn, source: Source, today: date) -> None:
    """Create an event or overwrite one; its date may lie ahead."""
    event = st.fixed_dictionaries(
        {
            "id": st.sampled_from(EVENTS),
            "name": st.sampled_from(("Dinner", "Tasting")),
            "date": all_days().map(str),
            "participants": participants(),
        },
        optional={
            "venue": st.sampled_from(("Vault", "Studio", " ", None)),
            "host": st.sampled_from(("Mario", "Ploy", "")),
            "event_type": st.sampled_from(("dinner", "class", "tour", "walk")),
            "status": st.sampled_from(("confirmed", "Cancelled")),
        },
    )
    write(draw, source, "events", today, draw(event))


def edit_participants(draw: st.DrawFn, source: Source, today: date) -> None:
    """Another list of participants for the same event."""
    edit(draw, source, "events", today, participants=draw(participants()))


def set_event_status(draw: st.DrawFn, source: Source, today: date) -> None:
    """Cancel an event, or open it again."""
    edit(draw, source, "events", today, status=draw(st.sampled_from((" CANCELLED", "confirmed", None))))


def move_event(draw: st.DrawFn, source: Source, today: date) -> None:
    """The event takes place on another day."""
    edit(draw, source, "events", today, date=str(draw(all_days())))


def put_order(draw: st.DrawFn, source: Source, today: date) -> None:
    """Create or overwrite an order, which may change hands or be of nobody known."""
    order = st.fixed_dictionaries(
        {
            "id": st.sampled_from(ORDERS),
            "user_id": st.sampled_from((*USERS, "nobody")),
            "amount": st.sampled_from((0, "0.01", 10, "12.50", 19.99)),
            "date": all_days().map(str),
        },
        optional={"status": st.sampled_from(("paid", "Refunded", "cancelled"))},
    )
    write(draw, source, "orders", today, draw(order))


def put_message(draw: st.DrawFn, source: Source, today: date) -> None:
    """Create or overwrite a message: queued, sent, or something else."""
    fields = {"id": st.sampled_from(MESSAGES), "user_id": st.sampled_from(USERS), "content": st.just("Hello")}
    sent = {"status": st.sampled_from(("Sent", "sent")), "sent_date": all_days().map(str)}
    unsent = {"status": st.sampled_from(("queued", "failed"))}
    message = st.one_of(st.fixed_dictionaries(fields | sent), st.fixed_dictionaries(fields | unsent))
    write(draw, source, "messages", today, draw(message))


def delete_record(draw: st.DrawFn, source: Source, today: date) -> None:
    """The source marks any record as deleted, at times for a day to come."""
    kind = draw(st.sampled_from(sorted(source)))
    if source[kind]:
        key = draw(st.sampled_from(sorted(source[kind])))
        deleted_at = draw(timestamps(draw(recent_days(today))))
        source[kind][key] = source[kind][key] | {"deleted_at": deleted_at}


def forget_record(draw: st.DrawFn, source: Source, _today: date) -> None:
    """The source loses a record without a trace; the log keeps it."""
    kind = draw(st.sampled_from(sorted(source)))
    if source[kind]:
        del source[kind][draw(st.sampled_from(sorted(source[kind])))]


CHANGES: tuple[Callable[[st.DrawFn, Source, date], None], ...] = (
    *(put_user, put_user, put_event, put_event),  # twice as often: without people and events nothing happens
    change_email,
    take_over_email,
    rename_user,
    edit_participants,
    set_event_status,
    move_event,
    put_order,
    put_message,
    delete_record,
    forget_record,
)
