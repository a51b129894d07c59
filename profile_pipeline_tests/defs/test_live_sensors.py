"""The sensors of live sources: which days they ask for, when they do not, what they say, and how they recover."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import stamina
from bson import ObjectId
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from pydantic import SecretStr

from profile_pipeline import build
from profile_pipeline.defs.live_sensors import (
    AIRTABLE,
    AIRTABLE_CALLS,
    MONGODB,
    airtable_interval,
    airtable_sensor,
    live_sensor,
    mongodb_sensor,
)
from profile_pipeline.defs.resources import Systems
from profile_pipeline.defs.runs import SENSOR_TAG
from profile_pipeline.discovery import Patience
from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.ingestion import ingest_changes, log_sequence
from profile_pipeline.settings import Settings
from profile_pipeline.sources import FileSource, LiveSource, live_source
from profile_pipeline.sources.airtable.client import poll_interval
from profile_pipeline.sources.live import Batch, Span
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.deployment import LOADED, Deployment
from profile_pipeline_tests.memory_source import MemorySource
from profile_pipeline_tests.servers.airtable import airtable_server
from profile_pipeline_tests.servers.mongodb import mongodb_server

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
NOON = datetime(2024, 1, 20, 12)
LAST = "2024-01-19"
DOWN = TransientError("mongodb:club cannot be reached")


@pytest.fixture(autouse=True)
def _without_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5):
        yield


ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(
        InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="profile_pipeline.definitions")), "__repository__"
    ),
    "nightly_profiles",
)
"""Without it no run can be queued."""


class Source(MemorySource):
    """A live source with a change stream, which can be down."""

    def __init__(self, clock: datetime) -> None:
        super().__init__(clock.isoformat())
        self.down: PipelineError | None = None
        self.stream: tuple[bool, str | None] | PipelineError = (False, "t1")
        self.tokens: list[str | None] = []
        self.asked = 0

    def clock(self) -> datetime:
        self.asked += 1
        if self.down:
            raise self.down
        return self.now

    def woken(self, token: str | None) -> tuple[bool, str | None]:
        self.tokens.append(token)
        if isinstance(self.stream, PipelineError):
            raise self.stream
        return self.stream


class Watched(Deployment):
    """A deployment with users, orders and events in a live source, whose sensor ticks; time stands still between."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, home / "source")
        self.set(mongodb_uri=SecretStr("mongodb://memory/club"))
        self.now = NOON
        self.source = Source(NOON)
        self.sensor, self.kinds = mongodb_sensor, MONGODB.kinds
        self.cursor: str | None = None
        self.patience: Callable[[], Patience] = Patience
        self.open: Callable[[str, Settings], LiveSource] = lambda kind, settings: self.source

    def set(self, **settings: Any) -> None:
        self.settings = self.settings.model_copy(update=settings)
        self.resources["settings"] = self.settings

    def put(self, key: str, day: int, kind: str = "users", **fields: Any) -> None:
        """Make a record in the source as of a day of January, committed now."""
        # The source counts `created_date` among the times; in records of these kinds it means nothing.
        times = {"created_at": f"2024-01-{day:02}T10:00:00", "created_date": (self.source.now - SECOND).isoformat()}
        self.source.put(kind, **{"id": key, "email": f"{key}@x.org"} | times | fields)

    def pass_(self, **time: float) -> None:
        """Let time pass, here and at the source."""
        self.now += timedelta(**time)
        self.source.now += timedelta(**time)

    def ingest(self, start: str = "2024-01-01", end: str = LAST) -> None:
        """As if a run had brought these days up to date."""
        window = Window(date.fromisoformat(start), date.fromisoformat(end))
        with open_warehouse(self.settings) as warehouse:
            for kind in self.kinds:
                with closing(self.open(kind, self.settings)) as source:
                    ingest_changes(warehouse, source, kind, window, self.settings)
            for day in window:
                warehouse.connection.execute("DELETE FROM computed_days WHERE partition_date = ?", [day]).fetchall()
                warehouse.connection.execute(
                    "INSERT INTO computed_days VALUES (?, ?, [], true)", [day, log_sequence(warehouse)]
                ).fetchall()

    def tick(self) -> SensorExecutionData:
        """What a tick comes to, with all that Dagster itself asks of one."""
        systems = Systems(self.open, self.patience, lambda: self.now)
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"settings": self.settings, "systems": systems}
        ) as context:
            result = self.sensor.evaluate_tick(context)
        self.cursor = result.cursor
        return result

    def request(self) -> dg.RunRequest:
        tick = self.tick()
        assert tick.run_requests, tick.skip_message
        (request,) = tick.run_requests
        return request

    def requested(self) -> tuple[str, ...]:
        """The range that the one request of the next tick asks for."""
        return range_of(self.request())

    def skipped(self) -> str:
        tick = self.tick()
        assert tick.skip_message, tick.run_requests
        return tick.skip_message

    def run_of(self, request: dg.RunRequest, *, fails: bool = False) -> None:
        """Run what was requested; it does its work unless it fails."""
        if not fails:
            self.ingest(*range_of(request))
        self.pretend(request, fails=fails)

    def fail(self, request: dg.RunRequest) -> datetime:
        """Let a requested run fail, and return when it did, by the real clock, which runs have their times from."""
        self.run_of(request, fails=True)
        (record,) = self.instance.get_run_records(limit=1)
        assert record.end_time
        return datetime.fromtimestamp(record.end_time, UTC).replace(tzinfo=None)

    def begin_run(self, job: str = "nightly_profiles", status: str = "QUEUED") -> str:
        run = dg.DagsterRun(job_name=job, status=dg.DagsterRunStatus(status), remote_job_origin=ORIGIN)
        return self.instance.add_run(run).run_id


