"""The command line and Dagster on Spark, from records to profiles."""

import json
from datetime import date
from pathlib import Path

import pytest

from profile_pipeline.cli import main
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline_tests.deployment import Deployment

pytest.importorskip("pyspark", reason="PySpark is not installed; `pip install -e '.[spark]'` installs it")

SOURCE = {
    "users": [
        {"id": "u1", "email": "ann@x.org", "interests": ["chess"], "age": 30, "occupation": "Cook"},
        {"id": "u2", "email": "bob@x.org", "created_at": "2024-01-02"},
    ],
    "events": [{"id": "e1", "name": "Dinner", "date": "2024-01-02", "participants": ["ann@x.org", "bob@x.org"]}],
    "messages": [{"id": "m1", "user_id": "u1", "content": "Hello", "status": "sent", "sent_date": "2024-01-01"}],
}
NOT_OF_TODAY = "user_profiles_have_the_latest_partition"


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    made = Deployment(tmp_path / "home", tmp_path / "source", engine="spark")
    for kind, records in SOURCE.items():
        made.write(kind, *records)
    return made


def test_the_nightly_job_computes_on_spark_and_a_second_run_writes_nothing(deployment: Deployment) -> None:
    run = deployment.run("2024-01-01", "2024-01-03")
    assert run.success, run.failures()
    assert {name for name, check in run.checks().items() if not check.passed} == {NOT_OF_TODAY}
    assert run.metadata("user_profiles")["rows_written"] == 3
    assert list((deployment.settings.home / "tables" / "user_profiles").rglob("*.parquet"))
    again = deployment.run("2024-01-02", assets=["touched_users", "event_features", "user_profiles"])
    assert {again.metadata(name)["rows_written"] for name in ("touched_users", "event_features", "user_profiles")} == {
        0
    }


def test_the_command_line_builds_and_reads(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROFILE_PIPELINE_ENGINE", "spark")
    monkeypatch.setenv("PROFILE_PIPELINE_HOME", str(deployment.settings.home))
    monkeypatch.setenv("PROFILE_PIPELINE_SOURCE_DIR", str(deployment.settings.source_dir))
    assert main(["build", "--from", "2024-01-01", "--to", "2024-01-02", "--skip-index"]) == 0
    capsys.readouterr()
    assert main(["profiles", "--as-of", "2024-01-02", "--user", "u1", "--format", "json"]) == 0
    (profile,) = json.loads(capsys.readouterr().out)
    assert (profile["number_of_events_attended"], profile["last_event_date"]) == (1, "2024-01-02")
    assert main(["decisions", "--as-of", "2024-01-02", "--format", "json"]) == 0
    assert {row["user_id"] for row in json.loads(capsys.readouterr().out)} == {"u1", "u2"}
    # Computes them anew in DuckDB.
    assert main(["verify"]) == 0
    with open_warehouse(deployment.settings, read_only=True) as warehouse:
        assert warehouse.scalar("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'user_profiles'") == 0
        assert warehouse.records("SELECT max(partition_date) AS last FROM user_profiles") == [
            {"last": date(2024, 1, 2)}
        ]
