"""Features and profiles: one day, 730 days, a night, beside the same profiles made in other ways.

What belongs here: the pipeline's own steps on a warehouse, and what they are compared with. What does not: the rivals
(`rivals/`).

For one day the first partition is that day, so that all users are touched and nothing was computed before. The pipeline
reads the log from its warehouse and stores touched users, each table of features, flags and profiles there; a rival
reads the same log from Parquet and stores profiles in one Parquet file.
"""

import json
import math
import random
import shutil
import time
from collections.abc import Generator, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas  # noqa: F401  # loaded late by PyArrow; imports are not measured, here as with the rivals

from bench.environments import RivalMissing
from bench.harness import Measured, WayFailed, measured
from bench.rivals import COLUMNS, profiles_by
from bench.suite import FIRST_DAY, LAST_DAY, Bench
from bench.table import Row, compared
from profile_pipeline import build as pipeline
from profile_pipeline.garbage import collect_rarely
from profile_pipeline.ingestion import Ingested
from profile_pipeline.settings import Settings
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window

RIVALS = {"Polars": "polars_lazy", "pandas": "pandas_frames", "a script for DuckDB": "duckdb_script"}
NAIVE = "naive loops"
NAIVE_SECONDS = 60
"""How long the naive loops may run; what they leave undone is extrapolated."""
NAIVE_USERS = 10_000
"""Beyond this the naive loops are not run."""

PROFILE_STEPS = [*pipeline.STEPS][: [*pipeline.STEPS].index("user_profiles") + 1]
"""The steps whose result the rivals compute: all up to the profiles."""

GROWING = ("profiles of", "full build")
"""The beginnings of what is compared between sizes."""

TOUCHED_SHARE = 0.01
NIGHTS = [LAST_DAY + timedelta(days=number) for number in range(1, 6)]
"""One after the other: in some of them, and not in others, DuckDB merges what earlier runs left in pieces."""
MANY_USERS, MOST_GIB = 1_000_000, 16
MEMORY_LIMIT = f"{0.8 * MOST_GIB:.1f}GiB"
"""What DuckDB takes by default on a machine of that size; the full build of so many users keeps within it."""
BEST_LIMIT, NAIVE_LIMIT, RANGE_LIMIT, NIGHT_LIMIT = 1.0, 1 / 1000, 3.0, 0.05

collect_rarely()  # as the command line does


def settings_of(home: str | Path, source: str | Path = ".", start: str | date = FIRST_DAY, **others: Any) -> Settings:
    """Settings for a home, whatever `.env` says."""
    return Settings(_env_file=None, home=Path(home), source_dir=Path(source), start_date=str(start), **others)


# Ways.


def ingested(home: str, source: str, start: str) -> Generator[None, None, None]:
    """The logs of all kinds in a new warehouse, from the first partition to the last day of the sample."""
    settings = settings_of(home, source, start)
    settings.warehouse_path.unlink(missing_ok=True)
    yield
    with open_warehouse(settings) as warehouse:
        for kind in RAW_TABLES:
            pipeline.raw(warehouse, settings, Window(settings.start_date, LAST_DAY), kind)


def computed(home: str, day: str) -> Generator[None, None, None]:
    """The profiles of a day, in a warehouse that holds the logs only."""
    window = Window(date.fromisoformat(day), date.fromisoformat(day))
    for name in PROFILE_STEPS:
        with open_warehouse(settings_of(home)) as warehouse:
            warehouse.connection.execute(f"TRUNCATE {name}").fetchall()
    settings = settings_of(home, start=day)
    yield
    with open_warehouse(settings) as warehouse:
        for name in PROFILE_STEPS:
            pipeline.STEPS[name](warehouse, settings, window)


