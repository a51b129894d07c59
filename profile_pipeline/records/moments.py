"""Points in time as sources write them.

What belongs here: reading a timestamp, a date or epoch milliseconds, and the business day it falls on. What
does not: days and ranges as partitions (`window.py`), and which fields hold a time (`models.py`).
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

ISO_8601 = re.compile(
    r"(\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](?P<time>(?:[01]\d|2[0-3]):\d{2}(?::\d{2}(?:[.,]\d+)?)?)"
    r" ?(?P<offset>[Zz]|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)
"""The extended form, time and offset optional; week dates and `20240131` are too easily mere numbers."""

EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time: the instant in UTC, without a zone, and the business day it falls on."""

    at: datetime
    day: date


def read_moment(value: object, zone: ZoneInfo) -> Moment:
    """Read an ISO 8601 date or timestamp, or epoch milliseconds.

    A naive timestamp is local time of the business time zone, a bare date the start of that day. A local time
    that the clocks skip or repeat is read with the smaller offset, as ICU and so the warehouse does.

    Raises:
        ValueError: it is neither, or no such time exists; the text completes "created_at is 5; …".
    """
    try:
        if isinstance(value, str):
            return _from_text(value.strip(), zone)
        if isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
            return _from_instant(EPOCH + timedelta(milliseconds=int(value)), zone)
    except (ValueError, OverflowError):
        pass
    raise ValueError("it must be a date or time such as 2024-02-10 or 2024-02-10T09:30:00Z, or epoch milliseconds")


def _from_text(text: str, zone: ZoneInfo) -> Moment:
    match = ISO_8601.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day = date.fromisoformat(match[1])
    if match["time"] is None:
        return Moment(_to_utc(datetime(day.year, day.month, day.day), zone), day)
    stamp = datetime.fromisoformat(f"{match[1]}T{match['time']}{(match['offset'] or '').upper()}")
    if stamp.tzinfo is None:
        return Moment(_to_utc(stamp, zone), day)
    return _from_instant(stamp.astimezone(UTC).replace(tzinfo=None), zone)


def _from_instant(instant: datetime, zone: ZoneInfo) -> Moment:
    return Moment(instant, instant.replace(tzinfo=UTC).astimezone(zone).date())


def _to_utc(local: datetime, zone: ZoneInfo) -> datetime:
    return max(local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)).replace(tzinfo=None)
