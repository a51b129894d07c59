"""Which days are found to lack something of a live source: those on which a run would add it, and no others."""

import hashlib
import threading
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import stamina
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profile_pipeline.discovery import Found, Known, Patience, known, pending_days
from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.ingestion import ingest_changes
from profile_pipeline.settings import Settings
from profile_pipeline.sources.live import Span
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.memory_source import MemorySource

LAST = date(2024, 1, 10)
NOON = datetime(2024, 1, 11, 12)
EVER = Span(None, NOON)


@pytest.fixture(autouse=True)
def _without_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5):
        yield


def jan(*days: int) -> tuple[date, ...]:
    return tuple(date(2024, 1, day) for day in days)


class Place:
    """A live source, and a warehouse that ingests it."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, start_date=date(2024, 1, 1), overlap_minutes=15)
        self.source = MemorySource(NOON.isoformat())

    def put(self, *keys: str, kind: str = "users", **fields: Any) -> None:
        for key in keys:
            self.source.put(kind, **{"id": key, "email": f"{key}@x.y"} | fields)

    def ingest(self, kind: str = "users", last: date = LAST) -> None:
        window = Window(self.settings.start_date, last)
        with open_warehouse(self.settings) as warehouse:
            ingest_changes(warehouse, self.source, kind, window, self.settings)

    def find(self, kind: str = "users", place: str | None = None, patience: Patience | None = None) -> Found:
        return pending_days(
            *(self.source, kind, EVER, self.settings),
            last_day=LAST,
            patience=patience or Patience(),
            place=place,
        )

    def held(self) -> set[tuple[date, str]]:
        """Each entry of the log and of the quarantine that names a day."""
        with open_warehouse(self.settings) as warehouse:
            return {
                (row["partition_date"], str(row["entry"]))
                for row in warehouse.records(
                    "SELECT partition_date, sequence AS entry FROM raw_users "
                    "UNION ALL SELECT partition_date, content_hash FROM quarantine"
                )
            }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.ingest()
    return made


@pytest.mark.parametrize(
    ("record", "days"),
    [
        pytest.param({"created_at": "2024-01-03T10:00:00"}, (3,), id="a record that came late"),
        pytest.param(
            {"created_at": "2024-01-03T10:00:00", "updated_at": "2024-01-08T10:00:00"}, (3, 8), id="with a change"
        ),
        pytest.param(
            {"created_at": "2024-01-03T10:00:00", "updated_at": "2024-01-11T10:00:00"},
            (3,),
            id="of today's change, what it tells of the past",
        ),
        pytest.param({"created_at": "2023-01-03T10:00:00"}, (1,), id="one from before the first partition"),
        pytest.param({"created_at": "2024-01-11T10:00:00"}, (), id="one of a day that has not ended"),
        pytest.param({"created_at": "2024-01-03T10:00:00", "age": 200}, (3,), id="one that is rejected"),
        pytest.param({"created_at": "2024-01-11T10:00:00", "age": 200}, (), id="one that is rejected today"),
        pytest.param({"created_at": "some day"}, (), id="one that is rejected and has no day"),
    ],
)
def test_days_are_found_on_which_a_run_adds_something_and_afterwards_no_more(
    place: Place, record: dict[str, Any], days: tuple[int, ...]
) -> None:
    place.put("a", **record)
    assert place.find().days == jan(*days)
    place.ingest()
    assert place.find().days == ()


def test_a_content_that_the_source_went_back_to_is_found_again(place: Place) -> None:
    for age, days in ((30, (3,)), (31, (3,)), (30, (3,)), (30, ())):
        place.put("a", created_at="2024-01-03T10:00:00", age=age)
        assert place.find().days == jan(*days)
        place.ingest()


def test_a_second_user_of_an_address_is_found_once(place: Place) -> None:
    place.put("a", created_at="2024-01-03T10:00:00")
    place.ingest()
    place.put("b", email="a@x.y", created_at="2024-01-05T10:00:00")
    assert place.find().days == jan(5)
    place.ingest()
    assert place.find().days == ()


def test_a_second_user_of_an_address_on_several_days_is_found_on_the_first(place: Place) -> None:
    place.put("a", created_at="2024-01-01T10:00:00")
    place.ingest()
    place.put("b", email="a@x.y", created_at="2024-01-03T10:00:00", updated_at="2024-01-06T10:00:00")
    before = place.held()
    assert place.find().days == jan(3)
    place.ingest()
    assert {day for day, _ in place.held() - before} == set(jan(3))


def test_each_kind_is_compared_with_its_own_log(place: Place) -> None:
    place.put("a", created_at="2024-01-03T10:00:00")
    place.put("a", kind="events", name="Gala", date="2024-01-20", created_at="2024-01-04T10:00:00", participants=[])
    place.ingest("events")
    assert (place.find("users").days, place.find("events").days) == (jan(3), ())


TIMES = st.sampled_from([f"2024-01-{day:02}T{hour}:00:00" for day in range(1, 12) for hour in ("00", "23")])
USERS = st.fixed_dictionaries(
    {"id": st.sampled_from("abc"), "created_at": TIMES, "age": st.sampled_from([30, 31, 999])},
    optional={"updated_at": TIMES, "deleted_at": TIMES, "email": st.sampled_from(["a@x.y", "b@x.y"])},
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(st.lists(USERS, min_size=1, max_size=3), min_size=1, max_size=4))
def test_after_every_step_of_a_history_the_days_found_are_those_of_what_ingestion_adds(
    tmp_path_factory: pytest.TempPathFactory, history: list[list[dict[str, Any]]]
) -> None:
    place = Place(tmp_path_factory.mktemp("history"))
    place.ingest()
    for records in history:
        for record in records:
            place.put(record["id"], **record)
        before = place.held()
        found = place.find()
        place.ingest()
        assert found.days == tuple(sorted({day for day, _ in place.held() - before}))
        assert place.find().days == ()


def test_looking_writes_nothing(place: Place) -> None:
    place.put("a", created_at="2024-01-03T10:00:00")
    before = hashlib.sha256(place.settings.warehouse_path.read_bytes()).hexdigest()
    assert place.find().days
    assert hashlib.sha256(place.settings.warehouse_path.read_bytes()).hexdigest() == before
    assert [path.name for path in place.settings.home.iterdir()] == ["warehouse.duckdb"]


def test_what_concerns_no_day_is_not_compared_with_the_log_at_all(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.put("a", created_at="2024-01-11T10:00:00")
    found = place.find()
    assert (found.days, found.documents, found.is_complete) == ((), 1, True)


def test_reading_ends_when_time_is_over_and_goes_on_at_its_place(place: Place) -> None:
    for day, key in enumerate("abcde", 1):
        place.put(key, created_at=f"2024-01-0{day}T10:00:00")
    none_left = Patience(asking=0)
    first = place.find(patience=none_left)
    assert (first.days, first.documents, first.place, first.is_complete) == (jan(1, 2), 2, "b", False)
    second = place.find(place=first.place)
    assert (second.days, second.documents, second.is_complete) == (jan(3, 4, 5), 3, True)
    assert place.source.handed_over == list("abcde")


def test_what_was_read_before_a_fault_counts_and_the_fault_is_told(place: Place) -> None:
    for day, key in enumerate("abcde", 1):
        place.put(key, created_at=f"2024-01-0{day}T10:00:00")
    place.source.faults[1] = fault = TransientError("the connection broke")
    found = place.find()
    assert (found.days, found.place, found.is_complete, found.error) == (jan(1, 2), "b", False, fault)


def test_without_a_warehouse_nothing_is_known(tmp_path: Path) -> None:
    assert known(Settings(home=tmp_path), {"users": "memory:users"}) == Known()
    assert not list(tmp_path.iterdir())


def test_what_is_known_is_how_far_each_source_was_read_and_which_days_have_profiles_or_owe_them(place: Place) -> None:
    place.put("a", "b", created_at="2024-01-03T10:00:00")
    place.ingest()
    with open_warehouse(place.settings) as warehouse:
        warehouse.connection.execute(
            "INSERT INTO computed_days VALUES "
            "('2024-01-02', 0, [], true), ('2024-01-03', 0, [], true), ('2024-01-04', 2, [], true)"
        ).fetchall()
    sources = {"users": "memory:users", "orders": "memory:orders", "events": "memory:events"}
    sources["events"] = "memory:of_another_club"
    assert known(place.settings, sources, ["users"]) == Known(
        jan(2, 3, 4), jan(3), {"users": datetime(2024, 1, 11)}, {"users": 2}
    )


def test_an_answer_that_comes_in_time_is_given_and_what_it_raises_is_raised() -> None:
    patience = Patience(asking=1, waiting=5)
    assert patience.ask(lambda: 42) == 42
    for error in (PipelineError("no such database"), TimeoutError("of the driver")):
        with pytest.raises(type(error), match=str(error)):
            patience.ask(lambda error=error: (_ for _ in ()).throw(error))


def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    comes = threading.Event()
    try:
        with pytest.raises(TransientError, match=r"did not answer within 0\.05 s"):
            Patience(waiting=0.05).ask(comes.wait)
    finally:
        comes.set()


def test_time_is_counted_for_the_look_as_a_whole() -> None:
    clock = iter([100.0, 124.9, 125.0, 138.0])
    patience = Patience(asking=25, waiting=38, clock=lambda: next(clock))
    assert [patience.is_over, patience.is_over] == [False, True]
    with pytest.raises(TransientError):
        patience.ask(threading.Event().wait)


def test_a_look_leaves_time_within_a_tick() -> None:
    patience = Patience()
    assert patience.asking < patience.waiting <= 45 - 5
