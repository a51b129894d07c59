"""What a search of the index finds, and what it says to those who ask wrongly."""

from datetime import date
from pathlib import Path

import pytest

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.build import build
from profile_pipeline.index.search import RESULT_COLUMNS, Mode, Searcher
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.versions import promote
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, match, profile, profiles

PEOPLE = (
    profile(
        "ann",
        "Ann loves red wine and cheese",
        tags=["wine", "vegan"],
        age=30,
        occupation="Chef",
        total_spent=12.5,
        last_event_date=date(2024, 2, 5),
        is_on_team=True,
    ),
    profile("bob", "Bob loves red wine", tags=["wine"], age=50, total_spent=300.0, is_on_team=False),
    profile("cid", "Cid plays chess", tags=["games"], age=None),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> IndexStore:
    store = IndexStore(tmp_path_factory.mktemp("index") / "lancedb")
    build(store, profiles(*PEOPLE), BagOfWords(), as_of=AS_OF)
    return store


def found(store: IndexStore, text: str = "red wine", where: str | None = None, limit: int = 10) -> list[str]:
    return match(store, text, BagOfWords(), where, limit)["user_id"].to_pylist()


def test_a_text_finds_itself_with_score_1_and_the_others_by_cosine(store):
    result = match(store, "Bob loves red wine", BagOfWords(), None, 10, mode=Mode.VECTOR)
    assert result["user_id"].to_pylist() == ["bob", "ann", "cid"]
    query, *others = BagOfWords().embed(["Bob loves red wine", *(row["text"] for row in PEOPLE)])
    assert result["score"].to_pylist() == pytest.approx(sorted((query @ v for v in others), reverse=True), abs=1e-6)
    assert result["score"][0].as_py() == pytest.approx(1, abs=1e-6)


def test_a_result_has_the_score_and_every_column_people_filter_on(store):
    result = match(store, "cheese", BagOfWords(), None, 1)
    assert result.schema.names == ["score", *RESULT_COLUMNS]
    assert result.to_pylist()[0]["tags"] == ["wine", "vegan"]


@pytest.mark.parametrize(
    ("where", "users"),
    [
        ("age > 40", ["bob"]),
        ("age IS NULL", ["cid"]),
        ("array_has(tags, 'vegan')", ["ann"]),
        ("array_has_any(tags, ['vegan', 'games'])", ["ann", "cid"]),
        ("total_spent >= 12.5", ["ann", "bob"]),
        ("last_event_date >= DATE '2024-02-01'", ["ann"]),
        ("is_on_team", ["ann"]),
        ("NOT is_on_team", ["bob"]),
        ("occupation = 'Chef' AND age BETWEEN 20 AND 40", ["ann"]),
        ("user_id LIKE 'c%'", ["cid"]),
        ("text <> 'a) -- /* (' AND user_id <> 'bob'", ["ann", "cid"]),
        ("age > 100", []),
    ],
)
def test_a_filter_keeps_those_it_holds_for(store, where, users):
    assert sorted(found(store, where=where)) == users


def test_a_filter_is_applied_before_the_limit(store):
    assert found(store, "red wine", "array_has(tags, 'games')", 1) == ["cid"]


@pytest.mark.parametrize("limit", [1, 2, 3, 1_000_000])
def test_a_limit_is_the_most_that_is_returned(store, limit):
    assert len(found(store, limit=limit)) == min(limit, 3)


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("nope = 1", r"No field named nope\. Did you mean 'name'\?; columns: user_id, email, name, tags,"),
        ("age >", "Expected: an expression, found: EOF"),
        ("", "Expected: an expression, found: EOF"),
        ("age", "The filter age does not return a boolean"),
        ("last_event_date > '2024-01-01'", "could not convert .* write a day as DATE '2024-01-31'"),
        ("'vegan' = ANY(tags)", "is not supported SQL"),
        ("nope(age) > 1", "Invalid function 'nope'"),
        ("age > 2) OR (true", "its brackets do not match"),
        ("age > 2)", "its brackets do not match"),
        ("(age > 2", "its brackets do not match"),
        ("age > 2) OR true --", "its brackets do not match"),
        ("age > 2 -- of course", "it has a comment"),
    ],
)
def test_a_wrong_filter_is_explained_in_one_line_before_anything_is_embedded(store, where, reason):
    embedder = BagOfWords()
    with pytest.raises(PipelineError, match=reason) as error:
        match(store, "wine", embedder, where, 3)
    assert embedder.embedded == []
    assert "\n" not in str(error.value)
    assert ".rs:" not in str(error.value)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_1_is_refused(store, limit):
    with pytest.raises(PipelineError, match="at least 1"):
        found(store, limit=limit)


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_blank_text_is_refused(store, text):
    with pytest.raises(PipelineError, match="blank"):
        found(store, text)


def test_another_model_than_the_index_was_built_with_is_refused(store):
    with pytest.raises(PipelineError, match=r"bag-of-words@1, but EMBEDDING_MODEL is bag-of-words@2"):
        match(store, "wine", BagOfWords("bag-of-words@2"), None, 3)


def test_a_search_before_the_first_build_says_so_and_creates_nothing(tmp_path: Path):
    with pytest.raises(PipelineError, match=r"there is no index at .* yet; run `profile-pipeline build` first"):
        found(IndexStore(tmp_path / "lancedb"))
    assert list(tmp_path.iterdir()) == []


def test_a_promotion_shows_in_the_next_search_and_a_tag_moved_back_too(tmp_path: Path):
    store = IndexStore(tmp_path / "lancedb")
    first = build(store, profiles(*PEOPLE), BagOfWords(), as_of=AS_OF)
    build(store, profiles(*PEOPLE[1:]), BagOfWords(), as_of=AS_OF)
    assert set(found(store)) == {"bob", "cid"}
    promote(store, first.served.version)
    assert set(found(store)) == {"ann", "bob", "cid"}


def test_a_search_reads_one_version_though_another_is_promoted_in_the_middle_of_it(tmp_path: Path):
    store = IndexStore(tmp_path / "lancedb")
    texts = {"u0": "wine and cheese", "u1": "wine"}
    build(store, profiles(*(profile(*each, name="old") for each in texts.items())), BagOfWords(), as_of=AS_OF)

    class Promoting(BagOfWords):
        def embed(self, texts_to_embed, on_progress=None):
            if not self.embedded:
                # Rows in another order, so that numbers of rows mean others.
                renamed = [profile(*each, name="new") for each in [*reversed(texts.items()), ("u2", "wine")]]
                build(store, profiles(*renamed), BagOfWords(), as_of=AS_OF)
            return super().embed(texts_to_embed, on_progress)

    searcher = Searcher(store, Promoting())
    found = [
        [(row["user_id"], row["name"], row["text"]) for row in searcher.search("cheese", with_parts=True).to_pylist()]
        for _ in range(2)
    ]
    assert sorted(found[0]) == [("u0", "old", "wine and cheese"), ("u1", "old", "wine")]
    assert sorted(found[1]) == [("u0", "new", "wine and cheese"), ("u1", "new", "wine"), ("u2", "new", "wine")]


def test_an_index_from_before_a_column_was_added_asks_to_be_built_again(tmp_path: Path):
    store = IndexStore(tmp_path / "lancedb")
    build(store, profiles(*PEOPLE), BagOfWords(), as_of=AS_OF)
    table = store.open_latest()
    table.drop_columns(["age"])
    promote(store, table.version)
    with pytest.raises(PipelineError, match="before there was a column age; build the index again"):
        found(store)
