"""Validity intervals and the as-of join, against a search through the log by hand; and uniting intervals."""

import random
from datetime import date, datetime
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_pipeline.features.attendance import unite
from profile_pipeline.history import (
    FOREVER,
    as_of_join,
    days_touched,
    on_each_day,
    states,
    touches_because,
    touching,
    versions,
)
from profile_pipeline.tables import TABLES
from profile_pipeline.window import Window
from profile_pipeline_tests.stored_profiles import arrow, rows_of, stored, table, warehouse

LOG = TABLES["raw_messages"].types
PAIRS = {"id": "string", "as_of": "date"}
FACTS = {"key": "string", "valid_from": "date", "valid_to": "date"}
LAST_DAY = 6
Row = dict[str, Any]


def jan(day: int) -> date:
    return date(2024, 1, day)


@st.composite
def logs(draw: st.DrawFn) -> list[Row]:
    """Versions of two records within a few days, some of one day, some without a time of change, some deleted."""
    hours = st.none() | st.sampled_from((datetime(2024, 1, 1), datetime(2024, 1, 2), datetime(2024, 1, 3)))
    version = st.fixed_dictionaries(
        {
            "partition_date": st.integers(1, LAST_DAY).map(jan),
            "id": st.sampled_from("ab"),
            "changed_at": hours,
            "deleted_date": st.none() | st.integers(1, LAST_DAY + 1).map(jan),
        }
    )
    rows = draw(st.lists(version, max_size=8))
    return [row | {"sequence": sequence} for sequence, row in enumerate(rows)]


def found_by_hand(log: list[Row], key: str, day: date) -> int | None:
    """The sequence number of the version that holds on a day."""
    known = [row for row in log if row["id"] == key and row["partition_date"] <= day]
    if not known:
        return None
    latest = max(
        known,
        key=lambda row: (
            row["partition_date"],
            row["changed_at"] is not None,
            row["changed_at"] or datetime.min,
            row["sequence"],
        ),
    )
    return None if latest["deleted_date"] and latest["deleted_date"] <= day else latest["sequence"]


@cache
def joined(through: int) -> str:
    """The query, compiled once: that takes longer than to run it."""
    ibis = warehouse().ibis
    pairs = ibis.create_table("pairs", schema=PAIRS, temp=True, overwrite=True)
    facts = versions(ibis.table("raw_messages"), jan(through))
    return str(ibis.compile(as_of_join(pairs, facts, "id").select("id", "as_of", "sequence")))


def store(name: str, rows: list[Row], types: dict[str, str]) -> None:
    connection = warehouse().connection
    connection.register("given", arrow(rows, types))
    connection.execute(f"DELETE FROM {name}").fetchall()
    connection.execute(f"INSERT INTO {name} SELECT * FROM given").fetchall()


@given(log=logs(), through=st.sampled_from((3, LAST_DAY)))
def test_on_each_day_the_join_finds_the_version_that_a_search_through_the_log_finds(
    log: list[Row], through: int
) -> None:
    query = joined(through)
    pairs = [{"id": key, "as_of": jan(day)} for key in "ab" for day in range(1, through + 1)]
    store("raw_messages", log, LOG)
    store("pairs", pairs, PAIRS)
    rows = warehouse().connection.execute(query).fetchall()
    assert len(rows) == len({(key, day) for key, day, _ in rows})
    found = {(key, day): sequence for key, day, sequence in rows}
    assert found == {
        (pair["id"], pair["as_of"]): sequence
        for pair in pairs
        if (sequence := found_by_hand(log, pair["id"], pair["as_of"])) is not None
    }


def test_what_is_known_later_is_not_seen() -> None:
    log = [{"partition_date": jan(day), "id": "a", "sequence": day} for day in (1, 4)]
    (known,) = rows_of(versions(table(log, LOG), jan(3)))
    assert (known["valid_from"], known["valid_to"], known["sequence"]) == (jan(1), FOREVER, 1)


def test_a_deletion_known_ahead_ends_a_version_on_its_day() -> None:
    log = [{"partition_date": jan(1), "id": "a", "sequence": 1, "deleted_date": jan(4)}]
    (known,) = rows_of(versions(table(log, LOG), jan(2)))
    assert (known["valid_from"], known["valid_to"]) == (jan(1), jan(4))


@pytest.mark.parametrize(
    ("occurs", "days"),
    [
        pytest.param(None, {2, 5}, id="appears and disappears"),
        pytest.param(3, {2, 3, 5}, id="happens meanwhile"),
        pytest.param(2, {2, 5}, id="happens as it appears"),
        pytest.param(1, {2, 5}, id="happened before it was known"),
        pytest.param(5, {2, 5}, id="would have happened when it was gone"),
    ],
)
def test_a_fact_touches_the_days_on_which_it_appears_happens_and_disappears(occurs: int | None, days: set[int]) -> None:
    fact = {"key": "a", "valid_from": jan(2), "valid_to": jan(5), "date": occurs and jan(occurs)}
    facts = table([fact], FACTS | {"date": "date"})
    assert {row["day"].day for row in rows_of(days_touched(facts, ["key"], occurs="date"))} == days


def test_a_fact_that_still_holds_does_not_disappear() -> None:
    facts = table([{"key": "a", "valid_from": jan(2), "valid_to": FOREVER}], FACTS)
    assert rows_of(days_touched(facts, ["key"])) == [{"key": "a", "day": jan(2)}]


