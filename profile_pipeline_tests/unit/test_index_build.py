"""What a build of the index writes, embeds, refuses and leaves alone."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.index.build import BuildReport, Stage, build
from profile_pipeline.index.embedding import Progress
from profile_pipeline.index.health import Health, verify
from profile_pipeline.index.store import ROW_SCHEMA, IndexStore
from profile_pipeline.index.text import TEXT_RECIPE
from profile_pipeline.index.versions import promote, served_version
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, people, profile, profiles


@pytest.fixture
def store(tmp_path: Path) -> IndexStore:
    return IndexStore(tmp_path / "lancedb")


def served_rows(store: IndexStore) -> dict[str, dict[str, Any]]:
    rows = store.open_served().to_arrow().to_pylist()
    assert len({row["user_id"] for row in rows}) == len(rows)
    return {row["user_id"]: row for row in rows}


def versions(store: IndexStore) -> list[int]:
    return [version["version"] for version in store.open_latest().list_versions()]


def test_the_first_build_indexes_every_profile_with_a_text(store):
    report = build(store, profiles(*people(3), profile("quiet", None)), BagOfWords(), as_of=AS_OF)
    assert (report.served.rows, report.upserted, report.deleted, report.embedded, report.promoted) == (
        3,
        3,
        0,
        3,
        True,
    )
    assert served_version(store) == report.served
    assert report.served.model_dump(exclude={"built_at", "version"}) == {
        "previous": None,
        "model": "bag-of-words@1",
        "revision": None,
        "weights_sha256": None,
        "text_recipe": TEXT_RECIPE,
        "as_of": AS_OF,
        "rows": 3,
        "upserted": 3,
        "deleted": 0,
        "embedded": 3,
        "probes": 0,
        "golden_queries": 0,
        "golden_recall": None,
    }
    rows = served_rows(store)
    assert set(rows) == {"u0", "u1", "u2"}
    assert rows["u1"]["vector"] == pytest.approx(BagOfWords().embed([rows["u1"]["text"]])[0])
    assert {row["model"] for row in rows.values()} == {"bag-of-words@1"}


def test_a_second_build_embeds_nothing_and_writes_no_version(store):
    first = build(store, profiles(*people(3)), BagOfWords(), as_of=AS_OF)
    before, embedder = versions(store), BagOfWords()
    second = build(store, profiles(*reversed(people(3))), embedder, as_of=AS_OF + timedelta(days=1))
    assert second == BuildReport(first.served, 0, 0, 0, promoted=False)
    assert (versions(store), embedder.embedded) == (before, [])


def test_only_changed_texts_are_embedded(store):
    build(store, profiles(*people(40)), BagOfWords(), as_of=AS_OF)
    changed = [*people(40)[1:], profile("u0", "now a beer drinker"), profile("new", "a newcomer")]
    told: list[tuple[int, int]] = []
    report = build(
        store,
        profiles(*changed),
        BagOfWords(),
        as_of=AS_OF,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert (report.upserted, report.embedded, report.served.rows) == (2, 2, 41)
    assert told == [(1, 2), (2, 2)]
    assert served_rows(store)["u0"]["text"] == "now a beer drinker"


def test_a_person_without_a_text_any_more_leaves_the_index(store):
    build(store, profiles(*people(2), profile("o'hara", "likes whiskey")), BagOfWords(), as_of=AS_OF)
    report = build(store, profiles(*people(1), profile("u1", None)), BagOfWords(), as_of=AS_OF)
    assert (report.deleted, report.upserted, report.embedded, report.served.rows) == (2, 0, 0, 1)
    assert set(served_rows(store)) == {"u0"}


@pytest.mark.parametrize(
    ("column", "old", "new"),
    [
        ("age", 30, 31),
        ("age", None, 31),
        ("is_on_team", True, None),
        ("tags", ["wine"], ["wine", "vegan"]),
        ("interests", ["a", "b"], ["b", "a"]),
        ("interests", None, []),
        ("last_event_date", AS_OF, AS_OF + timedelta(days=1)),
        ("total_spent", 10.0, 10.01),
    ],
)
def test_a_changed_column_is_written_with_the_vector_kept(store, column, old, new):
    build(store, profiles(*people(3, **{column: old})), BagOfWords(), as_of=AS_OF)
    before = served_rows(store)
    changed = [people(3, **{column: old})[0], people(3, **{column: new})[1], people(3, **{column: old})[2]]
    report = build(store, profiles(*changed), BagOfWords(), as_of=AS_OF)
    assert (report.upserted, report.deleted, report.embedded) == (1, 0, 0)
    assert served_rows(store) == before | {"u1": before["u1"] | {column: new}}


def test_rows_with_kept_and_new_vectors_are_written_together_in_the_right_order(store):
    build(store, profiles(*people(30)), BagOfWords(), as_of=AS_OF)
    changed = people(30, age=40)
    changed[3::7] = [profile(row["user_id"], row["text"] + " more") for row in changed[3::7]]
    report = build(store, profiles(*changed), BagOfWords(), as_of=AS_OF)
    assert (report.upserted, report.embedded) == (30, 4)
    for row in served_rows(store).values():
        assert row["vector"] == pytest.approx(BagOfWords().embed([row["text"]])[0])


def test_another_model_embeds_everything_and_never_mixes(store):
    build(store, profiles(*people(3)), BagOfWords(), as_of=AS_OF)
    report = build(store, profiles(*people(3)), BagOfWords("bag-of-words@2", dimension=32), as_of=AS_OF)
    assert (report.upserted, report.embedded, report.served.rows) == (3, 3, 3)
    rows = served_rows(store).values()
    assert {row["model"] for row in rows} == {"bag-of-words@2"}
    assert {len(row["vector"]) for row in rows} == {32}


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns(["age"]),
        lambda table: table.add_columns({"former": "cast(1 as bigint)"}),
        lambda table: table.alter_columns({"path": "age", "data_type": pa.int32()}),
    ],
    ids=["a column less", "a column more", "a column of another type"],
)
def test_an_index_of_other_columns_is_written_anew_with_its_vectors_kept(store, change):
    build(store, profiles(*people(3, age=30)), BagOfWords(), as_of=AS_OF)
    table = store.open_latest()
    change(table)
    promote(store, table.version)
    report = build(store, profiles(*people(3, age=31)), BagOfWords(), as_of=AS_OF)
    assert (report.upserted, report.embedded) == (3, 0)
    assert {row["age"] for row in served_rows(store).values()} == {31}
    assert store.open_served().schema.names == [*ROW_SCHEMA.names, "vector"]
    assert verify(store, profiles(*people(3, age=31)), BagOfWords()).problems == []


def test_decimals_and_large_strings_are_taken_as_they_come(store):
    rows = profiles(*people(1))
    rows = rows.set_column(
        rows.schema.get_field_index("total_spent"),
        "total_spent",
        pa.array([Decimal("240.95")], pa.decimal128(18, 2)),
    )
    rows = rows.set_column(0, "user_id", rows["user_id"].cast(pa.large_string()))
    build(store, rows, BagOfWords(), as_of=AS_OF)
    assert served_rows(store)["u0"]["total_spent"] == 240.95


def test_people_with_equal_texts_are_both_indexed(store):
    report = build(store, profiles(profile("a", "same"), profile("b", "same")), BagOfWords(), as_of=AS_OF)
    assert report.served.rows == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (profiles(), "nothing to index"),
        (profiles(profile("a", None)), "nothing to index"),
        (
            profiles(profile("a", "x"), profile("b", "y"), profile("a", "z")),
            "1 users come more than once .* 'a'",
        ),
        (profiles(profile("a", "x") | {"user_id": None}), "1 profiles to index have no user_id"),
        (profiles(profile("a", "x") | {"text_hash": None}), "1 profiles to index have no text_hash"),
        (profiles(profile("a", "x")).drop_columns(["age", "tags"]), "lack the column tags, age"),
        (
            profiles(profile("a", "x")).drop_columns("age").append_column("age", pa.array(["old"])),
            "a column of the wrong type",
        ),
    ],
)
def test_profiles_that_cannot_be_indexed_are_refused_and_nothing_is_promoted(store, rows, message):
    build(store, profiles(*people(2)), BagOfWords(), as_of=AS_OF)
    before, served = versions(store), served_version(store)
    with pytest.raises(PipelineError, match=message):
        build(store, rows, BagOfWords(), as_of=AS_OF)
    assert (versions(store), served_version(store)) == (before, served)


class Faulty(BagOfWords):
    """Embeds the texts to index wrongly, the queries that check them rightly."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault: str | None = fault

    def embed(self, texts: Sequence[str], on_progress: Progress | None = None) -> np.ndarray:
        vectors = super().embed(texts, on_progress)
        fault, self.fault = self.fault, None
        if fault == "not a number":
            vectors[0, 0] = np.nan
        elif fault == "too long":
            vectors[0] *= 1.1
        elif fault == "rows shifted":
            vectors = np.roll(vectors, 1, axis=0)
        return vectors


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("not a number", "1 vectors that are not finite"),
        ("too long", "1 vectors are not finite or not of unit length"),
        ("rows shifted", "4 of .* sampled texts do not find themselves first"),
    ],
)
def test_a_failed_check_leaves_the_served_version_and_the_next_build_ends_right(store, fault, message):
    build(store, profiles(*people(4)), BagOfWords(), as_of=AS_OF)
    before, served = served_rows(store), served_version(store)
    changed = profiles(*(profile(row["user_id"], row["text"] + " now") for row in people(4)))
    with pytest.raises(PipelineError, match=message):
        build(store, changed, Faulty(fault), as_of=AS_OF)
    assert (served_rows(store), served_version(store)) == (before, served)
    assert build(store, changed, BagOfWords(), as_of=AS_OF).embedded == 4
    assert verify(store, changed, BagOfWords()).problems == []