def built(home: str, source: str, start: str, end: str, **others: str) -> Generator[None, None, dict[str, Any]]:
    """All steps of a window, from records in files to decisions; the seconds and CPU seconds of those to profiles."""
    settings = settings_of(home, source, **others)
    wall: dict[str, float] = {}
    cpu: dict[str, float] = {}

    def finished(name: str, done: Ingested | pipeline.Computed) -> None:
        wall[name], cpu[name] = time.perf_counter(), time.process_time()

    yield
    with open_warehouse(settings) as warehouse:
        pipeline.build(warehouse, settings, Window(date.fromisoformat(start), date.fromisoformat(end)), finished)
    logs = [*pipeline.RAW_STEPS][-1]
    return {
        "profile_seconds": wall["user_profiles"] - wall[logs],
        "profile_cpu_seconds": cpu["user_profiles"] - cpu[logs],
    }


def copied(home: str) -> Generator[None, None, None]:
    """The tables of the steps to profiles, as they are, into a new database: what storing them takes at the least."""
    copy = Path(home) / "copied.duckdb"
    copy.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{home}/warehouse.duckdb' AS warehouse (READ_ONLY)").fetchall()
        connection.execute(f"ATTACH '{copy}' AS copied").fetchall()
        yield
        for name in PROFILE_STEPS:
            connection.execute(f"CREATE TABLE copied.{name} AS FROM warehouse.{name}").fetchall()
    copy.unlink()


def night(home: str, records: str, day: str) -> Generator[None, None, dict[str, Any]]:
    """All steps of a day, on a warehouse that holds all days before."""
    settings = settings_of(home, records)
    yield
    with open_warehouse(settings) as warehouse:
        pipeline.build(warehouse, settings, Window(date.fromisoformat(day), date.fromisoformat(day)))
    with open_warehouse(settings, read_only=True) as warehouse:
        return {"touched": warehouse.scalar("SELECT count(*) FROM touched_users WHERE partition_date = ?", day)}


# Rows.


def rows(bench: Bench) -> Iterator[Row]:
    """The rows of a size."""
    home = day_home(bench)
    ours = measured(computed, {"home": home, "day": LAST_DAY}, runs=bench.runs)
    best: Measured | None = None
    try:
        others = one_day_of_rivals(bench, home)
    except RivalMissing as missing:
        yield Row("profiles of one day", bench.users, ours.seconds, ours.cpu_seconds, ours.peak_mb, note=str(missing))
    else:
        best = min(others.values(), key=lambda other: other.seconds)
        for name, other in others.items():
            is_judged: dict[str, Any] = {"target": "no slower than the best rival", "most": BEST_LIMIT}
            target = is_judged if other is best else {}
            yield compared("profiles of one day", bench.users, ours, name, other, note=other.told["note"], **target)
    if bench.users <= NAIVE_USERS:
        yield naive_row(bench, home, ours)
    yield from range_rows(bench, best)


def day_home(bench: Bench) -> Path:
    """A warehouse with the logs of the sample, all known on its last day."""
    home = bench.folder / f"run_{bench.users}" / "day"
    if not home.is_dir():
        measured(ingested, {"home": bench.empty("day"), "source": bench.sample, "start": LAST_DAY})
    return home


def day_home_with_profiles(bench: Bench) -> Path:
    """The same with the profiles of that day."""
    home = day_home(bench)
    with open_warehouse(settings_of(home), read_only=True) as warehouse:
        is_empty = not warehouse.scalar("SELECT count(*) FROM user_profiles")
    if is_empty:
        measured(computed, {"home": home, "day": LAST_DAY})
    return home


def one_day_of_rivals(bench: Bench, home: Path) -> dict[str, Measured]:
    """Each rival's profiles of the day, compared with the pipeline's in every column.

    Raises:
        RivalMissing: their packages are not installed.
    """
    log = export_log(home)
    python = bench.python("rivals")
    found = {}
    for name, module in RIVALS.items():
        out = home / f"{module}.parquet"
        arguments = {"rival": module, "log": log, "day": LAST_DAY, "out": out}
        other = measured("bench.rivals:profiles_by", arguments, runs=bench.runs, python=python)
        other.told["note"] = agreement(home, out)
        found[name] = other
    return found


