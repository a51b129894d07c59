"""What a sensor remembers from tick to tick, and what follows from it.

What belongs here: cursors and pure functions from one cursor to the next. What does not: asking a source, the
warehouse or Dagster (`sensors.py`, `live_sensors.py`).

Losing a cursor loses nothing, because what a look finds is compared with the log: reading begins again at the
watermark of the warehouse. All times are UTC without a zone.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, ValidationError

from profile_pipeline.discovery import Found
from profile_pipeline.sources.live import Span

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(minutes=30)
"""Before a source that failed is asked again: about as soon as it is looked at anyway, then ever less often, so that
one that is down is not hammered; half an hour after it is back it is found again at the latest."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=5), timedelta(hours=1)
"""Before days whose run failed are requested again: a run costs more than a look, and its steps have tried again."""


class _Model(BaseModel):
    # What is none of ours must not pass as a cursor of which everything is unset.
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scanned(_Model):
    """Up to which of its own times a source was looked at."""

    source: str
    until: datetime


class Remaining(_Model):
    """What a look still has to read of a kind: a span, from a place on."""

    source: str
    since: datetime | None
    until: datetime
    place: str | None = None

    @property
    def span(self) -> Span:
        """The span of the source's time."""
        return Span(self.since, self.until)


class Breaker(_Model):
    """How often a source failed in a row, since when, why, and when it is asked again."""

    failures: int
    since: datetime
    retry_at: datetime
    reason: str


class _BaseCursor(_Model):
    """What every sensor remembers.

    `pending` are the days found or asked for that no run has brought up to date yet, `last_run` is the newest run of
    the sensor that has been seen to end.
    """

    pending: tuple[date, ...] = ()
    last_run: str | None = None


CursorType = TypeVar("CursorType", bound=_BaseCursor)


class FolderCursor(_BaseCursor):
    """All that the sensor of the source folder remembers: `files` has the stamps of each kind's files, by name."""

    version: Literal[2] = 2
    files: Mapping[str, Mapping[str, tuple[int, int]]] = {}


class Cursor(_BaseCursor):
    """All that a live sensor remembers; `looking` has the kinds that the look under way still has to read."""

    version: Literal[1] = 1
    looked_at: datetime | None = None
    looking: Mapping[str, Remaining] = {}
    scanned: Mapping[str, Scanned] = {}
    breaker: Breaker | None = None
    token: str | None = None


def read_cursor(text: str | None, type_: type[CursorType]) -> CursorType | None:
    """The cursor of a type that a text holds, an empty one for none; None for a text that is no such cursor."""
    try:
        return type_.model_validate_json(text) if text else type_()
    except ValidationError:
        return None


def last_settled_day(now: datetime, zone: ZoneInfo, hour: int) -> date:
    """The last day whose night has come, which is at an hour of the next day, by the clock on the wall."""
    return (now.replace(tzinfo=UTC).astimezone(zone) - timedelta(hours=hour)).date() - timedelta(days=1)


def failed(cursor: Cursor, now: datetime, reason: str, longest: timedelta = LONGEST_WAIT) -> Cursor:
    """The source failed: it is left alone for a while, which doubles each time."""
    before = cursor.breaker
    failures = before.failures + 1 if before else 1
    wait = doubled(FIRST_WAIT, failures, max(longest, LONGEST_WAIT))
    breaker = Breaker(failures=failures, since=before.since if before else now, retry_at=now + wait, reason=reason)
    return cursor.model_copy(update={"breaker": breaker})


def answered(cursor: Cursor) -> Cursor:
    """The source answered: it counts as up again."""
    return cursor.model_copy(update={"breaker": None})


def doubled(first: timedelta, times: int, longest: timedelta) -> timedelta:
    """A wait that doubles with each time after the first, up to the longest."""
    # More doublings than that would only overflow.
    return min(first * 2 ** min(times - 1, 30), longest)


def next_look(cursor: Cursor, interval: timedelta) -> datetime | None:
    """When the source is looked at again; None: at once, because it never was or a look is not over."""
    return None if cursor.looked_at is None or cursor.looking else cursor.looked_at + interval


def begun(
    cursor: Cursor,
    sources: Mapping[str, str],
    *,
    read_until: Mapping[str, datetime],
    whole: Collection[str] = (),
    clock: datetime,
    overlap: timedelta,
    now: datetime,
) -> Cursor:
    """A look begins: each kind is read from where it is known up to the source's time now.

    It is known up to the watermark, and up to where the look before ended if that was of the same source. A stretch
    below is read again, for what was committed late. A kind without a watermark is not read: all of it is owed. Kinds
    whose source cannot tell what changed are read as a whole.
    """
    looking = {}
    for kind, source in sources.items():
        if kind not in read_until:
            continue
        before = cursor.scanned.get(kind)
        known = max(read_until[kind], before.until) if before and before.source == source else read_until[kind]
        # A source's clock may have been set back.
        since = None if kind in whole else min(known - overlap, clock)
        looking[kind] = Remaining(source=source, since=since, until=clock)
    return cursor.model_copy(update={"looking": looking, "looked_at": now})


def only_of(cursor: Cursor, sources: Mapping[str, str], kinds: Collection[str]) -> Cursor:
    """The cursor without a look under way at sources that are others now, or kinds that nothing is known of."""
    looking = {
        kind: remaining
        for kind, remaining in cursor.looking.items()
        if kind in kinds and remaining.source == sources.get(kind)
    }
    return cursor.model_copy(update={"looking": looking})


def noted(cursor: Cursor, kind: str, found: Found, *, keeps_place: bool = True) -> Cursor:
    """What reading a kind found, and how far it came; without its place it begins anew."""
    remaining = cursor.looking[kind]
    others = {other: its for other, its in cursor.looking.items() if other != kind}
    update: dict[str, object] = {"pending": tuple(sorted({*cursor.pending, *found.days}))}
    if found.is_complete:
        update |= {
            "looking": others,
            "scanned": {**cursor.scanned, kind: Scanned(source=remaining.source, until=remaining.until)},
        }
    else:
        place = found.place if keeps_place else None
        update["looking"] = {kind: remaining.model_copy(update={"place": place}), **others}
    return cursor.model_copy(update=update)


def requested(cursor: CursorType, days: Collection[date]) -> CursorType:
    """Days are asked for: whatever the reason, they are pending until a run of them succeeds."""
    return cursor.model_copy(update={"pending": tuple(sorted({*cursor.pending, *days}))})


def settled(cursor: CursorType, run: str, *, succeeded: bool) -> CursorType:
    """A run that the sensor asked for has ended; with success, all that was pending then is done.

    Nothing is looked for while a run is on its way, so that whatever is pending was so when it was asked for.
    """
    if run == cursor.last_run:
        return cursor
    return cursor.model_copy(update={"last_run": run, "pending": () if succeeded else cursor.pending})
