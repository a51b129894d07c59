"""The large sample: the same club with as many members as wanted, in Parquet.

What belongs here: volume in realistic proportions, column by column. What does not: untidy or rejected
records, which typed columns cannot hold (`story.py`, `dirty.py`).

For 200,000 users: 50,000 events with 20 participants on average, 600,000 orders and 400,000 messages over two
years; other sizes in proportion. Attendance has a heavy tail on both sides: a few regulars have been to some
300 events, a few events have 500 participants. Two thirds of it comes from circles of friends who go out
together while their season lasts, so that pairs meet again. No loop runs over records.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from profile_pipeline.sample import vocabulary as words

FIRST_DAY = date(2024, 1, 1)
DAYS = 730
EVENTS_PER_USER = 1 / 4
ORDERS_PER_USER = 3
MESSAGES_PER_USER = 2
PARTICIPANTS_PER_EVENT = 20
# The tail of event sizes is cut here; a larger hall is not known in the trade.
LARGEST_EVENT = 500
REGULAR_EVENTS = 300
USERS_PER_REGULAR = 5_000
CIRCLE_SIZE = 6
# How many of a circle come when the circle comes.
CIRCLE_TURNOUT = 0.75
# A guest list is mostly circles; guests without an account are one address in twenty.
CIRCLE_SHARE = 0.67
GUESTS_PER_USER = 1 / 20

MICROSECONDS_PER_DAY = 86_400_000_000
UTC_TIMESTAMP = pa.timestamp("us", tz="UTC")

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Attendance:
    """Who comes to which event: two columns of positions, sorted by event, each pair once."""

    event: Ints
    person: Ints


@dataclass(frozen=True)
class People:
    """Members, then guests, a column each."""

    given: pa.Array
    surname: pa.Array
    gender: pa.Array
    address: pa.Array


def write(out: Path, users: int, seed: int) -> dict[str, int]:
    """Write `users`, `events`, `orders` and `messages` as Parquet into an existing folder.

    Days are counted from the first day; people before `users` are members, those after are guests.

    Returns:
        Kind of record to rows written.
    """
    rng = np.random.default_rng(seed)
    names = words.draw_names(seed)
    event_day = np.sort(rng.integers(0, DAYS, max(1, round(users * EVENTS_PER_USER))))
    attendance = _attendance(rng, users, len(event_day))
    joined = _joined(rng, users, event_day, attendance)
    people = _people(rng, names, users + round(users * GUESTS_PER_USER))
    tables = {
        "users": lambda: _users(rng, joined, people),
        "events": lambda: _events(rng, event_day, attendance, people.address),
        "orders": lambda: _orders(rng, users, joined, event_day, attendance),
        "messages": lambda: _messages(rng, joined, people.given),
    }
    rows = {}
    for kind, make in tables.items():
        table = make()
        pq.write_table(table, out / f"{kind}.parquet", compression="zstd", row_group_size=250_000)
        rows[kind] = table.num_rows
    return rows


# Who comes to what.


def _attendance(rng: np.random.Generator, users: int, events: int) -> Attendance:
    """Circles, people who come alone, and regulars, in one list without repetitions."""
    people = users + round(users * GUESTS_PER_USER)
    slots = _slots(rng, events)
    wanted = events * PARTICIPANTS_PER_EVENT
    pairs = [
        _by_circles(rng, people, slots, round(wanted * CIRCLE_SHARE)),
        _alone(rng, people, slots, round(wanted * (1 - CIRCLE_SHARE))),
        _regulars(rng, users, events),
    ]
    key = np.unique(np.concatenate([event * people + person for event, person in pairs]))
    # Regulars come on top and repetitions fall away; what is left over is nobody in particular.
    key = np.sort(rng.permutation(key)[:wanted])
    event, person = key // people, key % people
    place = np.arange(len(event)) - np.searchsorted(event, event)
    kept = place < LARGEST_EVENT
    return Attendance(event[kept], person[kept])


def _slots(rng: np.random.Generator, events: int) -> Ints:
    """Each event as often as it is large, in order of time; one in 5,000, at least one, is the largest."""
    size = np.clip(rng.lognormal(0, 0.9, events), 0.1, None)
    largest = rng.choice(events, max(1, events // 5_000), replace=False)
    size *= PARTICIPANTS_PER_EVENT / size.mean()
    size[largest] = 1.2 * LARGEST_EVENT
    return np.repeat(np.arange(events), np.maximum(1, np.rint(size)).astype(np.int64))


def _by_circles(rng: np.random.Generator, people: int, slots: Ints, wanted: int) -> tuple[Ints, Ints]:
    """Circles choose events of their season, the keen ones more often, and most of a circle comes along."""
    circles = max(1, people // CIRCLE_SIZE)
    members = rng.permutation(people)
    picks = _shares(rng, round(wanted / (CIRCLE_SIZE * CIRCLE_TURNOUT)), circles, spread=1.0)
    begin = rng.uniform(0, 0.8, circles)
    length = rng.beta(2, 2, circles) * (1 - begin)
    circle = np.repeat(np.arange(circles), picks)
    moment = begin[circle] + length[circle] * rng.random(len(circle))
    event = slots[(moment * len(slots)).astype(np.int64)]
    # Circle c has the places c, c + circles, c + 2 circles … of the shuffled people.
    place = (circle[:, None] + circles * np.arange(CIRCLE_SIZE)).ravel() % people
    comes = rng.random(len(place)) < CIRCLE_TURNOUT
    return np.repeat(event, CIRCLE_SIZE)[comes], members[place[comes]]


def _alone(rng: np.random.Generator, people: int, slots: Ints, wanted: int) -> tuple[Ints, Ints]:
    person = np.repeat(np.arange(people), _shares(rng, wanted, people, spread=1.2))
    return rng.choice(slots, len(person)), person


def _regulars(rng: np.random.Generator, users: int, events: int) -> tuple[Ints, Ints]:
    """A few people who go to some 300 events, or to half of them where there are fewer."""
    regulars = rng.choice(users, max(1, users // USERS_PER_REGULAR), replace=False)
    visits = np.minimum(rng.poisson(REGULAR_EVENTS, len(regulars)), events // 2)
    person = np.repeat(regulars, visits)
    return rng.integers(0, events, len(person)), person


def _shares(rng: np.random.Generator, total: int, count: int, spread: float) -> Ints:
    """`total` dealt out to `count`, lognormally uneven: most get little, some very much."""
    keen = rng.lognormal(0, spread, count)
    return rng.multinomial(total, keen / keen.sum())


# Members.


def _joined(rng: np.random.Generator, users: int, event_day: Ints, attendance: Attendance) -> Ints:
    """The day each member joined: any day, or before the first day, but never after their first event."""
    joined = rng.integers(-120, DAYS, users)
    first = np.full(users + round(users * GUESTS_PER_USER), DAYS - 1)
    np.minimum.at(first, attendance.person, event_day[attendance.event])
    return np.minimum(joined, first[:users] - rng.integers(0, 15, users))


def _people(rng: np.random.Generator, names: words.Names, count: int) -> People:
    pool = [(gender, name) for gender in words.GENDERS for name in names.given[gender]]
    share = {"Female": 0.49, "Male": 0.46, "Non-binary": 0.05}
    weight = np.array([share[gender] / len(names.given[gender]) for gender, _ in pool])
    drawn = rng.choice(len(pool), count, p=weight / weight.sum())
    genders, names_given = zip(*pool, strict=True)
    given = _take(names_given, drawn)
    surname = _take(names.surnames, rng.integers(0, len(names.surnames), count))
    return People(given, surname, _take(genders, drawn), _addresses(given, surname))


def _addresses(given: pa.Array, surname: pa.Array) -> pa.Array:
    """`given.surname.number@example.com`; the number keeps addresses apart."""
    box = {name: words.mailbox(name) for column in (given, surname) for name in column.unique().to_pylist()}
    parts = [_take(list(box.values()), pc.index_in(column, pa.array(list(box)))) for column in (given, surname)]
    number = pa.array(np.arange(len(given))).cast(pa.string())
    return pc.binary_join_element_wise(pc.binary_join_element_wise(*parts, number, "."), pa.scalar("example.com"), "@")


def _users(rng: np.random.Generator, joined: Ints, people: People) -> pa.Table:
    count = len(joined)
    full_name = pc.binary_join_element_wise(people.given, people.surname, " ")
    created = _moments(rng, joined)
    # A third of the members never finished the form, so their gaps come together.
    sparse = rng.random(count) < 0.33

    def gaps(column: pa.Array) -> pa.Array:
        return _with_gaps(column, rng.random(count) < np.where(sparse, 0.6, 0.08))

    return pa.table(
        {
            "id": _keys("user", np.arange(count)),
            "email": people.address[:count],
            "name": gaps(full_name[:count]),
            "interests": gaps(_lists(rng, words.INTERESTS, 4, count)),
            "cuisine_preference": gaps(_lists(rng, words.CUISINES, 3, count)),
            "dietary_restrictions": _with_gaps(_lists(rng, words.DIETS, 2, count), rng.random(count) < 0.65),
            "age": gaps(pa.array(np.rint(rng.triangular(21, 33, 78, count)).astype(np.int64))),
            "gender": gaps(people.gender[:count]),
            "occupation": gaps(_draw(rng, words.OCCUPATIONS, count)),
            "relationship_status": gaps(_draw(rng, words.RELATIONSHIPS, count)),
            "table_type_preference": gaps(_draw(rng, words.TABLE_TYPES, count)),
            "home_neighborhood": gaps(_draw(rng, words.NEIGHBORHOODS, count)),
            "work_neighborhood": gaps(_draw(rng, words.NEIGHBORHOODS, count)),
            "is_on_team": pa.array(rng.random(count) < 0.001),
            "time_zone": gaps(_draw(rng, words.TIME_ZONES, count)),
            "created_at": _timestamps(created),
            "updated_at": _updated(rng, created, share=0.3),
            "deleted_at": _updated(rng, created, share=0.01),
        }
    )


# Events.


def _events(rng: np.random.Generator, day: Ints, attendance: Attendance, address: pa.Array) -> pa.Table:
    count = len(day)
    kind = rng.integers(0, len(words.EVENT_TYPES), count)
    cuisine = rng.integers(0, len(words.CUISINES), count)
    titles = [kind.title.format(cuisine=name) for kind in words.EVENT_TYPES for name in words.CUISINES]
    created = _moments(rng, day - rng.integers(5, 45, count))
    # Edited at some time between the announcement and the day.
    edited = created + (rng.random(count) * (day * MICROSECONDS_PER_DAY - created)).astype(np.int64)
    return pa.table(
        {
            "id": _keys("event", np.arange(count)),
            "name": _take(titles, kind * len(words.CUISINES) + cuisine),
            "date": _dates(day),
            "venue": _with_gaps(_draw(rng, words.VENUES, count), rng.random(count) < 0.02),
            "host": _with_gaps(_draw(rng, words.HOSTS, count), rng.random(count) < 0.03),
            "participants": _participants(rng, count, attendance, address),
            "event_type": _take([kind.name for kind in words.EVENT_TYPES], kind),
            "status": _draw(rng, ("scheduled",) * 10 + ("confirmed",) * 9 + ("cancelled",), count),
            "created_at": _timestamps(created),
            "updated_at": _with_gaps(_timestamps(edited), rng.random(count) < 0.7),
        }
    )


def _participants(rng: np.random.Generator, events: int, attendance: Attendance, address: pa.Array) -> pa.Array:
    """Lists of addresses: one in fifty in capitals, one in fifty padded, one in a hundred listed twice."""
    spelled = pa.concat_arrays([address, pc.utf8_upper(address), pc.binary_join_element_wise(" ", address, " ", "")])
    times = 1 + (rng.random(len(attendance.person)) < 0.01)
    person = np.repeat(attendance.person, times)
    spelling = rng.choice(3, len(person), p=[0.96, 0.02, 0.02])
    event = np.repeat(attendance.event, times)
    offsets = np.searchsorted(event, np.arange(events + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, spelled.take(pa.array(person + spelling * len(address))))


# Orders and messages.


def _orders(rng: np.random.Generator, users: int, joined: Ints, event_day: Ints, attendance: Attendance) -> pa.Table:
    """Two thirds are seats at events their user comes to, up to 30 days ahead; the others are gift cards."""
    count = users * ORDERS_PER_USER
    seat = np.flatnonzero(attendance.person < users)
    drawn = seat[rng.integers(0, len(seat), count)]
    is_seat = rng.random(count) < 0.67
    user = np.where(is_seat, attendance.person[drawn], rng.integers(0, users, count))
    event = attendance.event[drawn]
    ahead = event_day[event] - rng.integers(0, 30, count)
    later = joined[user] + (rng.random(count) * (DAYS - joined[user])).astype(np.int64)
    day = np.where(is_seat, np.maximum(ahead, joined[user]), later)
    order = np.argsort(day, kind="stable")
    user, event, day, is_seat = user[order], event[order], day[order], is_seat[order]
    created = _moments(rng, day)
    status = _draw(rng, ("paid",) * 18 + ("cancelled", "refunded"), count)
    cents = 4_000 + rng.gamma(2, 2_000, count).astype(np.int64)
    changed = pc.not_equal(status, "paid").to_numpy(zero_copy_only=False)
    return pa.table(
        {
            "id": _keys("order", np.arange(count)),
            "user_id": _keys("user", user),
            "event_id": _with_gaps(_keys("event", event), ~is_seat),
            "amount": _money(cents),
            "date": _dates(day),
            "status": status,
            "created_at": _timestamps(created),
            "updated_at": _with_gaps(_updated(rng, created, share=1), ~changed),
        }
    )


def _messages(rng: np.random.Generator, joined: Ints, given: pa.Array) -> pa.Table:
    """Messages after their user joined; nine in ten were sent, hours after they were written."""
    count = len(joined) * MESSAGES_PER_USER
    user = rng.integers(0, len(joined), count)
    day = joined[user] + (rng.random(count) * (DAYS - joined[user])).astype(np.int64)
    order = np.argsort(day, kind="stable")
    user, day = user[order], day[order]
    status = _draw(rng, ("sent",) * 18 + ("queued", "failed"), count)
    created = _moments(rng, day)
    sent = created + rng.integers(1, 3, count) * (MICROSECONDS_PER_DAY // 24)
    is_sent = pc.equal(status, "sent").to_numpy(zero_copy_only=False)
    return pa.table(
        {
            "id": _keys("msg", np.arange(count)),
            "user_id": _keys("user", user),
            "content": _contents(rng, given.take(pa.array(user))),
            "status": status,
            "sent_date": _with_gaps(_timestamps(sent), ~is_sent),
            "created_date": _timestamps(created),
        }
    )


def _contents(rng: np.random.Generator, first: pa.Array) -> pa.Array:
    """One of some thousand texts each, with the user's name in it."""
    texts = [
        text.format(first="{first}", cuisine=cuisine, host=host, venue=venue)
        for text, cuisine, host, venue in itertools.product(
            words.INVITATIONS, words.CUISINES, words.HOSTS[:4], words.VENUES[:4]
        )
    ]
    before, after = zip(*(text.split("{first}") for text in texts), strict=True)
    drawn = rng.integers(0, len(texts), len(first))
    return pc.binary_join_element_wise(_take(before, drawn), first, _take(after, drawn), "")


