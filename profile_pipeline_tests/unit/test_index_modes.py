"""Searching by words and by both, with options for filters, in small versions and in partitioned ones."""

import sys
from datetime import date
from itertools import product
from pathlib import Path
from random import Random

import numpy as np
import pytest

from profile_pipeline.errors import PipelineError
from profile_pipeline.index import acceleration
from profile_pipeline.index.acceleration import VECTOR_INDEX, exact_neighbours, measure_recall
from profile_pipeline.index.build import build
from profile_pipeline.index.filters import Filters
from profile_pipeline.index.search import RESULT_COLUMNS, Mode, Searcher
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.versions import promote, served_version
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, match, people, profile, profiles

PEOPLE = (
    profile(
        "ann",
        "Ann loves red wine and cheese",
        tags=["wine", "vegan"],
        home_neighborhood="Old Town",
        personalization_score=80,
        next_eligible_date=date(2024, 2, 10),
        last_event_date=date(2024, 2, 5),
    ),
    profile("bob", "Bob loves red wine", work_neighborhood="Old Town", personalization_score=20),
    profile("cid", "Cid plays chess", tags=["games"], home_neighborhood="O'Hara Hill", next_eligible_date=date.max),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> IndexStore:
    store = IndexStore(tmp_path_factory.mktemp("index") / "lancedb")
    build(store, profiles(*PEOPLE), BagOfWords(), as_of=AS_OF)
    return store


def found(store: IndexStore, text: str, mode: Mode, filters: Filters | None = None) -> list[str]:
    return match(store, text, BagOfWords(), None, 10, mode=mode, filters=filters)["user_id"].to_pylist()


def test_a_search_by_words_finds_those_who_share_one_and_embeds_nothing(store):
    embedder = BagOfWords()
    result = match(store, 'playing "chess" (or cheese)?', embedder, None, 10, mode=Mode.TEXT)
    assert set(result["user_id"].to_pylist()) == {"ann", "cid"}
    assert result.schema.names == ["score", *RESULT_COLUMNS]
    assert embedder.embedded == []


def test_a_search_by_words_that_nobody_shares_finds_nobody(store):
    result = match(store, "zymurgy", BagOfWords(), None, 10, mode=Mode.TEXT)
    assert (result.num_rows, result.schema.names) == (0, ["score", *RESULT_COLUMNS])


def test_of_equally_good_ones_the_first_users_are_found_whatever_the_limit(tmp_path: Path):
    same = IndexStore(tmp_path / "same")
    users = [f"u{number:03}" for number in range(300)]
    build(same, profiles(*(profile(user, "wine for all") for user in reversed(users))), BagOfWords(), as_of=AS_OF)
    searcher = Searcher(same, BagOfWords())
    for mode, limit in product(Mode, (1, 7, sys.maxsize)):
        assert searcher.search("wine", mode=mode, limit=limit)["user_id"].to_pylist() == users[:limit]
    assert searcher.similar("u250", limit=2)["user_id"].to_pylist() == users[:2]


def test_both_rankings_are_fused_by_reciprocal_ranks(store):
    result = match(store, "Bob loves red wine", BagOfWords(), None, 10, mode=Mode.HYBRID)
    scores = dict(zip(result["user_id"].to_pylist(), result["score"].to_pylist(), strict=True))
    assert scores == pytest.approx({"bob": 1, "ann": 61 / 62, "cid": 61 / 63 / 2})


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    ("filters", "users"),
    [
        (Filters(), {"ann", "bob", "cid"}),
        (Filters(can_send=True), {"ann", "bob"}),
        (Filters(neighborhoods=("Old Town",)), {"ann", "bob"}),
        (Filters(neighborhoods=("Old Town", "O'Hara Hill")), {"ann", "bob", "cid"}),
        (Filters(tags=("Vegan", "wine")), {"ann"}),
        (Filters(min_score=20), {"ann", "bob"}),
        (Filters(attended_since=date(2024, 2, 5)), {"ann"}),
        (Filters("user_id = 'ann' OR user_id = 'cid'", tags=("games",)), {"cid"}),
    ],
)
def test_options_keep_those_they_hold_for_in_every_mode(store, mode, filters, users):
    assert set(found(store, "red wine and chess", mode, filters)) == users


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (Filters(tags=("wine", "beer")), "nobody has the tag 'beer'; there are wine, games, vegan"),
        (Filters(neighborhoods=("Moon",)), "neighborhood 'Moon'; there are Old Town, O'Hara Hill"),
        (Filters("home_neighborhood in ('old town', 'Moon')"), r"no home_neighborhood is 'old town'; there are"),
        (
            Filters("home_neighborhood = 'old town'"),
            r"holds for nobody: no home_neighborhood is 'old town'; there are O'Hara Hill, Old Town",
        ),
        (Filters("home_neighborhood = 'O''Hara' OR age > 200"), r"no home_neighborhood is \"O'Hara\"; there are"),
        (Filters("array_has(tags, 'Vegan')"), r"no tags is 'Vegan'; there are wine, games, vegan"),
        (Filters("array_has_any(tags, ['beer'])"), r"no tags is 'beer'; there are wine, games, vegan"),
        (
            Filters("decision = 'send'"),
            "no decision is 'send'; there are send_personalized_message, request_more_details, wait",
        ),
        (
            Filters("agee > 3", min_score=3),
            r"filter 'agee > 3' cannot be used: No field named agee\. Did you mean 'age'",
        ),
    ],
)
def test_a_wrong_option_says_which_word_is_wrong_and_what_exists(store, filters, message):
    with pytest.raises(PipelineError, match=message):
        found(store, "wine", Mode.HYBRID, filters)


