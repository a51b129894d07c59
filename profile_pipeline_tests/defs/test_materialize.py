"""The nightly job for real, on temporary stores: days, ranges, re-runs, and what fails or is tried again."""

import csv
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from profile_pipeline.defs.checks import user_profiles_owe_no_day
from profile_pipeline.defs.reporting import LONGEST_BAR
from profile_pipeline.errors import TransientError
from profile_pipeline.index.embedding import Progress
from profile_pipeline.window import Window
from profile_pipeline_tests.deployment import Deployment, Requested
from profile_pipeline_tests.indexing import BagOfWords
from profile_pipeline_tests.reference_data import WORKED_EXAMPLE

LOGS = {"raw_users", "raw_orders", "raw_events", "raw_messages"}
DERIVED = {
    *("touched_users", "event_features", "message_features", "order_features"),
    *("personalization_flags", "user_profiles", "user_summaries", "messaging_decisions"),
}
ANN = {"id": "u1", "email": "ann@x.org", "interests": ["chess"], "age": 30, "occupation": "Cook"}
BOB = {"id": "u2", "email": "bob@x.org", "created_at": "2024-01-02"}
DINNER = {"id": "e1", "name": "Dinner", "date": "2024-01-02", "participants": ["ann@x.org", "bob@x.org"]}
HELLO = {"id": "m1", "user_id": "u1", "content": "Hello", "status": "sent", "sent_date": "2024-01-01"}


class OnceBusy(BagOfWords):
    """A model that cannot be reached the first time."""

    is_reachable = False

    @property
    def runtime(self) -> str:
        return "by hand"

    def embed(self, texts: Sequence[str], on_progress: Progress | None = None) -> np.ndarray:
        if not self.is_reachable:
            self.is_reachable = True
            raise TransientError("the model is being downloaded; try again later")
        return super().embed(texts, on_progress)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return with_source(tmp_path)


def with_source(folder: Path) -> Deployment:
    made = Deployment(folder / "home", folder / "source")
    made.write("users", ANN, BOB)
    made.write("events", DINNER)
    made.write("messages", HELLO)
    return made


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def test_the_worked_example_comes_out_exactly(golden: Requested) -> None:
    expected = json.loads((WORKED_EXAMPLE / "expected.json").read_text())
    found = {row["id"]: row for row in golden.deployment.rows(f"FROM profiles_as_of(DATE '{expected['as_of']}')")}
    assert {
        key: {field: as_json(row[field]) for field in wanted}
        for wanted in expected["profiles"]
        for key, row in found.items()
        if key == wanted["id"]
    } == {wanted["id"]: wanted for wanted in expected["profiles"]}


def test_a_range_materializes_every_day_of_every_asset_in_one_run(golden: Requested) -> None:
    assert golden.run.success
    every_day = [day.isoformat() for day in Window(date(2024, 1, 1), date(2024, 2, 10))]
    assert {asset: sorted(found) for asset, found in golden.run.materialized().items()} == dict.fromkeys(
        {*LOGS, *DERIVED, "profile_index"}, every_day
    )


def test_all_checks_pass_but_the_one_that_the_data_is_of_today(golden: Requested) -> None:
    checks = golden.run.checks()
    assert [name for name, checked in checks.items() if not checked.passed] == [
        "user_profiles_have_the_latest_partition"
    ]
    said = checks["user_profiles_have_the_latest_partition"].description
    assert said is not None
    assert said.startswith("profiles end on 2024-02-10, 20")


def test_an_asset_reports_what_it_did(golden: Requested) -> None:
    users, profiles = golden.run.metadata("raw_users"), golden.run.metadata("user_profiles")
    assert (users["rows_in"], users["versions_added"], users["rejected"]) == (1, 1, 0)
    assert profiles["window"] == "2024-01-01 to 2024-02-10"
    assert profiles["rows_written"] == profiles["rows_out"] == len(golden.deployment.tables()["user_profiles"])
    assert "| sarah.chen@email.com |" in profiles["preview"]
    assert golden.run.metadata("profile_index")["embedded"] == 1
    decisions = golden.run.metadata("messaging_decisions")["decisions"]
    assert decisions.splitlines()[-1] == f"| send_personalized_message | 1 | {'█' * LONGEST_BAR} |"


