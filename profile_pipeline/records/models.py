"""What a user, an order, an event and a message are.

What belongs here: each record's fields, how they are normalised, every reason to reject one, and the days it
was known on. What does not: reading documents (`sources/`), versions of a record (`ingestion.py`), and the
same rules for many documents at once (`screening.py`), which must agree with these exactly.

What no single field says:

- A blank string stands for a missing value in any field. Unknown fields are allowed and kept in the document.
- A user needs `id` and `email`; an order `id`, `user_id`, `amount` and `date`; an event `id` and `date`; a
  message `id`, `user_id` and `status`. One that is sent without a `sent_date` is kept and counts as neither.
- Of a key that occurs twice in an object the first counts, as it does for queries on the stored document.
- `NaN` and infinities are not JSON. A number is a double, as in most readers of JSON; `32.0` is a whole
  number.
- An amount has at most 2 decimal places; noise of floating-point arithmetic, such as 30.000000000000004, is
  no place. It may be written as a string.
- MongoDB's extended JSON is read: `{"$oid": …}`, `{"$date": …}`, UUIDs and the `$number…` forms; `_id` stands
  for `id`.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, ClassVar
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo

from profile_pipeline.records.dialect import PLAIN, Dialect, value_at
from profile_pipeline.records.email import normalise_email
from profile_pipeline.records.moments import Moment, read_moment

AGE_RANGE = (1, 129)
AMOUNT_LIMIT = Decimal(10) ** 10
"""The first amount that is refused: a million orders below it add up to what decimal(18, 2) holds."""
NOISE = Decimal("0.000001")
"""Far below a cent, far above the error of a double at any amount that fits."""
UNDATED = date.min
"""The day of a document without any time: before every first partition, to which it is moved."""
SHOWN_CHARACTERS = 60
"""Enough of a value to recognise it in a reason."""


class Rejected(Exception):  # noqa: N818  # it is a verdict on a record, and no fault of the program
    """A document that breaks its model, with the reason in words.

    `record_id` and `known_on`, the latest day it was known on, are given where they can be read;
    `UNDATED` stands for a document that holds no time at all.
    """

    def __init__(self, reason: str, record_id: str | None = None, known_on: date | None = None) -> None:
        """Keep the verdict."""
        super().__init__(reason)
        self.reason = reason
        self.record_id = record_id
        self.known_on = known_on


@dataclass(frozen=True)
class Reading:
    """How values are read: the business time zone, and whether aliases of an e-mail address are folded."""

    zone: ZoneInfo
    fold_email_aliases: bool = False


def shown(value: object) -> str:
    """A value as it stands in the document, cut to a length that fits into a sentence."""
    text = json.dumps(value, default=str)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _not(value: object, rule: str) -> ValueError:
    return ValueError(f"is {shown(value)}; {rule}")


def _blank_to_none(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


def _required(read: Callable[[Any, Reading], Any]) -> BeforeValidator:
    def validate(value: Any, info: ValidationInfo) -> Any:
        if (value := _blank_to_none(value)) is None:
            raise ValueError("is missing")
        return read(value, info.context)  # type: ignore[arg-type]

    return BeforeValidator(validate)


def _optional(read: Callable[[Any, Reading], Any]) -> BeforeValidator:
    def validate(value: Any, info: ValidationInfo) -> Any:
        value = _blank_to_none(value)
        return None if value is None else read(value, info.context)  # type: ignore[arg-type]

    return BeforeValidator(validate)


def _text(value: Any, _: Reading) -> str:
    if not isinstance(value, str):
        raise _not(value, "it must be text")
    return value.strip()


def _key(value: Any, _: Reading) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _not(value, "it must be text or a whole number")
    return value.strip()


def _lower(value: Any, reading: Reading) -> str:
    return _text(value, reading).lower()


def _email(value: Any, reading: Reading) -> str:
    address = normalise_email(_text(value, reading), fold_aliases=reading.fold_email_aliases)
    if not re.fullmatch(r"[^\s@]+@[^\s@]+", address):
        raise _not(value, "it must be one address, such as sarah@example.org")
    return address


def _items(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise _not(value, "it must be a list of texts")
    for position, item in enumerate(value):
        if not isinstance(item, str | None):
            raise _not(value, f"its item {position + 1} must be text, not {shown(item)}")
    return [item.strip() for item in value if item is not None and item.strip()]


def _texts(value: Any, _: Reading) -> list[str] | None:
    return _items(value) or None


def _addresses(value: Any, reading: Reading) -> list[str] | None:
    folded = {normalise_email(item, fold_aliases=reading.fold_email_aliases) for item in _items(value)}
    return sorted(folded) or None


def _age(value: Any, _: Reading) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value % 1:
        raise _not(value, "it must be a whole number")
    if not AGE_RANGE[0] <= value <= AGE_RANGE[1]:
        raise _not(value, f"it must be between {AGE_RANGE[0]} and {AGE_RANGE[1]}")
    return int(value)


def _flag(value: Any, _: Reading) -> bool:
    if not isinstance(value, bool):
        raise _not(value, "it must be true or false")
    return value


def _amount(value: Any, _: Reading) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _not(value, "it must be a number")
    try:
        amount = Decimal(value.strip() if isinstance(value, str) else repr(value))
    except InvalidOperation:
        raise _not(value, "it must be a number") from None
    if not amount.is_finite():
        raise _not(value, "it must be a number")
    if amount < 0:
        raise _not(value, "it must not be negative")
    if amount >= AMOUNT_LIMIT:
        raise _not(value, f"it must be below {AMOUNT_LIMIT:,}")
    cents = amount.quantize(Decimal("0.01"))
    if abs(amount - cents) > NOISE:
        raise _not(value, "it must have at most 2 decimal places")
    return abs(cents)


def _moment(value: Any, reading: Reading) -> Moment:
    try:
        return read_moment(value, reading.zone)
    except ValueError as error:
        raise _not(value, str(error)) from None


Key = Annotated[str, _required(_key)]
OptionalKey = Annotated[str | None, _optional(_key)]
Email = Annotated[str, _required(_email)]
Text = Annotated[str | None, _optional(_text)]
Texts = Annotated[list[str] | None, _optional(_texts)]
Addresses = Annotated[list[str] | None, _optional(_addresses)]
Status = Annotated[str | None, _optional(_lower)]
RequiredStatus = Annotated[str, _required(_lower)]
Age = Annotated[int | None, _optional(_age)]
Flag = Annotated[bool | None, _optional(_flag)]
Amount = Annotated[Decimal, _required(_amount)]
Time = Annotated[Moment | None, _optional(_moment)]
RequiredTime = Annotated[Moment, _required(_moment)]


class Record(BaseModel):
    """What all records share. Every field must be given, null where the document has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    created_field: ClassVar[str] = "created_at"
    business_date_field: ClassVar[str | None] = None

    id: Key
    updated_at: Time
    deleted_at: Time

    @property
    def created(self) -> Moment | None:
        """When the record was created."""
        return getattr(self, self.created_field)

    @property
    def occurred(self) -> Moment | None:
        """Its business date: when what it records happens."""
        return getattr(self, self.business_date_field) if self.business_date_field else None