def test_a_searcher_follows_when_another_version_is_promoted(tmp_path: Path):
    store = IndexStore(tmp_path / "lancedb")
    first = build(store, profiles(*PEOPLE), BagOfWords(), as_of=AS_OF).served.version
    searcher = Searcher(store, BagOfWords())
    assert searcher.search("wine").num_rows == 3
    build(store, profiles(*PEOPLE[:2]), BagOfWords(), as_of=AS_OF)
    assert searcher.search("wine", columns=["name"]).schema.names == ["score", "name"]
    assert searcher.search("wine").num_rows == 2
    promote(store, first)
    assert searcher.search("wine").num_rows == 3


def test_an_index_without_words_is_given_them_by_the_next_build_and_says_so_until_then(tmp_path: Path):
    store = IndexStore(tmp_path / "lancedb")
    build(store, profiles(*PEOPLE), BagOfWords(), as_of=AS_OF)
    table = store.open_latest()
    table.drop_index(acceleration.TEXT_INDEX)
    promote(store, table.version)
    with pytest.raises(PipelineError, match="before it could be searched by words; build the index again"):
        found(store, "wine", Mode.TEXT)
    report = build(store, profiles(*PEOPLE), BagOfWords(), as_of=AS_OF)
    assert (report.promoted, report.embedded, report.upserted) == (True, 0, 0)
    assert found(store, "chess", Mode.TEXT) == ["cid"]


@pytest.fixture
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "PARTITIONED_FROM", 400)
    monkeypatch.setattr(acceleration, "PARTITION_ROWS", 50)


@pytest.mark.usefixtures("small_partitions")
def test_a_large_version_is_partitioned_before_it_is_served_and_finds_what_an_exact_search_does(tmp_path: Path):
    store = IndexStore(tmp_path / "lancedb")
    rows = people(600, age=30, home_neighborhood="Old Town")
    report = build(store, profiles(*rows), BagOfWords(), as_of=AS_OF)
    assert report.served.probes >= 8
    table = store.open_served()
    assert VECTOR_INDEX in {index.name for index in table.list_indices()}
    queries = BagOfWords().embed([f"wine thing{number}" for number in range(40)])
    assert measure_recall(table, queries, exact_neighbours(table, queries, 10), report.served.probes) >= 0.99
    assert found(store, "person 7 likes thing7 and wine", Mode.VECTOR, Filters("age = 30"))[0] == "u7"


@pytest.mark.usefixtures("small_partitions")
def test_rows_written_after_partitioning_are_found_and_a_version_that_shrinks_is_searched_whole(tmp_path: Path):
    store = IndexStore(tmp_path / "lancedb")
    build(store, profiles(*people(600)), BagOfWords(), as_of=AS_OF)
    new = profile("new", "a newcomer who brews beer")
    assert build(store, profiles(*people(600), new), BagOfWords(), as_of=AS_OF).served.probes > 0
    for mode in Mode:
        assert found(store, "newcomer who brews beer", mode)[0] == "new"
    report = build(store, profiles(*people(300)), BagOfWords(), as_of=AS_OF)
    assert (report.served.probes, VECTOR_INDEX in {index.name for index in store.open_served().list_indices()}) == (
        0,
        False,
    )
    assert found(store, "person 7 likes thing7 and wine", Mode.VECTOR)[0] == "u7"


def test_partitions_that_half_of_the_users_left_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(acceleration, "PARTITION_ROWS", 1200)
    # Texts so alike that most partitions have to be read.
    draw = Random(1)
    rows = [profile(f"u{n}", " ".join(f"word{draw.randrange(300)}" for _ in range(12))) for n in range(12_000)]
    store = IndexStore(tmp_path / "lancedb")
    assert build(store, profiles(*rows), BagOfWords(), as_of=AS_OF).served.probes > 5
    report = build(store, profiles(*rows[:6000]), BagOfWords(), as_of=AS_OF)
    assert (report.promoted, report.deleted, report.served.probes) == (True, 6000, 5)


@pytest.mark.usefixtures("small_partitions")
def test_partitions_that_hide_neighbours_are_not_promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = IndexStore(tmp_path / "lancedb")
    build(store, profiles(*people(3)), BagOfWords(), as_of=AS_OF)
    monkeypatch.setattr(acceleration, "RECALL", 1.01)
    with pytest.raises(PipelineError, match=r"not promoted: its partitions give [01]\.\d+ of the true neighbours"):
        build(store, profiles(*people(600)), BagOfWords(), as_of=AS_OF)
    assert served_version(store).rows == 3


def test_exact_neighbours_are_those_of_a_full_product(store):
    queries = BagOfWords().embed(["red wine", "chess"])
    vectors = BagOfWords().embed([row["text"] for row in PEOPLE])
    expected = -np.sort(-(queries @ vectors.T), axis=1)[:, :2]
    assert np.allclose(exact_neighbours(store.open_served(), queries, 2), expected)