SECOND = timedelta(seconds=1)


def range_of(request: dg.RunRequest) -> tuple[str, ...]:
    return tuple(request.tags[end] for end in RANGE)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """A deployment that is up to date, with a tick that looked and found nothing."""
    made = Watched(tmp_path)
    made.source.put("users", id="ann", email="ann@x.org", created_at="2024-01-02T10:00:00")
    made.ingest()
    assert made.skipped().startswith(f"MongoDB has nothing up to {LAST} that the log lacks")
    made.pass_(minutes=1)
    return made


# ---------------------------------------------------------------- off by default


@pytest.mark.parametrize(
    ("sensor", "reason"),
    [
        (mongodb_sensor, "MONGODB_URI is not set; users, orders and events come from files in "),
        (airtable_sensor, "AIRTABLE_API_KEY is not set; messages come from files in "),
    ],
)
def test_without_credentials_a_sensor_is_off_and_says_where_records_come_from(
    sensor: dg.SensorDefinition, reason: str, tmp_path: Path
) -> None:
    assert LOADED.resolve_sensor_def(sensor.name).default_status == dg.DefaultSensorStatus.STOPPED
    settings = Deployment(tmp_path, tmp_path / "source").settings
    skip = sensor(dg.build_sensor_context(resources={"settings": settings, "systems": Systems()}))
    assert isinstance(skip, dg.SkipReason)
    assert skip.skip_message == f"{reason}{tmp_path / 'source'}"


@pytest.mark.parametrize("system", [MONGODB, AIRTABLE])
def test_with_credentials_a_sensor_is_on(system: Any) -> None:
    sensor = live_sensor(replace(system, secret=lambda settings: SecretStr("s3cret")))
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


def test_a_sensor_is_on_when_definitions_load_with_its_credentials() -> None:
    code = (
        "from profile_pipeline.definitions import defs\n"
        "print({each.name for each in defs().sensors if each.default_status.value == 'RUNNING'})"
    )
    environment = {"MONGODB_URI": "mongodb://127.0.0.1/club", "PATH": ""}
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert loaded.stdout.strip() == "{'mongodb_sensor'}"


# ---------------------------------------------------------------- which days


