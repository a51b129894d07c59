"""The sensor of the source folder: which days it asks for, when it does not, and that a run of them works."""

import gzip
import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from pydantic import SecretStr

from profile_pipeline import build
from profile_pipeline.defs import cursors
from profile_pipeline.defs.runs import run_request, window_owed
from profile_pipeline.defs.sensors import source_folder_sensor
from profile_pipeline.forgetting.erasure import forget
from profile_pipeline.ingestion import log_sequence
from profile_pipeline.sample.golden import RECORDS
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.deployment import Deployment, Requested
from profile_pipeline_tests.indexing import BagOfWords

ANN = {"id": "u1", "email": "ann@x.org", "created_at": "2024-01-05"}
BOB = {"id": "u2", "email": "bob@x.org", "created_at": "2024-01-10"}
YEAR = Window(date(2024, 1, 1), date(2024, 12, 31))
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def jan(*days: int) -> list[date]:
    return [date(2024, 1, day) for day in days]


@pytest.mark.parametrize(
    ("changed", "computed", "last_partition", "owed"),
    [
        pytest.param([], [5, 6], 20, None, id="nothing changed"),
        pytest.param([5], [], 20, (5, 5), id="the first day ever"),
        pytest.param([9, 5, 7], [], 20, (5, 9), id="from the first changed day to the last"),
        pytest.param([5], [3, 4, 5, 6, 7], 20, (5, 7), id="up to the last computed day"),
        pytest.param([9], [3, 4], 20, (9, 9), id="after the last computed day"),
        pytest.param([2, 9], [3, 4], 20, (2, 9), id="around computed days"),
        pytest.param([20], [], 20, (20, 20), id="the last partition"),
        pytest.param([21], [3, 4], 20, None, id="a day that has not ended"),
        pytest.param([4, 21], [3, 4], 20, (4, 4), id="of days that ended only"),
    ],
)
def test_the_days_owed_run_from_the_first_change_to_the_last_computed_day(
    changed: list[int], computed: list[int], last_partition: int, owed: tuple[int, int] | None
) -> None:
    window = window_owed(jan(*changed), iter(jan(*computed)), date(2024, 1, last_partition))
    assert window == (None if owed is None else Window(*jan(*owed)))


@pytest.mark.parametrize(
    ("days", "cursor", "is_same"),
    [((5, 7), "a", True), ((5, 7), "b", False), ((4, 7), "a", False), ((5, 8), "a", False)],
)
def test_a_run_key_is_the_same_for_the_same_days_and_state_of_the_source_only(
    days: tuple[int, int], cursor: str, is_same: bool
) -> None:
    request = run_request(Window(*jan(5, 7)), "a", "sensor")
    assert (run_request(Window(*jan(*days)), cursor, "sensor").run_key == request.run_key) is is_same
    assert [request.tags[end] for end in RANGE] == ["2024-01-05", "2024-01-07"]


class Watched(Deployment):
    """A deployment whose sensor ticks; each tick starts at the cursor of the one before, if that kept one."""

    cursor: str | None = None

    def tick(self) -> SensorExecutionData:
        """What a tick comes to, with all that Dagster itself asks of one."""
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"settings": self.settings}
        )
        result = source_folder_sensor.evaluate_tick(context)
        self.cursor = result.cursor
        return result

    def requested(self) -> tuple[str, str]:
        """The range that the one request of the next tick asks for."""
        tags = self.request().tags
        return tags[RANGE[0]], tags[RANGE[1]]

    def request(self) -> dg.RunRequest:
        tick = self.tick()
        assert tick.run_requests, tick.skip_message
        (request,) = tick.run_requests
        return request

    def skipped(self) -> str:
        tick = self.tick()
        assert not tick.run_requests
        return tick.skip_message or ""

    def run_of(self, request: dg.RunRequest) -> None:
        """As if a run had done what was requested."""
        self.computed(*(request.tags[end] for end in RANGE))
        self.pretend(request)

    def computed(self, start: str, end: str) -> None:
        """As if these days had been computed, in Dagster or not."""
        window = Window(date.fromisoformat(start), date.fromisoformat(end))
        with open_warehouse(self.settings) as warehouse:
            for kind in RAW_TABLES:
                build.raw(warehouse, self.settings, window, kind)
            days = [[day, log_sequence(warehouse)] for day in window]
            warehouse.connection.executemany(
                "DELETE FROM computed_days WHERE partition_date = ?", [[day] for day in window]
            )
            warehouse.connection.executemany("INSERT INTO computed_days VALUES (?, ?, [], true)", days)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    made = Watched(tmp_path / "home", tmp_path / "source")
    made.write("users", ANN, BOB)
    return made


