"""The laws of the log: days one by one give what a range gives, and a second run adds nothing."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from profile_pipeline.ingestion import Ingested, ingest
from profile_pipeline.settings import Settings
from profile_pipeline.sources import source_for
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import Warehouse, open_warehouse
from profile_pipeline.window import Window

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 4)
RANGE = Window(FIRST, LAST)

laws = settings(max_examples=10, deadline=None)
times = st.sampled_from([f"2024-01-0{day}{clock}" for day in range(1, 5) for clock in ("", "T09:00:00Z")])
optional_times = st.none() | times | st.sampled_from(["2023-06-01", "2024-01-09"])

users = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["u1", "u2", "u3"]),
        "email": st.sampled_from(["a@x.y", "b@x.y", "c@x.y"]),
        "created_at": optional_times,
        "updated_at": optional_times,
        "deleted_at": st.none() | st.none() | times,
        "age": st.sampled_from([None, 30, 31, 200]),
    }
)
orders = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["o1", "o2"]),
        "user_id": st.just("u1"),
        "amount": st.sampled_from([1, 2, "x"]),
        "date": times | st.sampled_from(["soon"]),
        "created_at": optional_times,
        "updated_at": optional_times,
    }
)
sources = st.fixed_dictionaries({"users": st.lists(users, max_size=8), "orders": st.lists(orders, max_size=8)})
Sources = dict[str, list[dict[str, Any]]]


@contextmanager
def workplace() -> Iterator[tuple[Warehouse, Settings]]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        configured = Settings(home=home, source_dir=home, start_date=FIRST)
        with open_warehouse(configured) as warehouse:
            yield warehouse, configured


def write(configured: Settings, records: Sources) -> None:
    for kind, documents in records.items():
        lines = [*map(json.dumps, documents), "not json"]
        (configured.source_dir / f"{kind}.jsonl").write_text("\n".join(lines))


def run(warehouse: Warehouse, configured: Settings, window: Window) -> list[Ingested]:
    return [ingest(warehouse, source_for(kind, configured), kind, window, configured) for kind in ("users", "orders")]


def stored(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """The log in its order, without the absolute numbers of that order, and the quarantine."""
    tables = {
        table.name: f"SELECT * EXCLUDE sequence FROM {table.name} ORDER BY partition_date, sequence"
        for table in RAW_TABLES.values()
    } | {"quarantine": "FROM quarantine ORDER BY ALL"}
    return {name: warehouse.connection.execute(query).fetchall() for name, query in tables.items()}


@laws
@given(before=sources, after=sources)
def test_days_one_by_one_give_what_a_range_gives(before: Sources, after: Sources) -> None:
    with workplace() as (whole, configured), workplace() as (daily, configured_daily):
        for records in (before, after):
            write(configured, records)
            write(configured_daily, records)
            run(whole, configured, RANGE)
            for day in RANGE:
                run(daily, configured_daily, Window(day, day))
            assert stored(daily) == stored(whole)


@laws
@given(before=sources, after=sources)
def test_a_second_run_adds_nothing_and_counts_the_same(before: Sources, after: Sources) -> None:
    with workplace() as (warehouse, configured):
        for records in (before, after):
            write(configured, records)
            first = run(warehouse, configured, RANGE)
            log = stored(warehouse)
            second = run(warehouse, configured, RANGE)
            assert stored(warehouse) == log
            assert [(done.versions_added, done.newly_quarantined) for done in second] == [(0, 0)] * 2
            assert [(done.rows_in, done.rejected, done.reasons) for done in second] == [
                (done.rows_in, done.rejected, done.reasons) for done in first
            ]


@laws
@given(histories=st.lists(sources, min_size=2, max_size=3))
def test_the_log_only_grows(histories: list[Sources]) -> None:
    with workplace() as (warehouse, configured):
        kept: set[tuple[Any, ...]] = set()
        for records in histories:
            write(configured, records)
            run(warehouse, configured, RANGE)
            rows = warehouse.connection.execute("SELECT sequence, id, document FROM raw_users").fetchall()
            assert kept <= set(rows)
            kept = set(rows)


@laws
@given(records=sources)
def test_no_address_ever_has_two_live_users(records: Sources) -> None:
    with workplace() as (warehouse, configured):
        write(configured, records)
        run(warehouse, configured, RANGE)
        for day in RANGE:
            assert shared_addresses(warehouse, day) == []


def shared_addresses(warehouse: Warehouse, day: date) -> list[tuple[Any, ...]]:
    return warehouse.connection.execute(
        """
        WITH latest AS (
            FROM raw_users WHERE partition_date <= $day
            QUALIFY row_number() OVER (
                PARTITION BY id ORDER BY partition_date DESC, changed_at DESC NULLS LAST, sequence DESC
            ) = 1
        )
        SELECT email FROM latest WHERE deleted_date IS NULL OR deleted_date > $day
        GROUP BY email HAVING count(*) > 1
        """,
        {"day": day},
    ).fetchall()
