"""Ingesting a MongoDB collection, next to a bare loop of the driver over the same server.

    python -m bench.mongodb_ingestion --documents 1000000 --rounds 3

The server is that of the tests, a process of its own, or the one that MONGODB_TEST_URI names. Each round runs the
loop and then the ingestion into an empty warehouse, each in a new process, so that the peak of memory is its own.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Generator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
from bson import ObjectId
from pymongo import MongoClient
from rich.console import Console
from rich.table import Table

from bench.harness import Measured, Way, measured
from profile_pipeline.build import raw
from profile_pipeline.settings import Settings
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.servers.mongodb import mongodb_server

FIRST = datetime(2024, 1, 1)
LAST_DAY = date(2025, 12, 31)
MINUTES = 2 * 365 * 24 * 60
"""Two years, over which the users come."""


def user(number: int) -> dict[str, object]:
    """A user with all profile fields, changed some hours after it was made."""
    created = FIRST + timedelta(minutes=number * 7919 % MINUTES)
    return {
        "_id": ObjectId(),
        "email": f"user{number}@example.org",
        "name": f"Given Family {number}",
        "interests": ["wine", "running", "art"],
        "cuisine_preference": ["Italian", "Thai"],
        "dietary_restrictions": [],
        "age": 20 + number % 60,
        "gender": "female",
        "occupation": "Engineer",
        "relationship_status": "single",
        "table_type_preference": "communal",
        "home_neighborhood": "Old Town",
        "work_neighborhood": None,
        "is_on_team": False,
        "created_at": created,
        "updated_at": created + timedelta(hours=number % 48),
    }


def loop(uri: str, database: str) -> Generator[None, None, dict[str, Any]]:
    """What a bare loop does: decode each document, in the order of keys."""
    yield
    client: MongoClient[dict[str, Any]]
    with MongoClient(uri) as client:
        return {"documents": sum(1 for _ in client[database]["users"].find().sort("_id", 1))}


def ingest(uri: str, database: str) -> Generator[None, None, dict[str, Any]]:
    """Read, keep, type, check and store each document."""
    yield
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(_env_file=None, home=Path(home), mongodb_uri=uri, mongodb_database=database)
        with open_warehouse(settings) as warehouse:
            ingested = raw(warehouse, settings, Window(LAST_DAY, LAST_DAY), "users")
        assert ingested.extracted is not None
        return {"documents": ingested.extracted.documents}


WAYS: dict[str, Way] = {"pymongo loop": loop, "ingestion": ingest}


def compare(documents: int, rounds: int) -> None:
    """Fill the server, run both ways so many times, and print medians as a table and as JSON."""
    with mongodb_server() as server, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "users.bson"
        with path.open("wb") as file:
            file.writelines(bson.encode(user(number)) for number in range(documents))
        server.load("users", path)
        results: dict[str, list[Measured]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for name, way in WAYS.items():
                results[name].append(measured(way, {"uri": server.uri, "database": server.database}))
    rows = {
        way: {
            "documents_a_second": round(statistics.median(each.told["documents"] / each.seconds for each in found)),
            "peak_mb": round(max(each.peak_mb for each in found)),
        }
        for way, found in results.items()
    }
    table = Table("way", "documents a second", "of the loop", "peak memory, MB", title=f"{documents:,} documents")
    for name, row in rows.items():
        share = row["documents_a_second"] / rows["pymongo loop"]["documents_a_second"]
        table.add_row(name, f"{row['documents_a_second']:,}", f"{share:.2f}", f"{row['peak_mb']:,}")
    Console(stderr=True).print(table)
    print(json.dumps(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    compare(given.documents, given.rounds)
