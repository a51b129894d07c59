"""Incremental = rebuild, at the size of a real club: a month of nightly runs against one rebuild from the same log.

    python -m bench.laws_at_scale --users 200000 --days 30

Everybody is there on the first day. Each night then brings what is new, what came late (records of up to five days
ago), and what changed: users renamed, moved to other addresses or deleted, participants dropped and added, events
cancelled or moved to another day, orders refunded, queued messages sent; some changes are told days later, too. Two
nights of three run their own day only, the third also the days that owe a recompute by then. In the end every derived
table is compared with that of a fresh warehouse, built in one range from the same log, by hash over all columns, and
`verify` is asked the same.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table

from profile_pipeline import build
from profile_pipeline.computed_days import days_owed
from profile_pipeline.policy import Policy
from profile_pipeline.sample import bulk
from profile_pipeline.settings import Settings
from profile_pipeline.tables import RAW_TABLES, TABLES
from profile_pipeline.verification import SAMPLE_USERS, verify
from profile_pipeline.warehouse import Warehouse, open_warehouse
from profile_pipeline.window import Window

SEED = 20240101
LAST_DAY = bulk.FIRST_DAY + timedelta(days=bulk.DAYS - 1)
LATEST = 5
"""Days by which the latest record is late."""

CREATED = {"users": "created_at", "orders": "created_at", "events": "created_at", "messages": "created_date"}


class Club:
    """The records as their source has them on a day, in memory; `arrives` is the day on which one is first read."""

    def __init__(self, folder: Path, users: int, first: date) -> None:
        """Make up the records; what had not happened by the day on which one arrives is not known of it yet."""
        bulk.write(folder, users, SEED)
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        for kind, created in CREATED.items():
            day = f"greatest({created}::DATE, DATE '{first}')"
            later = [name for name in ("updated_at", "deleted_at") if name in self.columns(folder, kind)]
            unknown = ", ".join(f"CASE WHEN {name}::DATE <= arrives THEN {name} END AS {name}" for name in later)
            # One record in fifty comes late.
            late = (
                f"CASE WHEN {day} > DATE '{first}' AND hash(id) % 50 = 0 THEN 1 + hash(id) // 50 % {LATEST} ELSE 0 END"
            )
            self.run(
                f"""
                CREATE TABLE {kind} AS SELECT * {f"REPLACE ({unknown})" if later else ""} FROM (
                    SELECT *, {day} + ({late})::INTEGER AS arrives FROM read_parquet('{folder}/{kind}.parquet')
                )
                """
            )
            if "updated_at" not in later:
                self.run(f"ALTER TABLE {kind} ADD COLUMN updated_at TIMESTAMPTZ")

    @staticmethod
    def columns(folder: Path, kind: str) -> set[str]:
        """What a file has."""
        described = duckdb.execute(f"DESCRIBE FROM read_parquet('{folder}/{kind}.parquet')").fetchall()
        return {row[0] for row in described}

    def run(self, statement: str) -> None:
        """Execute one statement."""
        self.connection.execute(statement).fetchall()

    def change(self, day: date) -> None:
        """What happens on a day to records that are there; a tenth of it is dated up to two days back."""
        drawn = f"hash(id || '{day}')"
        told = f"TIMESTAMPTZ '{day} 12:00' - to_days(CASE WHEN {drawn} // 7 % 10 = 0 THEN 2 ELSE 0 END)"
        there = f"arrives < DATE '{day}'"
        around = f"date BETWEEN DATE '{day - timedelta(30)}' AND DATE '{day + timedelta(30)}'"
        for kind, one_in, condition, values in (
            ("users", 400, "true", "age = 20 + (age + 7) % 60, occupation = 'Gardener'"),
            ("users", 1_000, "true", "name = 'Called ' || id"),
            ("users", 3_000, "true", "email = 'moved.' || email"),
            ("users", 4_000, "true", f"deleted_at = TIMESTAMPTZ '{day} 12:00'"),
            ("events", 50, around, "participants = participants[2:]"),
            ("events", 60, around, "participants = list_append(participants, participants[1] || '.org')"),
            ("events", 200, around, "status = 'cancelled'"),
            ("events", 200, around, "date = date + 1"),
            ("orders", 3_000, "true", "status = 'refunded'"),
            ("messages", 30, "status = 'queued'", f"status = 'sent', sent_date = TIMESTAMPTZ '{day} 11:00'"),
        ):
            # Another number for each line, so that they choose different records.
            chosen = f"hash(id || '{day}' || {one_in + len(values)}) % {one_in} = 0"
            self.run(f"UPDATE {kind} SET updated_at = {told}, {values} WHERE {there} AND {condition} AND {chosen}")

    def write(self, folder: Path, day: date, *, everything: bool) -> int:
        """Write what was read by the end of the first day, or what came and changed on a day; how many records."""
        count = 0
        for kind in CREATED:
            new = f"arrives <= DATE '{day}'" if everything else f"arrives = DATE '{day}'"
            changed = f"arrives < DATE '{day}' AND updated_at BETWEEN '{day - timedelta(2)}' AND '{day + timedelta(1)}'"
            self.run(
                f"""
                COPY (SELECT * EXCLUDE (arrives) FROM {kind} WHERE {new} OR ({changed}))
                TO '{folder}/{kind}.parquet'
                """
            )
            ((rows,),) = self.connection.execute(f"SELECT count(*) FROM '{folder}/{kind}.parquet'").fetchall()
            count += rows
        return count


def night(warehouse: Warehouse, settings: Settings, day: date, first: date, *, pays: bool) -> None:
    """Read what came by a day, compute the day and, if it pays, the days owed before it."""
    read = Window(max(first, day - timedelta(days=LATEST)), day)
    for kind in RAW_TABLES:
        build.raw(warehouse, settings, read, kind)
    owed = days_owed(warehouse) if pays else []
    compute(warehouse, settings, Window(min([*owed, day]), day))


def compute(warehouse: Warehouse, settings: Settings, window: Window) -> None:
    """Every derived table of a window."""
    for step in build.STEPS.values():
        step(warehouse, settings, window)


@contextmanager
def rebuilt(stored: Settings, window: Window) -> Iterator[Warehouse]:
    """A fresh warehouse with the log of a stored one, computed in one range; the latter is attached as `stored`."""
    with tempfile.TemporaryDirectory(dir=stored.home) as folder:
        fresh = stored.model_copy(update={"home": Path(folder)})
        with open_warehouse(fresh) as warehouse:
            warehouse.connection.execute(f"ATTACH '{stored.warehouse_path}' AS stored (READ_ONLY)").fetchall()
            for table in RAW_TABLES.values():
                warehouse.connection.execute(f"INSERT INTO {table.name} FROM stored.{table.name}").fetchall()
            compute(warehouse, fresh, window)
            yield warehouse


def compared(warehouse: Warehouse, name: str) -> dict[str, Any]:
    """A table's rows, days, and days whose rows differ between the fresh warehouse and the stored one."""
    columns = ", ".join(f'"{column}"' for column in TABLES[name].columns)
    by_day = f"SELECT partition_date, count(*) AS n, sum(hash({columns})::HUGEINT) AS digest"
    (found,) = warehouse.records(
        f"""
        SELECT sum(one.n)::BIGINT AS rows_incremental, sum(other.n)::BIGINT AS rows_rebuilt, count(*) AS days,
            count(*) FILTER ((one.n, one.digest) IS DISTINCT FROM (other.n, other.digest)) AS days_that_differ
        FROM ({by_day} FROM stored.{name} GROUP BY 1) AS one
        FULL JOIN ({by_day} FROM {name} GROUP BY 1) AS other USING (partition_date)
        """
    )
    return {"table": name, **found}


