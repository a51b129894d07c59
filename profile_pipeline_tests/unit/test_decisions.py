"""The decision, its reasons, and when either changes."""

from datetime import date

import pytest

from profile_pipeline.profiles.decisions import decisions_as_of, messaging_decisions
from profile_pipeline.tables import MESSAGING_DECISIONS
from profile_pipeline.window import Window
from profile_pipeline_tests.stored_profiles import AS_OF, DELETED, SARAH, read, rows_of, table

FREE, COOLING = date(2024, 2, 10), date(2024, 2, 11)
ALL_DAYS = Window(date(2024, 1, 1), date(2024, 12, 31))


def fields(*missing: str) -> dict[str, object]:
    """What the default policy makes of missing key fields."""
    return {
        "missing_key_fields": list(missing),
        "has_enough_fields_to_personalize": len(missing) <= 1,
        "should_request_more_details": len(missing) >= 3,
    }


@pytest.mark.parametrize(
    ("missing", "next_eligible", "decision", "reasons"),
    [
        ([], None, "send_personalized_message", ["no message sent yet", "all key fields filled"]),
        (["age"], FREE, "send_personalized_message",
         ["cooldown over since 2024-02-10", "enough key fields filled (age missing)"]),
        ([], COOLING, "wait", ["cooldown until 2024-02-11"]),
        (["age", "occupation"], None, "wait", ["age and occupation missing"]),
        (["age", "occupation"], COOLING, "wait", ["cooldown until 2024-02-11", "age and occupation missing"]),
        (["cuisine_preference", "age", "occupation"], None, "request_more_details",
         ["cuisine preference, age, and occupation missing"]),
        (["interests", "age", "occupation"], COOLING, "request_more_details",
         ["interests, age, and occupation missing"]),
    ],
)  # fmt: skip
def test_reasons_name_the_rules_that_decided(missing, next_eligible, decision, reasons) -> None:
    profile = read(SARAH | fields(*missing) | {"next_eligible_date": next_eligible})
    assert (profile["decision"], profile["decision_reasons"]) == (decision, reasons)


def test_a_cooldown_is_a_reason_when_it_keeps_a_request_from_being_a_message() -> None:
    overlapping = fields("age") | {"should_request_more_details": True, "next_eligible_date": COOLING}
    profile = read(SARAH | overlapping)
    assert profile["decision"] == "request_more_details"
    assert profile["decision_reasons"] == ["cooldown until 2024-02-11", "age missing"]


@pytest.mark.parametrize(("day", "can_send"), [(date(2024, 2, 10), False), (date(2024, 2, 11), True)])
def test_a_message_may_be_sent_from_the_next_eligible_date_on(day, can_send) -> None:
    assert read(SARAH | {"next_eligible_date": COOLING}, day)["can_send_new_message"] is can_send


def test_decisions_as_of_a_day_cover_everyone_who_is_not_deleted() -> None:
    others = [SARAH | {"id": "user_002"}, DELETED | {"id": "user_002", "partition_date": AS_OF}]
    others[0] |= {"partition_date": date(2024, 1, 1)}
    assert rows_of(decisions_as_of(table([SARAH, *others]), AS_OF)) == [
        {
            "as_of": AS_OF,
            "user_id": "user_001",
            "email": "sarah.chen@email.com",
            "name": "Sarah Chen",
            "decision": "send_personalized_message",
            "decision_reasons": ["cooldown over since 2024-02-01", "all key fields filled"],
            "can_send_new_message": True,
            "next_eligible_date": date(2024, 2, 1),
            "has_queued_messages": True,
            "is_on_team": False,
        }
    ]


def changes(rows: list[dict], window: Window = ALL_DAYS) -> list[tuple]:
    result = rows_of(messaging_decisions(table(rows), window).order_by("user_id", "partition_date"))
    assert all(list(row) == list(MESSAGING_DECISIONS.columns) for row in result)
    return [(row["partition_date"], row["decision"], row["previous_decision"]) for row in result]


ENROLLED = SARAH | {"partition_date": date(2024, 1, 5), "next_eligible_date": None}
MESSAGED = SARAH | {"partition_date": date(2024, 1, 25), "next_eligible_date": date(2024, 2, 1)}
HISTORY = [ENROLLED, MESSAGED]
STORY = [
    (date(2024, 1, 5), "send_personalized_message", None),
    (date(2024, 1, 25), "wait", "send_personalized_message"),
    (date(2024, 2, 1), "send_personalized_message", "wait"),
]


def test_a_decision_changes_by_an_act_and_by_the_clock() -> None:
    assert changes(HISTORY) == STORY


@pytest.mark.parametrize("change", STORY)
def test_each_day_alone_gives_its_part_of_the_range(change) -> None:
    assert changes(HISTORY, Window(change[0], change[0])) == [change]


def test_a_day_between_changes_gives_nothing() -> None:
    assert changes(HISTORY, Window(date(2024, 1, 26), date(2024, 1, 31))) == []


def test_rows_known_after_the_window_do_not_count() -> None:
    window = Window(date(2024, 1, 1), date(2024, 1, 24))
    assert changes(HISTORY, window) == STORY[:1]


def test_a_row_that_changes_neither_decision_nor_reasons_is_no_change() -> None:
    again = ENROLLED | {"partition_date": date(2024, 1, 9), "number_of_events_attended": 9}
    assert changes([ENROLLED, again]) == STORY[:1]


def test_a_change_of_reasons_alone_is_a_change() -> None:
    fewer = ENROLLED | fields("age") | {"partition_date": date(2024, 1, 9)}
    day = date(2024, 1, 9)
    assert changes([ENROLLED, fewer])[1:] == [(day, "send_personalized_message", "send_personalized_message")]


def test_a_message_within_the_cooldown_puts_its_end_off() -> None:
    second = MESSAGED | {"partition_date": date(2024, 1, 30), "next_eligible_date": date(2024, 2, 6)}
    assert changes([*HISTORY, second]) == [
        *STORY[:2],
        (date(2024, 1, 30), "wait", "wait"),
        (date(2024, 2, 6), "send_personalized_message", "wait"),
    ]


def test_a_deletion_ends_the_decision_once_and_for_all() -> None:
    gone = [DELETED | {"partition_date": date(2024, 1, 28)}, DELETED | {"partition_date": date(2024, 1, 29)}]
    rows = rows_of(messaging_decisions(table([*HISTORY, *gone]), Window(date(2024, 1, 26), date(2024, 3, 1))))
    assert rows == [
        {
            "partition_date": date(2024, 1, 28),
            "user_id": "user_001",
            "decision": None,
            "decision_reasons": ["user deleted"],
            "previous_decision": "wait",
            "next_eligible_date": None,
        }
    ]


def test_a_user_who_was_never_there_has_no_change() -> None:
    assert changes([DELETED | {"partition_date": date(2024, 1, 28)}]) == []


def test_a_user_who_comes_back_is_new() -> None:
    gone = DELETED | {"partition_date": date(2024, 1, 28)}
    back = ENROLLED | {"partition_date": date(2024, 2, 20)}
    assert changes([*HISTORY, gone, back])[-1] == (date(2024, 2, 20), "send_personalized_message", None)