def test_what_a_failed_build_left_does_not_reach_the_next_version(store):
    build(store, profiles(*people(4)), BagOfWords(), as_of=AS_OF)
    with pytest.raises(PipelineError):
        build(store, profiles(*people(4), profile("x", "y")), Faulty("too long"), as_of=AS_OF)
    assert build(store, profiles(*people(4)), BagOfWords(), as_of=AS_OF).promoted is False
    assert build(store, profiles(*people(5)), BagOfWords(), as_of=AS_OF).upserted == 1
    assert set(served_rows(store)) == {"u0", "u1", "u2", "u3", "u4"}


def test_a_first_build_that_fails_its_check_serves_nothing(store):
    with pytest.raises(PipelineError, match="not promoted"):
        build(store, profiles(*people(3)), Faulty("too long"), as_of=AS_OF)
    assert served_version(store) is None
    with pytest.raises(PipelineError, match="there is no index at"):
        store.open_served()
    assert build(store, profiles(*people(3)), BagOfWords(), as_of=AS_OF).served.rows == 3


def test_the_stages_are_told_in_order(store):
    told: list[Stage] = []
    build(store, profiles(*people(2)), BagOfWords(), as_of=AS_OF, on_stage=told.append)
    assert told == list(Stage)


def test_two_builds_at_once_are_refused(store):
    with IndexStore(store.path).writing(), pytest.raises(TransientError, match="being built by another process"):
        build(store, profiles(*people(1)), BagOfWords(), as_of=AS_OF)


