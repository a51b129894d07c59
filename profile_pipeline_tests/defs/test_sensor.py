"""The sensor of the source folder: which days it asks for, when it does not, and that a run of them works."""

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from profile_pipeline.defs.sensors import run_request, source_folder_sensor, window_owed
from profile_pipeline.sample.golden import RECORDS
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.deployment import Deployment, Requested

ANN = {"id": "u1", "email": "ann@x.org", "created_at": "2024-01-05"}
BOB = {"id": "u2", "email": "bob@x.org", "created_at": "2024-01-10"}
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
    request = run_request(Window(*jan(5, 7)), "a")
    assert (run_request(Window(*jan(*days)), cursor).run_key == request.run_key) is is_same
    assert [request.tags[end] for end in RANGE] == ["2024-01-05", "2024-01-07"]


class Watched(Deployment):
    """A deployment whose sensor ticks; each tick starts at the cursor of the one before, if that kept one."""

    cursor: str | None = None

    def tick(self) -> dg.SensorResult | dg.SkipReason:
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"settings": self.settings}
        )
        result = source_folder_sensor(context)
        assert isinstance(result, dg.SensorResult | dg.SkipReason)
        self.cursor = result.cursor if isinstance(result, dg.SensorResult) else context.cursor
        return result

    def requested(self) -> tuple[str, str]:
        """The range that the one request of the next tick asks for."""
        tags = self.request().tags
        return tags[RANGE[0]], tags[RANGE[1]]

    def request(self) -> dg.RunRequest:
        tick = self.tick()
        assert isinstance(tick, dg.SensorResult), tick
        assert tick.run_requests is not None
        (request,) = tick.run_requests
        return request

    def skipped(self) -> str:
        tick = self.tick()
        assert isinstance(tick, dg.SkipReason), tick
        return tick.skip_message or ""

    def computed(self, *days: str) -> None:
        """As if these days had been computed, in Dagster or not."""
        with open_warehouse(self.settings) as warehouse:
            for day in days:
                warehouse.connection.execute("INSERT INTO computed_days VALUES (?, 1, [], true)", [day]).fetchall()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    made = Watched(tmp_path / "home", tmp_path / "source")
    made.write("users", ANN, BOB)
    return made


def test_the_first_tick_asks_for_the_range_of_the_data(watched: Watched) -> None:
    assert watched.requested() == ("2024-01-05", "2024-01-10")


def test_a_tick_without_a_change_says_so(watched: Watched) -> None:
    watched.tick()
    assert watched.skipped().startswith(f"nothing changed in {watched.settings.source_dir} up to 20")


def test_a_file_written_again_with_the_same_records_is_no_change(watched: Watched) -> None:
    watched.tick()
    watched.write("users", BOB, ANN)
    assert watched.skipped().startswith("nothing changed")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda watched: watched.write("users", ANN | {"age": 30}, BOB), id="a changed record"),
        pytest.param(lambda watched: watched.write("users", BOB), id="a record that went"),
        pytest.param(
            lambda watched: watched.write("orders", {"id": "o1", "user_id": "u1", "amount": 5, "date": "2024-01-05"}),
            id="a new file",
        ),
    ],
)
def test_a_change_asks_for_its_day_and_the_computed_days_after_it(
    watched: Watched, change: Callable[[Watched], None]
) -> None:
    watched.tick()
    watched.computed("2024-01-04", "2024-01-05", "2024-01-12")
    change(watched)
    assert watched.requested() == ("2024-01-05", "2024-01-12")
    assert watched.skipped().startswith("nothing changed")


def test_an_announced_event_is_left_to_the_night_of_its_day(watched: Watched) -> None:
    watched.tick()
    event = {"id": "e1", "name": "Gala", "date": "2999-01-01", "created_at": "2024-01-08", "participants": []}
    watched.write("events", event)
    assert watched.requested() == ("2024-01-08", "2024-01-08")


def test_a_folder_that_is_missing_or_empty_is_named_and_comes_back(watched: Watched, tmp_path: Path) -> None:
    watched.tick()
    watched.settings.source_dir.rename(tmp_path / "away")
    assert watched.skipped().startswith(f"the source folder {watched.settings.source_dir} does not exist")
    watched.settings.source_dir.mkdir()
    assert watched.skipped().startswith(f"the source folder {watched.settings.source_dir} has none of users")
    shutil.copytree(tmp_path / "away", watched.settings.source_dir, dirs_exist_ok=True)
    watched.write("users", ANN, BOB | {"age": 40})
    assert watched.requested() == ("2024-01-10", "2024-01-10")


def test_a_cursor_that_cannot_be_read_is_named(watched: Watched) -> None:
    watched.cursor = "yesterday"
    assert "reset the sensor's cursor" in watched.skipped()


def test_a_change_that_was_not_remembered_is_asked_for_under_the_same_key(watched: Watched) -> None:
    first = watched.request()
    watched.cursor = None
    assert watched.request().run_key == first.run_key


def test_another_change_of_the_same_day_has_another_key(watched: Watched) -> None:
    watched.tick()
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
    watched.tick()
    watched.settings = watched.settings.model_copy(update=credentials)
    watched.write("users", ANN | {"age": 30}, BOB)
    watched.write("messages", {"id": "m1", "user_id": "u1", "status": "queued", "created_date": "2024-01-08"})
    assert watched.requested() == (changed, changed)


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
    assert isinstance(source_folder_sensor(context), dg.SkipReason)


def test_a_change_after_a_run_asks_for_the_days_that_the_run_computed(golden: Requested, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(golden.deployment.settings.source_dir, source)
    watched = Watched(golden.deployment.settings.home, source)
    watched.cursor = golden.cursor
    late = RECORDS["orders"][1] | {"amount": 95.0}
    (source / "orders.jsonl").write_text("".join(json.dumps(order) + "\n" for order in (RECORDS["orders"][0], late)))
    assert watched.requested() == (RECORDS["orders"][1]["date"], "2024-02-10")
