"""Both engines make the same of the same logs: row by row, in all columns of all tables."""

import json
import shutil
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from profile_pipeline.build import RAW_STEPS, raw
from profile_pipeline.policy import Policy
from profile_pipeline.profiles import decisions_as_of, profiles_as_of
from profile_pipeline.settings import Settings
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.engines.logs import Home, assert_equal, side_by_side
from profile_pipeline_tests.histories import FIRST_DAY, LAST_DAY, Step, histories
from profile_pipeline_tests.oracle import Log
from profile_pipeline_tests.oracle_log import empty_log, ingest_naively
from profile_pipeline_tests.reference_data import REAL, WORKED_EXAMPLE, needs_real_data

pytest.importorskip("pyspark", reason="PySpark is not installed; `pip install -e '.[spark]'` installs it")

HISTORIES = 100
"""Computed side by side in one go: a build on Spark takes most of a minute, however small the history is."""


class Both(NamedTuple):
    duckdb: Home
    spark: Home

    def compute(self, start: date, end: date) -> "Both":
        for home in self:
            home.compute(start, end)
        return self


def both(folder: Path, policy: Policy | None = None) -> Both:
    (folder / "duckdb").mkdir()
    return Both(Home(folder / "duckdb", "duckdb", policy), Home(folder / "spark", "spark", policy))


def from_files(folder: Path, source: Path, window: Window) -> Both:
    """Homes with the logs of a folder of records."""
    if not source.exists():
        pytest.skip(f"{source.name} is not in ../shared")
    homes = both(folder)
    values = {"home": folder / "duckdb", "source_dir": source, "start_date": window.start, "timezone": "UTC"}
    read = Settings(**values, mongodb_uri=None, airtable_api_key=None)
    with open_warehouse(read) as warehouse:
        for kind in RAW_STEPS.values():
            raw(warehouse, read, window, kind)
    shutil.copytree(folder / "duckdb", folder / "spark")
    return homes


def log_after(steps: list[Step]) -> Log:
    log = empty_log()
    for step in steps:
        ingest_naively(log, step.documents, step.window, FIRST_DAY)
    return log


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Both:
    window = Window(date(2024, 1, 1), date(2024, 2, 10))
    homes = from_files(tmp_path_factory.mktemp("example"), WORKED_EXAMPLE, window)
    return homes.compute(window.start, window.end)


def test_the_worked_example_comes_out_exactly(example: Both) -> None:
    assert_equal(example.spark.tables(), example.duckdb.tables())
    expected = json.loads((WORKED_EXAMPLE / "expected.json").read_text())
    rows = example.spark.rows(f"profiles_as_of('{expected['as_of']}')")
    found = {row["id"]: json.loads(json.dumps(row, default=str)) for row in rows}
    for profile in expected["profiles"]:
        assert {name: found[profile["id"]][name] for name in profile} == profile


@pytest.mark.parametrize("day", [date(2024, 2, 5), date(2024, 2, 10), date(2024, 5, 31)])
def test_reading_as_of_a_day_is_the_same_in_spark(example: Both, day: date) -> None:
    with open_warehouse(example.spark.settings) as warehouse:
        stored = warehouse.engine_table("user_profiles")
        for name, read in (
            ("profiles_as_of", profiles_as_of(stored, day, Policy())),
            ("decisions_as_of", decisions_as_of(stored, day)),
        ):
            in_spark = warehouse.spark.frame(read).toArrow().to_pylist()
            in_duckdb = warehouse.connection.sql(f"FROM {name}('{day}')").to_arrow_table().to_pylist()
            assert in_spark == in_duckdb


@needs_real_data
def test_a_year_of_openjs_is_the_same(tmp_path: Path) -> None:
    homes = from_files(tmp_path, REAL / "openjs", Window(date(2018, 10, 22), date(2020, 12, 31)))
    homes.compute(date(2020, 1, 1), date(2020, 12, 31))
    found = homes.spark.tables()
    assert len(found["user_profiles"]) > 200
    assert_equal(found, homes.duckdb.tables())


def test_random_histories_are_the_same(tmp_path: Path) -> None:
    logs: list[Log] = []

    @settings(max_examples=HISTORIES, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps=histories())
    def draw(steps: list[Step]) -> None:
        logs.append(log_after(steps))

    draw()
    homes = both(tmp_path, Policy(cooldown_days=2, team_domains=("team.org",)))
    for home in homes:
        home.append(side_by_side(logs))
    homes.compute(FIRST_DAY, LAST_DAY)
    found = homes.spark.tables()
    assert len(found["user_profiles"]) > HISTORIES
    assert any(row["friends"] for row in found["event_features"])
    assert_equal(found, homes.duckdb.tables())
