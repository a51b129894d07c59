"""Real processes that are killed while they build: what is left tells the truth, and the next run ends right."""

import json
import shutil
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from profile_pipeline.build import build
from profile_pipeline.computed_days import PROFILE_TABLES, days_owed
from profile_pipeline.sample import write_sample
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.integration.warehouse_builder import START, settings_of

# Other tests run the same lines, and a killed process tells of none.
pytestmark = pytest.mark.no_cover

USERS = 1000
"""Enough for a step to be caught in the middle of its work."""

BEFORE = Window(START, date(2024, 2, 10))
AFTER = Window(date(2024, 1, 10), date(2024, 2, 20))
"""The days built before, and those that the run that is killed was to build."""

Tables = dict[str, list[dict[str, Any]]]

MOMENTS = [("raw_messages", 0.1), ("touched_users", 0.3), ("personalization_flags", 0.4)]
"""Steps, and seconds after their end: in touched users, in event features, and in profiles."""


def run(home: Path, window: Window) -> None:
    settings = settings_of(home)
    with open_warehouse(settings) as warehouse:
        build(warehouse, settings, window)


def killed(home: Path, step: str, *delay: float) -> int:
    module = "profile_pipeline_tests.integration.warehouse_builder"
    command = [sys.executable, "-m", module, str(home), str(AFTER.start), str(AFTER.end), step, *map(str, delay)]
    return subprocess.run(command, check=False, timeout=120).returncode


def tables(home: Path) -> Tables:
    with open_warehouse(settings_of(home), read_only=True) as warehouse:
        names = [name for (name,) in warehouse.connection.execute("SHOW TABLES").fetchall()]
        return {name: warehouse.records(f"SELECT * FROM {name} ORDER BY ALL") for name in names}


def owed(home: Path) -> list[date]:
    with open_warehouse(settings_of(home), read_only=True) as warehouse:
        return days_owed(warehouse)


def settled(home: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a table on days that are said to be computed and to owe nothing."""
    left, days = tables(home), set(owed(home))
    computed = {row["partition_date"] for row in left["computed_days"] if row["is_complete"]} - days
    return [row for row in left[name] if row["partition_date"] in computed]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that was built once, and whose source has since gained records of days past and of days to come."""
    home = tmp_path_factory.mktemp("crashes") / "home"
    write_sample(home / "source", USERS, format="parquet")
    run(home, BEFORE)
    users = [row for row in tables(home)["raw_users"] if row["deleted_date"] is None][:40]
    late = {
        "users": [{"id": "late", "email": "late@x.org", "created_at": "2024-01-10"}],
        "events": [
            {"id": f"late{day}", "name": "Dinner", "date": f"2024-01-{day}", "participants": [
                "late@x.org", *(user["email"] for user in users)
            ]}
            for day in (12, 19)
        ],
        "messages": [
            {"id": f"late{n}", "user_id": user["id"], "content": "Hi", "status": "sent", "sent_date": "2024-02-11"}
            for n, user in enumerate(users)
        ],
    }  # fmt: skip
    for kind, records in late.items():
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (home / "source" / f"{kind}.jsonl").write_text(lines)
    return home


@pytest.fixture(scope="module")
def undisturbed(base: Path) -> Tables:
    home = base.with_name("undisturbed")
    shutil.copytree(base, home)
    run(home, AFTER)
    return tables(home)


@pytest.fixture
def home(base: Path, tmp_path: Path) -> Path:
    shutil.copytree(base, tmp_path / "home")
    return tmp_path / "home"


def assert_the_next_run_ends_right(home: Path, undisturbed: Tables) -> None:
    run(home, AFTER)
    assert owed(home) == []
    ended = tables(home)
    for name, rows in undisturbed.items():
        assert ended[name] == rows, name


def test_the_days_of_a_run_killed_before_the_profiles_are_owed(home: Path, undisturbed: Tables) -> None:
    assert killed(home, "touched_users") == -signal.SIGKILL
    assert owed(home) == [*AFTER]
    profiles = settled(home, "user_profiles")
    assert {row["partition_date"] for row in profiles} == {*Window(BEFORE.start, date(2024, 1, 9))}
    assert profiles == [row for row in undisturbed["user_profiles"] if row["partition_date"] < AFTER.start]
    assert_the_next_run_ends_right(home, undisturbed)


def test_a_run_killed_after_the_profiles_owes_its_days_until_all_that_follows_is_there(
    home: Path, undisturbed: Tables
) -> None:
    assert killed(home, "user_profiles") == -signal.SIGKILL
    still_owed = {*owed(home)}
    assert {*AFTER} <= still_owed
    for name in PROFILE_TABLES:
        assert settled(home, name) == [row for row in undisturbed[name] if row["partition_date"] not in still_owed]
    assert_the_next_run_ends_right(home, undisturbed)


@pytest.mark.parametrize(("step", "delay"), MOMENTS)
def test_a_run_killed_at_any_moment_calls_no_day_done_that_is_not(
    home: Path, undisturbed: Tables, step: str, delay: float
) -> None:
    # A fast machine may be done before.
    assert killed(home, step, delay) in {-signal.SIGKILL, 0}
    profiles = settled(home, "user_profiles")
    days = {row["partition_date"] for row in profiles}
    assert profiles == [row for row in undisturbed["user_profiles"] if row["partition_date"] in days]
    assert days >= {*Window(BEFORE.start, date(2024, 1, 9))}
    assert_the_next_run_ends_right(home, undisturbed)
