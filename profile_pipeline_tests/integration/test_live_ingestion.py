"""Reading a live source into a warehouse on disk: what is read when, what survives, and what is deleted."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import stamina

from profile_pipeline import build
from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.extraction import ReadingProgress
from profile_pipeline.ingestion import Ingested, ingest, ingest_changes
from profile_pipeline.records.dialect import Dialect
from profile_pipeline.retries import ATTEMPTS
from profile_pipeline.settings import Settings
from profile_pipeline.sources import FileSource
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.memory_source import MemorySource

NIGHT = "T02:00:00"
"""When the run of the day before happens."""


@pytest.fixture(autouse=True)
def _without_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=ATTEMPTS):
        yield


class Place:
    """A live source of users, and a warehouse."""

    def __init__(self, home: Path, **policy: Any) -> None:
        self.settings = Settings(
            home=home, source_dir=home / "source", start_date=date(2024, 1, 1), policy=policy, overlap_minutes=15
        )
        self.source = MemorySource(f"2024-01-02{NIGHT}")
        self.progress: list[ReadingProgress] = []

    def put(self, *keys: str, **fields: Any) -> None:
        for key in keys:
            self.source.put("users", id=key, email=f"{key}@x.y", **fields)

    def run(self, start: int, end: int | None = None, clock: str | None = None) -> Ingested:
        """Ingest days of January, by default in the night after the last of them."""
        last = end or start
        self.source.now = datetime.fromisoformat(clock or f"2024-01-{last + 1:02}{NIGHT}")
        window = Window(date(2024, 1, start), date(2024, 1, last))
        with open_warehouse(self.settings) as warehouse:
            return ingest_changes(
                warehouse, self.source, "users", window, self.settings, on_progress=self.progress.append
            )

    def build_raw(self, day: int) -> None:
        """Ingest a day as a run does, with what follows a deletion."""
        self.source.now = datetime.fromisoformat(f"2024-01-{day + 1:02}{NIGHT}")
        window = Window(date(2024, 1, day), date(2024, 1, day))
        with pytest.MonkeyPatch.context() as patch, open_warehouse(self.settings) as warehouse:
            patch.setattr("profile_pipeline.build.source_for", lambda kind, settings: self.source)
            build.raw(warehouse, self.settings, window, "users")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with open_warehouse(self.settings) as warehouse:
            return warehouse.connection.execute(query).fetchall()

    def log(self) -> list[str]:
        """Each version as `day key`, with a minus where it says that the record is gone."""
        query = "SELECT partition_date, id, deleted_date FROM raw_users ORDER BY sequence"
        return [f"{day.day} {'-' if deleted else ''}{key}" for day, key, deleted in self.rows(query)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_first_run_reads_everything_and_knows_each_record_on_its_own_days(place: Place) -> None:
    place.put("a", created_at="2024-01-01T10:00:00")
    place.put("b", created_at="2024-01-03T10:00:00", updated_at="2024-01-05T10:00:00")
    place.put("today", created_at="2024-01-06T01:00:00")
    place.run(5)
    assert place.log() == ["1 a", "3 b", "5 b"]


def test_a_run_closes_the_gap_since_the_watermark(place: Place) -> None:
    place.run(1)
    place.put("a", created_at="2024-01-03T10:00:00")
    place.put("b", created_at="2024-01-05T10:00:00")
    place.run(5)
    assert place.log() == ["3 a", "5 b"]


def test_a_second_run_reads_its_days_again_and_adds_nothing(place: Place) -> None:
    place.put("a", created_at="2024-01-01T10:00:00")
    place.put("b", created_at="2024-01-02T10:00:00")
    place.run(2)
    place.source.handed_over.clear()
    assert place.run(2).versions_added == 0
    assert place.source.handed_over == ["b"]


def test_what_was_committed_late_is_found_below_the_watermark(place: Place) -> None:
    place.run(1)
    place.put("late", created_at="2024-01-01T23:50:00")
    place.run(2)
    assert place.log() == ["1 late"]


def test_what_was_committed_later_than_the_overlap_is_found_by_its_key(place: Place) -> None:
    place.run(1)
    place.put("very_late", created_at="2024-01-01T12:00:00")
    done = place.run(2)
    assert place.log() == ["1 very_late"]
    assert done.deletions is not None
    assert done.deletions.unknown == 1


def test_the_watermark_does_not_pass_the_clock_of_the_source(place: Place) -> None:
    place.run(1, clock="2024-01-01T18:00:00")
    place.put("evening", created_at="2024-01-01T18:30:00")
    assert place.rows("SELECT read_until FROM watermarks") == [(datetime(2024, 1, 1, 18),)]
    place.run(2)
    assert place.log() == ["1 evening"]


def test_a_clock_that_is_set_back_loses_nothing(place: Place) -> None:
    place.run(2)
    place.put("a", created_at="2024-01-02T20:00:00")
    place.run(2, clock="2024-01-02T12:00:00")
    place.run(3)
    assert place.log() == ["2 a"]


def test_reading_old_days_again_leaves_the_watermark(place: Place) -> None:
    place.run(9)
    place.put("a", created_at="2024-01-03T10:00:00")
    place.run(3, clock="2024-01-10T03:00:00")
    assert place.log() == ["3 a"]
    assert place.rows("SELECT read_until FROM watermarks") == [(datetime(2024, 1, 10),)]


def test_another_collection_is_read_from_the_beginning(place: Place) -> None:
    place.run(5)
    place.put("a", created_at="2024-01-01T10:00:00")
    place.source.name = lambda kind: "memory:other"  # type: ignore[method-assign]
    place.run(6)
    assert place.source.spans[-1].since is None


def test_a_failure_that_passes_costs_nothing_that_was_read(place: Place) -> None:
    place.put(*"abcdef", created_at="2024-01-01T10:00:00")
    place.source.faults = {1: TransientError("reset"), 2: TransientError("reset")}
    done = place.run(1)
    assert place.source.handed_over == list("abcdef")
    assert done.extracted is not None
    assert (done.versions_added, done.extracted.failures) == (6, 2)
    assert [(progress.documents, progress.failures) for progress in place.progress] == [
        (2, 0), (2, 1), (4, 1), (4, 2), (6, 2),
    ]  # fmt: skip
    assert str(place.progress[-1]).startswith("users: 6 of about 6 documents read, ")


def test_a_source_that_stays_down_is_given_up_and_read_on_from_where_it_broke(place: Place) -> None:
    place.put(*"abcdef", created_at="2024-01-01T10:00:00")

    def down(kind: str, *rest: Any) -> Iterator[Any]:
        tried.append(kind)
        raise TransientError("down")

    tried: list[str] = []
    place.source.faults = {1: PipelineError("not allowed any more")}
    with pytest.raises(PipelineError, match="not allowed"):
        place.run(1)
    up, place.source.changes = place.source.changes, down  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="down"):
        place.run(1)
    assert len(tried) == ATTEMPTS
    assert place.log() == []
    assert place.rows("FROM watermarks") == []

    place.source.changes = up  # type: ignore[method-assign]
    place.source.handed_over.clear()
    done = place.run(1)
    assert place.source.handed_over == list("cdef")
    assert done.extracted is not None
    assert (done.versions_added, done.extracted.resumed) == (6, 2)


def test_what_broke_off_for_another_window_is_read_anew(place: Place) -> None:
    place.put(*"abcd", created_at="2024-01-01T10:00:00")
    place.source.faults = {1: PipelineError("broken")}
    with pytest.raises(PipelineError):
        place.run(1)
    place.source.handed_over.clear()
    place.run(2)
    assert place.source.handed_over == list("abcd")


KILLED = """
import os, signal, sys
from pathlib import Path
from profile_pipeline_tests.integration.test_live_ingestion import Place