@cache
def days_in(window: Window) -> tuple[str, str]:
    """The days of a window that records touch, from the whole log and from what touches the window."""
    log = warehouse().ibis.table("raw_messages")
    whole, part = (
        days_touched(versions(rows, window.end), ["id"], occurs="sent_date").distinct()
        for rows in (log, touching(log, window, "sent_date"))
    )
    compiled = [
        warehouse().ibis.compile(days.filter(days.day.between(window.start, window.end))) for days in (whole, part)
    ]
    return str(compiled[0]), str(compiled[1])


@given(
    log=logs(),
    sent=st.lists(st.none() | st.integers(1, LAST_DAY).map(jan), min_size=8, max_size=8),
    window=st.sampled_from((Window(jan(3), jan(3)), Window(jan(2), jan(4)))),
)
def test_the_past_of_what_touches_a_window_gives_all_days_that_the_whole_log_gives(
    log: list[Row], sent: list[date | None], window: Window
) -> None:
    store("raw_messages", [row | {"sent_date": day} for row, day in zip(log, sent, strict=False)], LOG)
    whole, part = (sorted(warehouse().connection.execute(query).fetchall()) for query in days_in(window))
    assert part == whole


def test_of_what_touches_a_window_all_rows_are_kept_and_of_the_rest_none() -> None:
    rows = [
        {"partition_date": jan(1), "id": "changes", "sequence": 1},
        {"partition_date": jan(3), "id": "changes", "sequence": 2},
        {"partition_date": jan(1), "id": "goes", "sequence": 3, "deleted_date": jan(3)},
        {"partition_date": jan(1), "id": "happens", "sequence": 4, "sent_date": jan(3)},
        {"partition_date": jan(2), "id": "is known", "sequence": 5, "sent_date": jan(2), "deleted_date": jan(4)},
    ]
    found = rows_of(touching(table(rows, LOG), Window(jan(3), jan(3)), "sent_date"))
    assert {row["sequence"] for row in found} == {1, 2, 3, 4}


def test_a_feature_is_computed_where_it_can_change_and_carried_to_the_days_between() -> None:
    touched = [
        {"partition_date": jan(day), "user_id": key, "touched_by": [reason]}
        for key, day, reason in [
            *(("a", 2, "event"), ("a", 3, "order"), ("a", 4, "event"), ("a", 5, "user"), ("a", 6, "message")),
            *(("b", 3, "message"), ("b", 5, "order")),
        ]
    ]
    rows = stored(touched, TABLES["touched_users"].types)
    found = states(rows, touches_because(rows, ("order", "user")))
    computed = {(row["user_id"], row["as_of"].day): {day.day for day in row["days"]} for row in rows_of(found)}
    # The first day of a user in the window is computed whatever touched them.
    assert computed == {("a", 2): {2}, ("a", 3): {3, 4}, ("a", 5): {5, 6}, ("b", 3): {3}, ("b", 5): {5}}
    carried = rows_of(on_each_day(found))
    assert sorted((row["user_id"], row["as_of"].day, row["partition_date"].day) for row in carried) == sorted(
        (key, as_of, day) for (key, as_of), days in computed.items() for day in days
    )


def test_a_change_before_the_window_is_what_its_days_are_computed_as_of() -> None:
    touched = [{"partition_date": jan(day), "user_id": "a", "touched_by": ["order"]} for day in (4, 6)]
    changes = table(
        [{"user_id": "a", "day": jan(day)} for day in (1, 3, 5, 5, 9)], {"user_id": "string", "day": "date"}
    )
    rows = rows_of(states(stored(touched, TABLES["touched_users"].types), changes))
    assert {row["as_of"].day: [day.day for day in row["days"]] for row in rows} == {3: [4], 5: [6]}


Interval = tuple[str, int, int]


@cache
def united() -> str:
    facts = warehouse().ibis.create_table("intervals", schema=FACTS, temp=True)
    return str(warehouse().ibis.compile(unite(facts, ["key"]).select(list(FACTS))))


@given(
    intervals=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(1, 9), st.integers(1, 4)).map(
            lambda drawn: (drawn[0], drawn[1], drawn[1] + drawn[2])
        ),
        max_size=8,
    )
)
def test_united_intervals_hold_on_the_same_days_and_leave_a_gap_between_them(intervals: list[Interval]) -> None:
    query = united()
    store("intervals", [{"key": k, "valid_from": jan(a), "valid_to": jan(b)} for k, a, b in intervals], FACTS)
    found = sorted((key, a.day, b.day) for key, a, b in warehouse().connection.execute(query).fetchall())
    assert {(k, day) for k, a, b in found for day in range(a, b)} == {
        (k, day) for k, a, b in intervals for day in range(a, b)
    }
    ends = [(one[2], other[1]) for one, other in pairwise(found) if one[0] == other[0]]
    assert [(end, start) for end, start in ends if end >= start] == []


def test_equal_intervals_are_united_among_many() -> None:
    # So many that DuckDB may sort equal ones once so and once otherwise.
    rows = [{"key": f"k{number % 1000}", "valid_from": jan(1), "valid_to": FOREVER} for number in range(2000)]
    random.Random(1).shuffle(rows)
    assert len(rows_of(unite(table(rows, FACTS), ["key"]))) == 1000
