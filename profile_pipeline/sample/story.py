"""The small sample: a supper club in San Francisco over the first half of 2024, told record by record.

What belongs here: who the members are, what happens to them, and how unevenly a source writes it down. What
does not: records meant to be rejected (`dirty.py`), the worked example (`golden.py`) and volume (`bulk.py`).

The club opens with a winter programme announced in December 2023 and a spring programme on 1 April. Both are
big batches on purpose: records to be rejected can stand among them without failing a batch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from profile_pipeline.sample import golden
from profile_pipeline.sample import vocabulary as words

FIRST_DAY = date(2024, 1, 1)
SPRING_DAY = date(2024, 4, 1)
LAST_DAY = date(2024, 6, 30)
PACIFIC = ZoneInfo("America/Los_Angeles")
TEAM_DOMAIN = "saltandember.example"
# Reserved for documentation, so no message can ever reach anybody.
DOMAINS = ("example.com", "example.org", "example.net")

Record = dict[str, Any]


@dataclass
class Person:
    """Somebody who comes to events: a member, or a guest, who has an address and an empty record."""

    address: str
    first: str
    cuisine: str
    joined: date = date.min
    last_evening: date = date.max
    record: Record = field(default_factory=dict)


@dataclass
class Circle:
    """People who go out together, with their taste."""

    cuisine: str
    people: list[Person] = field(default_factory=list)


@dataclass
class Evening:
    """An event that is planned, and who of the people known comes."""

    record: Record
    announced: datetime
    day: date
    price: int
    people: list[Person]


@dataclass
class Purchase:
    """What somebody bought on a day: a seat, or without an evening a gift card."""

    day: date
    person: Person
    evening: Evening | None
    dollars: int


@dataclass
class Note:
    """A message to a member, its text still to be filled in."""

    day: date
    person: Person
    status: str
    text: str


def tell(users: int, seed: int) -> dict[str, list[Record]]:
    """Make up the records of a club with so many members, the worked example first.

    Returns:
        Kind of record to its records; the golden user counts as a member.
    """
    rng = random.Random(seed)  # noqa: S311  # a story, not a secret
    names = words.draw_names(seed)
    members = _members(rng, names, users - 1)
    evenings = _evenings(rng, _circles(rng, names, members), members, count=round(0.7 * users))
    told = {
        "users": [member.record for member in members],
        "events": [evening.record for evening in evenings],
        "orders": _orders(rng, members, evenings),
        "messages": _messages(rng, members),
    }
    for kind in ("events", "orders", "messages"):
        for record in told[kind][40:41]:
            record["deleted_at"] = "2024-05-20T11:05:00Z"
    return {kind: golden.RECORDS[kind] + records for kind, records in told.items()}


# How a source writes things down.


def stamp(rng: random.Random, moment: datetime) -> str | int:
    """One instant in one of the accepted forms; all of them fall on the same day in UTC."""
    form = rng.random()
    if form < 0.55:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    if form < 0.72:
        return moment.astimezone(PACIFIC).isoformat()
    if form < 0.84:
        return moment.replace(tzinfo=None).isoformat()
    if form < 0.93:
        return moment.date().isoformat()
    return int(moment.timestamp() * 1000)


def day_stamp(rng: random.Random, day: date) -> str | int:
    """A business date: nearly always a bare date, sometimes the instant that it began at."""
    if rng.random() < 0.88:
        return day.isoformat()
    return stamp(rng, datetime.combine(day, time(19, 30), UTC))


def _moment(rng: random.Random, day: date) -> datetime:
    """An instant in the waking hours of a day."""
    return datetime.combine(day, time(8 + rng.randrange(13), rng.randrange(60), rng.randrange(60)), UTC)


def _between(rng: random.Random, first: date, last: date) -> date:
    """A day from `first` to `last`; `first` when the range is empty."""
    return first + timedelta(days=rng.randrange(max(1, (last - first).days + 1)))


def _spelled(rng: random.Random, address: str) -> str:
    """An address as people type it: now and then in capitals or with blanks around it."""
    return rng.choices(
        [address, address.upper(), address.title(), f" {address}", f"{address.upper()}  "], [90, 3, 3, 2, 2]
    )[0]


def _some(rng: random.Random, values: Sequence[str], most: int) -> list[str]:
    return rng.sample(values, rng.randint(1, most))


# Members.


def _members(rng: random.Random, names: words.Names, count: int) -> list[Person]:
    """Members in the order in which they joined: most before the first day, a wave on the spring day."""
    waves = rng.choices(("opening", "spring", "since"), [57, 21, 22], k=count)
    joined = sorted(
        {
            "opening": _between(rng, date(2023, 9, 4), date(2023, 12, 29)),
            "spring": SPRING_DAY,
            "since": _between(rng, FIRST_DAY + timedelta(days=2), LAST_DAY - timedelta(days=3)),
        }[wave]
        for wave in waves
    )
    taken = _golden_addresses()
    members = [_member(rng, names, number, day, taken) for number, day in enumerate(joined, start=2)]
    _give_odd_keys(members)
    _part_ways(rng, members)
    return members


def _golden_addresses() -> set[str]:
    """Addresses that nobody in the story may have, so that the worked example stays as it is."""
    return {address for event in golden.RECORDS["events"] for address in event["participants"]}


def _member(rng: random.Random, names: words.Names, number: int, joined: date, taken: set[str]) -> Person:
    gender = rng.choices(words.GENDERS, [49, 46, 5])[0]
    first, last = rng.choice(names.given[gender]), rng.choice(names.surnames)
    is_on_team = number % 40 == 7
    address = _free_address(rng, words.mailbox(first, last), is_on_team, taken)
    moment = _moment(rng, joined)
    record: Record = {"id": f"user_{number:03d}", "email": _spelled(rng, address)}
    if rng.random() < 0.65:
        record["name"] = f"{first} {last}"
    cuisines = _some(rng, words.CUISINES, 3)
    record |= _profile_fields(rng, gender, cuisines)
    if is_on_team:
        record["is_on_team"] = True
    if rng.random() < 0.7:
        record["time_zone"] = rng.choice(words.TIME_ZONES)
    if rng.random() < 0.15:
        record["referral_source"] = rng.choice(("Instagram", "a friend", "newsletter"))
    record["created_at"] = stamp(rng, moment)
    if rng.random() < 0.35:
        record["updated_at"] = stamp(rng, _moment(rng, _between(rng, joined + timedelta(days=1), LAST_DAY)))
    return Person(address, first, cuisines[0], joined, _last_evening(rng, joined), record)


def _free_address(rng: random.Random, box: str, is_on_team: bool, taken: set[str]) -> str:
    domain = TEAM_DOMAIN if is_on_team else rng.choice(DOMAINS)
    address, number = f"{box}@{domain}", 2
    while address in taken:
        address, number = f"{box}{number}@{domain}", number + 1
    taken.add(address)
    return address


def _last_evening(rng: random.Random, joined: date) -> date:
    """Until when somebody comes: half stay, a third lapse, the rest never show up."""
    habit = rng.random()
    if habit < 0.5:
        return date.max
    if habit < 0.85:
        return _between(rng, max(joined, date(2024, 2, 15)), date(2024, 3, 28))
    return date.min


def _profile_fields(rng: random.Random, gender: str, cuisines: list[str]) -> Record:
    """The ten profile fields, with the gaps that forms leave: nothing, null, blanks, empty lists."""
    filled: Record = {
        "interests": _some(rng, words.INTERESTS, 4),
        "cuisine_preference": cuisines,
        "dietary_restrictions": _some(rng, words.DIETS, 2),
        "age": round(rng.triangular(21, 78, 33)),
        "gender": gender,
        "occupation": rng.choice(words.OCCUPATIONS),
        "relationship_status": rng.choice(words.RELATIONSHIPS),
        "table_type_preference": rng.choice(words.TABLE_TYPES),
        "home_neighborhood": rng.choice(words.NEIGHBORHOODS),
        "work_neighborhood": rng.choice(words.NEIGHBORHOODS),
    }
    gap = rng.choices((0.03, 0.25, 0.8), [45, 35, 20])[0]
    # Most people eat everything.
    gaps = {name: 0.65 if name == "dietary_restrictions" else gap for name in filled}
    fields: Record = {}
    for name, value in filled.items():
        if rng.random() >= gaps[name]:
            fields[name] = value
        elif rng.random() < 0.5:
            blanks = ([], [""], None) if isinstance(value, list) else ("", "  ", None)
            fields[name] = rng.choice(blanks) if name != "age" else None
    return fields


def _give_odd_keys(members: list[Person]) -> None:
    """One key is a number, and two are MongoDB ObjectIds, which alone tell when their users came."""
    for member in members[20:21]:
        member.record["id"] = 4711
    for member in members[30:120:60]:
        seconds = int(datetime.combine(member.joined, time(12), UTC).timestamp())
        member.record["id"] = {"$oid": f"{seconds:08x}5a17e3b0c4d2f6{len(member.first):02x}"}
        member.record.pop("created_at")
        member.record.pop("updated_at", None)


def _part_ways(rng: random.Random, members: list[Person]) -> None:
    """Four members leave, and the last to join takes over the address of the first of them."""
    early = [member for member in members[: len(members) // 2] if str(member.record["id"]).startswith("user_")]
    leavers = rng.sample(early, min(4, len(early)))
    for member in leavers:
        left = _between(rng, date(2024, 3, 4), date(2024, 5, 24))
        member.record.pop("updated_at", None)
        member.record["deleted_at"] = stamp(rng, _moment(rng, left))
        member.last_evening = min(member.last_evening, left - timedelta(days=1))
    heir = members[-1] if members else None
    if heir and leavers and heir.joined > date(2024, 5, 24):
        heir.address = leavers[0].address
        heir.record["email"] = heir.address


# Events.


def _circles(rng: random.Random, names: words.Names, members: list[Person]) -> list[Circle]:
    """Most members in circles of three to seven; every other circle has a guest who never joined."""
    sociable = [member for member in members if rng.random() < 0.85]
    rng.shuffle(sociable)
    taken = _golden_addresses() | {member.address for member in members}
    circles: list[Circle] = []
    while sociable:
        size = rng.randint(3, 7)
        people, sociable = sociable[:size], sociable[size:]
        circle = Circle(people[0].cuisine, people)
        if rng.random() < 0.5:
            first, last = rng.choice(names.given["Non-binary"]), rng.choice(names.surnames)
            address = _free_address(rng, words.mailbox(first, last), False, taken)
            circle.people.append(Person(address, first, circle.cuisine))
        circles.append(circle)
    return circles


def _evenings(rng: random.Random, circles: list[Circle], members: list[Person], count: int) -> list[Evening]:
    """Events in order of their days, a few of them beyond the last day of the story."""
    days = sorted(
        _weekend(_between(rng, FIRST_DAY + timedelta(days=3), LAST_DAY + timedelta(days=18))) for _ in range(count)
    )
    return [_evening(rng, f"event_{number:03d}", day, circles, members) for number, day in enumerate(days, start=4)]


def _weekend(day: date) -> date:
    """Monday to Wednesday nobody goes out: the Thursday, Friday or Saturday after."""
    return day + timedelta(days=3) if day.weekday() < 3 else day


def _evening(rng: random.Random, key: str, day: date, circles: list[Circle], members: list[Person]) -> Evening:
    kind = rng.choices(words.EVENT_TYPES, [30, 20, 18, 10, 8, 8, 6])[0]
    lead = rng.choices(circles, [len(circle.people) for circle in circles])[0] if circles else Circle("Italian")
    # A cuisine has its own chef most of the time, so that hosts have regulars.
    cuisine = lead.cuisine if rng.random() < 0.7 else rng.choice(words.CUISINES)
    host = words.HOSTS[words.CUISINES.index(cuisine) % len(words.HOSTS)]
    announced = _moment(rng, _announced(rng, day))
    invited = list(lead.people)
    for circle in rng.sample(circles, min(len(circles), rng.choice((0, 1, 2, 2, 3)))):
        invited += circle.people
    invited += rng.sample(members, min(len(members), rng.randint(0, 4)))
    people = _guests(rng, invited, day)[: kind.seats + 4]
    record: Record = {
        "id": key,
        "name": kind.title.format(cuisine=cuisine),
        "date": day_stamp(rng, day),
        "venue": rng.choice(words.VENUES),
        "host": host if rng.random() < 0.8 else rng.choice(words.HOSTS),
        "participants": [_spelled(rng, person.address) for person in people],
        "event_type": kind.name,
    }
    _leave_gaps(rng, record)
    record["created_at"] = stamp(rng, announced)
    _change_plans(rng, record, announced, min(day, LAST_DAY))
    return Evening(record, announced, day, kind.price, people)


def _announced(rng: random.Random, day: date) -> date:
    """When an event was published: with its season's programme, or some weeks ahead."""
    if rng.random() < 0.6:
        return _between(rng, date(2023, 12, 4), date(2023, 12, 20)) if day < date(2024, 4, 4) else SPRING_DAY
    return min(day - timedelta(days=rng.randint(6, 40)), LAST_DAY - timedelta(days=rng.randint(1, 9)))


