"""Summaries and decisions of all profiles as of a day, beside a bare copy of the stored profiles.

What belongs here: reading. What does not: how profiles come about (`profiles.py`).
"""

from collections.abc import Generator, Iterator
from datetime import date

from bench.harness import measured
from bench.profiles import day_home_with_profiles, settings_of
from bench.suite import LAST_DAY, Bench
from bench.table import Row, compared
from profile_pipeline.profiles import profiles_as_of
from profile_pipeline.warehouse import open_warehouse

LARGE = 200_000
"""From this size on profiles are repeated under other keys until there are `MANY`."""
MANY = 1_000_000
MOST_SECONDS = 10.0


def repeated(home: str, profiles: int) -> Generator[None, None, None]:
    """Repeat the profiles of a warehouse under other keys until there are at least so many."""
    yield
    with open_warehouse(settings_of(home)) as warehouse:
        times = -(-profiles // warehouse.scalar("SELECT count(*) FROM user_profiles"))
        warehouse.connection.execute(
            "INSERT INTO user_profiles SELECT p.* REPLACE (id || '_' || copy AS id) "
            f"FROM user_profiles AS p, range(1, {times}) AS copies(copy)"
        ).fetchall()


def told(home: str, day: str) -> Generator[None, None, dict[str, int]]:
    """Write every profile's summary, decision and reasons as of a day to Parquet."""
    settings = settings_of(home)
    with open_warehouse(settings, read_only=True) as warehouse:
        profiles = profiles_as_of(warehouse.table("user_profiles"), date.fromisoformat(day), settings.policy)
        read = profiles.select("id", "summary", "decision", "decision_reasons")
        yield
        written = warehouse.connection.execute(
            f"COPY ({warehouse.ibis.compile(read)}) TO '{settings.home}/told.parquet'"
        ).fetchall()
    return {"profiles": written[0][0]}


def copied(home: str) -> Generator[None, None, None]:
    """Write the stored profiles to Parquet as they are."""
    settings = settings_of(home)
    with open_warehouse(settings, read_only=True) as warehouse:
        yield
        warehouse.connection.execute(f"COPY user_profiles TO '{settings.home}/copied.parquet'").fetchall()


def rows(bench: Bench) -> Iterator[Row]:
    """The row of a size."""
    home = day_home_with_profiles(bench)
    is_judged = bench.users >= LARGE
    if is_judged:
        measured(repeated, {"home": home, "profiles": MANY})
    ours = measured(told, {"home": home, "day": LAST_DAY}, runs=bench.runs)
    theirs = measured(copied, {"home": home}, runs=bench.runs)
    note = f"{ours.told['profiles']:,} profiles" + (f", those of {bench.users:,} users repeated" * is_judged)
    row = compared(
        "summaries and decisions as of a day",
        bench.users,
        ours,
        "bare copy of the profiles",
        theirs,
        target=f"under {MOST_SECONDS:.0f} s for {MANY:,}",
        note=note,
    )
    yield row.judged(ours.seconds < MOST_SECONDS) if is_judged else row
