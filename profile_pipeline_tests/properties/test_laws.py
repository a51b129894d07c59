"""The laws, on random histories: incremental = rebuild, and no future leaks.

After every step the stored days that owe nothing are compared with the naive oracle. A day owes a recompute
when it, or a day before it, was computed before the newest version that the log holds for it.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profile_pipeline.build import build
from profile_pipeline.computed_days import days_left_out, days_owed
from profile_pipeline.policy import Policy
from profile_pipeline.settings import Settings
from profile_pipeline.tables import RAW_TABLES, TABLES
from profile_pipeline.warehouse import Warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.histories import FIRST_DAY, LAST_DAY, Documents, Step, histories
from profile_pipeline_tests.memory_warehouse import fresh_warehouse
from profile_pipeline_tests.oracle import Log, facts, must_be_touched, profiles
from profile_pipeline_tests.oracle_log import empty_log, ingest_naively
from profile_pipeline_tests.oracle_summary import summary

# The cooldown ends within the few days of a history; of two users on one address, one is rejected each time.
POLICY = Policy(cooldown_days=2, team_domains=("team.org",), max_rejected_share=1.0)
policies = st.builds(
    POLICY.model_copy,
    update=st.fixed_dictionaries(
        {},
        optional={
            "cooldown_days": st.integers(0, 3),
            "friend_min_shared_events": st.integers(1, 3),
            "friend_max_event_participants": st.integers(2, 5),
            "favorite_event_type_count": st.integers(1, 3),
            "enough_fields_min": st.integers(0, 4),
            "request_details_below": st.integers(0, 4),
            "healthy_active_min_events": st.integers(1, 3),
            "lapsed_after_days": st.integers(1, 4),
            "score_max_events": st.integers(0, 6),
            "frequent_host_min_events": st.integers(1, 3),
        },
    ),
)
"""Thresholds that a few people reach within a few days."""

ABOUT_RUNS = {"quarantine", "computed_days", "log_reading"}
DERIVED = sorted({*TABLES} - {table.name for table in RAW_TABLES.values()} - ABOUT_RUNS)
"""The tables that are a function of the log alone; what was read or computed how and when, and rejected, is not."""

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]
# A build takes seconds, most of it compiling expressions, however small the history is.
one_build = settings(max_examples=8, deadline=None, suppress_health_check=QUIET)
many_builds = settings(max_examples=3, deadline=None, suppress_health_check=QUIET)


@dataclass(frozen=True)
class Pipeline:
    """A warehouse in memory, and the folder of its source.

    Attributes:
        warehouse: in memory.
        settings: with the folder of the source.
        few: in place of `build.NARROWED_BELOW`, as of so few records a day often concerns most.
    """

    warehouse: Warehouse
    settings: Settings
    few: float

    def run(self, documents: Documents, window: Window) -> None:
        for kind, records in documents.items():
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (self.settings.source_dir / f"{kind}.jsonl").write_text(lines)
        self.build(window)

    def build(self, window: Window) -> None:
        with patch("profile_pipeline.build.NARROWED_BELOW", self.few):
            build(self.warehouse, self.settings, window)

    def rows(self, relation: str) -> list[dict[str, Any]]:
        cursor = self.warehouse.connection.execute(f"SELECT * FROM {relation}")
        return cursor.to_arrow_table().to_pylist()

    def log(self) -> Log:
        return {kind: self.rows(table.name) for kind, table in RAW_TABLES.items()}

    def copy_log(self, log: Log) -> None:
        for kind, table in RAW_TABLES.items():
            if log[kind]:
                marks = ", ".join("?" for _ in table.columns)
                rows = [[row.get(column) for column in table.columns] for row in log[kind]]
                self.warehouse.connection.executemany(f"INSERT INTO {table.name} VALUES ({marks})", rows).fetchall()

    def computed_days(self) -> dict[date, int]:
        days = [row for row in self.rows("computed_days") if row["is_complete"]]
        return {row["partition_date"]: row["log_sequence"] or 0 for row in days}

    def settled_days(self) -> list[date]:
        """The days from the first on, up to the first one that is not computed or owes a recompute."""
        computed, log = self.computed_days(), self.log()
        settled: list[date] = []
        for day in Window(FIRST_DAY, LAST_DAY):
            known = [row["sequence"] for rows in log.values() for row in rows if row["partition_date"] <= day]
            if day not in computed or computed[day] < max(known, default=0):
                break
            settled.append(day)
        return settled

    def settle(self) -> None:
        """Run the days left out and those owed, as the pipeline names them; the source stays as it is."""
        if left_out := days_left_out(self.warehouse):
            self.build(left_out)
        while owed := days_owed(self.warehouse):
            self.build(Window(owed[0], owed[-1]))


ALL, NONE = 1e9, 0.0
"""Shares of records: always, and never, narrowed to what concerns a window."""


@contextmanager
def pipeline(policy: Policy, few: float = ALL) -> Iterator[Pipeline]:
    """A pipeline with an empty source, which a copied log makes a rebuild."""
    with tempfile.TemporaryDirectory() as folder, fresh_warehouse() as warehouse:
        (Path(folder) / "users.jsonl").touch()  # without any file, the folder would be taken for a wrong one
        values = {
            "home": Path(folder),
            "source_dir": Path(folder),
            "start_date": FIRST_DAY,
            "timezone": "UTC",
        }
        yield Pipeline(warehouse, Settings(**values, policy=policy, mongodb_uri=None, airtable_api_key=None), few)


@contextmanager
def rebuilt(log: Log, last_day: date, policy: Policy) -> Iterator[Pipeline]:
    """A fresh warehouse with the log, computed in one range from all of it."""
    with pipeline(policy, NONE) as fresh:
        fresh.copy_log(log)
        fresh.build(Window(FIRST_DAY, last_day))
        yield fresh


def latest_by_user(rows: list[dict[str, Any]], day: date, key: str) -> dict[str, dict[str, Any]]:
    known = [row for row in rows if row["partition_date"] <= day]
    return {row[key]: row for row in sorted(known, key=lambda row: row["partition_date"])}


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["partition_date"], row.get("user_id") or row.get("id")))


def assert_settled_days_match_the_oracle(subject: Pipeline) -> None:
    log, stored = subject.log(), subject.rows("user_profiles")
    decisions, touched = subject.rows("messaging_decisions"), subject.rows("touched_users")
    policy = subject.settings.policy
    for day in subject.settled_days():
        wanted = profiles(log, day, policy)
        latest = latest_by_user(stored, day, "id")
        # A user deleted on the day of their creation was never there, and may lack a row that says so.
        wanted = {key: row for key, row in wanted.items() if key in latest or not row["is_deleted"]}
        assert {key: facts(row) for key, row in latest.items()} == {key: facts(row) for key, row in wanted.items()}
        decided = {key: row["decision"] for key, row in latest_by_user(decisions, day, "user_id").items()}
        assert {key: name for key, name in decided.items() if name} == {
            key: row["decision"] for key, row in wanted.items() if row["decision"]
        }
        assert must_be_touched(log, day, policy) <= {row["user_id"] for row in touched if row["partition_date"] == day}
        assert_reading_matches(subject, day, {key: row for key, row in wanted.items() if not row["is_deleted"]})


def assert_reading_matches(subject: Pipeline, day: date, wanted: dict[str, dict[str, Any]]) -> None:
    """`profiles_as_of` gives every field of the oracle, friends' names and clock included."""
    found = {row["id"]: row for row in subject.rows(f"profiles_as_of(DATE '{day}')")}
    assert {key: {field: row[field] for field in wanted[key]} for key, row in found.items()} == wanted
    for key, profile in wanted.items():
        assert summary(profile, subject.settings.policy) in (None, found[key]["summary"])