def _guests(rng: random.Random, invited: list[Person], day: date) -> list[Person]:
    """Who of the people invited comes, each once.

    Some come before they sign up, which is what makes them sign up.
    """
    coming = {
        person.address: person
        for person in invited
        if person.joined <= day + timedelta(days=10) and day <= person.last_evening and rng.random() < 0.8
    }
    return list(coming.values())


def _leave_gaps(rng: random.Random, event: Record) -> None:
    """Untidy lists: somebody entered twice in another spelling, a blank line, an event without a host."""
    if event["participants"] and rng.random() < 0.1:
        event["participants"].append(event["participants"][0].upper())
    if rng.random() < 0.04:
        event["participants"].append("")
    if rng.random() < 0.06:
        event["host"] = rng.choice((None, ""))
    if rng.random() < 0.04:
        event.pop("venue")


def _change_plans(rng: random.Random, event: Record, announced: datetime, until: date) -> None:
    """Some events are cancelled and some edited, between being announced and taking place."""
    changed = stamp(rng, _moment(rng, _between(rng, announced.date() + timedelta(days=1), until)))
    fate = rng.random()
    if fate < 0.07:
        event |= {"status": rng.choice(("cancelled", "Cancelled")), "updated_at": changed}
    elif fate < 0.3:
        event |= {"status": "confirmed", "updated_at": changed}
    elif fate < 0.7:
        event["status"] = "scheduled"


