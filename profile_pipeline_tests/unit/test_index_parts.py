"""The sentences that say why somebody was found."""

from pathlib import Path

import pytest

from profile_pipeline.index.build import build
from profile_pipeline.index.filters import Filters
from profile_pipeline.index.parts import SHOWN_PARTS, sentences
from profile_pipeline.index.search import Mode, Searcher
from profile_pipeline.index.store import IndexStore
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, profile, profiles

ANN = (
    "Ann is a cook living in St. Martin. She's interested in tasting wines, preferring bar table experiences. "
    "She often attends with Dr. Wine. Domains: hiking, tasting."
)
BOB = "Bob is interested in chess. They enjoy hiking."
TEXTS = {"ann": ANN, "bob": BOB, "cid": "Cid hikes."}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> IndexStore:
    store = IndexStore(tmp_path_factory.mktemp("index") / "lancedb")
    build(store, profiles(*(profile(*person) for person in TEXTS.items())), BagOfWords(), as_of=AS_OF)
    return store


def parts(store: IndexStore, text: str, mode: Mode) -> dict[str, list[str]]:
    found = Searcher(store, BagOfWords()).search(text, mode=mode, columns=["user_id"], with_parts=True)
    assert found.schema.names == ["score", "user_id", "parts"]
    return {row["user_id"]: row["parts"] for row in found.to_pylist()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            ANN,
            [
                "Ann is a cook living in St. Martin.",
                "She's interested in tasting wines, preferring bar table experiences.",
                "She often attends with Dr. Wine.",
                "Domains: hiking, tasting.",
            ],
        ),
        ("Bob is new. Details still missing: age. Domains: x.", ["Bob is new.", "Domains: x."]),
        ("C++ (Cid) likes tea. C++ hikes.", ["C++ (Cid) likes tea.", "C++ hikes."]),
        ("no sentence", ["no sentence"]),
        ("", [""]),
    ],
)  # fmt: skip
def test_a_text_is_cut_where_its_sentences_begin(text, expected):
    assert sentences(text) == expected


def test_by_words_those_match_that_share_a_stem_best_first(store):
    assert parts(store, "wine tasting", Mode.TEXT) == {
        "ann": [sentences(ANN)[1], sentences(ANN)[3]]
    }  # The doctor's name matches less well than either.
    assert parts(store, "hiked", Mode.TEXT) == {
        "ann": ["Domains: hiking, tasting."],
        "bob": ["They enjoy hiking."],
        "cid": ["Cid hikes."],
    }


def test_by_meaning_those_match_that_are_about_as_near_as_the_best(store):
    found = parts(store, "often attends with Dr. Wine", Mode.VECTOR)
    assert found["ann"] == ["She often attends with Dr. Wine."]
    assert found["cid"] == ["Cid hikes."]


def test_by_both_the_two_rankings_of_sentences_are_fused(store):
    found = parts(store, "often attends with Dr. Wine", Mode.HYBRID)
    assert found["ann"][0] == "She often attends with Dr. Wine."
    assert all(1 <= len(each) <= SHOWN_PARTS for each in found.values())


def test_sentences_are_embedded_at_once_and_only_when_asked_for(store):
    class Counting(BagOfWords):
        calls = 0

        def embed(self, texts, on_progress=None):
            self.calls += 1
            return super().embed(texts, on_progress)

    embedder = Counting()
    searcher = Searcher(store, embedder)
    searcher.search("chess", limit=2)
    assert (embedder.calls, embedder.embedded) == (1, ["chess"])
    searcher.search("chess", limit=1, with_parts=True)
    assert (embedder.calls, embedder.embedded[2:]) == (3, sentences(BOB))
    searcher.search("chess", mode=Mode.TEXT, with_parts=True)
    assert embedder.calls == 3


def test_those_like_a_user_share_words_with_the_user_without_a_model(store, tmp_path: Path):
    embedder = BagOfWords("another@1")
    found = Searcher(store, embedder).similar("bob", with_parts=True, columns=["user_id"]).to_pylist()
    shared = {row["user_id"]: row["parts"] for row in found}
    assert (shared["cid"], embedder.embedded) == (["Cid hikes."], [])


@pytest.mark.parametrize("mode", Mode)
def test_nobody_found_has_no_parts(store, mode):
    nobody = Filters("user_id = 'nobody'")
    searcher = Searcher(store, BagOfWords())
    none = searcher.search("tea", mode=mode, filters=nobody, columns=["user_id"], with_parts=True)
    assert (none.num_rows, none.schema.names) == (0, ["score", "user_id", "parts"])