def timed(figures: dict[str, float], name: str, do: Callable[[], Any]) -> Any:
    """The result, with the seconds that it took noted under a name."""
    started = time.perf_counter()
    result = do()
    figures[name] = round(time.perf_counter() - started, 1)
    print(f"{name}: {figures[name]} s", file=sys.stderr, flush=True)
    return result


def incrementally(settings: Settings, club: Club, window: Window, figures: dict[str, float]) -> list[int]:
    """The first day, each night, and the days owed in the end; how many records each night brought."""
    brought = []
    nights = []
    with open_warehouse(settings) as warehouse:
        for offset, day in enumerate(window):
            club.change(day)
            records = club.write(settings.source_dir, day, everything=offset == 0)
            started = time.perf_counter()
            night(warehouse, settings, day, window.start, pays=offset % 3 == 1)
            seconds = time.perf_counter() - started
            print(f"{day}: {records:,} records, {seconds:.1f} s", file=sys.stderr, flush=True)
            if offset:
                brought.append(records)
                nights.append(seconds)
            else:
                figures["first day"] = round(seconds, 1)
        owed = days_owed(warehouse)
        figures["days owed in the end"] = len(owed)
        if owed:
            compute(warehouse, settings, Window(owed[0], window.end))
    figures["nights, mean"] = round(sum(nights) / len(nights), 1)
    return brought


def main(users: int, days: int, memory: str | None, folder: Path) -> bool:
    """Do all of it, print the table and the JSON; whether nothing differs."""
    window = Window(LAST_DAY - timedelta(days=days), LAST_DAY)
    source, home = folder / "source", folder / "home"
    source.mkdir()
    # The late days of a club of this size are few; no batch is refused for that.
    settings = Settings(
        _env_file=None,
        home=home,
        source_dir=source,
        start_date=window.start,
        policy=Policy(max_rejected_share=1.0),
        memory_limit=memory,
    )
    figures: dict[str, float] = {}
    club = timed(figures, "records made up", lambda: Club(source, users, window.start))
    brought = incrementally(settings, club, window, figures)
    club.connection.close()

    def rebuild() -> list[dict[str, Any]]:
        with rebuilt(settings, window) as warehouse:
            return [compared(warehouse, name) for name in build.STEPS]

    tables = timed(figures, "rebuild and comparison", rebuild)
    sampled = timed(figures, f"verify, {SAMPLE_USERS} users", lambda: verify(settings))
    whole = timed(figures, "verify --whole", lambda: verify(settings, sample=None))
    figures["peak memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    shown = Table(title=f"{users:,} users, {days} nights, {sum(brought):,} records came or changed")
    for heading in tables[0]:
        shown.add_column(heading.replace("_", " "), no_wrap=heading == "table")
    for row in tables:
        shown.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    Console(stderr=True).print(shown)
    problems = [found.problem for found in (sampled, whole) if found.problem]
    print(json.dumps({"users": users, "nights": days, "tables": tables, "figures": figures, "verify": problems}))
    return not problems and not any(row["days_that_differ"] for row in tables)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--memory", help="DuckDB's limit, such as 3GB")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        sys.exit(0 if main(given.users, given.days, given.memory, Path(made)) else 1)
