"""Random schedules of writes, clocks, faults and runs against MongoDB: nothing is lost, doubled or left over."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import pytest
from pymongo import MongoClient

from profile_pipeline_tests.fault_schedules import Trial, chunks
from profile_pipeline_tests.fault_systems import Fields, Make, MongoSystem, System, small_and_quick
from profile_pipeline_tests.servers.mongodb import Server, mongodb_server

SEEDS = range(100)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with small_and_quick(), mongodb_server(replica_set="rs0") as server:
        if not server.supports("setClock"):
            pytest.skip("the server's clock cannot be set")
        yield server


@pytest.fixture(scope="module")
def make(server: Server) -> Make:
    # Its own heartbeat would meet the faults that are meant for others.
    client: MongoClient[Fields] = server.client(heartbeatFrequencyMS=10**7)

    def systems(rng: Random, zone: ZoneInfo, number: str) -> list[System]:
        kind = rng.choice(("users", "orders", "events"))
        return [MongoSystem(kind, server, client, rng, zone=zone, number=number)]

    return systems


@pytest.mark.parametrize("seeds", chunks(SEEDS, 25), ids=lambda seeds: f"{seeds[0]} to {seeds[-1]}")
def test_whatever_happens_the_log_has_what_the_database_has(seeds: list[int], make: Make, tmp_path: Path) -> None:
    for seed in seeds:
        Trial(seed, make, tmp_path).hold()
