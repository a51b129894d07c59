"""A reranker has the last word."""

import sys
from pathlib import Path

import pytest

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.build import build
from profile_pipeline.index.filters import Filters
from profile_pipeline.index.rerank import RERANKED_AT_LEAST, load_reranker
from profile_pipeline.index.search import Mode, Searcher
from profile_pipeline.index.store import IndexStore
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, people, profiles


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> IndexStore:
    store = IndexStore(tmp_path_factory.mktemp("index") / "lancedb")
    build(store, profiles(*people(60)), BagOfWords(), as_of=AS_OF)
    return store


def number(text: str) -> int:
    return int(text.split()[1])


@pytest.mark.parametrize("mode", Mode)
def test_the_best_of_the_ranking_are_ordered_by_the_reranker_and_have_its_scores(store, mode):
    asked: list[tuple[str, int]] = []

    def highest_number(text, texts):
        asked.append((text, len(texts)))
        return [number(each) for each in texts]

    found = (
        Searcher(store, BagOfWords(), reranker=highest_number)
        .search("wine", mode=mode, limit=3, with_parts=True)
        .to_pylist()
    )
    first = Searcher(store, BagOfWords()).search("wine", mode=mode, limit=RERANKED_AT_LEAST)["text"].to_pylist()
    best = sorted(map(number, first), reverse=True)[:3]
    assert [(row["user_id"], row["score"], number(row["text"])) for row in found] == [(f"u{n}", n, n) for n in best]
    assert asked == [("wine", RERANKED_AT_LEAST)]
    assert all(row["parts"] == [row["text"]] for row in found)


def test_equal_scores_are_in_the_order_of_users_and_filters_hold(store):
    searcher = Searcher(store, BagOfWords(), reranker=lambda text, texts: [1.0] * len(texts))
    found = searcher.search("wine", filters=Filters("user_id IN ('u7', 'u5', 'u6')"))
    assert found["user_id"].to_pylist() == ["u5", "u6", "u7"]


def test_a_reranker_is_not_asked_about_nobody(store):
    searcher = Searcher(store, BagOfWords(), reranker=lambda text, texts: pytest.fail("asked"))
    assert searcher.search("zymurgy", mode=Mode.TEXT).num_rows == 0


@pytest.mark.parametrize("scores", [[1.0], [float("nan")] * 50, None, ["high"] * 50])
def test_a_reranker_that_gives_no_number_for_each_text_is_told(store, scores):
    with pytest.raises(PipelineError, match="the reranker"):
        Searcher(store, BagOfWords(), reranker=lambda text, texts: scores).search("wine")


def test_a_function_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_reranker.py").write_text("def shortest(text, texts):\n    return [-len(each) for each in texts]\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_reranker("my_reranker:shortest")("wine", ["aa", "b"]) == [-2, -1]
    del sys.modules["my_reranker"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_module:rank", "No module named 'no_such_module'"),
        ("math:no_such", "no attribute 'no_such'"),
        (":rank", "Empty module name"),
        ("math:pi", "is no function"),
    ],
)
def test_a_name_of_nothing_is_told_with_what_to_do(name, reason):
    with pytest.raises(PipelineError, match=f"PROFILE_PIPELINE_RERANKER is '{name}'.*{reason}"):
        load_reranker(name)


@pytest.mark.parametrize("name", ["", "/nowhere"])
def test_a_folder_without_a_cross_encoder_is_told_and_nothing_else_is(tmp_path: Path, caplog, name):
    with pytest.raises(PipelineError, match="is no cross-encoder that can be loaded"):
        load_reranker(name or str(tmp_path))
    assert caplog.messages == []