class User(Record):
    """A user. The ten profile fields are those that the personalization score counts."""

    email: Email
    name: Text
    interests: Texts
    cuisine_preference: Texts
    dietary_restrictions: Texts
    age: Age
    gender: Text
    occupation: Text
    relationship_status: Text
    table_type_preference: Text
    home_neighborhood: Text
    work_neighborhood: Text
    is_on_team: Flag
    time_zone: Text
    created_at: Time


class Order(Record):
    """An order. Its amount is in the business's currency, without a sign."""

    business_date_field = "date"

    user_id: Key
    event_id: OptionalKey
    amount: Amount
    date: RequiredTime
    status: Status
    created_at: Time


class Event(Record):
    """An event. `participants` are addresses in normal form, each once, sorted: their order means nothing."""

    business_date_field = "date"

    name: Text
    date: RequiredTime
    venue: Text
    host: Text
    participants: Addresses
    event_type: Text
    status: Status
    created_at: Time


class Message(Record):
    """A message, queued or sent."""

    created_field = "created_date"
    business_date_field = "sent_date"

    user_id: Key
    content: Text
    status: RequiredStatus
    sent_date: Time
    created_date: Time


MODELS: dict[str, type[Record]] = {"users": User, "orders": Order, "events": Event, "messages": Message}
"""Kind of record to its model."""

