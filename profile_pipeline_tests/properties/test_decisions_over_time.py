"""Decisions over a window are the day by day differences of everybody's decision, for random histories."""

from datetime import date, timedelta
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from profile_pipeline.profiles.decisions import USER_DELETED, decisions_as_of, messaging_decisions
from profile_pipeline.window import Window
from profile_pipeline_tests.stored_profiles import DELETED, SARAH, Row, fill, rows_of, warehouse

FIRST = date(2024, 1, 1)
DAYS = 14
KEY_FIELDS = ("interests", "cuisine_preference", "age", "occupation")


@st.composite
def stored_rows(draw: st.DrawFn) -> Row:
    """A row of one of three users, within two weeks, live or deleted."""
    day = FIRST + timedelta(days=draw(st.integers(0, DAYS - 1)))
    key = {"partition_date": day, "id": draw(st.sampled_from(("a", "b", "c")))}
    if draw(st.integers(0, 4)) == 0:
        return DELETED | key
    missing = draw(st.sampled_from((KEY_FIELDS[:0], KEY_FIELDS[:1], KEY_FIELDS[:2], KEY_FIELDS[:3])))
    wait = draw(st.one_of(st.none(), st.integers(-3, 7)))
    return SARAH | key | {
        "missing_key_fields": list(missing),
        "has_enough_fields_to_personalize": len(missing) <= 1,
        "should_request_more_details": len(missing) >= 3,
        "next_eligible_date": None if wait is None else day + timedelta(days=wait),
    }  # fmt: skip


histories = st.lists(stored_rows(), min_size=1, max_size=10, unique_by=lambda row: (row["id"], row["partition_date"]))
windows = st.tuples(st.integers(0, DAYS + 8), st.integers(0, 8)).map(
    lambda ends: Window(FIRST + timedelta(days=ends[0]), FIRST + timedelta(days=sum(ends)))
)


@cache
def as_of_query(day: date) -> str:
    # Compiled once for all examples: that takes longer than to run it.
    return warehouse().ibis.compile(decisions_as_of(warehouse().table("user_profiles"), day))


def decided(day: date) -> dict[str, Row]:
    rows = warehouse().connection.sql(as_of_query(day)).to_arrow_table().to_pylist()
    return {row["user_id"]: row for row in rows}


def differences(window: Window) -> list[Row]:
    """The oracle: everybody's decision on each day, compared with the day before."""
    found = []
    before = decided(window.start - timedelta(days=1))
    for day in window:
        now = decided(day)
        for user in sorted(before.keys() | now.keys()):
            old, new = before.get(user, {}), now.get(user, {"decision_reasons": [USER_DELETED]})
            if old.get("decision_reasons") != new["decision_reasons"]:
                found.append(
                    {
                        "partition_date": day,
                        "user_id": user,
                        "decision": new.get("decision"),
                        "decision_reasons": new["decision_reasons"],
                        "previous_decision": old.get("decision"),
                        "next_eligible_date": new.get("next_eligible_date"),
                    }
                )
        before = now
    return found


@settings(max_examples=40, deadline=None)
@given(histories, windows)
def test_decisions_over_a_window_are_the_daily_differences(rows: list[Row], window: Window) -> None:
    fill(warehouse(), rows)
    stored = warehouse().table("user_profiles")
    changes = messaging_decisions(stored, window).order_by("partition_date", "user_id")
    assert rows_of(changes) == differences(window)
