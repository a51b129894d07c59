"""Ingestion into a warehouse on disk: the worked example, real data, single cases, and crashes."""

import json
import signal
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from profile_pipeline.errors import PipelineError
from profile_pipeline.history import LATEST_FIRST
from profile_pipeline.ingestion import Ingested, ingest
from profile_pipeline.records import screening
from profile_pipeline.settings import Settings
from profile_pipeline.sources import source_for
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.reference_data import REAL, WORKED_EXAMPLE, needs_real_data

JANUARY = Window(date(2024, 1, 1), date(2024, 1, 31))
ANN = {"id": "u1", "email": "a@x.y", "created_at": "2024-01-02"}
LATEST_OF_ITS_DAY = f"""
    QUALIFY row_number() OVER (PARTITION BY id, partition_date ORDER BY {LATEST_FIRST}) = 1 ORDER BY partition_date
"""


class Place:
    """A source folder and a warehouse beside it."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, source_dir=home / "source", start_date=JANUARY.start)
        self.settings.source_dir.mkdir()

    def ingest(self, kind: str, *records: Any, window: Window = JANUARY) -> Ingested:
        lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
        (self.settings.source_dir / f"{kind}.jsonl").write_text("\n".join(lines))
        with open_warehouse(self.settings) as warehouse:
            return ingest(warehouse, source_for(kind, self.settings), kind, window, self.settings)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with open_warehouse(self.settings) as warehouse:
            return warehouse.connection.execute(query).fetchall()

    def note_computed(self, *days: date) -> None:
        for each in days:
            self.rows(f"INSERT INTO computed_days VALUES ('{each}', 0, [], true)")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timezone": "Asia/Tokyo"}, "PROFILE_PIPELINE_TIMEZONE=UTC, and it is Asia/Tokyo now; set it back"),
        ({"start_date": date(2024, 1, 2)}, "PROFILE_PIPELINE_START_DATE=2024-01-01, and it is 2024-01-02 now"),
    ],
)
def test_a_log_is_not_mixed_with_what_is_read_otherwise(place: Place, change: dict[str, Any], message: str) -> None:
    assert place.ingest("users", ANN).versions_added == 1
    before, place.settings = place.settings, place.settings.model_copy(update=change)
    with pytest.raises(PipelineError, match=message):
        place.ingest("orders", {"id": "o1", "user_id": "u1", "amount": 1, "date": "2024-01-03"})
    assert place.rows("FROM raw_orders") == []
    place.settings = before
    assert place.ingest("users", ANN).versions_added == 0


def day(number: int) -> date:
    return date(2024, 1, number)


@pytest.mark.parametrize(
    ("folder", "window", "counts"),
    [
        (WORKED_EXAMPLE, Window(day(1), date(2024, 2, 10)), {"users": 1, "orders": 2, "events": 3, "messages": 2}),
        pytest.param(
            REAL / "cdnow",
            Window(date(1997, 1, 1), date(1998, 6, 30)),
            {"users": 2357, "orders": 6919},
            marks=needs_real_data,
        ),
        pytest.param(
            REAL / "openjs",
            Window(date(2018, 10, 22), date(2025, 9, 30)),
            {"users": 143, "events": 210},
            marks=needs_real_data,
        ),
    ],
)
def test_data_of_others_are_ingested_without_loss(
    tmp_path: Path, folder: Path, window: Window, counts: dict[str, int]
) -> None:
    settings = Settings(home=tmp_path, source_dir=folder, start_date=window.start)
    with open_warehouse(settings) as warehouse:
        for kind, table in RAW_TABLES.items():
            done = ingest(warehouse, source_for(kind, settings), kind, window, settings)
            count = counts.get(kind, 0)
            assert (done.rows_in, done.rejected, done.is_source_missing) == (count, 0, kind not in counts)
            assert warehouse.scalar(f"SELECT count(DISTINCT id) FROM {table.name}") == count
        if folder.name == "cdnow":
            total = warehouse.connection.execute("SELECT sum(amount)::VARCHAR FROM raw_orders").fetchall()
            assert total == [("244091.94",)]


def test_a_version_is_filed_on_each_day_it_was_known_on(place: Place) -> None:
    done = place.ingest("users", ANN | {"updated_at": "2024-01-05"})
    assert done == Ingested(1, 2, 0, 0, Counter(), False)
    assert place.rows("SELECT partition_date, id, source, sequence FROM raw_users ORDER BY sequence") == [
        (day(2), "u1", "users.jsonl:1", 1),
        (day(5), "u1", "users.jsonl:1", 2),
    ]


def test_a_past_day_keeps_what_it_was_ingested_with(place: Place) -> None:
    place.ingest("users", ANN | {"name": "Ann"}, window=Window(day(2), day(2)))
    place.ingest("users", ANN | {"name": "Anne", "updated_at": "2024-01-05"})
    assert place.rows("SELECT partition_date, name FROM raw_users ORDER BY sequence") == [
        (day(2), "Ann"),
        (day(5), "Anne"),
    ]


def test_a_copy_gives_way_to_a_true_version_of_its_day_that_comes_late(place: Place) -> None:
    today = ANN | {"age": 33, "updated_at": "2024-01-09"}
    place.ingest("users", today)
    place.ingest("users", today, ANN | {"age": 32})
    assert place.rows(f"SELECT age, changed_at IS NULL FROM raw_users {LATEST_OF_ITS_DAY}") == [
        (32, False),
        (33, False),
    ]


def test_later_edits_of_a_day_before_a_deletion_that_lies_ahead_are_kept(place: Place) -> None:
    leaving = ANN | {"deleted_at": "2024-03-01"}
    for hour in (9, 11, 10):
        place.ingest("users", leaving | {"age": 30 + hour, "updated_at": f"2024-01-05T{hour:02}:00:00"})
    assert place.rows(f"SELECT age FROM raw_users {LATEST_OF_ITS_DAY}") == [(39,), (41,)]


def test_a_deletion_adds_nothing_to_the_day_of_the_change_before_it(place: Place) -> None:
    place.ingest("users", ANN)
    assert place.ingest("users", ANN | {"deleted_at": "2024-01-05"}).versions_added == 1


def test_a_record_that_returns_to_an_earlier_content_is_appended_again(place: Place) -> None:
    for name, added in [("A", 1), ("B", 1), ("A", 1), ("A", 0), ("B", 1)]:
        assert place.ingest("users", ANN | {"name": name}).versions_added == added
    assert place.rows("SELECT string_agg(name, '' ORDER BY sequence) FROM raw_users") == [("ABAB",)]


def test_an_older_version_of_a_day_is_not_appended_again(place: Place) -> None:
    old, new = (ANN | {"created_at": f"2024-01-02T0{hour}:00:00Z"} for hour in (8, 9))
    assert place.ingest("users", old, new).versions_added == 2
    assert place.ingest("users", old).versions_added == 0


def test_a_version_gone_from_the_source_stays_in_the_log(place: Place) -> None:
    place.ingest("users", ANN)
    place.ingest("users")
    assert place.rows("SELECT id FROM raw_users") == [("u1",)]


def test_order_of_arrival_counts_over_all_kinds(place: Place) -> None:
    place.ingest("users", ANN)
    place.ingest("orders", {"id": "o1", "user_id": "u1", "amount": 5, "date": "2024-01-03"})
    assert place.rows("SELECT sequence FROM raw_orders") == [(2,)]


def test_rejected_records_are_filed_under_their_day_with_document_and_reason(place: Place) -> None:
    bad = ANN | {"updated_at": "2024-01-07", "age": 200}
    done = place.ingest("users", ANN | {"id": "u2", "email": "b@x.y"}, bad, "{oops", ANN | {"id": None})
    assert (done.rows_in, done.rejected, done.newly_quarantined, done.rejected_share) == (4, 3, 3, 0.75)
    assert done.reasons["age is 200; it must be between 1 and 129"] == 1
    filed = "SELECT partition_date, kind, record_id, reason, document, source FROM quarantine ORDER BY source"
    assert next(row[:2] + row[2:4] for row in place.rows(filed)) == (
        day(7),
        "users",
        "u1",
        "age is 200; it must be between 1 and 129",
    )
    assert [(row[0], row[4], row[5]) for row in place.rows(filed)] == [
        (day(7), json.dumps(bad), "users.jsonl:2"),
        (day(1), "{oops", "users.jsonl:3"),
        (day(2), json.dumps(ANN | {"id": None}), "users.jsonl:4"),
    ]


def test_an_unreadable_line_concerns_the_batch_that_met_it_first(place: Place) -> None:
    place.note_computed(day(2), day(3))
    first, second = Window(day(3), day(3)), Window(day(4), day(4))
    assert place.ingest("users", "{oops", window=first).newly_quarantined == 1
    assert place.ingest("users", "{oops", window=second).rows_in == 0
    assert place.ingest("users", "{oops", window=first).rejected == 1
    assert place.rows("SELECT partition_date FROM quarantine") == [(day(3),)]


def test_a_run_is_judged_by_all_that_came_since_the_last_computed_day(place: Place) -> None:
    before = [ANN | {"id": f"u{number}", "email": f"{number}@x.y"} for number in range(9)]
    last = Window(day(31), day(31))
    for _ in range(2):
        done = place.ingest("users", *before, "{oops", window=last)
        assert (done.rows_in, done.rejected) == (10, 1)
    place.note_computed(day(3))
    assert place.ingest("users", *before, "{oops", window=last).rows_in == 0
    late = [ANN | {"id": key, "email": key, "age": age} for key, age in (("a@x.y", 20), ("b@x.y", 200))]
    done = place.ingest("users", *before, "{oops", *late, window=last)
    assert (done.rows_in, done.rejected) == (2, 1)


@pytest.mark.parametrize("mended_on", [3, 5])
def test_the_quarantine_keeps_what_has_been_mended_as_superseded(place: Place, mended_on: int) -> None:
    place.ingest("users", ANN | {"age": 200, "updated_at": "2024-01-03"})
    mended = ANN | {"age": 20, "updated_at": str(day(mended_on))}
    assert place.ingest("users", mended).versions_added == 2
    resolved = ("age is 200; it must be between 1 and 129", "superseded", day(mended_on))
    assert place.rows("SELECT reason, resolution, resolution_date FROM quarantine") == [resolved]


BROKEN, MENDED, LATER = ({"age": 200}, {"age": 20}, {"age": 20, "updated_at": "2024-01-05"})


@pytest.mark.parametrize(
    ("reads", "waiting"),
    [
        pytest.param([[{}], [BROKEN], [MENDED]], [0, 1, 0], id="mended without a time"),
        pytest.param([[BROKEN], [MENDED], [BROKEN]], [1, 0, 1], id="broken again"),
        pytest.param([[BROKEN], [BROKEN, LATER]], [1, 1], id="still there"),
        pytest.param([[LATER | {"age": 200}], [{}]], [1, 1], id="an earlier version that came late"),
        pytest.param([[{}], [{"updated_at": "5 January"}], [{}]], [0, 1, 1], id="edited, nobody knows when"),
        pytest.param([[{"updated_at": "5 January"}], [LATER]], [1, 0], id="then edited again"),
        pytest.param([[{"created_at": "2nd"}], [{}]], [1, 0], id="its only time mended"),
    ],
)
def test_what_breaks_its_model_waits_until_the_source_has_a_version_in_its_place(
    place: Place, reads: list[list[dict[str, Any]]], waiting: list[int]
) -> None:
    found = []
    for records in reads:
        place.ingest("users", *(ANN | fields for fields in records), window=Window(day(31), day(31)))
        found += place.rows("SELECT count(*) FROM quarantine WHERE resolution IS NULL")
    assert found == [(count,) for count in waiting]


def test_a_second_live_user_on_an_address_is_rejected_by_name_of_the_first(place: Place) -> None:
    done = place.ingest("users", ANN, {"id": "u2", "email": "A@X.Y ", "created_at": "2024-01-03"})
    assert (done.versions_added, done.rejected) == (1, 1)
    reason = "email a@x.y is held by user u1 as of 2024-01-03; two live users cannot share it"
    assert place.rows("SELECT partition_date, record_id, reason FROM quarantine") == [(day(3), "u2", reason)]


def test_an_address_is_free_from_the_day_its_holder_is_deleted(place: Place) -> None:
    gone = ANN | {"deleted_at": "2024-01-05"}
    done = place.ingest("users", gone, {"id": "u2", "email": "a@x.y", "created_at": "2024-01-05"})
    assert (done.versions_added, done.rejected) == (3, 0)


def test_plain_documents_need_no_model(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening, "parse", lambda *_, **__: pytest.fail("parsed one by one"))
    full = ANN | {
        "name": "José",
        "interests": ["hiking", "caf\u00e9"],
        "age": 32,
        "is_on_team": False,
        "updated_at": "2024-01-04T10:00:00.5+02:00",
        "deleted_at": 1704672000000,
        "unknown": {"nested": [1]},
    }
    assert place.ingest("users", full).versions_added == 3
    event = {"id": 7, "name": "Dinner", "date": "2024-01-15", "participants": ["A@x.y"], "host": None}
    assert place.ingest("events", event).versions_added == 1
    order = {"id": "o1", "user_id": "u1", "amount": "29.33", "date": "2024-01-15T10:00:00Z", "status": "Paid"}
    assert place.ingest("orders", order).versions_added == 1
    message = {
        "id": "m1",
        "user_id": "u1",
        "content": 'Hi "Ann"',
        "status": "sent",
        "sent_date": "2024-01-20",
    }
    assert place.ingest("messages", message).versions_added == 1


def test_a_source_that_breaks_off_leaves_the_log_as_it_was(place: Place) -> None:
    place.ingest("users", ANN)
    (place.settings.source_dir / "users.parquet").write_bytes(b"not parquet")
    with pytest.raises(PipelineError, match=r"users\.parquet cannot be read"):
        place.ingest("users", ANN, ANN | {"id": "u2", "email": "b@x.y"})
    assert place.rows("SELECT id FROM raw_users") == [("u1",)]
    (place.settings.source_dir / "users.parquet").unlink()
    assert place.ingest("users", ANN, ANN | {"id": "u2", "email": "b@x.y"}).versions_added == 1


KILLED_WHILE_WRITING = """
import sys
import time
from datetime import date
from pathlib import Path

