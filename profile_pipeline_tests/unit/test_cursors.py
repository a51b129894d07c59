"""What a live sensor remembers, and what follows from it."""

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from profile_pipeline.defs import cursors
from profile_pipeline.defs.cursors import Cursor, Remaining, Scanned
from profile_pipeline.discovery import Found
from profile_pipeline.errors import TransientError
from profile_pipeline.sources.live import Span

NOON = datetime(2024, 1, 20, 12)
DAY = date(2024, 1, 5)
OVERLAP = timedelta(minutes=15)


def begun(cursor: Cursor = Cursor(), **changes: Any) -> Cursor:  # noqa: B008  # frozen
    given: dict[str, Any] = {"read_until": {"users": NOON - timedelta(hours=2)}, "clock": NOON} | changes
    return cursors.begun(cursor, {"users": "here", "orders": "there"}, overlap=OVERLAP, now=NOON, **given)


def test_a_cursor_is_read_as_it_was_written() -> None:
    cursor = cursors.failed(begun(Cursor(pending=(DAY,), token="{}")), NOON, "down")
    assert cursors.read_cursor(cursor.model_dump_json(), Cursor) == cursor
    assert cursors.read_cursor(None, Cursor) == Cursor()


@pytest.mark.parametrize("text", ["yesterday", "[]", '{"users": {"files": {}, "days": {}}}', '{"version": 2}'])
def test_a_text_that_is_no_cursor_of_ours_is_not_taken_for_one(text: str) -> None:
    assert cursors.read_cursor(text, Cursor) is None


@pytest.mark.parametrize(
    ("now", "zone", "day"),
    [
        ("2024-01-20T12:00:00", "UTC", "2024-01-19"),
        ("2024-01-20T01:59:59", "UTC", "2024-01-18"),
        ("2024-01-20T02:00:00", "UTC", "2024-01-19"),
        ("2024-01-20T02:00:00", "America/New_York", "2024-01-18"),
        ("2024-01-20T07:00:00", "America/New_York", "2024-01-19"),
        # At one o'clock UTC the clock of Berlin jumps from 2 to 3.
        ("2024-03-31T00:59:00", "Europe/Berlin", "2024-03-29"),
        ("2024-03-31T01:00:00", "Europe/Berlin", "2024-03-30"),
    ],
)
def test_a_day_is_settled_when_its_night_has_come(now: str, zone: str, day: str) -> None:
    settled = cursors.last_settled_day(datetime.fromisoformat(now), ZoneInfo(zone), 2)
    assert settled == date.fromisoformat(day)


def test_a_look_reads_from_the_watermark_less_the_overlap_what_was_ever_read() -> None:
    cursor = begun()
    assert {kind: remaining.span for kind, remaining in cursor.looking.items()} == {
        "users": Span(datetime(2024, 1, 20, 9, 45), NOON)
    }
    assert cursor.looked_at == NOON


@pytest.mark.parametrize(
    ("scanned", "since"),
    [
        pytest.param(Scanned(source="here", until=NOON - timedelta(minutes=1)), "11:44", id="where the last one ended"),
        pytest.param(Scanned(source="here", until=NOON - timedelta(days=9)), "09:45", id="at a later watermark"),
        pytest.param(Scanned(source="elsewhere", until=NOON), "09:45", id="not where another collection was left"),
    ],
)
def test_a_look_begins_where_the_source_is_known_to(scanned: Scanned, since: str) -> None:
    cursor = begun(Cursor(scanned={"users": scanned}))
    assert cursor.looking["users"].since == datetime.fromisoformat(f"2024-01-20T{since}")


def test_a_clock_that_was_set_back_gives_no_span_that_ends_before_it_begins() -> None:
    clock = NOON - timedelta(days=1)
    assert begun(clock=clock).looking["users"].span == Span(clock, clock)


def test_a_kind_that_was_read_to_the_end_begins_there_next_time() -> None:
    cursor = cursors.noted(begun(), "users", Found((DAY,), 1, "z", is_complete=True))
    assert (cursor.looking, cursor.pending) == ({}, (DAY,))
    assert cursor.scanned == {"users": Scanned(source="here", until=NOON)}


@pytest.mark.parametrize(("keeps_place", "place"), [(True, "m"), (False, None)])
def test_a_kind_that_was_not_read_to_the_end_goes_on_in_the_same_span(keeps_place: bool, place: str | None) -> None:
    before = begun()
    found = Found((DAY,), 1, "m", is_complete=False, error=TransientError("down"))
    cursor = cursors.noted(before, "users", found, keeps_place=keeps_place)
    assert (cursor.pending, cursor.scanned) == ((DAY,), {})
    assert cursor.looking["users"] == before.looking["users"].model_copy(update={"place": place})


def test_days_are_pending_once_and_in_order() -> None:
    found = Found((date(2024, 1, 3), DAY), 2, None, is_complete=True)
    assert cursors.noted(begun(Cursor(pending=(DAY,))), "users", found).pending == (date(2024, 1, 3), DAY)


def test_a_look_at_what_is_there_no_more_is_given_up() -> None:
    looking = {
        kind: Remaining(source=source, since=None, until=NOON)
        for kind, source in {"users": "here", "orders": "elsewhere", "events": "here"}.items()
    }
    sources = dict.fromkeys(looking, "here")
    kept = cursors.only_of(Cursor(looking=looking), sources, {"users", "orders"})
    assert kept.looking.keys() == {"users"}


def test_it_is_time_at_once_at_first_and_while_a_look_is_not_over_and_else_after_the_interval() -> None:
    minute = timedelta(minutes=1)
    assert cursors.next_look(Cursor(), minute) is None
    assert cursors.next_look(begun(), minute) is None
    assert cursors.next_look(Cursor(looked_at=NOON), minute) == NOON + minute


def test_a_source_that_keeps_failing_is_asked_ever_less_often_up_to_a_bound() -> None:
    cursor, waits = Cursor(), []
    for _ in range(7):
        cursor = cursors.failed(cursor, NOON, "down")
        assert cursor.breaker
        waits.append((cursor.breaker.retry_at - NOON) // timedelta(minutes=1))
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert cursors.answered(cursor).breaker is None


def test_a_source_that_is_seldom_looked_at_is_not_asked_more_often_while_it_is_down_for_long() -> None:
    cursor = Cursor()
    for _ in range(9):
        cursor = cursors.failed(cursor, NOON, "down", timedelta(minutes=90))
    assert cursor.breaker
    assert cursor.breaker.retry_at - NOON == timedelta(minutes=90)


def test_an_outage_begins_with_its_first_failure() -> None:
    cursor = cursors.failed(Cursor(), NOON, "down")
    cursor = cursors.failed(cursor, NOON + timedelta(hours=1), "still down")
    assert cursor.breaker
    assert (cursor.breaker.since, cursor.breaker.reason) == (NOON, "still down")


def test_a_wait_is_bounded_however_often_it_doubled() -> None:
    assert cursors.doubled(timedelta(minutes=1), 10_000, timedelta(hours=1)) == timedelta(hours=1)


def test_a_run_that_succeeded_settles_what_was_pending_once() -> None:
    cursor = cursors.settled(Cursor(pending=(DAY,)), "run", succeeded=True)
    assert (cursor.pending, cursor.last_run) == ((), "run")
    later = cursor.model_copy(update={"pending": (DAY,)})
    assert cursors.settled(later, "run", succeeded=True) == later


def test_a_run_that_failed_leaves_it_pending() -> None:
    cursor = cursors.settled(Cursor(pending=(DAY,)), "run", succeeded=False)
    assert (cursor.pending, cursor.last_run) == ((DAY,), "run")
