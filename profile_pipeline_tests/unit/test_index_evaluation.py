"""Test collections are read strictly, searched as profiles are, and measured as trec_eval does."""

from math import log2
from pathlib import Path

import pytest

from profile_pipeline.errors import PipelineError
from profile_pipeline.index import acceleration
from profile_pipeline.index.build import build
from profile_pipeline.index.collection import Collection, read_collection
from profile_pipeline.index.evaluation import (
    Measures,
    QueryEmbedder,
    index_collection,
    measure,
    ndcg,
    recall,
    search_collection,
)
from profile_pipeline.index.search import Mode, Searcher
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.versions import RECORD_KEY, promote, served_version
from profile_pipeline_tests.collection import JUDGMENTS, judgments, write_collection
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, people, profiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_collection(tmp_path / "collection")


def test_a_collection_is_read_with_titles_in_front_and_queries_that_are_judged(folder):
    collection = read_collection(folder)
    assert collection.documents == {
        "wine": "Red wine tasting in the cellar", "chess": "chess in the park", "tea": "tea and wine", "none": ""
    }  # fmt: skip
    assert collection.queries == {"q1": "red wine", "q2": "chess"}
    assert collection.judgments == {"q1": {"wine": 1, "tea": 2, "chess": 0}, "q2": {"tea": 1}}
    assert collection.unknown_documents == 0


def test_files_of_a_collection_may_begin_with_a_byte_order_mark(folder):
    plain = read_collection(folder)
    for file in folder.iterdir():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_collection(folder) == plain


def test_judgments_may_be_those_of_the_test_part_and_of_documents_that_are_not_there(folder):
    (folder / "qrels").mkdir()
    (folder / "qrels.tsv").unlink()
    (folder / "qrels" / "test.tsv").write_text(judgments([*JUDGMENTS, ("q2", "lost", 1)]))
    assert read_collection(folder).unknown_documents == 1


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("corpus.jsonl", '{"_id": "a", "text": "b"}\n\n{"_id": "c"\n', r"corpus.jsonl line 3: is no JSON: "),
        ("corpus.jsonl", "[1]\n", r"corpus.jsonl line 1: is no JSON object"),
        ("corpus.jsonl", '{"id": "a", "text": "b"}\n', r"corpus.jsonl line 1: has no text '_id'; it has id, text"),
        ("corpus.jsonl", '{"_id": 1, "text": "b"}\n', r"corpus.jsonl line 1: has no text '_id'"),
        ("corpus.jsonl", '{"_id": "a", "text": "b", "title": 3}\n', r"corpus.jsonl line 1: its title is no text"),
        ("corpus.jsonl", '{"_id": "a", "text": "b"}\n' * 2, r"corpus.jsonl line 2: the _id 'a' comes a second time"),
        ("corpus.jsonl", "", r"corpus.jsonl is empty"),
        ("corpus.jsonl", b"\xff\xfe", r"corpus.jsonl after line 0: is no UTF-8"),
        ("queries.jsonl", '{"_id": "q1", "text": " "}\n', r"queries.jsonl line 1: the query 'q1' is blank"),
        ("qrels.tsv", "q1\twine\t1\n", r"qrels.tsv line 1: has to be the header query-id corpus-id score"),
        ("qrels.tsv", judgments([("q9", "wine", 1)]), r"qrels.tsv line 2: there is no query 'q9' in queries.jsonl"),
        ("qrels.tsv", judgments([("q1", "wine", 1)] * 2), r"qrels.tsv line 3: the document 'wine' is judged twice"),
        ("qrels.tsv", judgments([]) + "q1\twine\n", r"qrels.tsv line 2: has to be a query's id, .* not 'q1\\twine'"),
        ("qrels.tsv", judgments([]) + "q1\twine\t0.5\n", r"qrels.tsv line 2: has to be"),
        ("qrels.tsv", judgments([]), r"qrels.tsv holds no judgment"),
    ],
)
def test_a_wrong_file_is_told_with_its_line(folder, name, content, told):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PipelineError, match=told):
        read_collection(folder)


def test_a_missing_folder_or_file_is_told_with_what_is_expected(folder):
    with pytest.raises(PipelineError, match=r"there is no folder .*corpus.jsonl, queries.jsonl and qrels.tsv"):
        read_collection(folder / "nowhere")
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(PipelineError, match=r"there is no file .*corpus.jsonl"):
        read_collection(folder)
    (folder / "qrels.tsv").unlink()
    with pytest.raises(PipelineError, match=r"neither qrels.tsv nor qrels/test.tsv"):
        read_collection(folder)


GRADED = {"a": 3, "b": 2, "c": 0, "d": 1, "e": -1}