# Orders.


def _orders(rng: random.Random, members: list[Person], evenings: list[Evening]) -> list[Record]:
    """Seats paid for ahead, and gift cards in December, in order of their days."""
    bought: list[Purchase] = []
    for evening in evenings:
        bought += [
            Purchase(
                _bought_on(rng, evening, person),
                person,
                evening,
                evening.price + rng.choice((-10, 0, 0, 0, 5, 20)),
            )
            for person in evening.people
            if person.record and rng.random() < 0.5
        ]
    early = [member for member in members if member.joined < FIRST_DAY]
    bought += [
        Purchase(_between(rng, max(member.joined, date(2023, 12, 1)), date(2023, 12, 31)), member, None, 50)
        for member in early
        if rng.random() < 0.4
    ]
    bought.sort(key=lambda purchase: (purchase.day, purchase.person.address))
    return [_order(rng, f"order_{number:03d}", purchase) for number, purchase in enumerate(bought, start=3)]


def _bought_on(rng: random.Random, evening: Evening, person: Person) -> date:
    """Many book on the day of the announcement, the others until the evening itself."""
    announced = evening.announced.date()
    if person.joined <= announced and rng.random() < 0.45:
        return announced
    return _between(rng, max(announced, min(person.joined, evening.day)), min(evening.day, LAST_DAY))