LIST_FIELDS = ("interests", "cuisine_preference", "dietary_restrictions", "participants")
"""Fields that hold several values."""

CLOCK_TIMES = ("created_at", "updated_at", "deleted_at")
"""Fields whose column is a timestamp; the others that hold a time are business days."""


@dataclass(frozen=True)
class Parsed:
    """An accepted document: the record, its typed columns, and the days it was known on.

    `known_days` is sorted, not clamped to the first partition, and empty when the document holds no time.
    """

    record: Record
    row: dict[str, Any]
    known_days: tuple[date, ...]


def parse(kind: str, document: str, reading: Reading, dialect: Dialect = PLAIN) -> Parsed:
    """Read one document of a kind, written in a dialect.

    Raises:
        Rejected: it is unreadable or breaks the model of its kind; the reason names every field at fault.
    """
    fields = _fields(document)
    values = _values(kind, fields, dialect)
    made = _made(fields, dialect, reading.zone)
    try:
        record = MODELS[kind].model_validate(values, context=reading)
    except ValidationError as error:
        reason = "; ".join(_in_words(fault) for fault in error.errors())  # type: ignore[arg-type]
        raise Rejected(reason, _record_id(values["id"]), _latest_day(kind, values, made, reading.zone)) from None
    return _parsed(record, made, is_made_last=dialect.system_time is not None)


def field_values(kind: str, document: str, dialect: Dialect = PLAIN) -> dict[str, Any]:
    """What a document has in the fields of its kind, in plain JSON; nothing of it need be valid.

    Raises:
        Rejected: it is no readable JSON object.
    """
    return _values(kind, _fields(document), dialect)


def known_days(parsed: Parsed, first_partition: date) -> tuple[date, ...]:
    """The partitions a record belongs to, sorted; the last is the day of its latest change.

    They are the days it was created, changed and deleted on; else its business date, else the day inside its
    ObjectId, else the first partition, to which earlier days are moved.
    """
    return tuple(sorted({max(day, first_partition) for day in parsed.known_days})) or (first_partition,)


