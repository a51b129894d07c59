"""What a version records, which versions are kept, and serving one again."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.index import build as building
from profile_pipeline.index import versions as versioning
from profile_pipeline.index.build import build
from profile_pipeline.index.health import verify
from profile_pipeline.index.search import Searcher
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.versions import (
    KEPT_VERSIONS,
    MAX_FRAGMENTS,
    MAX_VERSIONS,
    PROMOTED,
    RECORD_KEY,
    history,
    roll_back,
    served_or_error,
    served_version,
)
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, match, people, profiles


@pytest.fixture
def store(tmp_path: Path) -> IndexStore:
    return IndexStore(tmp_path / "lancedb")


def build_people(store: IndexStore, age: int, count: int = 3, **options: object) -> int:
    return build(store, profiles(*people(count, age=age)), BagOfWords(), as_of=AS_OF, **options).served.version


def ages(store: IndexStore) -> set[int]:
    return set(match(store, "person", BagOfWords(), None, 10)["age"].to_pylist())


def versions(store: IndexStore) -> list[int]:
    return [version["version"] for version in store.open_latest().list_versions()]


def test_a_version_records_what_it_was_built_from(store):
    embedder = BagOfWords()
    embedder.revision, embedder.weights_sha256 = "r7", "abc"
    before = datetime.now(UTC)
    build(store, profiles(*people(3)), embedder, as_of=AS_OF)
    record = build(store, profiles(*people(4)[1:]), embedder, as_of=AS_OF + timedelta(days=1)).served
    assert record == served_version(store)
    assert (record.revision, record.weights_sha256, record.as_of) == ("r7", "abc", AS_OF + timedelta(days=1))
    assert (record.rows, record.upserted, record.deleted, record.embedded) == (3, 1, 1, 1)
    assert before <= record.built_at <= datetime.now(UTC)


def test_the_last_promoted_versions_can_be_served_again_and_earlier_ones_cannot(store):
    built = [build_people(store, age) for age in (30, 31, 32, 33)]
    assert [each.version for each in history(store)] == built[:0:-1]
    build_people(store, 34, kept_versions=1)
    assert [each.version for each in history(store)] == [served_version(store).version]


def test_rolling_back_serves_the_version_before_and_keeps_the_other(store):
    first, second = build_people(store, 30), build_people(store, 31)
    searcher = Searcher(store, BagOfWords())
    assert searcher.search("person")["age"].to_pylist() == [31] * 3
    assert roll_back(store).version == first
    assert (ages(store), [each.version for each in history(store)]) == ({30}, [second, first])
    assert searcher.search("person")["age"].to_pylist() == [30] * 3
    assert roll_back(store, second).version == second
    assert ages(store) == {31}


def test_the_build_after_a_rollback_starts_from_the_version_served(store):
    build_people(store, 30, count=3)
    build_people(store, 31, count=4)
    roll_back(store)
    report = build(store, profiles(*people(4, age=30)), BagOfWords(), as_of=AS_OF)
    assert (report.upserted, report.embedded) == (1, 1)
    assert verify(store, profiles(*people(4, age=30)), BagOfWords()).problems == []


def test_after_a_rollback_and_a_build_the_version_rolled_back_to_is_kept_and_is_the_one_before(store):
    good, _, worse = (build_people(store, age) for age in (30, 31, 32))
    roll_back(store, good)
    mended = build_people(store, 33)
    assert [each.version for each in history(store)] == [mended, worse, good]
    assert roll_back(store).version == good
    with pytest.raises(
        PipelineError, match=f"no earlier version to roll back to; kept versions: {mended}, {worse}, {good}"
    ):
        roll_back(store)
    assert ages(store) == {30}


@pytest.mark.parametrize(
    ("version", "message"),
    [(None, r"has no earlier version to roll back to; kept versions: \d+$"), (99, "has no version 99 to roll back to")],
)
def test_a_version_that_is_not_there_cannot_be_served_and_those_that_are_are_listed(store, version, message):
    build_people(store, 30)
    with pytest.raises(PipelineError, match=message):
        roll_back(store, version)
    assert ages(store) == {30}


def test_nobody_rolls_back_while_another_builds(store):
    build_people(store, 30)
    build_people(store, 31)
    with IndexStore(store.path).writing(), pytest.raises(TransientError, match="being built by another process"):
        roll_back(store)


def test_texts_of_another_recipe_give_a_whole_new_version_with_the_vectors_of_equal_texts(store, monkeypatch):
    build_people(store, 30)
    monkeypatch.setattr(building, "TEXT_RECIPE", 99)
    report = build(store, profiles(*people(3, age=30)), BagOfWords(), as_of=AS_OF)
    assert (report.promoted, report.upserted, report.embedded, report.served.text_recipe) == (True, 3, 0, 99)
    assert build(store, profiles(*people(3, age=30)), BagOfWords(), as_of=AS_OF).promoted is False


def test_an_index_of_a_release_that_recorded_less_says_so_and_is_built_anew(store):
    build_people(store, 30)
    table = store.open_latest()
    table.update_field_metadata({"path": "user_id", "metadata": {RECORD_KEY: None}})
    versioning.promote(store, table.version)
    for ask in (served_or_error, ages):
        with pytest.raises(PipelineError, match="was built by an earlier release; run `profile-pipeline build`"):
            ask(store)
    assert build_people(store, 30) > table.version
    assert RECORD_KEY.encode() in store.open_served().schema.field("user_id").metadata


def test_versions_without_a_tag_are_dropped_after_some_builds_and_the_kept_ones_stay(store):
    oldest = build_people(store, 17)
    # A clean-up goes by age, to the second.
    time.sleep(1.1)
    age = 18
    while oldest in versions(store) and age < 18 + MAX_VERSIONS:
        build_people(store, age)
        age += 1
    kept = [each.version for each in history(store)]
    assert len(kept) == KEPT_VERSIONS
    assert oldest not in versions(store)
    assert set(kept) <= set(versions(store))
    assert store.open_latest().stats()["fragment_stats"]["num_fragments"] == 1
    assert verify(store, profiles(*people(3, age=age - 1)), BagOfWords()).problems == []


def test_however_many_versions_are_kept_a_build_seldom_writes_every_row_again(store):
    rows, compacted = people(30), 0
    for changed in rows[: MAX_FRAGMENTS + 2]:
        changed["age"] = 40
        build(store, profiles(*rows), BagOfWords(), as_of=AS_OF, kept_versions=2 * MAX_FRAGMENTS)
        compacted += store.open_served().stats()["fragment_stats"]["num_fragments"] == 1
    assert len(history(store)) == MAX_FRAGMENTS + 2
    assert compacted == 2  # the first build, and one since


def test_a_tag_of_ones_own_keeps_its_version_through_clean_ups(store):
    mine = build_people(store, 17)
    store.open_latest().tags.create("mine", mine)
    for age in range(18, 18 + MAX_VERSIONS // 2):
        build_people(store, age)
    assert mine in versions(store)
    assert len(versions(store)) > MAX_VERSIONS


def test_forgetting_leaves_the_served_version_and_no_other_file(store):
    build_people(store, 30, count=5)
    build_people(store, 31, count=4)
    store.open_latest().tags.create("mine", served_version(store).version)
    (store.path / "profiles.lance" / "data" / "orphan.lance").write_bytes(b"likes thing3")
    left = profiles(*people(3, age=31))
    report = build(store, left, BagOfWords(), as_of=AS_OF, forgetting=True)
    assert (report.promoted, report.embedded) == (True, 0)
    assert versions(store) == [report.served.version]
    assert set(store.open_latest().tags.list()) == {"production", f"{PROMOTED}{report.served.version}"}
    assert [file for file in store.path.rglob("*") if file.is_file() and b"likes thing3" in file.read_bytes()] == []
    assert verify(store, left, BagOfWords()).problems == []
    assert build(store, left, BagOfWords(), as_of=AS_OF, forgetting=True).promoted


def test_an_erased_index_is_gone_and_can_be_built_again(store):
    build_people(store, 30)
    store.erase()
    assert (served_version(store), history(store)) == (None, [])
    build_people(store, 31)
    assert ages(store) == {31}


def test_the_served_version_and_the_history_are_found_while_other_tags_come_and_go(store):
    build_people(store, 30)
    number = build_people(store, 31)
    writers_table, ended = store.open_latest(), threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            writers_table.tags.create(f"{PROMOTED}999", number)
            writers_table.tags.delete(f"{PROMOTED}999")

    with ThreadPoolExecutor(1) as other:
        writer = other.submit(come_and_go)
        try:
            found = [(served_version(store).version, history(store)[0].version) for _ in range(100)]
        finally:
            ended.set()
        writer.result()
    assert set(found) == {(number, number)}
