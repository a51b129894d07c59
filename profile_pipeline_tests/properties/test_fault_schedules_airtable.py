"""Random schedules of writes, clocks, faults and runs against Airtable: nothing is lost, doubled or left over."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import pytest

from profile_pipeline_tests.fault_schedules import Trial, chunks
from profile_pipeline_tests.fault_systems import AirtableSystem, System, small_and_quick

SEEDS = range(1000, 1100)


@pytest.fixture(scope="module", autouse=True)
def _quickly() -> Iterator[None]:
    with small_and_quick():
        yield


def systems(rng: Random, zone: ZoneInfo, number: str) -> list[System]:
    return [AirtableSystem(rng)]


@pytest.mark.parametrize("seeds", chunks(SEEDS, 25), ids=lambda seeds: f"{seeds[0]} to {seeds[-1]}")
def test_whatever_happens_the_log_has_what_the_table_has(seeds: list[int], tmp_path: Path) -> None:
    for seed in seeds:
        Trial(seed, systems, tmp_path).hold()