def _values(kind: str, fields: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    values = {name: _bare(value_at(fields, dialect.path(name)), name, dialect) for name in MODELS[kind].model_fields}
    if values["id"] is None:
        values["id"] = unwrapped(fields.get("_id"))
    return values


def _fields(document: str) -> dict[str, Any]:
    try:
        fields = json.loads(document, object_pairs_hook=_first_of_each, parse_int=_integer, parse_constant=_no_constant)
        # Half of a surrogate pair can be written as an escape, but is no text and could not be stored.
        if "\\ud" in document.lower():
            json.dumps(fields, ensure_ascii=False).encode()
    except RecursionError:
        raise Rejected("the document is not readable JSON: it is nested too deeply") from None
    except UnicodeEncodeError:
        raise Rejected("the document is not readable JSON: it holds half of a surrogate pair") from None
    except ValueError as error:
        raise Rejected(f"the document is not readable JSON: {error}") from None
    if not isinstance(fields, dict):
        raise Rejected(f"the document is {shown(fields)}; it must be an object with named fields")
    return fields


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def _integer(digits: str) -> int | float:
    # Beyond any key, time or amount; converting thousands of digits is slow and Python refuses it.
    return int(digits) if len(digits) < 40 else float(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _is_object_id(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("$oid"), str)
        and bool(re.fullmatch("[0-9a-fA-F]{24}", value["$oid"]))
    )


def _bare(value: Any, name: str, dialect: Dialect) -> Any:
    """A field's value without what its system dresses it in."""
    if dialect.has_links and name not in LIST_FIELDS and isinstance(value, list) and len(value) < 2:
        value = value[0] if value else None
    return unwrapped(value)


def unwrapped(value: Any) -> Any:
    """A value of MongoDB's extended JSON as plain JSON; any other value as it is."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((wrapper, inner),) = value.items()
    try:
        return WRAPPERS[wrapper](inner)
    except (KeyError, TypeError, ValueError):
        return value


def _uuid(binary: dict[str, str]) -> str:
    if binary["subType"] not in ("4", "04"):
        raise ValueError(binary["subType"])
    return str(UUID(bytes=base64.b64decode(binary["base64"])))


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "$oid": str,
    "$uuid": str,
    "$binary": _uuid,
    "$date": unwrapped,
    "$numberDecimal": str,
    "$numberInt": int,
    "$numberLong": int,
    "$numberDouble": float,
}
"""Extended JSON: the only name in an object to the reader of its value."""


def _made(fields: dict[str, Any], dialect: Dialect, zone: ZoneInfo) -> Moment | None:
    """When the system says that the record was made: the first four bytes of an ObjectId are seconds since 1970."""
    if dialect.system_time:
        try:
            return read_moment(value_at(fields, dialect.system_time), zone)
        except ValueError:
            return None
    keys = (value_at(fields, dialect.path("id")), fields.get("_id"))
    object_ids: Iterator[dict[str, str]] = filter(_is_object_id, keys)  # type: ignore[arg-type]
    return next((read_moment(int(key["$oid"][:8], 16) * 1000, zone) for key in object_ids), None)


def _in_words(fault: dict[str, Any]) -> str:
    return " ".join([*(str(part) for part in fault["loc"]), str(fault["ctx"]["error"])])


def _record_id(value: Any) -> str | None:
    return value.strip() if isinstance(value, str) else str(value) if isinstance(value, int) else None


def _latest_day(kind: str, values: dict[str, Any], made: Moment | None, zone: ZoneInfo) -> date | None:
    """The latest day a rejected document was known on; None if the times that tell it cannot be read."""
    model = MODELS[kind]
    names = [model.created_field, "updated_at", "deleted_at", model.business_date_field]
    written = {name: value for name in names if name and (value := _blank_to_none(values.get(name))) is not None}
    days: dict[str, date] = {}
    for name, value in written.items():
        with suppress(ValueError):
            days[name] = read_moment(value, zone).day
    if written.keys() - days.keys() & {"updated_at", "deleted_at"}:
        return None
    changes = [day for name, day in days.items() if name != model.business_date_field]
    if changes or days:
        return max(changes or days.values())
    if written:
        return None
    return made.day if made else UNDATED


def _parsed(record: Record, made: Moment | None, *, is_made_last: bool) -> Parsed:
    changes = [moment for moment in (record.created, record.updated_at, record.deleted_at) if moment]
    days = changes or [moment for moment in (record.occurred or made,) if moment]
    edited = [moment.day for moment in (record.created, record.updated_at) if moment]
    changed = record.updated_at or record.created or _occurred(record, made, is_made_last=is_made_last)
    row: dict[str, Any] = {}
    for name in type(record).model_fields:
        value = getattr(record, name)
        if isinstance(value, Moment):
            value = value.at if name in CLOCK_TIMES else value.day
        row[name] = value
    row["created_at"] = record.created.at if record.created else None
    row["deleted_date"] = record.deleted_at.day if record.deleted_at else None
    row["changed_at"] = changed.at if changed else None
    row["edited_date"] = max(edited, default=None)
    return Parsed(record, row, tuple(sorted({moment.day for moment in days})))


def _occurred(record: Record, made: Moment | None, *, is_made_last: bool) -> Moment | None:
    """When a record without times of its own last changed, as far as its business date and its making tell.

    A business date is a midnight. A system that says when it made a record says it of every version, so a message
    that is sent on the day on which it was made must not come before the one that was still queued.
    """
    if record.occurred and made and is_made_last:
        return max(record.occurred, made, key=lambda moment: moment.at)
    return record.occurred or made