def naive_row(bench: Bench, home: Path, ours: Measured) -> Row:
    """The naive loops, as far as they get."""
    out = home / "naive_loops.parquet"
    arguments = {
        "rival": "naive_loops",
        "log": export_log(home),
        "day": LAST_DAY,
        "out": out,
        "seconds": NAIVE_SECONDS,
    }
    naive = measured(profiles_by, arguments)
    done = naive.told["done"]
    seconds = naive.told["seconds_of_all"]
    whole = Measured(seconds, naive.cpu_seconds * seconds / naive.seconds, naive.peak_mb, {}, 1)
    note = agreement(home, out, partly=True)
    if done < 1:
        note += f"; extrapolated from {done:.1%} of the users"
    limit = NAIVE_LIMIT if bench.users == NAIVE_USERS else None
    target = "at most a thousandth at 10,000 users"
    return compared("profiles of one day", bench.users, ours, NAIVE, whole, target=target, most=limit, note=note)


def export_log(home: Path) -> Path:
    """The logs of a warehouse as Parquet, without the documents."""
    log = home / "log"
    if not log.is_dir():
        log.mkdir()
        with open_warehouse(settings_of(home), read_only=True) as warehouse:
            for kind, table in RAW_TABLES.items():
                warehouse.connection.execute(
                    f"COPY (SELECT * EXCLUDE (document, content_hash, source) FROM {table.name}) "
                    f"TO '{log / kind}.parquet'"
                ).fetchall()
    return log


def agreement(home: Path, out: Path, *, partly: bool = False, day: date = LAST_DAY) -> str:
    """Whether the profiles of a rival are those of a warehouse as of a day, in every column, in words.

    Args:
        home: of the warehouse.
        out: the rival's profiles.
        partly: whether the rival may lack users.
        day: as of which day.

    Raises:
        WayFailed: they are not, so its time would say nothing.
    """
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{home}/warehouse.duckdb' AS warehouse (READ_ONLY)").fetchall()
        latest = f"""
            SELECT * FROM warehouse.user_profiles SEMI JOIN (
                SELECT id, max(partition_date) AS partition_date FROM warehouse.user_profiles
                WHERE partition_date <= DATE '{day}' GROUP BY id
            ) USING (id, partition_date)
        """
        join = "RIGHT" if partly else "FULL"
        counts = ", ".join(
            f'count(*) FILTER (mine."{name}" IS DISTINCT FROM theirs."{name}") AS "{name}"' for name in COLUMNS
        )
        found = connection.execute(
            f"SELECT count(*), {counts} FROM (SELECT * FROM ({latest}) WHERE NOT is_deleted) AS mine "
            f"{join} JOIN '{out}' AS theirs ON mine.id = theirs.id"
        ).fetchall()
    users, *different = found[0]
    wrong = [f"{name} of {count} users" for name, count in zip(COLUMNS, different, strict=True) if count]
    if wrong:
        raise WayFailed(f"{out.stem} differs from the pipeline in {', '.join(wrong)}")
    return f"equal in all {len(COLUMNS)} columns of {users:,} users"


def range_home(bench: Bench) -> Path:
    """A warehouse with all days of the sample."""
    home = bench.folder / f"run_{bench.users}" / "range"
    if not home.is_dir():
        build_range(bench)
    return home


def build_range(bench: Bench) -> Measured:
    """Build all days of the sample into a new warehouse."""
    arguments = {"home": bench.empty("range"), "source": bench.sample, "start": FIRST_DAY, "end": LAST_DAY}
    if bench.users >= MANY_USERS:
        arguments["memory_limit"] = MEMORY_LIMIT
    return measured(built, arguments)


