"""What a search tells of a profile as of a day, and conditions on it."""

from collections.abc import Callable
from datetime import date, timedelta
from itertools import product
from typing import Any

import pytest

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.build import build
from profile_pipeline.index.clock import CLOCK_COLUMNS, CLOCK_WORDS, expand_clock_words
from profile_pipeline.index.filters import Filters
from profile_pipeline.index.search import Mode, Searcher
from profile_pipeline.index.store import IndexStore
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, profile, profiles
from profile_pipeline_tests.stored_profiles import SARAH, read

DAYS = [AS_OF + timedelta(days) for days in (0, 1, 4, 5, 400)]
ELIGIBLE = (None, AS_OF - timedelta(9), AS_OF, AS_OF + timedelta(1), AS_OF + timedelta(5))
MISSING = ((), ("age",), ("age", "occupation"), ("interests", "age", "occupation"))


def facts(eligible: date | None, missing: tuple[str, ...]) -> dict[str, Any]:
    return {
        "next_eligible_date": eligible,
        "missing_key_fields": list(missing),
        "has_enough_fields_to_personalize": len(missing) <= 1,
        "should_request_more_details": len(missing) >= 3,
        "number_of_events_attended": len(missing),
        "first_event_date": AS_OF - timedelta(100) if missing else None,
        "last_event_date": AS_OF - timedelta(10 * len(missing)) if missing else None,
        "last_message_sent_date": eligible and eligible - timedelta(7),
        "last_order_date": None,
    }


PEOPLE = {f"u{place:02}": facts(*each) for place, each in enumerate(product(ELIGIBLE, MISSING))}


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    store = IndexStore(tmp_path_factory.mktemp("index") / "lancedb")
    people = [profile(user, f"{user} loves wine", **columns) for user, columns in PEOPLE.items()]
    build(store, profiles(*people), BagOfWords(), as_of=AS_OF)
    return Searcher(store, BagOfWords())


def told(searcher: Searcher, day: date | None, **options: Any) -> dict[str, dict[str, Any]]:
    rows = searcher.search("wine", as_of=day, limit=100, **options).to_pylist()
    return {row["user_id"]: row for row in rows}


@pytest.mark.parametrize("day", DAYS[::2], ids=str)
def test_a_hit_says_what_the_profile_says_as_of_that_day(searcher, day):
    # One of each kind: the reader of profiles compiles a plan for each.
    for user in ("u00", "u06", "u09", "u15", "u16", "u18"):
        expected = read(SARAH | PEOPLE[user], day)
        row = told(searcher, day)[user]
        assert {name: row[name] for name in CLOCK_COLUMNS} == {name: expected[name] for name in CLOCK_COLUMNS}


def test_without_a_day_the_clock_is_that_of_the_served_version(searcher):
    assert told(searcher, None) == told(searcher, AS_OF)


CONDITIONS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "can_send_new_message": lambda row: row["can_send_new_message"],
    "NOT can_send_new_message": lambda row: not row["can_send_new_message"],
    "decision = 'wait'": lambda row: row["decision"] == "wait",
    "decision <> 'wait' AND NOT (decision = 'request_more_details')": lambda row: row["decision"].startswith("send"),
    "decision IN ('wait', 'request_more_details')": lambda row: not row["decision"].startswith("send"),
    "days_since_last_event > 20": lambda row: (row["days_since_last_event"] or 0) > 20,
    "days_since_last_event IS NULL": lambda row: row["days_since_last_event"] is None,
    "days_since_last_message BETWEEN 7 AND 16": lambda row: 7 <= (row["days_since_last_message"] or 0) <= 16,
    "days_since_last_order > 0": lambda row: False,
    "next_eligible_date > as_of": lambda row: not row["can_send_new_message"],
    "`decision` = 'wait' OR \"can_send_new_message\"": lambda row: (
        row["decision"] == "wait" or row["can_send_new_message"]
    ),
    "name IS NULL AND text <> 'decision'": lambda row: True,
}


@pytest.mark.parametrize("day", DAYS, ids=str)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_on_the_clock_keeps_those_it_holds_for_on_that_day(searcher, condition, day):
    expected = {user for user, row in told(searcher, day).items() if CONDITIONS[condition](row)}
    assert set(told(searcher, day, filters=Filters(condition))) == expected


@pytest.mark.parametrize("mode", Mode)
def test_whom_a_message_may_be_sent_to_is_asked_as_of_the_day_and_before_the_limit(searcher, mode):
    for day, allowed in ((AS_OF, 12), (AS_OF + timedelta(1), 16), (AS_OF + timedelta(5), 20)):
        found = told(searcher, day, mode=mode, filters=Filters(can_send=True))
        assert (len(found), {row["can_send_new_message"] for row in found.values()}) == (allowed, {True})
    waiting = Filters("decision = 'wait'", can_send=True)
    assert searcher.search("wine", mode=mode, filters=waiting, limit=2).num_rows == 2


def test_words_inside_texts_are_left_alone():
    assert (
        expand_clock_words("name = 'decision' AND tags <> 'it''s as_of'", AS_OF)
        == "name = 'decision' AND tags <> 'it''s as_of'"
    )


def test_a_day_before_that_of_the_version_is_refused_with_what_to_do(searcher):
    with pytest.raises(PipelineError, match=r"as of 2024-02-10 .* name 2024-02-10 or a later day, or ask .*2024-02-09"):
        told(searcher, AS_OF - timedelta(1))


@pytest.mark.parametrize("where", ["decison = 'wait'", "decision = ", "days_since = 3"])
def test_a_wrong_condition_lists_the_words_of_the_clock(searcher, where):
    with pytest.raises(PipelineError, match=f"columns: user_id, .* and as of the day {', '.join(CLOCK_WORDS)};"):
        told(searcher, AS_OF, filters=Filters(where))


@pytest.mark.parametrize("mode", [Mode.VECTOR, Mode.HYBRID])
def test_a_condition_that_only_the_query_finds_wrong_is_told_like_any_other(searcher, mode):
    subtracted = Filters("DATE '2024-02-11' - last_event_date > 3")
    with pytest.raises(PipelineError, match=r"- last_event_date > 3\" cannot be used: .*; columns: user_id"):
        told(searcher, AS_OF, mode=mode, filters=subtracted)


def test_the_clock_costs_nothing_when_none_of_it_is_asked_for(searcher, monkeypatch):
    monkeypatch.setattr("profile_pipeline.index.search.with_clock", None)
    assert searcher.search("wine", columns=["user_id", "name"]).schema.names == ["score", "user_id", "name"]
