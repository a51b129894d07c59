"""Replaying the quarantine: what enters the log and when, what keeps waiting, and the profiles that follow."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from profile_pipeline import build, replay
from profile_pipeline.computed_days import days_owed
from profile_pipeline.errors import PipelineError
from profile_pipeline.ingestion import Ingested, ingest
from profile_pipeline.replay import Replayed, day_of_replay
from profile_pipeline.settings import Settings
from profile_pipeline.sources import FileSource
from profile_pipeline.tables import QUARANTINE
from profile_pipeline.warehouse import Warehouse, on_connection, open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.deployment import Deployment

START, LAST = date(2024, 1, 1), date(2024, 1, 31)
TODAY = date(2024, 1, 20)
"""The day of the replay."""

ANN = {"id": "u1", "email": "a@x.y", "created_at": "2024-01-02"}
ORDER = {"id": "o1", "user_id": "u1", "amount": 5, "date": "2024-01-03"}
NO_LONGER_TRUE = "an earlier release had a reason"


class Place:
    """A warehouse, a source folder, and settings that a test may change."""

    def __init__(self, home: Path, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.values: dict[str, Any] = {"home": home, "source_dir": home / "source", "start_date": START}
        self.set(mongodb_uri=None, airtable_api_key=None)
        self.settings.source_dir.mkdir(parents=True)

    def set(self, **values: Any) -> None:
        """Change settings."""
        self.values |= values
        self.settings = Settings(**self.values)

    def ingest(self, kind: str, *records: Any) -> Ingested:
        (self.settings.source_dir / f"{kind}.jsonl").write_text("\n".join(map(json.dumps, records)))
        source = FileSource(self.settings.source_dir)
        return ingest(self.warehouse, source, kind, Window(START, LAST), self.settings)

    def reject(self, kind: str, *records: Any, source: str = "") -> None:
        """Put records into quarantine as an earlier release did, whose rules were others."""
        for record in records:
            document = record if isinstance(record, str) else json.dumps(record)
            self.warehouse.connection.execute(
                "INSERT INTO quarantine BY NAME SELECT ? AS partition_date, ? AS kind, ? AS reason, "
                "? AS document, md5(document) AS content_hash, ? AS source",
                [START, kind, NO_LONGER_TRUE, document, source or f"{kind}.jsonl:1"],
            ).fetchall()

    def replay(self, kind: str, day: date = TODAY) -> Replayed:
        (done,) = replay.replay(self.warehouse, self.settings, day, kind)
        return done

    def counts(self, kind: str, day: date = TODAY) -> tuple[int, int, int]:
        """How many a replay took in, found superseded, and left waiting."""
        done = self.replay(kind, day)
        return done.replayed, done.superseded, done.still_waiting

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.warehouse.connection.execute(query).fetchall()


@contextmanager
def in_memory() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder, on_connection(duckdb.connect()) as warehouse:
        warehouse.create_tables()
        yield Place(Path(folder), warehouse)


@pytest.fixture
def place() -> Iterator[Place]:
    with in_memory() as made:
        yield made


RESOLUTIONS = "SELECT record_id, resolution, resolution_date, attempts FROM quarantine ORDER BY rowid"


def test_what_is_valid_by_now_enters_the_log_on_the_day_of_the_replay_only(place: Place) -> None:
    changed = ORDER | {"created_at": "2024-01-03T08:00:00Z", "updated_at": "2024-01-05T09:00:00Z", "unknown": [1]}
    place.reject("orders", changed, source="orders.jsonl:7")
    done = place.replay("orders")
    assert (done.waiting, done.replayed, done.superseded, done.still_waiting) == (1, 1, 0, 0)
    assert place.rows("SELECT partition_date, id, changed_at, document, source, sequence FROM raw_orders") == [
        (TODAY, "o1", datetime(2024, 1, 5, 9), json.dumps(changed), "orders.jsonl:7", 1)
    ]
    assert place.rows(RESOLUTIONS) == [("o1", "replayed", TODAY, 1)]
    assert place.rows("SELECT partition_date, reason, document FROM quarantine") == [
        (START, NO_LONGER_TRUE, json.dumps(changed))
    ]


def test_what_is_still_rejected_waits_with_its_attempts_and_the_reason_of_today(place: Place) -> None:
    place.reject("orders", ORDER | {"amount": -1}, "{oops")
    for attempts in (1, 2):
        done = place.replay("orders")
        assert (done.waiting, done.replayed, done.superseded, done.still_waiting) == (2, 0, 0, 2)
        assert len(done.reasons) == 2
        assert place.rows(RESOLUTIONS) == [("o1", None, None, attempts), (None, None, None, attempts)]
    (amount,), (json_,) = place.rows("SELECT reason FROM quarantine ORDER BY rowid")
    assert amount == "amount is -1; it must not be negative"
    assert "JSON" in json_
    assert place.rows("FROM raw_orders") == []


def test_a_second_replay_raises_the_attempts_of_those_that_wait_and_changes_nothing_else(place: Place) -> None:
    place.reject("users", ANN, {"id": "u2", "email": "a@x.y", "created_at": "2024-01-03"}, ANN | {"age": 200})
    place.reject("users", ANN | {"updated_at": "2024-01-01"})
    assert place.counts("users") == (1, 1, 2)
    state = "SELECT * REPLACE (NULL AS attempts) FROM quarantine ORDER BY ALL"
    log, before = place.rows("FROM raw_users"), place.rows(state)
    assert place.counts("users") == (0, 0, 2)
    assert (place.rows("FROM raw_users"), place.rows(state)) == (log, before)
    assert place.rows("SELECT resolution, attempts FROM quarantine ORDER BY ALL") == [
        *[("replayed", 1), ("superseded", 1)],
        *[(None, 2), (None, 2)],
    ]


WAITING = ANN | {"updated_at": "2024-01-05T09:00:00Z"}


@pytest.mark.parametrize(
    ("known", "resolution"),
    [
        pytest.param({"updated_at": "2024-01-05T10:00:00Z"}, "superseded", id="a later change of the day"),
        pytest.param({"updated_at": "2024-01-25"}, "superseded", id="a change after the replay"),
        pytest.param({"updated_at": "2024-01-05T09:00:00Z", "name": "Ann"}, "superseded", id="the same time"),
        pytest.param(WAITING, "superseded", id="the same version"),
        pytest.param({"updated_at": "2024-01-03", "deleted_at": "2024-01-06"}, "superseded", id="a later deletion"),
        pytest.param({"updated_at": "2024-01-03", "created_at": "2024-01-06"}, "superseded", id="made after all"),
        pytest.param({"updated_at": "2024-01-05T08:00:00Z"}, "replayed", id="an earlier change of the day"),
        pytest.param({"updated_at": "2024-01-03"}, "replayed", id="an earlier day"),
        pytest.param(
            {"updated_at": "2024-01-03", "deleted_at": "2024-01-30"}, "replayed", id="a deletion that is to come"
        ),
        pytest.param({"id": "u9", "email": "b@x.y", "updated_at": "2024-01-09"}, "replayed", id="another record"),
    ],
)
def test_a_record_of_which_the_log_has_a_later_version_is_superseded(
    place: Place, known: dict[str, Any], resolution: str
) -> None:
    place.ingest("users", ANN | known)
    place.reject("users", WAITING)
    before = place.rows("FROM raw_users")
    place.replay("users")
    assert place.rows("SELECT resolution, resolution_date FROM quarantine") == [(resolution, TODAY)]
    assert (place.rows("FROM raw_users") == before) is (resolution == "superseded")


def test_a_version_that_an_earlier_replay_took_in_supersedes_by_its_change_and_not_by_its_day(place: Place) -> None:
    place.reject("users", ANN | {"updated_at": "2024-01-03"})
    place.replay("users")
    place.reject("users", WAITING, ANN | {"updated_at": "2024-01-02"})
    assert place.counts("users", date(2024, 1, 22)) == (1, 1, 0)
    assert place.rows("SELECT partition_date, changed_at FROM raw_users ORDER BY sequence") == [
        (TODAY, datetime(2024, 1, 3)),
        (date(2024, 1, 22), datetime(2024, 1, 5, 9)),
    ]


def test_of_several_documents_of_a_record_the_latest_enters(place: Place) -> None:
    versions = [ORDER | {"amount": amount, "updated_at": f"2024-01-0{day}"} for amount, day in [(1, 4), (2, 6), (3, 5)]]
    place.reject("orders", *versions, ORDER | {"id": "o2"})
    place.reject("orders", ORDER | {"id": "o2", "amount": 9})
    assert place.counts("orders") == (2, 3, 0)
    # Of equal times, the one that came last to quarantine.
    assert place.rows("SELECT id, amount::INT FROM raw_orders ORDER BY id") == [("o1", 2), ("o2", 9)]


def test_a_later_document_that_is_still_rejected_does_not_hold_back_an_earlier_one(place: Place) -> None:
    place.reject("orders", ORDER | {"updated_at": "2024-01-04"}, ORDER | {"updated_at": "2024-01-06", "amount": -1})
    assert place.counts("orders") == (1, 0, 1)


def test_an_address_is_taken_over_once_its_holder_is_gone(place: Place) -> None:
    second = {"id": "u2", "email": "A@x.y", "created_at": "2024-01-03"}
    assert place.ingest("users", ANN, second).rejected == 1
    assert place.counts("users", date(2024, 1, 9)) == (0, 0, 1)
    assert place.rows("SELECT reason FROM quarantine") == [
        ("email a@x.y is held by user u1 as of 2024-01-09; two live users cannot share it",)
    ]
    place.ingest("users", ANN | {"updated_at": "2024-01-10", "deleted_at": "2024-01-10"})
    assert place.counts("users", date(2024, 1, 9)) == (0, 0, 1)
    assert place.counts("users") == (1, 0, 0)
    assert place.rows("SELECT partition_date FROM raw_users WHERE id = 'u2'") == [(TODAY,)]


def test_of_two_that_wait_for_an_address_the_one_with_the_earlier_change_takes_it(place: Place) -> None:
    place.reject(
        "users", ANN | {"created_at": "2024-01-06"}, {"id": "u2", "email": "a@x.y", "created_at": "2024-01-04"}
    )
    assert place.counts("users") == (1, 0, 1)
    assert place.rows("SELECT id FROM raw_users") == [("u2",)]
    assert "is held by user u2" in place.rows("SELECT reason FROM quarantine WHERE resolution IS NULL")[0][0]


def test_a_user_whose_latest_document_claims_a_held_address_enters_with_the_one_before(place: Place) -> None:
    place.ingest("users", ANN)
    own = {"id": "u2", "email": "b@x.y", "created_at": "2024-01-03"}
    place.reject("users", own, own | {"email": "a@x.y", "updated_at": "2024-01-05"})
    assert place.counts("users") == (1, 0, 1)
    assert place.rows("SELECT email FROM raw_users WHERE id = 'u2'") == [("b@x.y",)]


def test_a_change_of_policy_lets_records_in(place: Place) -> None:
    place.set(policy={"fold_email_aliases": True})
    first, second = ANN | {"email": "ann.b@gmail.com"}, ANN | {"id": "u2", "email": "annb+dinner@gmail.com"}
    assert place.ingest("users", first, second).rejected == 1
    assert place.counts("users") == (0, 0, 1)
    place.set(policy={"fold_email_aliases": False})
    assert place.counts("users") == (1, 0, 0)
    assert place.rows("SELECT email FROM raw_users WHERE id = 'u2'") == [("annb+dinner@gmail.com",)]


def test_what_changed_after_the_day_keeps_waiting(place: Place) -> None:
    place.reject("orders", ORDER | {"updated_at": "2024-01-21T00:00:00Z"}, ORDER | {"id": "o2", "date": "2024-02-03"})
    place.reject("users", ANN | {"deleted_at": "2024-02-01"})
    done = place.replay("orders")
    assert done.reasons == {"it is valid, but was made or changed after 2024-01-20; replay it on a later day": 2}
    assert place.counts("orders", date(2024, 1, 21)) == (1, 0, 1)
    # One that is to be deleted is known before.
    assert place.counts("users") == (1, 0, 0)


def test_the_end_of_the_day_is_that_of_the_business(place: Place) -> None:
    place.set(timezone="America/New_York")
    place.reject("orders", ORDER | {"updated_at": "2024-01-21T04:59:00Z"})
    place.reject("orders", ORDER | {"id": "o2", "updated_at": "2024-01-21T05:00:00Z"})
    assert place.counts("orders") == (1, 0, 1)


def test_a_resolved_document_neither_waits_again_nor_comes_twice_when_it_is_read_again(place: Place) -> None:
    place.set(policy={"fold_email_aliases": True})
    records = ANN | {"email": "a.b@gmail.com"}, {"id": "u2", "email": "ab+c@gmail.com", "created_at": "2024-01-03"}
    place.ingest("users", *records)
    place.set(policy={"fold_email_aliases": False})
    assert place.counts("users") == (1, 0, 0)
    resolved = place.rows("FROM quarantine")
    place.set(policy={"fold_email_aliases": True})
    again = place.ingest("users", *records)
    assert (again.rejected, again.newly_quarantined) == (1, 0)
    assert place.rows("FROM quarantine") == resolved
    assert place.counts("users") == (0, 0, 0)
    # Valid by itself, it is known on its own day, too.
    place.set(policy={"fold_email_aliases": False})
    assert place.ingest("users", *records).versions_added == 1
    assert place.rows("SELECT partition_date FROM raw_users WHERE id = 'u2' ORDER BY 1") == [
        (date(2024, 1, 3),),
        (TODAY,),
    ]


def test_only_the_kind_that_is_asked_for_is_replayed(place: Place) -> None:
    place.reject("orders", ORDER)
    place.reject("users", ANN)
    assert (
        str(place.replay("users")) == "users: 1 of 1 waiting records entered the log, 0 were superseded, 0 still wait"
    )
    everything = replay.replay(place.warehouse, place.settings, TODAY)
    assert [(done.kind, done.replayed) for done in everything] == [
        *[("users", 0), ("orders", 1)],
        *[("events", 0), ("messages", 0)],
    ]


def test_a_replay_that_breaks_off_leaves_log_and_quarantine_as_they_were(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.reject("orders", ORDER, ORDER | {"id": "o2", "amount": -1})
    before = place.rows("FROM quarantine ORDER BY ALL")
    with monkeypatch.context() as patched:
        patched.setattr(replay, "_resolve", lambda *_: pytest.fail("broken off"))
        with pytest.raises(pytest.fail.Exception, match="broken off"):
            place.replay("orders")
    assert (place.rows("FROM raw_orders"), place.rows("FROM quarantine ORDER BY ALL")) == ([], before)
    assert place.counts("orders") == (1, 0, 1)


MESSAGE = {"Member": "u1", "content": "Hi", "status": "queued"}
AIRTABLE = {"id": "rec1", "createdTime": "2024-01-05T09:00:00.000Z", "fields": MESSAGE}


def test_documents_of_airtable_are_read_as_they_are_mapped_now(place: Place) -> None:
    access = {"airtable_api_key": "pat1.secret", "airtable_base_id": "appBase"}
    place.reject("messages", AIRTABLE, source="airtable:appBase/messages")
    place.reject(
        "messages", {"id": "m1", "user_id": "u2", "content": "Hi", "status": "sent", "sent_date": "2024-01-04"}
    )
    place.set(**access)
    assert place.counts("messages") == (1, 0, 1)
    assert place.rows("SELECT record_id, reason FROM quarantine WHERE resolution IS NULL") == [
        ("rec1", "user_id is missing")
    ]
    place.set(**access, airtable_fields={"user_id": "Member"})
    assert place.counts("messages") == (1, 0, 0)
    assert place.rows("SELECT id, user_id, changed_at, source FROM raw_messages ORDER BY sequence") == [
        ("m1", "u2", datetime(2024, 1, 4), "messages.jsonl:1"),
        ("rec1", "u1", datetime(2024, 1, 5, 9), "airtable:appBase/messages"),
    ]


def test_documents_of_a_system_that_is_not_set_up_are_read_as_plain_ones(place: Place) -> None:
    place.reject("messages", AIRTABLE, source="airtable:appBase/messages")
    place.reject("messages", {"id": "m1", "user_id": "u1", "content": "Hi", "status": "queued"}, source="airtable:b/m")
    assert place.counts("messages") == (1, 0, 1)


def test_documents_of_mongodb_are_read_as_they_are_mapped_now(place: Place) -> None:
    document = {"_id": {"$oid": "65955f00a1b2c3d4e5f60718"}, "contact": {"mail": "a@x.y"}}
    place.reject("users", document, source="mongodb:club.users")
    # Nothing is asked of the server; there is none.
    place.set(mongodb_uri="mongodb://127.0.0.1:1/club", mongodb_fields={"users": {"email": "contact.mail"}})
    assert place.counts("users") == (1, 0, 0)
    assert place.rows("SELECT id, email FROM raw_users") == [("65955f00a1b2c3d4e5f60718", "a@x.y")]


def test_a_warehouse_made_before_replays_gets_their_columns_and_counts_from_0(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=tmp_path)
    with open_warehouse(settings) as warehouse:
        Place(tmp_path, warehouse).reject("orders", ORDER | {"amount": -1})
        for column in ("attempts", "resolution", "resolution_date"):
            warehouse.connection.execute(f"ALTER TABLE quarantine DROP COLUMN {column}").fetchall()
    with open_warehouse(settings) as warehouse:
        place = Place(tmp_path / "again", warehouse)
        described = place.rows("SELECT column_name, column_type FROM (DESCRIBE quarantine)")
        assert {name for name, _ in described} == set(QUARANTINE.columns)
        assert described[-3:] == [("attempts", "BIGINT"), ("resolution", "VARCHAR"), ("resolution_date", "DATE")]
        assert place.rows("SELECT kind, attempts FROM quarantine") == [("orders", None)]
        assert place.counts("orders") == (0, 0, 1)
        assert place.rows("SELECT attempts FROM quarantine") == [(1,)]


def test_the_day_is_today_unless_it_is_given(place: Place) -> None:
    assert day_of_replay(place.settings) == datetime.now(place.settings.zone).date()
    assert day_of_replay(place.settings, TODAY) == TODAY


@pytest.mark.parametrize(
    ("day", "words"),
    [(date(2023, 12, 31), "before the first partition 2024-01-01"), (date(9999, 1, 1), "has not come yet in UTC")],
    ids=str,
)
def test_a_day_without_a_partition_is_refused(place: Place, day: date, words: str) -> None:
    with pytest.raises(PipelineError, match=f"{day} .*{words}"):
        day_of_replay(place.settings, day)


# ---------------------------------------------------------------- the oracle

optional_times = st.sampled_from(["2024-01-02", "2024-01-03T08:00:00", "2024-01-03T09:00:00", "2024-01-05", None])
orders = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["o1", "o2"]),
        "user_id": st.just("u1"),
        "amount": st.integers(-1, 4),
        "date": st.sampled_from(["2024-01-01", "2024-01-04"]),
        "updated_at": optional_times,
        "deleted_at": optional_times,
    }
)
unique_orders = st.lists(orders, max_size=6, unique_by=json.dumps)
REPLAY_DAY = date(2024, 1, 4)


def last_change(order: dict[str, Any]) -> datetime:
    """When an order last changed, as far as known by the end of the day of the replay."""
    changed = datetime.fromisoformat(order["updated_at"] or order["date"])
    deleted = datetime.fromisoformat(order["deleted_at"] or "0001-01-01")
    return max(changed, deleted) if deleted < datetime(2024, 1, 5) else changed


def replay_naively(log: list[dict[str, Any]], waiting: list[dict[str, Any]]) -> tuple[list[Any], list[str | None]]:
    """What enters the log, and what becomes of each waiting order."""
    entered: dict[str, int] = {}
    fates: list[str | None] = []
    for place, order in enumerate(waiting):
        known = [last_change(other) for other in log if other["id"] == order["id"]]
        if order["amount"] < 0:
            fates.append(None)
        elif known and max(known) >= last_change(order):
            fates.append("superseded")
        elif datetime.fromisoformat(order["updated_at"] or order["date"]) >= datetime(2024, 1, 5):
            fates.append(None)
        else:
            fates.append("replayed")
            rival = entered.get(order["id"])
            if rival is None or last_change(waiting[rival]) <= last_change(order):
                entered[order["id"]] = place
                if rival is not None:
                    fates[rival] = "superseded"
            else:
                fates[place] = "superseded"
    return [waiting[place] for place in sorted(entered.values())], fates


@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(known=unique_orders, waiting=unique_orders)
def test_a_replay_does_what_a_naive_one_does(known: list[dict[str, Any]], waiting: list[dict[str, Any]]) -> None:
    known = [order for order in known if order["amount"] >= 0 and order not in waiting]
    with in_memory() as place:
        place.ingest("orders", *known)
        place.reject("orders", *waiting)
        before = place.rows("SELECT document FROM raw_orders")
        place.replay("orders", REPLAY_DAY)
        entered, fates = replay_naively(known, waiting)
        added = place.rows(f"SELECT document, partition_date FROM raw_orders WHERE sequence > {len(before)} ORDER BY 1")
        assert added == sorted((json.dumps(order), REPLAY_DAY) for order in entered)
        assert place.rows("SELECT resolution FROM quarantine ORDER BY rowid") == [(fate,) for fate in fates]


# ---------------------------------------------------------------- profiles and the job


def replayed_by_job(deployment: Deployment, **config: str) -> dg.ExecuteInProcessResult:
    job = deployment.definitions.resolve_job_def("quarantine_replay")
    return job.execute_in_process(
        instance=deployment.instance,
        run_config={"ops": {"replay_waiting_records": {"config": config}}},
        raise_on_error=False,
    )


def users_as_of(deployment: Deployment, day: str) -> list[str]:
    return [row["id"] for row in deployment.rows(f"SELECT id FROM profiles_as_of(DATE '{day}') ORDER BY id")]


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Three days computed, of which the second rejected a user whose address was free on the third."""
    folder = tmp_path_factory.mktemp("replay")
    deployment = Deployment(folder / "home", folder / "source", max_rejected_share=1.0)
    deployment.write(
        "users",
        {"id": "u1", "email": "ann@x.org", "created_at": "2024-01-01", "deleted_at": "2024-01-03"},
        {"id": "u2", "email": "ann@x.org", "created_at": "2024-01-02", "name": "Ann B"},
        {"id": "u3", "email": "cy@x.org", "created_at": "2024-01-01", "age": 200},
    )
    assert deployment.run("2024-01-01", "2024-01-03", assets=[*build.RAW_STEPS, *build.STEPS]).success
    return deployment


