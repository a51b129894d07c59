"""The instance that `dagster.yaml` describes, opened for real."""

from pathlib import Path

import pytest
from dagster import DagsterInstance, job, op

ROOT = Path(__file__).parents[2]


@op
def nothing() -> None:
    pass


@job
def do_nothing() -> None:
    nothing()


def written_by_a_run(monkeypatch: pytest.MonkeyPatch, folder: Path) -> set[str]:
    """The files below `folder` after a run with it as working folder and as DAGSTER_HOME."""
    (folder / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.chdir(folder)
    with DagsterInstance.get() as instance:
        assert do_nothing.execute_in_process(instance=instance).success
        assert instance.get_runs_count() == 1
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"dagster.yaml"}


def test_dagster_keeps_its_state_below_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PROFILE_PIPELINE_HOME", raising=False)
    written = written_by_a_run(monkeypatch, tmp_path)
    assert written
    assert {path for path in written if not path.startswith("data/dagster/")} == set()


def test_the_state_of_dagster_moves_with_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROFILE_PIPELINE_HOME", "elsewhere")
    written = written_by_a_run(monkeypatch, tmp_path)
    assert written
    assert {path for path in written if not path.startswith("elsewhere/dagster/")} == set()


def test_one_run_at_a_time_and_only_crashes_are_retried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROFILE_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(ROOT))
    with DagsterInstance.get() as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == 1
        assert instance.run_retries_max_retries == 1
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert not instance.telemetry_enabled