# Columns.


def _take(values: Sequence[str], positions: Ints | pa.Array) -> pa.Array:
    return pa.array(values, pa.string()).take(pa.array(positions))


def _draw(rng: np.random.Generator, values: Sequence[str], count: int) -> pa.Array:
    return _take(values, rng.integers(0, len(values), count))


def _lists(rng: np.random.Generator, values: Sequence[str], most: int, count: int) -> pa.Array:
    """Lists of up to `most` different values, drawn from a pool of 2,000; every tenth is empty."""
    pool = [
        list(rng.permutation(np.array(values))[: 0 if number % 10 == 0 else 1 + number % most])
        for number in range(2_000)
    ]
    return pa.array(pool, pa.list_(pa.string())).take(pa.array(rng.integers(0, len(pool), count)))


def _keys(prefix: str, numbers: Ints) -> pa.Array:
    """`user_0000042`: eight figures, so that keys sort as their numbers do."""
    figures = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 8, "0")
    return pc.binary_join_element_wise(prefix, figures, "_")


def _with_gaps(column: pa.Array, gap: NDArray[np.bool_]) -> pa.Array:
    return pc.if_else(pa.array(gap), pa.scalar(None, column.type), column)


def _money(cents: Ints) -> pa.Array:
    """Cents as decimals, from the 128-bit little-endian integers that Arrow stores them as."""
    halves = np.zeros((len(cents), 2), dtype="<i8")
    halves[:, 0] = cents
    return pa.Array.from_buffers(pa.decimal128(18, 2), len(cents), [None, pa.py_buffer(halves)])


def _dates(day: Ints) -> pa.Array:
    offset = FIRST_DAY.toordinal() - date(1970, 1, 1).toordinal()
    return pa.array((day + offset).astype(np.int32)).cast(pa.date32())


def _moments(rng: np.random.Generator, day: Ints) -> Ints:
    """An instant between 8 and 21 o'clock of each day, in microseconds since the start of the first day."""
    return day * MICROSECONDS_PER_DAY + rng.integers(8 * 3600, 21 * 3600, len(day)) * 1_000_000


def _timestamps(moment: Ints) -> pa.Array:
    offset = (FIRST_DAY.toordinal() - date(1970, 1, 1).toordinal()) * MICROSECONDS_PER_DAY
    return pa.array(moment + offset).cast(UTC_TIMESTAMP)


def _updated(rng: np.random.Generator, created: Ints, share: float) -> pa.Array:
    """A later instant, up to the last day, for a share of the records."""
    until = DAYS * MICROSECONDS_PER_DAY
    later = created + (rng.random(len(created)) * (until - created)).astype(np.int64)
    return _with_gaps(_timestamps(later), rng.random(len(created)) >= share)