place = Place(Path(sys.argv[1]))
place.put(*"abcdef", created_at="2024-01-01T10:00:00")
class Kill:
    def append(self, progress):
        if progress.documents == 4:
            os.kill(os.getpid(), signal.SIGKILL)
place.progress = Kill()
place.run(1)
"""


def test_a_process_that_is_killed_leaves_its_batches_and_the_next_reads_on(place: Place, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    place.put(*"abcdef", created_at="2024-01-01T10:00:00")
    place.run(1)
    assert place.source.handed_over == list("ef")
    assert place.log() == [f"1 {key}" for key in "abcdef"]
    assert place.rows("SELECT count(*) FROM staged_documents") == [(0,)]


def test_what_was_rejected_on_other_days_is_no_share_of_a_small_batch(place: Place) -> None:
    place.put("a", "b", created_at="2024-01-01T10:00:00")
    # Without a readable time, it is handed over each time.
    place.put("bad", age=500)
    assert place.run(1).rejected_share == pytest.approx(1 / 3)
    place.rows("INSERT INTO computed_days VALUES ('2024-01-01', 0, [], true)")
    place.put("c", created_at="2024-01-02T10:00:00")
    done = place.run(2)
    assert (done.rows_in, done.rejected) == (1, 0)


# ---------------------------------------------------------------- deletions


def test_a_record_that_is_gone_gets_a_tombstone_on_the_last_day_of_the_run(place: Place) -> None:
    place.put(*"ab", created_at="2024-01-01T10:00:00")
    place.run(1)
    place.source.delete("users", "a")
    done = place.run(2, 3)
    assert place.log() == ["1 a", "1 b", "3 -a"]
    assert done.deletions is not None
    assert (done.deletions.known, done.deletions.gone) == (2, 1)
    assert place.run(4).versions_added == 0


def test_a_record_that_comes_back_as_it_was_lives_again(place: Place) -> None:
    place.put(*"ab", created_at="2024-01-01T10:00:00")
    place.run(1)
    gone = place.source.records["users"].pop("a")
    place.run(2)
    place.source.put("users", **gone)
    place.run(3)
    assert place.log() == ["1 a", "1 b", "2 -a", "3 a"]
    assert place.run(4).versions_added == 0


def test_keys_are_compared_at_intervals_and_only_as_of_today(place: Place) -> None:
    place.put(*"ab", created_at="2024-01-01T10:00:00")
    place.run(1)
    place.run(2)
    place.source.delete("users", "a")
    place.run(2, clock="2024-01-03T20:00:00")
    place.run(1, clock="2024-01-09T20:00:00")
    assert place.log() == ["1 a", "1 b"]
    place.run(8, clock="2024-01-09T20:00:00")
    assert place.log() == ["1 a", "1 b", "8 -a"]


@pytest.mark.parametrize(("gone", "is_believed"), [(10, True), (20, True), (21, False)])
def test_more_deletions_than_the_policy_allows_are_not_believed(tmp_path: Path, gone: int, is_believed: bool) -> None:
    place = Place(tmp_path, max_deleted_share=0.1)
    keys = [f"u{number}" for number in range(200)]
    place.put(*keys, created_at="2024-01-01T10:00:00")
    place.run(1)
    for key in keys[:gone]:
        place.source.delete("users", key)
    done = place.run(2)
    assert done.deletions is not None
    assert (done.deletions.is_plausible, done.deletions.gone) == (is_believed, gone)
    assert done.versions_added == (gone if is_believed else 0)
    # What is not believed is looked at again at once, not a day later.
    again = place.run(2, clock="2024-01-03T02:01:00").deletions
    assert (again is None) == is_believed


def test_an_emptied_collection_deletes_nobody_however_few_they_were(place: Place) -> None:
    place.put(*"ab", created_at="2024-01-01T10:00:00")
    place.run(1)
    place.source.records["users"].clear()
    done = place.run(2)
    assert place.log() == ["1 a", "1 b"]
    assert done.deletions is not None
    assert not done.deletions.is_plausible


def test_an_emptied_collection_is_believed_where_the_policy_allows_all_to_go(tmp_path: Path) -> None:
    place = Place(tmp_path, max_deleted_share=1.0)
    place.put(*"ab", created_at="2024-01-01T10:00:00")
    place.run(1)
    place.source.records["users"].clear()
    place.run(2)
    assert place.log() == ["1 a", "1 b", "2 -a", "2 -b"]


def test_an_empty_copy_in_the_place_of_the_source_does_not_move_the_watermark(place: Place) -> None:
    place.put(*"ab", created_at="2024-01-01T10:00:00")
    place.run(1)
    place.put("a", created_at="2024-01-01T10:00:00", updated_at="2024-01-02T10:00:00")
    users, place.source.records["users"] = place.source.records["users"], {}
    place.run(2)
    place.source.records["users"] = users
    place.run(3)
    assert place.log() == ["1 a", "1 b", "2 a"]


def test_an_emptied_source_is_noticed_between_two_comparisons_of_keys_too(place: Place) -> None:
    place.put(*"ab", created_at="2024-01-01T10:00:00")
    place.run(1)
    place.run(1, clock="2024-01-02T03:00:00")
    place.put("a", created_at="2024-01-01T10:00:00", updated_at="2024-01-02T03:30:00")
    users, place.source.records["users"] = place.source.records["users"], {}
    deletions = place.run(1, clock="2024-01-02T05:00:00").deletions
    assert deletions is not None
    assert not deletions.is_plausible
    place.source.records["users"] = users
    place.run(2, clock="2024-01-02T05:30:00")
    assert place.log() == ["1 a", "1 b", "2 a"]


def test_who_signs_up_again_after_a_deletion_gets_the_address(place: Place) -> None:
    place.put("old", "x", created_at="2024-01-01T10:00:00")
    place.run(1)
    place.source.delete("users", "old")
    place.source.put("users", id="new", email="old@x.y", created_at="2024-01-02T10:00:00")
    place.build_raw(2)
    assert place.log() == ["1 old", "1 x", "2 -old", "2 new"]


def test_who_comes_back_does_not_take_an_address_that_has_another_holder_by_now(place: Place) -> None:
    place.put("a", "x", created_at="2024-01-01T10:00:00")
    place.run(1)
    gone = place.source.records["users"].pop("a")
    place.run(2)
    place.source.put("users", id="b", email="a@x.y", created_at="2024-01-03T10:00:00")
    place.run(3)
    place.source.put("users", **gone)
    place.run(4)
    assert place.log() == ["1 a", "1 x", "2 -a", "3 b"]


def test_of_two_who_come_back_with_one_address_the_first_holder_lives_again(place: Place) -> None:
    place.put("x", created_at="2024-01-01T10:00:00")
    gone = []
    for created, key in ((1, "b"), (3, "a")):
        place.source.put("users", id=key, email="shared@x.y", created_at=f"2024-01-0{created}T10:00:00")
        place.run(created)
        gone.append(place.source.records["users"].pop(key))
        place.run(created + 1)
    for record in gone:
        place.source.put("users", **record)
    place.run(5)
    place.run(6)
    assert place.log() == ["1 b", "1 x", "2 -b", "3 a", "4 -a", "5 b"]


def test_what_is_newer_than_the_window_gets_no_tombstone_before_it(place: Place) -> None:
    place.put(*"ab", created_at="2024-01-01T10:00:00")
    place.run(1)
    place.put("a", created_at="2024-01-01T10:00:00", updated_at="2024-01-03T01:00:00")
    place.run(3, clock="2024-01-03T01:30:00")
    place.source.delete("users", "a")
    place.run(2, clock="2024-01-03T22:00:00")
    assert place.log() == ["1 a", "1 b", "3 a"]
    place.run(3, clock="2024-01-04T22:00:00")
    assert place.log() == ["1 a", "1 b", "3 a", "3 -a"]


def test_what_was_staged_under_another_mapping_is_read_anew(place: Place) -> None:
    place.put(*"abcd", created_at="2024-01-01T10:00:00")
    place.source.faults = {1: PipelineError("broken")}
    with pytest.raises(PipelineError):
        place.run(1)
    place.source.handed_over.clear()
    place.source.dialect = lambda kind: Dialect({"age": ("years",)})  # type: ignore[method-assign]
    place.run(1)
    assert place.source.handed_over == list("abcd")


def test_retries_are_told_on_stderr_where_no_data_goes(
    place: Place, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    place.put("a", created_at="2024-01-01T10:00:00")
    place.source.faults = {0: TransientError("the connection broke")}
    place.run(1)
    assert capfd.readouterr().out == ""
    assert [record.message for record in caplog.records] == ["the connection broke; it is tried again in 0 s"]


def test_a_record_that_the_scan_of_keys_missed_is_not_deleted(place: Place) -> None:
    place.put(*"abc", created_at="2024-01-01T10:00:00")
    place.run(1)
    place.source.keys = lambda kind: iter([["a"]])  # type: ignore[method-assign]
    place.source.delete("users", "c")
    place.run(2)
    assert place.log() == ["1 a", "1 b", "1 c", "2 -c"]


def test_a_rejected_record_that_still_exists_is_not_deleted(place: Place) -> None:
    place.put(*"ab", created_at="2024-01-01T10:00:00")
    place.run(1)
    place.put("a", created_at="2024-01-01T10:00:00", updated_at="2024-01-02T10:00:00", age=500)
    place.run(2)
    assert place.log() == ["1 a", "1 b"]


def test_records_of_another_source_are_left_alone(place: Place) -> None:
    place.settings.source_dir.mkdir()
    (place.settings.source_dir / "users.jsonl").write_text('{"id": "file", "email": "file@x.y"}')
    with open_warehouse(place.settings) as warehouse:
        files = FileSource(place.settings.source_dir)
        ingest(warehouse, files, "users", Window(date(2024, 1, 1), date(2024, 1, 1)), place.settings)
    place.put("a", created_at="2024-01-01T10:00:00")
    place.run(1)
    place.run(2)
    assert place.log() == ["1 file", "1 a"]


def test_a_source_without_cheap_keys_is_compared_by_reading_everything(place: Place) -> None:
    place.source.is_listing_keys = False
    place.put(*"ab", created_at="2024-01-01T10:00:00")
    place.run(1)
    place.source.delete("users", "a")
    place.run(2)
    assert place.source.spans[-1].since is None
    assert place.log() == ["1 a", "1 b", "2 -a"]
    place.run(2, clock="2024-01-03T03:00:00")
    assert place.source.spans[-1].since == datetime(2024, 1, 2)


def test_a_source_that_cannot_tell_what_changed_is_read_whole_and_compared_each_time(place: Place) -> None:
    place.source.is_listing_keys = place.source.incremental = False
    place.put(*"ab", created_at="2024-01-01T10:00:00")
    place.run(1)
    place.put("b", created_at="2024-01-01T10:00:00", age=40)
    place.source.delete("users", "a")
    place.run(2)
    assert place.log() == ["1 a", "1 b", "1 b", "2 -a"]


def test_a_document_of_a_tombstone_is_the_last_one_verbatim(place: Place) -> None:
    place.put("a", "b", created_at="2024-01-01T10:00:00", unknown=[1])
    place.run(1)
    place.source.delete("users", "a")
    place.run(2)
    rows = place.rows("SELECT document, source FROM raw_users WHERE id = 'a' ORDER BY sequence")
    assert rows[0][0] == rows[1][0]
    assert [source for _, source in rows] == ["memory:users", "memory:users (gone)"]