from profile_pipeline import ingestion
from profile_pipeline.settings import Settings
from profile_pipeline.sources import source_for
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window

file_rejections = ingestion.file_rejections
def wait_after_writing(connection):
    file_rejections(connection)
    print("written", flush=True)
    time.sleep(60)
ingestion.file_rejections = wait_after_writing
home = Path(sys.argv[1])
settings = Settings(home=home, source_dir=home / "source", start_date=date(2024, 1, 1))
with open_warehouse(settings) as warehouse:
    window = Window(date(2024, 1, 1), date(2024, 1, 31))
    ingestion.ingest(warehouse, source_for("users", settings), "users", window, settings)
"""


def test_a_process_killed_while_writing_leaves_the_log_as_it_was(place: Place) -> None:
    place.ingest("users", ANN)
    (place.settings.source_dir / "users.jsonl").write_text(json.dumps(ANN | {"id": "u2", "email": "b@x.y"}) + "\noops")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED_WHILE_WRITING, str(place.settings.home)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert place.rows("SELECT id FROM raw_users UNION ALL SELECT kind FROM quarantine") == [("u1",)]
    done = place.ingest("users", ANN | {"id": "u2", "email": "b@x.y"}, "oops")
    assert (done.versions_added, done.newly_quarantined) == (1, 1)