def test_the_first_tick_asks_for_the_range_of_the_data(watched: Watched) -> None:
    assert watched.requested() == ("2024-01-05", "2024-01-10")


def test_a_tick_without_a_change_says_so(watched: Watched) -> None:
    watched.run_of(watched.request())
    assert watched.skipped().startswith(f"{watched.settings.source_dir} has nothing up to 20")


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([BOB, ANN], id="the same records"),
        pytest.param([BOB], id="a record that went, which stays in the log"),
        pytest.param([ANN, BOB, "{oops"], id="what nobody can date, on which no profile depends"),
    ],
)
def test_a_file_without_anything_that_the_log_lacks_is_no_change(watched: Watched, records: list[Any]) -> None:
    watched.run_of(watched.request())
    watched.write("users", *records)
    assert "nothing up to 20" in watched.skipped()


ORDER = {"id": "o1", "user_id": "u1", "amount": 5, "date": "2024-01-05"}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda watched: watched.write("users", ANN | {"age": 30}, BOB), id="a changed record"),
        pytest.param(lambda watched: watched.write("users", ANN, BOB, ANN | {"age": 200}), id="a broken record"),
        pytest.param(lambda watched: watched.write("orders", ORDER), id="a new file"),
    ],
)
def test_a_change_asks_for_its_day_and_the_computed_days_after_it(
    watched: Watched, change: Callable[[Watched], None]
) -> None:
    watched.run_of(watched.request())
    change(watched)
    assert watched.requested() == ("2024-01-05", "2024-01-10")


def test_an_event_that_was_announced_asks_for_its_day_as_well(watched: Watched) -> None:
    watched.run_of(watched.request())
    watched.write("events", {"id": "e1", "date": "2024-01-20", "created_at": "2024-01-08", "participants": []})
    assert watched.requested() == ("2024-01-08", "2024-01-20")