def range_rows(bench: Bench, best: Measured | None) -> Iterator[Row]:
    """The full build of all days, the range of profiles in it, and a night after it."""
    full = build_range(bench)
    days = Window(FIRST_DAY, LAST_DAY).days
    is_limited = bench.users >= MANY_USERS
    limit = f"; DuckDB limited to {MEMORY_LIMIT}" if is_limited else ""
    whole = Row(
        f"full build of {days} days",
        bench.users,
        full.seconds,
        full.cpu_seconds,
        full.peak_mb,
        target=f"within {MOST_GIB} GiB for {MANY_USERS:,} users",
        runs=1,
        note=f"from files to decisions and their export{limit}",
    )
    yield whole.judged(full.peak_mb < MOST_GIB * 1024) if is_limited else whole
    ours = Measured(full.told["profile_seconds"], full.told["profile_cpu_seconds"], full.peak_mb, {}, 1)
    target = "at most 3 times the best rival's one day"
    if best is None:
        yield Row(
            f"profiles of {days} days", bench.users, ours.seconds, ours.cpu_seconds, ours.peak_mb, target=target, runs=1
        )
    else:
        yield compared(
            f"profiles of {days} days",
            bench.users,
            ours,
            "best rival, ONE day",
            best,
            target=target,
            most=RANGE_LIMIT,
            note="the rival does one of the days, the pipeline all",
        )
    stored = measured(copied, {"home": range_home(bench)}, runs=bench.runs)
    yield compared(f"profiles of {days} days", bench.users, ours, "a bare copy of the tables that it stores", stored)
    after = median_night(bench)
    yield compared(
        "a night",
        bench.users,
        after,
        f"full build of {days} days",
        full,
        target="at most 5 %",
        most=NIGHT_LIMIT,
        note=f"{after.told['touched'] / bench.users:.1%} of the users touched; from files with the night's records to "
        "decisions and their export",
    )


def median_night(bench: Bench) -> Measured:
    """The steps of a night: the median of `NIGHTS`, on a copy of the warehouse of all days."""
    source, home = settings_of(range_home(bench)).warehouse_path, bench.empty("night")
    shutil.copy(source, home)
    found = []
    for day in NIGHTS:
        records = write_night(bench, home / str(day), day)
        found.append(measured(night, {"home": home, "records": records, "day": day}))
    return sorted(found, key=lambda each: each.seconds)[len(found) // 2]


def write_night(bench: Bench, folder: Path, day: date) -> Path:
    """A new folder with the records of a night, which touch one user in a hundred.

    Half of them by events to which guests of earlier ones come again, a third by orders, the others by messages.
    """
    rng = random.Random(f"{bench.users} {day}")
    wanted = round(bench.users * TOUCHED_SHARE)
    with duckdb.connect() as connection:
        lists = connection.execute(
            f"SELECT participants FROM '{bench.sample}/events.parquet' WHERE len(participants) BETWEEN 1 AND 40 "
            f"ORDER BY hash(id || '{day}') LIMIT {wanted}"
        ).fetchall()
        users = connection.execute(f"SELECT id FROM '{bench.sample}/users.parquet' ORDER BY id").fetchall()
    at = f"{day}T12:00:00Z"
    guests: set[str] = set()
    events = []
    for number, (participants,) in enumerate(lists):
        if len(guests) >= wanted / 2:
            break
        guests.update(participants)
        event = {"id": f"night_{day}_{number}", "name": "Night", "date": str(day), "venue": "Club", "host": "Ann"}
        events.append(event | {"participants": participants, "event_type": "dinner", "created_at": at})
    chosen = [id for (id,) in rng.sample(users, wanted - wanted // 2)]
    third = wanted // 3
    orders = [
        {"id": f"night_{day}_{id}", "user_id": id, "amount": 50, "date": str(day), "created_at": at}
        for id in chosen[:third]
    ]
    messages = [
        {
            "id": f"night_{day}_{id}",
            "user_id": id,
            "content": "Hello",
            "status": "sent",
            "sent_date": at,
            "created_date": at,
        }
        for id in chosen[third:]
    ]
    folder.mkdir()
    for kind, records in {"users": [], "events": events, "orders": orders, "messages": messages}.items():
        (folder / f"{kind}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def growth(found: list[Row]) -> Iterator[Row]:
    """How time grows with the data, from each size to the next: the exponent, 1 where it grows as the data does."""
    for what in dict.fromkeys(row.what for row in found if row.what.startswith(GROWING)):
        sizes = {row.users: row.seconds for row in found if row.what == what and row.seconds is not None}
        for small, large in zip(sorted(sizes), sorted(sizes)[1:], strict=False):
            exponent = math.log(sizes[large] / sizes[small]) / math.log(large / small)
            yield Row(
                f"growth of {what}",
                large,
                target="exponent of at most 1",
                met=exponent <= 1,
                note=f"exponent {exponent:.2f} from {small:,} to {large:,} users",
            )