def test_everybodys_decision_is_exported(golden: Requested) -> None:
    exported = Path(golden.run.metadata("messaging_decisions")["exported"])
    assert exported == golden.deployment.settings.exports_path / "decisions_2024-02-10.csv"
    with exported.open() as file:
        assert [(row["user_id"], row["decision"]) for row in csv.DictReader(file)] == [
            ("user_001", "send_personalized_message")
        ]


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Two days, run one by one."""
    deployment = with_source(tmp_path_factory.mktemp("days"))
    for day in ("2024-01-01", "2024-01-02"):
        run = deployment.run(day)
        assert run.success
        assert run.materialized() == {asset: [day] for asset in (*LOGS, *DERIVED, "profile_index")}
    return deployment


def test_a_range_over_days_run_one_by_one_finds_them_equal_and_writes_nothing(two_days: Deployment) -> None:
    before = data(two_days)
    profiles = {(row["partition_date"].day, row["id"]) for row in before["user_profiles"]}
    assert profiles == {(1, "u1"), (2, "u1"), (2, "u2")}
    again = two_days.run("2024-01-01", "2024-01-02")
    assert again.success
    assert {name: again.metadata(name)["versions_added"] for name in LOGS} == dict.fromkeys(LOGS, 0)
    assert {name: again.metadata(name)["rows_written"] for name in DERIVED} == dict.fromkeys(DERIVED, 0)
    index = again.metadata("profile_index")
    assert (index["embedded"], index["upserted"], index["deleted"], index["promoted"]) == (0, 0, 0, False)
    assert data(two_days) == before


def data(deployment: Deployment) -> dict[str, list[dict[str, Any]]]:
    """Every table but the one that remembers when what was computed."""
    return {name: rows for name, rows in deployment.tables().items() if name != "computed_days"}


def test_a_late_record_owes_its_day_and_those_after_it_and_a_check_names_them(
    two_days: Deployment, tmp_path: Path
) -> None:
    late = two_days.copy(tmp_path / "copy")
    assert owed(late) == (True, None, 0)
    late.write("users", ANN | {"updated_at": "2024-01-01T12:00:00Z", "age": 31}, BOB)
    run = late.run("2024-01-01", assets=["raw_users"])
    assert run.metadata("raw_users")["versions_added"] == 1
    assert owed(late) == (False, "materialize 2024-01-01 to 2024-01-02 again", 2)


def test_a_night_takes_in_what_came_late_and_what_changed_without_a_time(tmp_path: Path) -> None:
    nightly = Deployment(tmp_path / "home", tmp_path / "source", BagOfWords())
    queued = {"id": "m1", "user_id": "u1", "status": "queued", "created_date": "2024-01-01"}
    nightly.write("users", ANN)
    nightly.write("messages", queued)
    assert nightly.run("2024-01-01").success
    nightly.write("users", ANN, {"id": "u9", "email": "late@x.org", "created_at": "2024-01-01T23:50:00Z"})
    nightly.write("messages", queued | {"status": "sent", "sent_date": "2024-01-02"})
    assert nightly.run("2024-01-02").success
    (profile,) = nightly.rows("FROM profiles_as_of('2024-01-02') WHERE id = 'u1'")
    assert (profile["last_message_sent_date"], profile["queued_message_count"]) == (date(2024, 1, 2), 0)
    assert owed(nightly) == (False, "materialize 2024-01-01 to 2024-01-01 again", 1)
    assert nightly.run("2024-01-01").success
    # The decisions of the second day follow from the profile that is new on the first.
    assert owed(nightly) == (False, "materialize 2024-01-02 to 2024-01-02 again", 1)
    assert nightly.run("2024-01-02").success
    assert {row["id"] for row in nightly.rows("FROM profiles_as_of('2024-01-02')")} == {"u1", "u9"}
    assert owed(nightly) == (True, None, 0)


def test_days_before_the_first_computed_one_are_named(tmp_path: Path) -> None:
    late_start = with_source(tmp_path)
    assert late_start.run("2024-01-02").success
    assert owed(late_start) == (False, "materialize 2024-01-01, which was left out", 0)


def owed(deployment: Deployment) -> tuple[bool, str | None, Any]:
    """What the check on days owed says."""
    told = user_profiles_owe_no_day(deployment.resources["warehouse"])
    assert isinstance(told, dg.AssetCheckResult)
    assert told.severity == dg.AssetCheckSeverity.WARN
    return told.passed, told.description, told.metadata["days_owed"].value


def test_too_many_rejected_records_stop_what_follows(deployment: Deployment) -> None:
    deployment.write("orders", {"id": "o1", "user_id": "u1", "amount": -1, "date": "2024-01-01"})
    run = deployment.run("2024-01-01")
    assert not run.success
    assert set(run.materialized()) == LOGS
    checked = run.checks()["raw_orders_rejected_share_is_low"]
    assert (checked.passed, checked.blocking, checked.severity) == (False, True, dg.AssetCheckSeverity.ERROR)
    assert checked.description is not None
    assert "1 of 1 records were rejected, more than the 10%" in checked.description
    assert deployment.rows("FROM quarantine")[0]["record_id"] == "o1"


def test_a_permanent_error_is_one_sentence_and_is_not_tried_again(tmp_path: Path) -> None:
    nowhere = Deployment(tmp_path / "home", tmp_path / "nowhere")
    run = nowhere.run("2024-01-01", assets=["raw_users"])
    assert run.count(dg.DagsterEventType.STEP_UP_FOR_RETRY) == 0
    (said,) = run.failures().values()
    assert said is not None
    assert said.startswith(f"the source folder {tmp_path / 'nowhere'} does not exist; set PROFILE_PIPELINE_SOURCE_DIR")
    assert "\n" not in said


def test_a_transient_error_is_tried_again(golden: Requested, tmp_path: Path) -> None:
    copy = golden.deployment.copy(tmp_path / "copy", OnceBusy(model="another@1"))
    run = copy.run("2024-02-10", assets=["profile_index"])
    assert run.success
    assert run.count(dg.DagsterEventType.STEP_UP_FOR_RETRY) == 1
    assert run.metadata("profile_index")["embedded"] == 1
