"""The instance that `dagster.yaml` describes, opened for real."""

import json
import socket
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, job, op
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from profile_pipeline.instance import OPEN_FILES, RangeEventLogStorage

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


def test_a_run_is_gone_with_its_code_server_and_not_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROFILE_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(ROOT))
    place = str(tmp_path / "server")

    def status_of(**tags: str) -> WorkerStatus:
        with DagsterInstance.get() as instance:
            assert instance.run_launcher.supports_check_run_worker_health
            run = DagsterRun(job_name="nightly_profiles", status=DagsterRunStatus.STARTED, tags=tags)
            return instance.run_launcher.check_run_worker_health(run).status

    tags = {GRPC_INFO_TAG: json.dumps({"host": "localhost", "socket": place})}
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place)
        server.listen()
        assert status_of(**tags) is WorkerStatus.RUNNING
    assert status_of(**tags) is WorkerStatus.FAILED
    Path(place).unlink()
    assert status_of(**tags) is WorkerStatus.FAILED
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    assert status_of(**{GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": port})}) is WorkerStatus.FAILED
    # Such as one of `dg launch`, which runs in a process of its own.
    assert status_of() is WorkerStatus.RUNNING


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


def test_a_run_leaves_no_database_open_and_none_in_pieces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # SQLite puts its write-ahead log away when the last connection is closed.
    assert [path for path in written_by_a_run(monkeypatch, tmp_path) if path.endswith(("-wal", "-shm"))] == []


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux tells in files which files are open")
def test_many_runs_keep_few_databases_open_and_a_wiped_history_begins_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROFILE_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(ROOT))
    with DagsterInstance.get() as instance:
        runs = [do_nothing.execute_in_process(instance=instance).run_id for _ in range(2 * OPEN_FILES)]
        assert len({path for path in open_files() if path.suffix == ".db" and "event" in str(path)}) <= OPEN_FILES
        assert all(instance.all_logs(run_id) for run_id in runs)
        instance.wipe()
        assert instance.all_logs(runs[-1]) == []
        again = do_nothing.execute_in_process(instance=instance)
        assert {entry.run_id for entry in instance.all_logs(again.run_id)} == {again.run_id}


def open_files() -> list[Path]:
    """The files that this process has open."""
    handles = Path("/proc/self/fd").iterdir()
    return [handle.readlink() for handle in handles if handle.exists()]


DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-05")


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("is_well", asset="counted", partitions_def=DAYS)],
)
def counted() -> dg.MaterializeResult:
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])


def test_a_range_is_recorded_as_dagster_itself_would_record_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROFILE_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(ROOT))
    with DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, RangeEventLogStorage)
        recorded = recorded_by_a_range(instance)
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert recorded == recorded_by_a_range(instance)
    planned = [row[2] for row in recorded["asset_check_executions"] if row[3] == "PLANNED"]
    assert planned == ["2024-01-02", "2024-01-03", "2024-01-04"]


def recorded_by_a_range(instance: DagsterInstance) -> dict[str, list[tuple[object, ...]]]:
    """What the index of events holds after a run of three days, without what differs between any two runs."""
    job = dg.Definitions([counted], jobs=[dg.define_asset_job("job", [counted])]).resolve_job_def("job")
    tags = {"dagster/asset_partition_range_start": "2024-01-02", "dagster/asset_partition_range_end": "2024-01-04"}
    assert job.execute_in_process(instance=instance, tags=tags).success
    # Events that are stored together come later than those stored at once, so their numbers differ.
    queries = {
        "event_logs": "SELECT dagster_event_type, step_key, asset_key, partition FROM event_logs",
        "asset_check_executions": "SELECT asset_key, check_name, partition, execution_status "
        "FROM asset_check_executions",
        "asset_event_tags": "SELECT asset_key, key FROM asset_event_tags",
    }
    with instance.event_log_storage.index_connection() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(sa.text(query))), key=str)
            for name, query in queries.items()
        }
