"""The oracle's own tests: the worked example, published counts, and cases small enough to solve by hand."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profile_pipeline.policy import Policy
from profile_pipeline.window import Window
from profile_pipeline_tests.histories import FIRST_DAY, LAST_DAY, Step, histories
from profile_pipeline_tests.oracle import (
    Profile,
    address_owners,
    facts,
    must_be_touched,
    people_at_events,
    profiles,
)
from profile_pipeline_tests.oracle_log import empty_log, ingest_naively, log_of
from profile_pipeline_tests.oracle_summary import summary
from profile_pipeline_tests.reference_data import REAL, WORKED_EXAMPLE, needs_real_data

POLICY = Policy()
FIRST = date(2024, 1, 1)

DAVIS_DATES = (
    (6, 27), (3, 2), (4, 12), (9, 26), (2, 25), (5, 19), (3, 15),
    (9, 16), (4, 8), (6, 10), (2, 23), (4, 7), (11, 21), (8, 3),
)  # fmt: skip


def jan(day: int) -> date:
    return date(2024, 1, day)


def read_folder(folder: Path) -> dict[str, list[dict[str, Any]]]:
    if not folder.exists():
        pytest.skip(f"the shared data set {folder.name} is not there")
    return {
        path.stem: [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        for path in sorted(folder.glob("*.jsonl"))
    }


def user(key: str, **fields: Any) -> dict[str, Any]:
    return {"id": key, "email": f"{key}@x.org", "created_at": "2024-01-01"} | fields


def event(key: str, day: int, *people: str, **fields: Any) -> dict[str, Any]:
    created = {"created_at": "2024-01-01", "name": key.upper(), "venue": None, "host": None}
    return {"id": key, "date": f"2024-01-{day:02}", "participants": [*people]} | created | fields


def as_of(day: int, policy: Policy = POLICY, **documents: list[dict[str, Any]]) -> dict[str, Profile]:
    return profiles(log_of(documents, FIRST, date(2024, 12, 31)), jan(day), policy)


def sources_over_time(*steps: tuple[int, dict[str, list[dict[str, Any]]]]) -> dict[str, list[dict[str, Any]]]:
    log = empty_log()
    for day, documents in steps:
        ingest_naively(log, documents, Window(jan(day), jan(day)), FIRST)
    return log


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, date | Decimal) else value


def test_every_field_of_the_worked_example_comes_out() -> None:
    log = log_of(read_folder(WORKED_EXAMPLE), FIRST, date(2024, 12, 31))
    expected = json.loads((WORKED_EXAMPLE / "expected.json").read_text())
    computed = profiles(log, date.fromisoformat(expected["as_of"]), POLICY)
    for wanted in expected["profiles"]:
        profile = computed[wanted["id"]]
        found = plain(profile | {"summary": summary(profile, POLICY)})
        assert {field: found[field] for field in wanted} == wanted


def southern_women() -> dict[str, list[dict[str, Any]]]:
    graph = nx.davis_southern_women_graph()
    women, events = graph.graph["top"], graph.graph["bottom"]
    return {
        "users": [{"id": woman, "email": f"{woman.replace(' ', '.')}@x.org"} for woman in women],
        "events": [
            {
                "id": key,
                "name": key,
                "date": str(date(1936, *DAVIS_DATES[int(key[1:]) - 1])),
                "participants": [f"{woman.replace(' ', '.')}@x.org" for woman in graph[key]],
            }
            for key in events
        ],
    }


@pytest.mark.parametrize(("threshold", "pairs"), [(1, 139), (2, 95), (3, 46)])
def test_pairs_of_the_southern_women_are_those_published(threshold: int, pairs: int) -> None:
    log = log_of(southern_women(), date(1936, 1, 1), date(1936, 12, 31))
    computed = profiles(log, date(1936, 12, 31), Policy(friend_min_shared_events=threshold))
    assert sum(len(profile["friends"]) for profile in computed.values()) == 2 * pairs
    assert sum(profile["number_of_events_attended"] for profile in computed.values()) == 89


@needs_real_data
def test_a_council_s_attendance_and_friends_are_those_computed_elsewhere() -> None:
    folder = REAL / "openjs"
    documents = read_folder(folder)
    expected = json.loads((folder / "expected.json").read_text())
    day = date.fromisoformat(expected["totals"]["last"])
    computed = profiles(log_of(documents, date(2018, 10, 22), day), day, POLICY)
    assert len(computed) == len(expected["users"])
    for key, wanted in expected["users"].items():
        profile = computed[key]
        friends = {friend["email"].split("@")[0]: friend["shared_events"] for friend in profile["friend_details"]}
        assert friends == wanted["friends"]
        assert profile["number_of_events_attended"] == wanted["number_of_events_attended"]
        assert str(profile["first_event_date"]) == wanted["first_event_date"]
        assert str(profile["last_event_date"]) == wanted["last_event_date"]


def test_friends_are_ordered_by_shared_events_then_threshold_date_then_address() -> None:
    events = [
        event("e1", 2, "ann@x.org", "late@x.org", "often@x.org", "zoe@x.org", "bob@x.org"),
        event("e2", 3, "ann@x.org", "often@x.org", "zoe@x.org", "bob@x.org"),
        event("e3", 4, "ann@x.org", "often@x.org", "late@x.org"),
    ]
    friends = as_of(5, users=[user("ann")], events=events)["ann"]["friend_details"]
    assert [(f["email"], f["shared_events"], f["since"]) for f in friends] == [
        ("often@x.org", 3, jan(3)),
        ("bob@x.org", 2, jan(3)),
        ("zoe@x.org", 2, jan(3)),
        ("late@x.org", 2, jan(4)),
    ]


def test_since_is_the_date_of_the_threshold_th_earliest_shared_event() -> None:
    events = [event(f"e{day}", day, "ann@x.org", "bob@x.org") for day in (6, 2, 4)]
    policy = Policy(friend_min_shared_events=3)
    assert as_of(5, policy, users=[user("ann")], events=events)["ann"]["friends"] == []
    assert as_of(6, policy, users=[user("ann")], events=events)["ann"]["friend_details"] == [
        {"email": "bob@x.org", "name": "Bob", "shared_events": 3, "since": jan(6)}
    ]


def test_a_friend_who_is_a_user_goes_by_name_and_by_address_otherwise() -> None:
    events = [event(key, 2, "ann@x.org", "Bob@x.org ", "mike.van_der-jones@x.org") for key in ("e1", "e2")]
    ann = as_of(2, users=[user("ann"), user("bob", name="Sir Robert")], events=events)["ann"]
    assert ann["friends"] == ["Sir Robert", "Mike Van Der Jones"]


def test_two_addresses_of_one_user_at_one_event_count_once_and_befriend_nobody() -> None:
    earlier = {"users": [user("ann", email="old@x.org")]}
    events = [event(key, 3, "OLD@x.org", "new@x.org") for key in ("e1", "e2")]
    later = {"users": [user("ann", email="new@x.org", updated_at="2024-01-03")], "events": events}
    ann = profiles(sources_over_time((1, earlier), (1, later), (3, later)), jan(3), POLICY)["ann"]
    assert (ann["number_of_events_attended"], ann["friends"]) == (2, [])


def test_an_earlier_address_keeps_matching_until_another_user_holds_it() -> None:
    party = [event("e1", 2, "old@x.org")]
    first = {"users": [user("ann", email="old@x.org")], "events": party}
    moved = {"users": [user("ann", email="new@x.org", updated_at="2024-01-03")], "events": party}
    taken = {
        "users": [*moved["users"], user("bob", email="old@x.org", created_at="2024-01-04")],
        "events": party,
    }
    log = sources_over_time((1, first), (3, moved), (4, taken))
    attended = [
        {key: profile["number_of_events_attended"] for key, profile in profiles(log, jan(day), POLICY).items()}
        for day in (2, 3, 4)
    ]
    assert attended == [{"ann": 1}, {"ann": 1}, {"ann": 0, "bob": 1}]


def test_the_first_claimant_owns_an_address_that_two_users_hold() -> None:
    users = [user("a", email="same@x.org", created_at="2024-01-03"), user("b", email="same@x.org")]
    assert address_owners(log_of({"users": users}, FIRST, jan(9)), jan(3)) == {"same@x.org": "b"}


def test_the_latest_of_several_earlier_holders_owns_an_address() -> None:
    def holding(ann: str, bob: str, day: int) -> tuple[int, dict[str, list[dict[str, Any]]]]:
        stamp = f"2024-01-{day:02}"
        return day, {"users": [user("ann", email=ann, updated_at=stamp), user("bob", email=bob, updated_at=stamp)]}

    log = sources_over_time(
        holding("x@x.org", "b@x.org", 2), holding("a@x.org", "x@x.org", 3), holding("a@x.org", "b@x.org", 4)
    )
    assert [address_owners(log, jan(day))["x@x.org"] for day in (2, 3, 4)] == ["ann", "bob", "bob"]


def test_a_deleted_user_is_gone_from_that_day_on_and_owns_no_address() -> None:
    users = [user("ann"), user("bob", name="Robert", deleted_at="2024-01-04T12:00:00Z")]
    events = [event(key, 2, "ann@x.org", "bob@x.org") for key in ("e1", "e2")]
    assert as_of(3, users=users, events=events)["ann"]["friends"] == ["Robert"]
    after = as_of(4, users=users, events=events)
    assert after["ann"]["friends"] == ["Bob"]
    assert after["bob"]["is_deleted"]
    assert {key for key, value in facts(after["bob"]).items() if value is not None} == {"id", "is_deleted"}


def test_a_record_deleted_on_a_later_day_counts_until_then() -> None:
    orders = [
        {"id": "o", "user_id": "ann", "amount": 5, "date": "2024-01-02", "deleted_at": "2024-01-04"},
    ]
    assert [as_of(day, users=[user("ann")], orders=orders)["ann"]["total_orders"] for day in (1, 3, 4)] == [
        0,
        0,
        0,
    ]
    orders[0]["created_at"] = "2024-01-02"
    assert [as_of(day, users=[user("ann")], orders=orders)["ann"]["total_orders"] for day in (1, 3, 4)] == [
        0,
        1,
        0,
    ]


@pytest.mark.parametrize(
    ("fields", "count"),
    [({}, 1), ({"status": " Cancelled "}, 0), ({"status": "confirmed"}, 1), ({"date": "2024-01-06"}, 0)],
)
def test_an_event_counts_when_it_took_place_and_is_not_cancelled(fields: dict[str, Any], count: int) -> None:
    ann = as_of(5, users=[user("ann")], events=[event("e1", 5, " ANN@x.org", "ann@x.org") | fields])["ann"]
    assert ann["number_of_events_attended"] == count
    assert ann["is_first_time_user"] == (count == 0)


def test_a_cancelled_event_that_is_opened_again_counts_again() -> None:
    people = {"users": [user("ann")]}
    states = [("open", 2), ("cancelled", 3), ("open", 4)]
    steps = [
        (
            day,
            people | {"events": [event("e1", 2, "ann@x.org", status=status, updated_at=f"2024-01-{day:02}")]},
        )
        for status, day in states
    ]
    log = sources_over_time((1, people), *steps)
    counts = [profiles(log, jan(day), POLICY)["ann"]["number_of_events_attended"] for day in (2, 3, 4)]
    assert counts == [1, 0, 1]


def test_hosts_venues_and_types_are_ordered_by_count_then_recency_then_name() -> None:
    events = [
        event("e1", 2, "ann@x.org", host="Twice", event_type="a"),
        event("e2", 3, "ann@x.org", host="Twice", event_type="b"),
        event("e3", 4, "ann@x.org", host="Old", event_type="c"),
        event("e4", 5, "ann@x.org", host="Zoe", event_type="d"),
        event("e5", 5, "ann@x.org", host="Amy", event_type=" "),
    ]
    ann = as_of(9, users=[user("ann")], events=events)["ann"]
    assert ann["event_history_hosts"] == ["Twice", "Amy", "Zoe", "Old"]
    assert ann["top_host_event_count"] == 2
    assert ann["favorite_event_types"] == ["d", "c", "b"]
    assert [entry["name"] for entry in ann["event_history"]] == ["E1", "E2", "E3", "E4", "E5"]


@pytest.mark.parametrize(
    ("day", "eligible", "since"),
    [(4, True, None), (5, False, 0), (11, False, 6), (12, True, 7), (13, True, 8)],
)
def test_a_sent_message_blocks_for_the_cooldown(day: int, eligible: bool, since: int | None) -> None:
    messages = [
        {"id": "m1", "user_id": "ann", "content": "hi", "status": "Sent", "sent_date": "2024-01-05"},
        {"id": "m2", "user_id": "ann", "content": "hi", "status": "queued", "created_date": "2024-01-01"},
    ]
    ann = as_of(day, users=[user("ann", interests=["a"], age=30, occupation="Cook")], messages=messages)["ann"]
    assert ann["can_send_new_message"] is eligible
    assert ann["days_since_last_message"] == since
    assert ann["queued_message_count"] == 1
    assert ann["next_eligible_date"] == (None if day < 5 else jan(12))
    assert ann["decision"] == ("send_personalized_message" if eligible else "wait")


def test_cancelled_refunded_and_later_orders_are_left_out_and_half_cents_round_up() -> None:
    amounts = [
        ("10.00", "paid", 2),
        ("0.01", None, 3),
        ("7", "Refunded", 2),
        ("7", "cancelled", 2),
        ("7", "paid", 9),
    ]
    orders = [
        {"id": str(n), "user_id": "ann", "amount": amount, "status": status, "date": f"2024-01-{day:02}"}
        for n, (amount, status, day) in enumerate(amounts)
    ]
    ann = as_of(5, users=[user("ann")], orders=orders)["ann"]
    assert (ann["total_orders"], ann["total_spent"]) == (2, Decimal("10.01"))
    assert ann["average_order_value"] == Decimal("5.01")
    assert (ann["first_order_date"], ann["last_order_date"]) == (jan(2), jan(3))
    assert ann["days_since_last_order"] == 2


@pytest.mark.parametrize(
    ("filled", "decision", "missing"),
    [
        ({}, "request_more_details", ["interests", "cuisine_preference", "age", "occupation"]),
        (
            {"age": 30, "interests": [" "]},
            "request_more_details",
            ["interests", "cuisine_preference", "occupation"],
        ),
        ({"age": 30, "interests": ["a"]}, "wait", ["cuisine_preference", "occupation"]),
        (
            {"age": 30, "interests": ["a"], "occupation": "Cook"},
            "send_personalized_message",
            ["cuisine_preference"],
        ),
    ],
)
def test_key_fields_decide(filled: dict[str, Any], decision: str, missing: list[str]) -> None:
    ann = as_of(1, users=[user("ann", **filled)])["ann"]
    assert (ann["decision"], ann["missing_key_fields"]) == (decision, missing)


def test_the_team_is_known_by_flag_or_by_domain() -> None:
    users = [user("ann", email="a@Team.org"), user("bob", is_on_team=True), user("cy", is_on_team=False)]
    computed = as_of(1, Policy(team_domains=("team.org",)), users=users)
    assert [computed[key]["is_on_team"] for key in ("ann", "bob", "cy")] == [True, True, False]


def test_events_per_month_never_count_less_than_one_month() -> None:
    events = [event("e1", 1, "ann@x.org"), event("e2", 2, "ann@x.org")]
    log = log_of({"users": [user("ann")], "events": events}, FIRST, date(2025, 12, 31))
    rates = [
        profiles(log, FIRST + timedelta(days=days), POLICY)["ann"]["average_events_per_month"] for days in (5, 487)
    ]
    assert rates == [2.0, 0.13]  # 487 days are 16 months: 0.125 rounds away from zero


def test_a_back_dated_copy_never_replaces_what_a_day_already_knew() -> None:
    old, new = user("ann", name="Ann"), user("ann", name="Anna", updated_at="2024-01-04")
    log = sources_over_time((1, {"users": [old]}), (4, {"users": [new]}), (1, {"users": [new]}))
    assert [profiles(log, jan(day), POLICY)["ann"]["name"] for day in (1, 3, 4)] == ["Ann", "Ann", "Anna"]


def test_the_log_follows_a_source_that_goes_back_to_an_earlier_state() -> None:
    states = [{"users": [user("ann", name=name)]} for name in ("Ann", "Anna", "Anna", "Ann", "Ann")]
    log = sources_over_time(*((1, state) for state in states))
    assert [row["name"] for row in log["users"]] == ["Ann", "Anna", "Ann"]
    assert profiles(log, jan(1), POLICY)["ann"]["name"] == "Ann"


def test_an_event_published_ahead_touches_its_participants_on_its_day() -> None:
    log = log_of({"users": [user("ann"), user("bob")], "events": [event("e1", 6, "ann@x.org")]}, FIRST, jan(9))
    touched = {day: must_be_touched(log, jan(day), POLICY) for day in range(1, 9)}
    assert touched == {1: {"ann", "bob"}, 6: {"ann"}} | {day: set() for day in (2, 3, 4, 5, 7, 8)}


def test_a_renamed_friend_touches_who_is_named_with_them() -> None:
    parties = [event(key, 1, "ann@x.org", "bob@x.org") for key in ("e1", "e2")]
    before = {"users": [user("ann"), user("bob")], "events": parties}
    after = {"users": [user("ann"), user("bob", name="Robert", updated_at="2024-01-03")], "events": parties}
    log = sources_over_time((1, before), (3, after))
    assert profiles(log, jan(3), POLICY)["ann"]["friends"] == ["Robert"]
    assert must_be_touched(log, jan(3), POLICY) == {"ann", "bob"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"gender": "x", "age": 18}, "Ann is an 18-year-old. They haven't attended an event yet."),
        (
            {"occupation": "IT Manager", "age": 20},
            "Ann is a 20-year-old IT manager. They haven't attended an event yet.",
        ),
        (
            {"gender": "Male", "age": 30, "interests": ["a", "b"], "cuisine_preference": ["Thai"]},
            "Ann is a 30-year-old. He's interested in a and b. He hasn't attended an event yet. "
            "He enjoys Thai cuisine venues.",
        ),
    ],
)
def test_a_summary_leaves_out_what_is_not_known(fields: dict[str, Any], text: str) -> None:
    policy = Policy(request_details_below=0)
    assert summary(as_of(1, policy, users=[user("ann", **fields)])["ann"], policy) == text


def test_a_summary_whose_words_are_open_is_not_invented() -> None:
    assert summary(as_of(1, users=[user("ann")])["ann"], POLICY) is None


def logs_of(steps: list[Step]) -> Iterator[dict[str, list[dict[str, Any]]]]:
    log = empty_log()
    for step in steps:
        ingest_naively(log, step.documents, step.window, FIRST_DAY)
        yield log


@settings(max_examples=30, deadline=None)
@given(steps=histories(), day=st.dates(FIRST_DAY, LAST_DAY))
def test_on_random_histories_friendship_is_mutual_and_nobody_is_two_people(steps: list[Step], day: date) -> None:
    for log in logs_of(steps):
        computed = {key: row for key, row in profiles(log, day, POLICY).items() if not row["is_deleted"]}
        owners = address_owners(log, day)
        assert set(owners.values()) <= set(computed)
        together = {frozenset(pair): 0 for pair in combinations(computed, 2)}
        for _, people in people_at_events(log, day):
            present = sorted(key for kind, key in people if kind == "user")
            for pair in combinations(present, 2):
                together[frozenset(pair)] += 1
            assert not {key for kind, key in people if kind == "address"} & set(owners)
        friendships = sum(count >= POLICY.friend_min_shared_events for count in together.values())
        between_users = [
            friend["email"]
            for row in computed.values()
            for friend in row["friend_details"]
            if friend["email"] in {other["email"] for other in computed.values()}
        ]
        assert len(between_users) == 2 * friendships


@settings(max_examples=30, deadline=None)
@given(steps=histories(), day=st.dates(FIRST_DAY, LAST_DAY))
def test_on_random_histories_records_known_later_change_no_profile(steps: list[Step], day: date) -> None:
    *_, log = logs_of(steps)
    known = {kind: [row for row in rows if row["partition_date"] <= day] for kind, rows in log.items()}
    assert profiles(log, day, POLICY) == profiles(known, day, POLICY)


@settings(max_examples=30, deadline=None)
@given(steps=histories())
def test_on_random_histories_the_touched_users_rows_rebuild_every_day(steps: list[Step]) -> None:
    *_, log = logs_of(steps)
    stored: dict[str, Profile] = {}
    for offset in range((LAST_DAY - FIRST_DAY).days + 1):
        day = FIRST_DAY + timedelta(days=offset)
        computed = {key: facts(row) for key, row in profiles(log, day, POLICY).items()}
        stored |= {key: computed[key] for key in must_be_touched(log, day, POLICY)}
        # A user who was deleted before the first partition never was there to be touched.
        assert stored == {key: row for key, row in computed.items() if key in stored or not row["is_deleted"]}
