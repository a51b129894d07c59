"""Who met whom often enough, against counting by hand."""

from collections import Counter
from functools import cache
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profile_pipeline.features.friends import acquaintances
from profile_pipeline.policy import Policy
from profile_pipeline_tests.stored_profiles import arrow, warehouse

FACTS = {"person_key": "int64", "event": "int64", "is_asked": "boolean"}
People = dict[int, set[int]]

attended = st.dictionaries(st.integers(0, 6), st.sets(st.integers(0, 5)), max_size=7)
asked_about = st.sets(st.integers(0, 6))


@cache
def query(threshold: int) -> str:
    """Compiled once: that takes longer than to run it."""
    ibis = warehouse().ibis
    facts = ibis.create_table("facts", schema=FACTS, temp=True, overwrite=True)
    return str(ibis.compile(acquaintances(facts, Policy(friend_min_shared_events=threshold))))


def pairs_by_hand(people: People, asked: set[int], threshold: int) -> set[tuple[int, int]]:
    """Pairs that share so many events; of two asked about the smaller is first, else who is asked about."""
    shared = Counter({pair: len(people[pair[0]] & people[pair[1]]) for pair in combinations(sorted(people), 2)})
    often = {pair for pair, count in shared.items() if count >= threshold}
    return {(one, other) if one in asked else (other, one) for one, other in often if {one, other} & asked}


@pytest.mark.parametrize("threshold", [1, 2, 3])
@given(people=attended, asked=asked_about)
def test_who_attended_enough_events_with_someone_asked_about_is_found_once(
    threshold: int, people: People, asked: set[int]
) -> None:
    statement = query(threshold)
    rows = [
        {"person_key": person, "event": event, "is_asked": person in asked}
        for person, events in people.items()
        for event in events
    ]
    connection = warehouse().connection
    connection.register("given", arrow(rows, FACTS))
    connection.execute("DELETE FROM facts").fetchall()
    connection.execute("INSERT INTO facts SELECT * FROM given").fetchall()
    found = connection.execute(statement).fetchall()
    assert sorted(found) == sorted(pairs_by_hand(people, asked, threshold))


def test_who_attended_several_versions_of_an_event_met_the_others_once() -> None:
    statement = query(2)
    connection = warehouse().connection
    connection.execute("DELETE FROM facts").fetchall()
    connection.execute("INSERT INTO facts VALUES (1, 1, true), (1, 1, true), (2, 1, true), (2, 1, true)").fetchall()
    assert connection.execute(statement).fetchall() == []
