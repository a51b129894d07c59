"""The log's laws, on random histories: each version lies on the days it was known on, and nothing is lost."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings

from profile_pipeline.ingestion import ingest
from profile_pipeline.settings import Settings
from profile_pipeline.sources import source_for
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import Warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.histories import FIRST_DAY, LAST_DAY, Documents, Step, histories
from profile_pipeline_tests.memory_warehouse import fresh_warehouse
from profile_pipeline_tests.oracle import live_records
from profile_pipeline_tests.oracle_log import empty_log, ingest_naively

laws = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
Version = tuple[date, str, str]


@dataclass(frozen=True)
class Ingestion:
    """A warehouse in memory that takes in a folder."""

    warehouse: Warehouse
    settings: Settings

    def run(self, documents: Documents, window: Window) -> int:
        """Ingest all kinds; the number of versions added."""
        for kind, records in documents.items():
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (self.settings.source_dir / f"{kind}.jsonl").write_text(lines)
        runs = [ingest(self.warehouse, source_for(k, self.settings), k, window, self.settings) for k in RAW_TABLES]
        return sum(run.versions_added for run in runs)

    def log(self, kind: str) -> list[dict[str, Any]]:
        cursor = self.warehouse.connection.execute(f"SELECT * FROM {RAW_TABLES[kind].name} ORDER BY sequence")
        return cursor.to_arrow_table().to_pylist()


@contextmanager
def ingestion() -> Iterator[Ingestion]:
    with tempfile.TemporaryDirectory() as folder, fresh_warehouse() as warehouse:
        values = {
            "home": Path(folder),
            "source_dir": Path(folder),
            "start_date": FIRST_DAY,
            "timezone": "UTC",
        }
        yield Ingestion(warehouse, Settings(**values, mongodb_uri=None, airtable_api_key=None))
        warehouse.release_caches()


def versions(rows: list[dict[str, Any]]) -> list[Version]:
    documents = [json.dumps(json.loads(row["document"]), sort_keys=True) for row in rows]
    return sorted((row["partition_date"], row["id"], text) for row, text in zip(rows, documents, strict=True))


@laws
@given(steps=histories())
def test_each_version_lies_on_the_days_it_was_known_on(steps: list[Step]) -> None:
    naive = empty_log()
    with ingestion() as subject:
        for step in steps:
            subject.run(step.documents, step.window)
            ingest_naively(naive, step.documents, Window(FIRST_DAY, step.window.end), FIRST_DAY)
            # Users are left out: of two with one address one is rejected, which the naive log does not do.
            for kind in ("orders", "events", "messages"):
                assert versions(subject.log(kind)) == versions(naive[kind])


@laws
@given(steps=histories())
def test_ingesting_again_adds_nothing_and_drops_nothing(steps: list[Step]) -> None:
    with ingestion() as subject:
        for step in steps:
            before = {kind: subject.log(kind) for kind in RAW_TABLES}
            subject.run(step.documents, step.window)
            assert subject.run(step.documents, step.window) == 0
            for kind, rows in before.items():
                assert subject.log(kind)[: len(rows)] == rows


# One ingestion: a claim that comes late, for a day before another's claim in the log, is accepted, and the asset check
# `raw_users_emails_are_unique` names the two.
@laws
@given(steps=histories(max_steps=1))
def test_after_one_ingestion_no_two_live_users_share_an_address_on_any_day(steps: list[Step]) -> None:
    with ingestion() as subject:
        for step in steps:
            subject.run(step.documents, step.window)
        log = subject.log("users")
    for day in Window(FIRST_DAY, LAST_DAY):
        addresses = [user["email"] for user in live_records(log, day).values()]
        assert len(addresses) == len(set(addresses))


@laws
@given(steps=histories(max_steps=1))
def test_a_range_adds_the_versions_that_its_days_add_one_by_one(steps: list[Step]) -> None:
    with ingestion() as whole, ingestion() as parts:
        whole.run(steps[0].documents, steps[0].window)
        for day in steps[0].window:
            parts.run(steps[0].documents, Window(day, day))
        for kind in RAW_TABLES:
            assert versions(whole.log(kind)) == versions(parts.log(kind))