def test_days_are_owed_until_a_run_of_them_succeeds(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    first = watched.request()
    watched.pretend(first, fails=True)
    assert "failed; 2024-01-05 to 2024-01-10 is requested again from 20" in watched.skipped()
    monkeypatch.setattr(cursors, "FIRST_PAUSE", timedelta(0))
    again = watched.request()
    assert again.run_key != first.run_key
    assert [again.tags[end] for end in RANGE] == [first.tags[end] for end in RANGE]
    watched.run_of(again)
    assert "nothing up to 20" in watched.skipped()


def test_days_that_owe_a_recompute_are_asked_for_whoever_ran_what_before(watched: Watched) -> None:
    watched.run_of(watched.request())
    watched.rows("UPDATE computed_days SET log_sequence = 0 WHERE partition_date = '2024-01-07' RETURNING 1")
    assert watched.requested() == ("2024-01-07", "2024-01-10")


def test_while_a_run_is_on_its_way_nothing_is_looked_for(watched: Watched) -> None:
    run = dg.DagsterRun(job_name="nightly_profiles", status=dg.DagsterRunStatus.STARTED)
    watched.instance.add_run(run)
    reason = f"run {run.run_id[:8]} of nightly_profiles is started; {watched.settings.source_dir} is looked at when"
    assert watched.skipped().startswith(reason)


def test_whoever_was_erased_asks_for_nothing(watched: Watched) -> None:
    watched.run_of(watched.request())
    forget(watched.settings, "u2", BagOfWords())
    watched.write("users", BOB, ANN)
    assert "nothing up to 20" in watched.skipped()


def test_a_cursor_stays_small_however_many_days_there_are(watched: Watched) -> None:
    watched.write("users", *(ANN | {"id": str(day), "email": f"{day}@x.y", "created_at": str(day)} for day in YEAR))
    watched.run_of(watched.request())
    watched.skipped()
    assert watched.cursor is not None
    assert len(watched.cursor) < 500


def test_an_announced_event_is_left_to_the_night_of_its_day(watched: Watched) -> None:
    watched.run_of(watched.request())
    event = {"id": "e1", "name": "Gala", "date": "2999-01-01", "created_at": "2024-01-08", "participants": []}
    watched.write("events", event)
    assert watched.requested() == ("2024-01-08", "2024-01-10")


def test_a_folder_that_is_missing_or_empty_is_named_and_comes_back(watched: Watched, tmp_path: Path) -> None:
    watched.run_of(watched.request())
    watched.settings.source_dir.rename(tmp_path / "away")
    assert watched.skipped().startswith(f"the source folder {watched.settings.source_dir} does not exist")
    watched.settings.source_dir.mkdir()
    assert watched.skipped().startswith(f"the source folder {watched.settings.source_dir} has none of users")
    shutil.copytree(tmp_path / "away", watched.settings.source_dir, dirs_exist_ok=True)
    watched.write("users", ANN, BOB | {"age": 40})
    assert watched.requested() == ("2024-01-10", "2024-01-10")


def test_a_file_that_cannot_be_read_holds_up_no_other_kind(watched: Watched) -> None:
    watched.run_of(watched.request())
    damaged = watched.settings.source_dir / "events.jsonl.gz"
    damaged.write_bytes(gzip.compress(b'{"id": "e1", "date": "2024-01-08"}')[:-8])
    assert "events.jsonl.gz ends too early; it may still be being written" in watched.skipped()
    watched.write("users", ANN | {"age": 40}, BOB)
    assert watched.requested() == ("2024-01-05", "2024-01-10")
    damaged.unlink()
    assert watched.requested() == ("2024-01-05", "2024-01-10")


def test_a_cursor_that_cannot_be_read_loses_nothing(watched: Watched) -> None:
    watched.run_of(watched.request())
    watched.cursor = "yesterday"
    assert "nothing up to 20" in watched.skipped()


def test_a_change_that_was_not_remembered_is_asked_for_under_the_same_key(watched: Watched) -> None:
    first = watched.request()
    watched.cursor = None
    assert watched.request().run_key == first.run_key


def test_another_change_of_the_same_day_has_another_key(watched: Watched) -> None:
    watched.run_of(watched.request())
    keys = set()
    for age in (30, 31, 30):
        watched.write("users", ANN | {"age": age}, BOB)
        request = watched.request()
        assert request.tags[RANGE[0]] == "2024-01-05"
        keys.add(request.run_key)
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("credentials", "changed"),
    [
        pytest.param({"mongodb_uri": SecretStr("mongodb://x/club")}, "2024-01-08", id="messages"),
        pytest.param({"airtable_api_key": SecretStr("pat")}, "2024-01-05", id="users, orders and events"),
    ],
)
def test_only_files_of_kinds_that_come_from_files_are_looked_at(
    watched: Watched, credentials: dict[str, SecretStr], changed: str
) -> None:
    watched.run_of(watched.request())
    watched.settings = watched.settings.model_copy(update=credentials)
    watched.write("users", ANN | {"age": 30}, BOB)
    watched.write("messages", {"id": "m1", "user_id": "u1", "status": "queued", "created_date": "2024-01-08"})
    assert watched.requested() == (changed, "2024-01-10")


def test_when_no_kind_comes_from_files_the_sensor_says_so(watched: Watched) -> None:
    secrets = {"mongodb_uri": SecretStr("mongodb://x/club"), "airtable_api_key": SecretStr("pat")}
    watched.settings = watched.settings.model_copy(update=secrets)
    assert watched.skipped() == (
        "no kind of record comes from files, because MONGODB_URI and AIRTABLE_API_KEY are set; the sensors of MongoDB "
        "and Airtable look for changes"
    )


def test_what_the_sensor_asks_for_can_be_run_and_is_asked_for_once(golden: Requested) -> None:
    assert [golden.request.tags[end] for end in RANGE] == ["2024-01-01", "2024-02-10"]
    assert golden.run.success
    context = dg.build_sensor_context(
        instance=golden.deployment.instance, cursor=golden.cursor, resources={"settings": golden.deployment.settings}
    )
    assert not source_folder_sensor.evaluate_tick(context).run_requests


def test_a_change_after_a_run_asks_for_the_days_that_the_run_computed(golden: Requested, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(golden.deployment.settings.source_dir, source)
    watched = Watched(golden.deployment.settings.home, source)
    watched.cursor, watched.instance = golden.cursor, golden.deployment.instance
    late = RECORDS["orders"][1] | {"amount": 95.0}
    (source / "orders.jsonl").write_text("".join(json.dumps(order) + "\n" for order in (RECORDS["orders"][0], late)))
    assert watched.requested() == (RECORDS["orders"][1]["date"], "2024-02-10")