def _order(rng: random.Random, key: str, purchase: Purchase) -> Record:
    day, evening = purchase.day, purchase.evening
    record: Record = {"id": key, "user_id": purchase.person.record["id"]}
    if evening:
        record["event_id"] = evening.record["id"]
    cents = rng.choice((0, 0, 0, 50, 95))
    # Some shops write money as text, which keeps its two places.
    record["amount"] = f"{purchase.dollars}.{cents:02d}" if rng.random() < 0.1 else purchase.dollars + cents / 100
    record["date"] = day_stamp(rng, day)
    status = rng.choices(("paid", None, "cancelled", "refunded", "Refunded"), [60, 29, 6, 4, 1])[0]
    if status:
        record["status"] = status
    if rng.random() < 0.7:
        record["created_at"] = stamp(rng, _moment(rng, day))
    if status not in (None, "paid"):
        record["updated_at"] = stamp(rng, _moment(rng, _between(rng, day, min(day + timedelta(days=30), LAST_DAY))))
    return record


# Messages.


def _messages(rng: random.Random, members: list[Person]) -> list[Record]:
    """Welcomes, the spring programme, and invitations up to the last days, in order of their writing."""
    written: list[Note] = []
    for member in members:
        written.append(Note(min(member.joined + timedelta(days=1), LAST_DAY), member, "sent", words.WELCOME))
        if member.joined <= SPRING_DAY and rng.random() < 0.45:
            written.append(Note(SPRING_DAY, member, "sent", words.SEASON))
        # The cooldown of seven days is over for some of these on the last day, and not for others.
        if rng.random() < 0.5:
            written.append(Note(LAST_DAY - timedelta(days=rng.randint(0, 14)), member, "sent", _invitation(rng)))
        if rng.random() < 0.25:
            written.append(Note(_between(rng, date(2024, 6, 3), LAST_DAY), member, "queued", _invitation(rng)))
        if rng.random() < 0.15:
            status = rng.choice(("draft", "failed", "bounced", "scheduled"))
            written.append(Note(_between(rng, FIRST_DAY, LAST_DAY), member, status, _invitation(rng)))
        written += [
            Note(_between(rng, FIRST_DAY, LAST_DAY), member, "sent", _invitation(rng))
            for _ in range(rng.choice((0, 0, 1, 2)))
        ]
    written = [note for note in written if note.day >= note.person.joined]
    written.sort(key=lambda note: (note.day, note.person.address))
    return [_message(rng, f"msg_{number:03d}", note) for number, note in enumerate(written, start=3)]


def _invitation(rng: random.Random) -> str:
    return rng.choice(words.INVITATIONS)


def _message(rng: random.Random, key: str, note: Note) -> Record:
    person, status = note.person, note.status
    host = words.HOSTS[words.CUISINES.index(person.cuisine) % len(words.HOSTS)]
    content = note.text.format(first=person.first, cuisine=person.cuisine, host=host, venue=rng.choice(words.VENUES))
    record: Record = {
        "id": key,
        "user_id": person.record["id"],
        "content": content,
        "status": status.upper() if rng.random() < 0.03 else status,
    }
    moment = _moment(rng, note.day)
    if status == "sent":
        # Sent a few hours after it was written, as queues do.
        record |= {"sent_date": stamp(rng, moment + timedelta(hours=2)), "created_date": stamp(rng, moment)}
    else:
        record["created_date"] = stamp(rng, moment)
    if status == "scheduled":
        record["sent_date"] = (note.day + timedelta(days=30)).isoformat()
    return record