def test_health_counts_what_is_missing_extra_and_out_of_date(store):
    build(store, profiles(*people(5)), BagOfWords(), as_of=AS_OF)
    wanted = [
        *people(3)[:2],
        profile("u2", "another text"),
        people(4, age=50)[3],
        profile("new", "a newcomer"),
    ]
    assert verify(store, profiles(*wanted), BagOfWords()) == Health(
        rows=5,
        missing=1,
        extra=1,
        stale=2,
        duplicates=0,
        faulty_vectors=0,
        sampled=5,
        lost=2,
        examples={"missing": ["new"], "extra": ["u4"], "stale": ["u2", "u3"]},
    )


def test_health_counts_repeated_users(store):
    build(store, profiles(*people(3)), BagOfWords(), as_of=AS_OF)
    table = store.open_latest()
    table.add(table.to_arrow().slice(0, 1))
    promote(store, table.version)
    assert verify(store, profiles(*people(3)), BagOfWords()).duplicates == 1
    assert "1 rows repeat a user" in verify(store, profiles(*people(3)), BagOfWords()).problems


def test_health_finds_vectors_of_another_model(store):
    build(store, profiles(*people(3)), BagOfWords(), as_of=AS_OF)
    health = verify(store, profiles(*people(3)), BagOfWords("bag-of-words@2", dimension=32))
    assert (health.stale, health.lost) == (3, 3)