def test_a_source_that_was_never_read_is_owed_from_the_first_partition_on(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.put("ann", 5)
    request = watched.request()
    assert range_of(request) == ("2024-01-01", LAST)
    assert watched.source.spans == []
    watched.run_of(request)
    assert watched.skipped().startswith("MongoDB has nothing")


def test_another_database_is_owed_from_the_first_partition_on(watched: Watched) -> None:
    watched.source.name = lambda kind: f"memory:other.{kind}"  # type: ignore[method-assign]
    assert watched.requested() == ("2024-01-01", LAST)


def test_a_late_record_asks_for_its_day_and_the_computed_days_after_it(watched: Watched) -> None:
    watched.put("late", 5)
    assert watched.requested() == ("2024-01-05", LAST)


def test_records_of_all_kinds_are_asked_for_in_one_run(watched: Watched) -> None:
    watched.put("late", 9)
    watched.put("gala", 7, "events", name="Gala", date="2024-01-30", participants=[])
    watched.put("o1", 8, "orders", user_id="ann", amount=5, date="2024-01-08")
    assert watched.requested() == ("2024-01-07", LAST)


def test_a_record_that_is_rejected_asks_for_its_day_so_that_it_is_in_quarantine(watched: Watched) -> None:
    watched.put("late", 5, age=200)
    watched.run_of(watched.request())
    assert [row["partition_date"] for row in watched.rows("FROM quarantine")] == [date(2024, 1, 5)]
    watched.pass_(minutes=1)
    assert watched.skipped().startswith("MongoDB has nothing")


def test_what_changes_today_is_left_to_the_night(watched: Watched) -> None:
    watched.put("ann", 2, age=30, updated_at="2024-01-20T11:00:00")
    watched.put("new", 20)
    assert watched.skipped().startswith("MongoDB has nothing")


def test_a_day_that_has_just_ended_is_left_to_its_night(watched: Watched) -> None:
    watched.pass_(hours=11, minutes=50)
    watched.put("evening", 20)
    watched.pass_(minutes=20)
    assert watched.skipped().startswith(f"MongoDB has nothing up to {LAST}")


def test_what_was_asked_for_and_run_is_not_asked_for_again_when_the_overlap_is_read_again(watched: Watched) -> None:
    watched.put("late", 5)
    watched.run_of(watched.request())
    for _ in range(3):
        watched.source.handed_over.clear()
        watched.pass_(minutes=1)
        assert watched.skipped().startswith("MongoDB has nothing")
        assert watched.source.handed_over == ["late"]


def test_a_look_reads_what_changed_since_the_one_before_less_the_overlap(watched: Watched) -> None:
    watched.source.spans.clear()
    watched.skipped()
    minute = timedelta(minutes=1)
    assert watched.source.spans == [Span(NOON - 15 * minute, NOON + minute)] * 3


def test_a_recompute_that_is_owed_is_asked_for_though_nothing_changed(watched: Watched) -> None:
    watched.source.put("users", id="bob", email="bob@x.org", created_at="2024-01-07T10:00:00")
    with open_warehouse(watched.settings) as warehouse:
        window = Window(date(2024, 1, 7), date(2024, 1, 7))
        ingest_changes(warehouse, watched.source, "users", window, watched.settings)
    request = watched.request()
    assert range_of(request) == ("2024-01-07", LAST)
    watched.run_of(request)
    assert watched.skipped().startswith("MongoDB has nothing")


def test_before_the_first_day_has_ended_there_is_nothing_to_ask_for(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.now = datetime(2024, 1, 1, 12)
    assert watched.skipped() == "the first partition, 2024-01-01, has not ended yet"


def test_what_the_sensor_asks_for_can_be_run_by_the_nightly_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path)
    # Dagster notes each day of each asset, which takes most of a long run.
    watched.pass_(days=-12)
    last = "2024-01-07"
    watched.write("messages")
    # Without an interest nobody would be in the index.
    watched.put("ann", 2, interests=["wine"])

    def source_for(kind: str, settings: Settings) -> Any:
        return FileSource(settings.source_dir) if kind == "messages" else watched.source

    monkeypatch.setattr(build, "source_for", source_for)
    for late, owed in (None, "2024-01-01"), (5, "2024-01-05"):
        if late:
            watched.pass_(minutes=1)
            watched.put("late", late)
        request = watched.request()
        assert range_of(request) == (owed, last)
        assert watched.run(tags=dict(request.tags)).success
        watched.pass_(minutes=1)
        assert watched.skipped().startswith("MongoDB has nothing")
    assert watched.rows("SELECT partition_date FROM user_profiles WHERE id = 'late'") == [
        {"partition_date": date(2024, 1, 5)}
    ]


# ---------------------------------------------------------------- run keys, runs that fail


def test_what_was_found_is_asked_for_under_the_same_key_if_the_cursor_was_not_saved(watched: Watched) -> None:
    watched.put("late", 5)
    before = watched.cursor
    first = watched.request()
    watched.cursor = before
    watched.now += SECOND
    assert watched.request().run_key == first.run_key


def test_a_run_that_was_launched_before_a_crash_is_not_asked_for_again(watched: Watched) -> None:
    watched.put("late", 5)
    before = watched.cursor
    watched.run_of(watched.request())
    watched.cursor = before
    assert watched.skipped().startswith("MongoDB has nothing")


def test_later_changes_of_the_same_day_are_asked_for_under_keys_of_their_own(watched: Watched) -> None:
    keys = set()
    for age in (30, 31, 30):
        watched.put("late", 5, age=age)
        request = watched.request()
        assert range_of(request) == ("2024-01-05", LAST)
        keys.add(request.run_key)
        watched.run_of(request)
        watched.pass_(minutes=1)
    assert len(keys) == 3


def test_days_whose_run_failed_are_asked_for_again_after_a_while_under_another_key(watched: Watched) -> None:
    watched.put("late", 5)
    first = watched.request()
    ended = watched.fail(first)
    watched.now = ended + timedelta(minutes=4)
    assert "failed; 2024-01-05 to 2024-01-19 is requested again from " in watched.skipped()
    watched.now = ended + timedelta(minutes=6)
    again = watched.request()
    assert range_of(again) == range_of(first)
    assert again.run_key != first.run_key
    watched.run_of(again)
    watched.pass_(minutes=1)
    assert watched.skipped().startswith("MongoDB has nothing")


def test_a_run_that_failed_when_its_days_were_computed_is_asked_for_again_all_the_same(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    request = watched.request()
    watched.ingest()
    watched.now = watched.fail(request) + timedelta(minutes=6)
    watched.source.now = watched.now
    assert watched.requested()[0] == "2024-01-01"


def test_runs_that_always_fail_are_asked_for_ever_less_often_but_at_least_each_hour(watched: Watched) -> None:
    watched.put("late", 5)
    keys = set()
    for times, minutes in enumerate((5, 10, 20, 40, 60, 60), 1):
        request = watched.request()
        keys.add(request.run_key)
        ended = watched.fail(request)
        watched.now = ended + timedelta(minutes=minutes, seconds=-1)
        last = "failed" if times == 1 else f"failed, the last of {times} in a row"
        assert last in watched.skipped()
        watched.now = ended + timedelta(minutes=minutes)
    assert len(keys) == 6


def test_a_failing_run_is_not_asked_for_sooner_because_more_is_found(watched: Watched) -> None:
    watched.put("late", 5)
    ended = watched.fail(watched.request())
    watched.put("later", 4)
    watched.now = ended + timedelta(minutes=2)
    assert "2024-01-04 to 2024-01-19 is requested again from" in watched.skipped()


@pytest.mark.parametrize("job", ["nightly_profiles", "__ASSET_JOB"])
@pytest.mark.parametrize("status", ["QUEUED", "STARTED"])
def test_while_a_run_is_on_its_way_nothing_is_looked_for(watched: Watched, job: str, status: str) -> None:
    watched.put("late", 5)
    asked = watched.source.asked
    run = watched.begin_run(job, status)
    reason = f"run {run[:8]} of {job} is {status.lower()}; MongoDB is looked at when it has ended"
    assert watched.skipped() == reason
    assert watched.source.asked == asked
    watched.instance.delete_run(run)
    assert watched.requested() == ("2024-01-05", LAST)


@pytest.mark.parametrize(("job", "status"), [("nightly_profiles", "NOT_STARTED"), ("another_job", "STARTED")])
def test_a_run_that_was_never_submitted_or_is_of_another_job_is_not_waited_for(
    watched: Watched, job: str, status: str
) -> None:
    watched.begin_run(job, status)
    assert watched.skipped().startswith("MongoDB has nothing")


def test_a_warehouse_that_a_run_writes_is_waited_for_and_nothing_is_lost(watched: Watched) -> None:
    watched.put("late", 5)
    code = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(watched.settings.warehouse_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdin
    assert writer.stdout
    with writer, writer.stdout:
        assert writer.stdout.readline() == "open\n"
        reason = watched.skipped()
        assert "is in use by another process" in reason
        assert reason.endswith("; the next tick looks again")
        writer.stdin.close()
    assert watched.requested() == ("2024-01-05", LAST)


def test_each_run_says_which_sensor_asked_for_it(watched: Watched) -> None:
    watched.put("late", 5)
    assert watched.request().tags[SENSOR_TAG] == "mongodb_sensor"


# ---------------------------------------------------------------- when to look


def test_between_looks_the_source_is_left_alone(watched: Watched) -> None:
    watched.skipped()
    asked = watched.source.asked
    watched.put("late", 5)
    watched.pass_(seconds=30)
    assert watched.skipped() == (
        f"MongoDB has nothing up to {LAST} that the log lacks; looked at on 2024-01-20 12:01:00 UTC, again from "
        "2024-01-20 12:02:00 UTC on"
    )
    assert watched.source.asked == asked
    watched.pass_(seconds=30)
    assert watched.requested() == ("2024-01-05", LAST)


def test_airtable_is_looked_at_as_often_as_the_plan_allows(tmp_path: Path) -> None:
    settings = Watched(tmp_path).settings
    assert airtable_interval(settings) == AIRTABLE_CALLS * poll_interval(1000) > timedelta(minutes=1)
    rich = settings.model_copy(update={"airtable_monthly_calls": 10**9})
    assert airtable_interval(rich) == timedelta(minutes=1)


def test_a_source_that_has_to_be_read_as_a_whole_is_looked_at_as_seldom_as_its_size_demands(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.set(mongodb_uri=None, airtable_api_key=SecretStr("pat"), airtable_monthly_calls=10**9)
    watched.sensor, watched.kinds = airtable_sensor, AIRTABLE.kinds
    watched.source.incremental = False
    watched.source.scan_interval = lambda records: timedelta(hours=records)  # type: ignore[method-assign]
    for key in "abc":
        watched.source.put("messages", id=key, user_id="u", status="queued", created_date="2024-01-03T10:00:00")
    watched.ingest()
    assert watched.skipped().endswith("again from 2024-01-20 15:00:00 UTC on")
    watched.source.put("messages", id="a", user_id="u", status="seen", created_date="2024-01-03T10:00:00")
    watched.pass_(hours=2)
    watched.skipped()
    watched.pass_(hours=1)
    assert watched.requested() == ("2024-01-03", LAST)


# ---------------------------------------------------------------- as far as time allows


def test_a_look_that_takes_too_long_goes_on_at_the_next_tick_and_asks_for_all_days_in_the_end(
    watched: Watched,
) -> None:
    for day, key in enumerate("bcdef", 3):
        watched.put(key, day)
    watched.put("gala", 15, "events", name="Gala", date="2024-01-30", participants=[])
    watched.patience = lambda: Patience(asking=0)
    watched.source.handed_over.clear()
    said = [watched.skipped().removesuffix(" the next tick goes on with users, orders, events") for _ in range(6)]
    assert said[:3] == [f"{count} documents of MongoDB read;" for count in (2, 2, 1)]
    assert said[4:] == [f"{count} documents of MongoDB read; the next tick goes on with events" for count in (0, 1)]
    assert watched.requested() == ("2024-01-03", LAST)
    assert watched.source.handed_over == [*"bcdef", "gala"]


def test_a_source_that_hangs_is_given_up_in_time_and_counts_as_down(watched: Watched) -> None:
    hangs = threading.Event()

    def changes(kind: str, span: Span, place: str | None = None) -> Iterator[Batch]:
        hangs.wait()
        yield from ()

    watched.source.changes = changes  # type: ignore[method-assign]
    watched.patience = lambda: Patience(waiting=0.2)
    try:
        began = datetime.now()
        reason = watched.skipped()
        assert datetime.now() - began < timedelta(seconds=20)
        assert "MongoDB could not be read, once since" in reason
        assert "did not answer within 0.2 s" in reason
    finally:
        hangs.set()


# ---------------------------------------------------------------- the circuit breaker


def test_a_source_that_is_down_is_told_and_left_alone_for_a_while_and_found_again_by_itself(watched: Watched) -> None:
    watched.put("late", 5)
    watched.source.down = DOWN
    for times, minutes in (("once", 1), ("2 times in a row", 2), ("3 times in a row", 4)):
        reason = watched.skipped()
        assert reason == (
            f"MongoDB could not be read, {times} since 2024-01-20 12:01:00 UTC: mongodb:club cannot be reached; by "
            f"itself it is tried again from {watched.now + timedelta(minutes=minutes)} UTC on"
        )
        asked = watched.source.asked
        watched.pass_(minutes=minutes, seconds=-1)
        assert watched.skipped() == reason
        assert watched.source.asked == asked
        watched.pass_(seconds=1)
    watched.source.down = None
    assert watched.requested() == ("2024-01-05", LAST)
    assert json.loads(watched.cursor or "")["breaker"] is None


@pytest.mark.parametrize(
    ("fault", "read_again"), [(TransientError("reset"), ["d", "e"]), (PipelineError("bad place"), [*"bcde"])]
)
def test_after_a_fault_reading_goes_on_at_its_place_unless_that_may_be_the_cause(
    watched: Watched, fault: PipelineError, read_again: list[str]
) -> None:
    for day, key in enumerate("bcde", 4):
        watched.put(key, day)
    watched.source.handed_over.clear()
    watched.source.faults[watched.source.batches + 1] = fault
    assert str(fault) in watched.skipped()
    assert watched.source.handed_over == ["b", "c"]
    watched.source.handed_over.clear()
    watched.pass_(minutes=1)
    assert watched.requested() == ("2024-01-04", LAST)
    assert watched.source.handed_over == read_again


def test_settings_that_are_incomplete_are_told_in_the_same_way(watched: Watched) -> None:
    def no_source(kind: str, settings: Settings) -> Any:
        raise PipelineError("MONGODB_URI names no database")

    systems = Systems(source=no_source, now=lambda: watched.now)
    context = dg.build_sensor_context(
        instance=watched.instance, resources={"settings": watched.settings, "systems": systems}
    )
    assert "MONGODB_URI names no database" in (mongodb_sensor.evaluate_tick(context).skip_message or "")


# ---------------------------------------------------------------- change streams


@pytest.fixture
def streaming(watched: Watched) -> Watched:
    """Looked at just now, with a change stream that has nothing to tell."""
    watched.set(mongodb_change_streams=True)
    watched.skipped()
    watched.source.tokens.clear()
    watched.pass_(seconds=10)
    return watched


def test_a_change_stream_wakes_the_sensor_early(streaming: Watched) -> None:
    streaming.put("late", 5)
    streaming.source.stream = (False, "t2")
    assert streaming.skipped().startswith("MongoDB has nothing")
    streaming.source.stream = (True, "t3")
    assert streaming.requested() == ("2024-01-05", LAST)
    assert streaming.source.tokens == ["t1", "t2"]


def test_what_a_change_stream_does_not_tell_of_is_found_all_the_same(streaming: Watched) -> None:
    streaming.put("late", 5)
    streaming.pass_(seconds=50)
    assert streaming.requested() == ("2024-01-05", LAST)


def test_a_token_that_expired_makes_the_sensor_look_and_begin_anew(streaming: Watched) -> None:
    streaming.put("late", 5)
    streaming.source.stream = (True, None)
    request = streaming.request()
    assert range_of(request) == ("2024-01-05", LAST)
    streaming.run_of(request)
    streaming.source.stream = (True, "t9")
    streaming.skipped()
    streaming.source.stream = (False, "t9")
    streaming.skipped()
    assert streaming.source.tokens == ["t1", None, "t9"]


def test_without_change_streams_the_server_is_looked_at_as_ever_and_the_tick_says_so(streaming: Watched) -> None:
    streaming.source.stream = PipelineError("mongodb:club is on a server without change streams")
    streaming.put("late", 5)
    said = streaming.skipped()
    assert said.endswith("; no change stream wakes this sensor: mongodb:club is on a server without change streams")
    streaming.pass_(seconds=50)
    assert streaming.requested() == ("2024-01-05", LAST)


def test_a_change_stream_that_breaks_counts_as_a_source_that_is_down(streaming: Watched) -> None:
    streaming.source.stream = DOWN
    assert streaming.skipped().startswith("MongoDB could not be read, once since")


def test_a_change_stream_is_not_asked_for_unless_it_is_switched_on(watched: Watched) -> None:
    watched.skipped()
    assert watched.source.tokens == []


# ---------------------------------------------------------------- the cursor


@pytest.mark.parametrize("cursor", ["yesterday", '{"users": {"files": {}, "days": {}}}'])
def test_a_cursor_that_is_none_of_ours_is_begun_anew_and_the_tick_says_so(watched: Watched, cursor: str) -> None:
    watched.cursor = cursor
    assert watched.skipped().endswith("; the cursor was none of this sensor, so it begins anew, which loses nothing")
    assert "cursor" not in watched.skipped()


def test_without_its_cursor_the_sensor_finds_what_it_found_before(watched: Watched) -> None:
    watched.put("late", 5)
    assert watched.requested() == ("2024-01-05", LAST)
    watched.cursor = None
    assert watched.requested() == ("2024-01-05", LAST)


# ---------------------------------------------------------------- the real sources, over sockets


def test_mongodb_wakes_is_looked_at_goes_down_and_comes_back(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.open = live_source
    with mongodb_server(replica_set="rs0") as server, server.client() as client:
        server.set_clock(NOON)
        uri = f"{server.uri}{'&' if '?' in server.uri else '?'}serverSelectionTimeoutMS=500"
        watched.set(mongodb_uri=SecretStr(uri), mongodb_database=server.database, mongodb_change_streams=True)
        watched.ingest()
        assert watched.skipped().startswith("MongoDB has nothing")

        late = {"_id": ObjectId(f"{int((NOON - SECOND).replace(tzinfo=UTC).timestamp()):08x}{'0' * 16}")}
        late |= {"email": "late@x.org", "created_at": datetime(2024, 1, 5, 10)}
        watched.pass_(seconds=10)
        assert watched.skipped().startswith("MongoDB has nothing")
        client[server.database].users.insert_one(late)
        assert watched.requested() == ("2024-01-05", LAST)

        server.kill()
        watched.pass_(minutes=1)
        reason = watched.skipped()
        assert reason.startswith("MongoDB could not be read, once since")
        assert uri not in reason
        server.restart()
        server.set_clock(NOON)
        watched.pass_(minutes=1)
        assert watched.requested() == ("2024-01-05", LAST)


def test_a_look_at_airtable_takes_the_calls_that_its_interval_counts_on(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.open = live_source
    watched.sensor, watched.kinds = airtable_sensor, AIRTABLE.kinds
    schema = {"Member": "singleLineText", "Text": "multilineText", "State": "singleSelect", "Written": "date"}
    fields = {"user_id": "Member", "content": "Text", "status": "State", "created_date": "Written"}
    with airtable_server(tables={"messages": schema | {"Changed": "lastModifiedTime"}}, rate=None) as server:
        server.set_clock(NOON)
        watched.set(
            mongodb_uri=None,
            airtable_api_key=SecretStr(server.token),
            airtable_base_id=server.base,
            airtable_api_url=server.url,
            airtable_fields=fields | {"updated_at": "Changed"},
        )
        watched.ingest()
        assert watched.skipped().startswith("Airtable has nothing")

        watched.pass_(hours=1)
        server.set_clock(watched.now)
        late = {"Member": "u1", "Text": "Hi", "State": "queued", "Written": "2024-01-05"}
        server.put("messages", "rec00000000000001", late)
        asked = len(server.requests)
        assert watched.skipped().startswith("Airtable has nothing")
        assert len(server.requests) == asked
        watched.pass_(hours=2)
        server.set_clock(watched.now)
        assert watched.requested() == ("2024-01-05", LAST)
        assert len(server.requests) - asked == AIRTABLE_CALLS