def assert_decisions_follow_from_each_other(subject: Pipeline) -> None:
    """Each row of the change log differs from the row before it, and names that row's decision."""
    states: dict[str, tuple[str | None, list[str] | None]] = {}
    for row in in_order(subject.rows("messaging_decisions")):
        decision, reasons = states.get(row["user_id"], (None, None))
        assert row["previous_decision"] == decision
        assert (row["decision"], row["decision_reasons"]) != (decision, reasons)
        states[row["user_id"]] = (row["decision"], row["decision_reasons"])


def log_after(steps: list[Step]) -> Log:
    log = empty_log()
    for step in steps:
        ingest_naively(log, step.documents, step.window, FIRST_DAY)
    return log


@one_build
@given(steps=histories(), policy=policies)
def test_one_range_over_a_log_equals_the_oracle_on_each_day(steps: list[Step], policy: Policy) -> None:
    with rebuilt(log_after(steps), LAST_DAY, policy) as subject:
        assert subject.settled_days()[-1] == LAST_DAY
        assert_settled_days_match_the_oracle(subject)
        assert_decisions_follow_from_each_other(subject)


@many_builds
@given(steps=histories(), policy=policies)
def test_after_every_step_the_days_that_owe_nothing_equal_the_oracle(steps: list[Step], policy: Policy) -> None:
    with pipeline(policy) as subject:
        for step in steps:
            subject.run(step.documents, step.window)
            assert_settled_days_match_the_oracle(subject)


@many_builds
@given(steps=histories(), policy=policies)
def test_days_owed_and_recomputed_equal_a_rebuild_from_the_same_log(steps: list[Step], policy: Policy) -> None:
    with pipeline(policy) as subject:
        for step in steps:
            subject.run(step.documents, step.window)
        subject.settle()
        last_day = max(subject.computed_days())
        assert subject.settled_days()[-1] == last_day
        with rebuilt(subject.log(), last_day, policy) as fresh:
            for table in DERIVED:
                assert in_order(subject.rows(table)) == in_order(fresh.rows(table)), table


@many_builds
@given(steps=histories(), day=st.dates(FIRST_DAY, LAST_DAY))
def test_records_known_after_a_day_change_no_row_up_to_it(steps: list[Step], day: date) -> None:
    log = log_after(steps)
    known = {kind: [row for row in rows if row["partition_date"] <= day] for kind, rows in log.items()}
    with rebuilt(known, LAST_DAY, POLICY) as ignorant, rebuilt(log, LAST_DAY, POLICY) as knowing:
        for table in DERIVED:
            before, after = (
                [row for row in in_order(built.rows(table)) if row["partition_date"] <= day]
                for built in (ignorant, knowing)
            )
            assert before == after, table


@many_builds
@given(steps=histories(max_steps=2))
def test_a_second_run_of_the_last_step_changes_nothing(steps: list[Step]) -> None:
    with pipeline(POLICY) as subject:
        for step in steps:
            subject.run(step.documents, step.window)
        tables = [*DERIVED, *(table.name for table in RAW_TABLES.values())]
        before = {table: in_order(subject.rows(table)) for table in tables}
        subject.run(steps[-1].documents, steps[-1].window)
        assert {table: in_order(subject.rows(table)) for table in tables} == before