def test_profiles_have_a_record_from_the_day_of_its_replay_on(waiting: Deployment, tmp_path: Path) -> None:
    deployment = waiting.copy(tmp_path / "copy")
    assert users_as_of(deployment, "2024-01-04") == []
    result = replayed_by_job(deployment, day="2024-01-04")
    assert result.success
    assert deployment.rows("SELECT partition_date, id FROM raw_users WHERE id = 'u2'") == [
        {"partition_date": date(2024, 1, 4), "id": "u2"}
    ]
    assert deployment.run("2024-01-04", assets=build.STEPS).success
    assert users_as_of(deployment, "2024-01-03") == []
    assert users_as_of(deployment, "2024-01-04") == ["u2"]


def test_a_day_that_was_computed_before_its_replay_is_owed(waiting: Deployment, tmp_path: Path) -> None:
    deployment = waiting.copy(tmp_path / "copy")
    assert replayed_by_job(deployment, day="2024-01-03").success
    with open_warehouse(deployment.settings) as warehouse:
        assert days_owed(warehouse) == [date(2024, 1, 3)]
        build.build(warehouse, deployment.settings, Window(date(2024, 1, 3), date(2024, 1, 3)))
        assert days_owed(warehouse) == []
    assert users_as_of(deployment, "2024-01-02") == ["u1"]
    assert users_as_of(deployment, "2024-01-03") == ["u2"]


def test_the_job_reports_what_became_of_each_kind(waiting: Deployment, tmp_path: Path) -> None:
    deployment = waiting.copy(tmp_path / "copy")
    (output,) = replayed_by_job(deployment, day="2024-01-03").filter_events(lambda event: event.is_successful_output)
    metadata = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert (metadata["day"], metadata["days_owed"]) == ("2024-01-03", 1)
    assert "| users | 2 | 1 | 0 | 1 |" in metadata["records"]
    assert "| 1 | age is 200; it must be between 1 and 129 |" in metadata["still_rejected_because"]


@pytest.mark.parametrize(("day", "words"), [("2023-12-31", "first partition"), ("soon", "YYYY-MM-DD")])
def test_the_job_refuses_a_wrong_day_in_one_sentence(waiting: Deployment, tmp_path: Path, day: str, words: str) -> None:
    result = replayed_by_job(waiting.copy(tmp_path / "copy"), day=day)
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert words in failure.step_failure_data.user_failure_data.description
