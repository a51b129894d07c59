"""People like a given one."""

from pathlib import Path

import numpy as np
import pytest

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.build import build
from profile_pipeline.index.embedding import SentenceTransformerEmbedder
from profile_pipeline.index.filters import Filters
from profile_pipeline.index.search import RESULT_COLUMNS, Searcher
from profile_pipeline.index.store import IndexStore
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, people, profile, profiles

PEOPLE = (
    profile("ann", "red wine and cheese", age=30),
    profile("bob", "red wine", age=50),
    profile("cid", "chess and cheese", age=20),
    profile("dan", "red wine", age=60),
    profile("o'neil", "chess", age=70),
)


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    store = IndexStore(tmp_path_factory.mktemp("index") / "lancedb")
    build(store, profiles(*PEOPLE), BagOfWords(), as_of=AS_OF)
    # A model that is not there: what is stored suffices.
    return Searcher(store, SentenceTransformerEmbedder("no/model"))


def test_people_are_ranked_by_the_cosine_with_the_user_who_is_left_out(searcher):
    result = searcher.similar("ann")
    vectors = {person["user_id"]: BagOfWords().embed([person["text"]])[0] for person in PEOPLE}
    expected = {user: float(vector @ vectors["ann"]) for user, vector in vectors.items() if user != "ann"}
    assert result.schema.names == ["score", *RESULT_COLUMNS]
    assert result["user_id"].to_pylist() == ["bob", "dan", "cid", "o'neil"]
    assert result["score"].to_pylist() == pytest.approx([expected[user] for user in result["user_id"].to_pylist()])


def test_who_is_just_like_the_user_comes_first(searcher):
    nearest = searcher.similar("dan", limit=1).to_pylist()[0]
    assert (nearest["user_id"], nearest["score"]) == ("bob", pytest.approx(1))


def test_filters_hold_for_those_who_are_found_and_not_for_the_user(searcher):
    assert searcher.similar("ann", filters=Filters("age > 55"))["user_id"].to_pylist() == ["dan", "o'neil"]


@pytest.mark.parametrize("limit", [1, 2, 4, 100])
def test_the_limit_counts_others_only(searcher, limit):
    for user in ("ann", "bob", "o'neil"):
        assert searcher.similar(user, limit=limit).num_rows == min(limit, 4)


def test_the_limit_is_kept_where_many_are_just_like_the_user(tmp_path: Path):
    store = IndexStore(tmp_path / "lancedb")
    build(store, profiles(*(profile(f"u{n}", "wine") for n in range(9))), BagOfWords(), as_of=AS_OF)
    for user in ("u0", "u8"):
        found = Searcher(store, BagOfWords()).similar(user, limit=3)["user_id"].to_pylist()
        assert (len(found), user in found) == (3, False)


def test_an_unknown_user_is_told_with_what_to_do(searcher):
    with pytest.raises(PipelineError, match=r"no user 'eve' in the index.*profiles --user eve"):
        searcher.similar("eve")


def test_someone_alone_is_like_nobody(tmp_path: Path):
    store = IndexStore(tmp_path / "lancedb")
    build(store, profiles(*people(1)), BagOfWords(), as_of=AS_OF)
    result = Searcher(store, BagOfWords()).similar("u0")
    assert (result.num_rows, result.schema.names) == (0, ["score", *RESULT_COLUMNS])


def test_a_version_promoted_in_between_is_the_one_that_is_asked(tmp_path: Path):
    store = IndexStore(tmp_path / "lancedb")
    build(store, profiles(*PEOPLE), BagOfWords(), as_of=AS_OF)
    searcher = Searcher(store, BagOfWords())
    assert searcher.similar("bob")["user_id"].to_pylist()[0] == "dan"
    build(store, profiles(*PEOPLE[:3]), BagOfWords("other@1", 32), as_of=AS_OF)
    assert set(searcher.similar("bob")["user_id"].to_pylist()) == {"ann", "cid"}
    assert np.isfinite(searcher.similar("bob")["score"].to_numpy()).all()
