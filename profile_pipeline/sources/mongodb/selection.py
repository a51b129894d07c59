"""Which documents a span of time concerns, as a filter.

What belongs here: the branches of the filter. What does not: asking for it (`source.py`), and what a document means
(`records/`), which decides in the end.
"""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bson import DatetimeMS, ObjectId, Regex

from profile_pipeline.records.dialect import Dialect
from profile_pipeline.records.models import MODELS
from profile_pipeline.records.moments import EPOCH, read_moment
from profile_pipeline.sources.live import Span

Document = dict[str, Any]

MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
MAX_OBJECT_SECONDS = 0xFFFF_FFFF
"""The first four bytes of an ObjectId are seconds since 1970."""

_YEAR = r"(?!0000)[0-9]{4}"
_LEAP_YEAR = r"(?!0000)(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DAY = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    rf"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?"
_OFFSET = r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)"
_FIRST_AND_LAST_DAY = "(?:0001-01-01|9999-12-31)"
"""Days with times that another offset moves out of the calendar."""

OTHER_TYPES = ["bool", "object", "binData", "objectId", "regex", "javascript", "timestamp", "minKey", "maxKey"]
"""Types whose values are no times and which lie apart from times in an index; see `span_filter` for the others."""


def span_filter(kind: str, dialect: Dialect, span: Span, zone: ZoneInfo) -> Document:
    """The filter for the documents that a span concerns, as `LiveSource.changes` has it; others may match.

    Every branch can be answered from an index on one of the times or on `_id`, so that a collection with indexes on
    all of them is not scanned. That is why three kinds of values that cannot be read do not match always, but only
    by the time that they nearly are: decimals, fractions of a millisecond, and arrays, by their elements. An index
    has them among times, and MongoDB would have to look into every document for them.

    Args:
        kind: users, orders or events.
        dialect: where the fields are.
        span: without a beginning, every document matches.
        zone: the business time zone, which decides at the ends of the calendar which times can be read.
    """
    if span.since is None:
        return {}
    model = MODELS[kind]
    changes = [dotted(dialect, name) for name in (model.created_field, "updated_at", "deleted_at")]
    business = [dotted(dialect, model.business_date_field)] if model.business_date_field else []
    unchanged = {path: {"$in": [None, ""]} for path in changes}
    undated = unchanged | {path: {"$in": [None, ""]} for path in business}
    unmade: list[Document] = [{"_id": {"$not": {"$type": "objectId"}}}]
    if (id_path := dotted(dialect, "id")) != "_id":
        # An ObjectId there counts before the one in `_id`, but collections seldom have an index for it.
        unmade.append({id_path: {"$type": "objectId"}})
    inside, unreadable = _inside(span.since, span.until), _unreadable(zone)
    return {
        "$or": [
            *({path: condition} for path in changes for condition in inside),
            *(unchanged | {path: condition} for path in business for condition in inside),
            {"_id": _made_inside(span.since, span.until)},
            undated | {"$or": unmade},
            *({path: condition} for path in changes + business for condition in unreadable),
        ]
    }


def dotted(dialect: Dialect, name: str) -> str:
    """Where a field is, as queries have it."""
    return ".".join(dialect.path(name))


def _inside(since: datetime, until: datetime) -> list[Document]:
    """Conditions on a field, one for each type that a time may have, for a time inside a span."""
    first, end = (since - EPOCH) // MILLISECOND, -((EPOCH - until) // MILLISECOND)
    return [
        {"$gte": DatetimeMS(first), "$lt": DatetimeMS(end)},
        {"$gte": first, "$lt": end},
        # Texts are in local time, of any offset; all are less than a day from UTC.
        {"$gte": _day_text(since, -1), "$lt": _day_text(until, 2)},
    ]


def _day_text(at: datetime, days: int) -> str:
    """A day as the lowest text among its times; beyond the calendar what is below or above all of them."""
    try:
        return (at + timedelta(days=days)).date().isoformat()
    except OverflowError:
        return "0" if days < 0 else ":"


def _made_inside(since: datetime, until: datetime) -> Document:
    """The condition on `_id` for an ObjectId made inside a span, whatever the times in its document say."""
    first, end = (since - EPOCH) // SECOND, -((EPOCH - until) // SECOND)
    lower = _object_id(max(0, min(first, MAX_OBJECT_SECONDS)), "00")
    if end > MAX_OBJECT_SECONDS:
        return {"$gte": lower, "$lte": _object_id(MAX_OBJECT_SECONDS, "ff")}
    return {"$gte": lower, "$lt": _object_id(max(0, end), "00")}


def _object_id(seconds: int, rest: str) -> ObjectId:
    return ObjectId(f"{seconds:08x}{rest * 8}")


def _unreadable(zone: ZoneInfo) -> list[Any]:
    """Conditions on a field for values that `read_moment` refuses; a few that it would read match too.

    The pattern stands alone, because only then is it tried on the texts in an index instead of whole documents.
    """
    first, last = _calendar(zone)
    return [
        _unreadable_text(zone),
        {"$in": [float("nan"), []]},
        {"$type": OTHER_TYPES},
        {"$lt": first},
        {"$gt": last},
        {"$lt": DatetimeMS(first)},
        {"$gt": DatetimeMS(last)},
    ]


def _unreadable_text(zone: ZoneInfo) -> Regex[str]:
    """Matches texts that are neither empty nor a time, in the part of the syntax that all engines agree on.

    Blanks match, and texts that begin with some, because they are not where their time is in the order of texts.
    """
    # Without an offset, the ends of the calendar are within it at least in UTC.
    outside = f"{_FIRST_AND_LAST_DAY}[Tt ].*[+-]" if zone.key == "UTC" else _FIRST_AND_LAST_DAY
    return Regex(rf"^(?!(?!{outside}){_DAY}(?:[Tt ]{_CLOCK} ?{_OFFSET}?)?[ \t\n\r\f\v]*$)[\s\S]")


def _calendar(zone: ZoneInfo) -> tuple[int, int]:
    """The first and the last millisecond that can be read; at both ends the calendar of UTC or of the zone ends."""
    first, last = (datetime.min - EPOCH) // MILLISECOND, (datetime.max - EPOCH) // MILLISECOND
    day = timedelta(days=1) // MILLISECOND
    return (
        first if _is_time(first, zone) else first + day,
        last if _is_time(last, zone) else last - day,
    )


def _is_time(value: object, zone: ZoneInfo) -> bool:
    try:
        read_moment(value, zone)
    except ValueError:
        return False
    return True
