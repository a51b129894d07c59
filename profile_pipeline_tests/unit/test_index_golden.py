"""Questions that a new version has to answer before it is served."""

from datetime import timedelta
from pathlib import Path

import pytest

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.build import build
from profile_pipeline.index.golden import Golden, GoldenQuery, ask, read_golden_queries, recall_of
from profile_pipeline.index.search import Mode, Searcher
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.versions import served_version
from profile_pipeline.settings import Settings
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, people, profile, profiles

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> IndexStore:
    return IndexStore(tmp_path / "lancedb")


def question(query: str, *users: str, **options: object) -> GoldenQuery:
    return GoldenQuery(query=query, users=users, **options)


def test_a_version_that_does_not_find_who_is_expected_is_not_served_and_is_told_whom_it_misses(store):
    before = build(store, profiles(*people(3)), BagOfWords(), as_of=AS_OF).served
    golden = Golden([question("thing11", "u11"), question("thing0", "u0", "u12", mode="text")], min_recall=0.9)
    with pytest.raises(PipelineError) as refused:
        build(store, profiles(*people(15)), BagOfWords(), as_of=AS_OF, golden=golden)
    assert str(refused.value) == (
        "the new version of the index is not promoted and the one in production stays: golden queries find 0.75 of the "
        "users expected, less than 0.9: 'thing0' misses u12"
    )
    assert served_version(store) == before


def test_the_vectors_of_a_refused_version_are_kept_for_the_next_build(store):
    impossible = Golden([question("thing0", "u9", mode="text")], min_recall=1)
    with pytest.raises(PipelineError, match="golden queries find"):
        build(store, profiles(*people(12)), BagOfWords(), as_of=AS_OF, golden=impossible)
    assert build(store, profiles(*people(12)), BagOfWords(), as_of=AS_OF).embedded == 0


def test_a_version_that_forgets_somebody_is_served_whatever_it_finds(store):
    impossible = Golden([question("thing0", "u1", mode="text")], min_recall=1)
    report = build(store, profiles(*people(4)), BagOfWords(), as_of=AS_OF, golden=impossible, forgetting=True)
    assert (report.promoted, report.served.golden_recall) == (True, 0)


def test_a_version_that_finds_enough_is_served_with_its_recall_on_record(store):
    golden = Golden([question("thing1", "u1"), question("thing2", "u3", mode="text")], min_recall=0.5)
    report = build(store, profiles(*people(4)), BagOfWords(), as_of=AS_OF, golden=golden)
    assert (report.served.golden_queries, report.served.golden_recall) == (2, 0.5)
    assert [answer.missed for answer in report.answers] == [(), ("u3",)]
    assert served_version(store) == report.served


def test_users_who_are_not_in_the_index_do_not_count(store):
    golden = Golden([question("thing1", "u1", "left"), question("thing2", "gone too")], min_recall=1)
    report = build(store, profiles(*people(4), profile("left", None)), BagOfWords(), as_of=AS_OF, golden=golden)
    assert [(answer.recall, answer.unknown) for answer in report.answers] == [(1, ("left",)), (None, ("gone too",))]
    assert report.served.golden_recall == 1


def test_a_question_holds_from_its_day_on(store):
    golden = Golden([question("thing0", "u1", mode="text", since=AS_OF + timedelta(days=1))], min_recall=1)
    report = build(store, profiles(*people(4)), BagOfWords(), as_of=AS_OF, golden=golden)
    assert (report.served.golden_queries, report.served.golden_recall) == (0, None)
    with pytest.raises(PipelineError, match="golden queries find"):
        build(store, profiles(*people(5)), BagOfWords(), as_of=AS_OF + timedelta(days=1), golden=golden)


def test_a_question_that_expects_many_looks_at_as_many_hits(store):
    build(store, profiles(*people(30)), BagOfWords(), as_of=AS_OF)
    everyone = question("person", *(f"u{number}" for number in range(30)))
    assert recall_of(ask(Searcher(store, BagOfWords()), [everyone], AS_OF)) == 1


def test_a_file_holds_a_question_a_line(tmp_path):
    file = tmp_path / "golden.jsonl"
    file.write_text('{"query": "jazz", "users": ["u1"]}\n\n{"query": "wine", "users": ["u2", "u3"], "mode": "text"}\n')
    assert read_golden_queries(file) == [question("jazz", "u1"), question("wine", "u2", "u3", mode=Mode.TEXT)]


def test_a_file_may_begin_with_a_byte_order_mark_hold_any_character_and_name_a_user_twice(tmp_path):
    file = tmp_path / "golden.jsonl"
    file.write_bytes('\ufeff{"query": "jazz\u2028\x85wine", "users": ["u2", "u1", "u2"]}\r\n'.encode())
    assert read_golden_queries(file) == [question("jazz\u2028\x85wine", "u2", "u1")]
    assert read_golden_queries(file)[0].users == ("u2", "u1")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query": "jazz"}', r"golden.jsonl:2: users: Field required; write \{\"query\""),
        ('{"query": " ", "users": ["u1"]}', "golden.jsonl:2: query: "),
        ('{"query": "jazz", "users": []}', "golden.jsonl:2: users: "),
        ('{"query": "jazz", "users": ["u1"], "mood": "text"}', "golden.jsonl:2: mood: "),
        ("jazz: u1", "golden.jsonl:2: the line: Invalid JSON"),
    ],
)
def test_a_wrong_line_is_told_with_its_number(tmp_path, line, message):
    file = tmp_path / "golden.jsonl"
    file.write_text('{"query": "jazz", "users": ["u1"]}\n' + line)
    with pytest.raises(PipelineError, match=message):
        read_golden_queries(file)


def test_a_file_that_a_setting_names_must_be_there(tmp_path):
    settings = Settings(_env_file=None, golden_queries=tmp_path / "nowhere.jsonl")
    with pytest.raises(PipelineError, match=r"the golden queries .*nowhere\.jsonl cannot be read"):
        read_golden_queries(settings.golden_queries_path)


def test_the_file_beside_the_records_is_asked_only_of_users_that_come_from_files():
    sample = {"_env_file": None, "source_dir": ROOT / "data" / "sample"}
    assert Settings(**sample).golden_queries_path == ROOT / "data" / "sample" / "golden_queries.jsonl"
    assert Settings(**sample, mongodb_uri="mongodb://localhost/club").golden_queries_path is None