@pytest.mark.parametrize(
    ("documents", "depth", "expected"),
    [
        (["a", "b", "d"], 10, 1.0),
        (["b", "x", "a", "e"], 10, (2 + 3 / log2(4)) / (3 + 2 / log2(3) + 1 / 2)),
        (["x", "a"], 1, 0.0),
        (["b", "a"], 1, 2 / 3),
        (["c", "e", "x"], 10, 0.0),
        ([], 10, 0.0),
    ],
)
def test_gain_is_the_score_discounted_by_the_logarithm_of_the_rank(documents, depth, expected):
    assert ndcg(documents, GRADED, depth) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("documents", "depth", "expected"),
    [(["x", "a", "b", "d"], 10, 1.0), (["x", "a", "b", "d"], 2, 1 / 3), (["c", "e"], 10, 0.0), ([], 10, 0.0)],
)
def test_recall_is_the_share_of_documents_judged_above_0(documents, depth, expected):
    assert recall(documents, GRADED, depth) == pytest.approx(expected)


def test_a_query_that_nothing_answers_counts_as_0():
    assert (ndcg(["c"], {"c": 0}, 10), recall(["c"], {"c": 0}, 10)) == (0.0, 0.0)


def test_measures_are_means_over_judged_queries():
    collection = Collection({}, {"q": "x", "r": "y"}, {"q": {"a": 1}, "r": {"b": 1, "c": 1}})
    deep = [f"x{n}" for n in range(20)]
    found = {"q": ["a"], "r": ["b", *deep, "c"]}
    ideal = 1 + 1 / log2(3)
    assert measure(collection, found) == Measures(
        pytest.approx((1 + 1 / ideal) / 2), pytest.approx((1 + 1 / 2) / 2), pytest.approx(1)
    )


@pytest.mark.parametrize("partitioned", [False, True])
def test_documents_are_indexed_and_found_as_profiles_are(folder, tmp_path, monkeypatch, partitioned):
    if partitioned:
        # With indexes on columns that hold nothing.
        monkeypatch.setattr(acceleration, "PARTITIONED_FROM", 300)
        monkeypatch.setattr(acceleration, "PARTITION_ROWS", 50)
        lines = [f'{{"_id": "x{n}", "text": "filling{n} number{n}"}}\n' for n in range(400)]
        (folder / "corpus.jsonl").write_text((folder / "corpus.jsonl").read_text() + "".join(lines))
    collection, embedder = read_collection(folder), BagOfWords(dimension=256)
    store = IndexStore(tmp_path / "index")
    report = index_collection(collection, store, embedder)
    assert (report.served.rows, report.promoted, report.served.probes > 0) == (
        len(collection.documents),
        True,
        partitioned,
    )
    queries = QueryEmbedder(collection, embedder)
    searcher = Searcher(store, queries)
    told: list[tuple[int, int]] = []
    by_words = search_collection(collection, searcher, Mode.TEXT, lambda *progress: told.append(progress))
    assert {query: sorted(documents) for query, documents in by_words.items()} == {
        "q1": ["tea", "wine"],
        "q2": ["chess"],
    }
    assert told == [(1, 2), (2, 2)]
    by_meaning = search_collection(collection, searcher, Mode.VECTOR)
    # Other words may share a place with chess.
    assert (by_meaning["q1"][0], "chess" in by_meaning["q2"][:10]) == ("wine", True)
    assert search_collection(collection, searcher, Mode.HYBRID)["q1"][:2] == ["wine", "tea"]
    again = index_collection(collection, store, embedder)
    assert (again.promoted, again.embedded) == (False, 0)


def test_a_document_with_the_id_of_the_query_is_left_out_and_does_not_count(tmp_path):
    documents = {f"d{n}": f"wine number{n}" for n in range(105)}
    collection = Collection(documents, {"d7": "wine number7"}, {"d7": {"d8": 1}})
    store = IndexStore(tmp_path / "index")
    index_collection(collection, store, BagOfWords())
    found = search_collection(collection, Searcher(store, BagOfWords()), Mode.TEXT)
    assert (len(found["d7"]), "d7" in found["d7"]) == (100, False)


def test_an_index_of_profiles_is_not_written_over(folder, tmp_path):
    store = IndexStore(tmp_path / "index")
    build(store, profiles(*people(2)), BagOfWords(), as_of=AS_OF)
    with pytest.raises(PipelineError, match="holds an index of profiles; name another folder"):
        index_collection(read_collection(folder), store, BagOfWords())
    assert served_version(store).rows == 2
    table = store.open_latest()
    table.update_field_metadata({"path": "user_id", "metadata": {RECORD_KEY: None}})
    promote(store, table.version)
    with pytest.raises(PipelineError, match="holds an index of profiles; name another folder"):
        index_collection(read_collection(folder), store, BagOfWords())
