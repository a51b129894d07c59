"""Who an address is, and whom a day touches: cases small enough to solve by hand."""

from datetime import date
from typing import Any

import ibis.expr.types as ir
import pytest

from profile_pipeline.features.attendance import with_participant_count
from profile_pipeline.features.concerned import concerning_days, concerning_users
from profile_pipeline.features.people import identity_changes, people
from profile_pipeline.features.touched import touched_users
from profile_pipeline.history import versions
from profile_pipeline.policy import Policy
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.window import Window
from profile_pipeline_tests.oracle_log import empty_log, ingest_naively
from profile_pipeline_tests.stored_profiles import rows_of, stored, table

Documents = dict[str, list[dict[str, Any]]]
WEEK = Window(date(2024, 1, 1), date(2024, 1, 7))


def jan(day: int) -> date:
    return date(2024, 1, day)


def user(key: str, day: int, email: str | None = None, **fields: Any) -> dict[str, Any]:
    """A user as of a change on a day."""
    return {"id": key, "email": email or f"{key}@x.org", "updated_at": f"2024-01-0{day}"} | fields


def event(key: str, known: int, happens: int, *people: str, **fields: Any) -> dict[str, Any]:
    days = {"updated_at": f"2024-01-0{known}", "date": f"2024-01-0{happens}"}
    return {"id": key, "name": "Dinner", "participants": [*people]} | days | fields


def logs(**documents: list[dict[str, Any]]) -> dict[str, ir.Table]:
    """The log of each kind, from states of records, each known on the day of its change."""
    log = empty_log()
    for kind, states in documents.items():
        for state in states:
            ingest_naively(log, {kind: [state]}, WEEK, WEEK.start)
    return {kind: stored(log[kind], raw.types) for kind, raw in RAW_TABLES.items()}


def known(*users: dict[str, Any]) -> ir.Table:
    """The versions of users."""
    return versions(logs(users=[*users])["users"], WEEK.end)


def owners(*users: dict[str, Any], address: str = "ann@x.org") -> list[tuple[str | None, str]]:
    """Who an address is on each day of the week, and by what name."""
    intervals = rows_of(people(known(*users)).filter(lambda row: row.address == address))
    found = [[row for row in intervals if row["valid_from"] <= day < row["valid_to"]] for day in WEEK]
    assert {len(rows) for rows in found} == {1}
    return [(row["user_id"], row["name"]) for (row,) in found]


NOBODY = (None, "Ann")


@pytest.mark.parametrize(
    ("users", "owned"),
    [
        pytest.param(
            [user("u1", 3, "ann@x.org", name="Ann Lee")],
            [NOBODY] * 2 + [("u1", "Ann Lee")] * 5,
            id="itself before its owner is known",
        ),
        pytest.param(
            [user("u1", 1, "ann@x.org"), user("u1", 4, "lee@y.org")],
            [("u1", "Ann")] * 3 + [("u1", "Lee")] * 4,
            id="still theirs after they moved to another",
        ),
        pytest.param(
            [
                user("u1", 1, "ann@x.org", name="A", age=30),
                user("u1", 4, "ann@x.org", name="A", age=31),
                user("u1", 6, "b@x.org", name="A"),
                user("u2", 2, "ann@x.org", name="B"),
                user("u2", 3, "c@x.org", name="B"),
            ],
            [("u1", "A")] * 7,
            id="theirs who had a version with it last, although another took it later",
        ),
        pytest.param(
            [
                user("u1", 1, "ann@x.org", name="A"),
                user("u1", 3, "b@x.org", name="A"),
                user("u2", 5, "ann@x.org", name="B"),
            ],
            [("u1", "A")] * 4 + [("u2", "B")] * 3,
            id="of the one who holds it now, over earlier holders",
        ),
        pytest.param(
            [
                *(user("u1", 1, "ann@x.org", name="A"), user("u1", 2, "a@x.org", name="A")),
                *(user("u2", 3, "ann@x.org", name="B"), user("u2", 4, "b@x.org", name="B")),
            ],
            [("u1", "A")] * 2 + [("u2", "B")] * 5,
            id="of the latest of several earlier holders",
        ),
        pytest.param(
            [user("u2", 1, "ann@x.org", name="B"), user("u1", 3, "ann@x.org", name="A")],
            [("u2", "B")] * 7,
            id="of the first of two who hold it",
        ),
        pytest.param(
            [user("u1", 1, "ann@x.org", name="A", deleted_at="2024-01-04")],
            [("u1", "A")] * 3 + [NOBODY] * 4,
            id="itself again when its owner is gone",
        ),
        pytest.param(
            [
                *(user("u1", 1, "ann@x.org", name="A"), user("u1", 2, "a@x.org", name="A")),
                *(user("u2", 3, "ann@x.org", name="B"), user("u2", 5, "ann@x.org", name="B", deleted_at="2024-01-05")),
            ],
            [("u1", "A")] * 2 + [("u2", "B")] * 2 + [("u1", "A")] * 3,
            id="of the earlier holder again when the later one is gone",
        ),
    ],
)
def test_an_address_is(users: list[dict[str, Any]], owned: list[tuple[str | None, str]]) -> None:
    assert owners(*users) == owned


def test_an_identity_changes_with_owner_name_or_current_address_only() -> None:
    states = [
        user("u1", 2, "ann@x.org"),
        user("u1", 3, "ann@x.org", age=30),
        user("u1", 4, "ann@x.org", name="Ann Lee"),
        user("u1", 5, "lee@x.org", name="Ann Lee"),
        user("u1", 6, "lee@x.org", name="Ann Lee", deleted_at="2024-01-06"),
    ]
    changes = rows_of(identity_changes(people(known(*states))))
    assert sorted((row["address"], row["day"].day) for row in changes) == [
        *(("ann@x.org", day) for day in (2, 4, 5, 6)),
        *(("lee@x.org", day) for day in (5, 6)),
    ]


ANN, BOB, CY = (user(key, 1) for key in ("ann", "bob", "cy"))
NEW = {key: {"identity", "user"} for key in ("ann", "bob", "cy")}


def touched(window: Window = WEEK, **documents: list[dict[str, Any]]) -> dict[int, dict[str, set[str]]]:
    """Day of the month to user to reasons, without the first day, on which the users came."""
    documents.setdefault("users", [ANN, BOB, CY])
    found: dict[int, dict[str, set[str]]] = {}
    concerned = concerning_days(**logs(**documents), window=window)
    versions_of = {kind: versions(log, WEEK.end) for kind, log in concerned.items()}
    for row in rows_of(touched_users(**versions_of, window=window, policy=Policy())):
        assert row["touched_by"] == sorted(set(row["touched_by"]))
        found.setdefault(row["partition_date"].day, {})[row["user_id"]] = set(row["touched_by"])
    first = found.pop(1, None)
    assert first == (NEW if documents["users"][:3] == [ANN, BOB, CY] and 1 in {day.day for day in window} else first)
    return found


def test_an_event_published_ahead_touches_its_participants_when_it_comes_and_when_it_happens() -> None:
    events = [event("e1", 2, 5, "ann@x.org", "bob@x.org")]
    assert touched(events=events) == {2: {"ann": {"event"}, "bob": {"event"}}, 5: {"ann": {"event"}, "bob": {"event"}}}


def test_a_participant_who_was_dropped_is_touched_too_and_not_on_the_day_of_the_event() -> None:
    events = [event("e1", 2, 5, "ann@x.org", "bob@x.org"), event("e1", 3, 5, "ann@x.org")]
    assert touched(events=events) == {
        2: {"ann": {"event"}, "bob": {"event"}},
        3: {"ann": {"event"}, "bob": {"event"}},
        5: {"ann": {"event"}},
    }


def test_a_deleted_event_touches_its_participants_and_never_happens() -> None:
    events = [event("e1", 2, 5, "ann@x.org"), event("e1", 3, 5, "ann@x.org", deleted_at="2024-01-03")]
    assert touched(events=events) == {2: {"ann": {"event"}}, 3: {"ann": {"event"}}}


def test_an_order_and_a_message_touch_whom_they_are_of_and_whom_they_were_of() -> None:
    orders = [
        {"id": "o1", "user_id": key, "amount": 1, "date": "2024-01-05", "updated_at": f"2024-01-0{day}"}
        for key, day in (("ann", 2), ("bob", 3))
    ]
    sent = {"id": "m1", "user_id": "cy", "content": "Hi", "status": "sent", "created_date": "2024-01-04"}
    messages = [sent | {"sent_date": "2024-01-05"}]
    assert touched(orders=orders, messages=messages) == {
        2: {"ann": {"order"}},
        3: {"ann": {"order"}, "bob": {"order"}},
        4: {"cy": {"message"}},
        5: {"bob": {"order"}, "cy": {"message"}},
    }


def test_who_is_called_otherwise_touches_those_who_may_be_friends() -> None:
    events = [
        event("e1", 2, 3, "ann@x.org", "bob@x.org", "cy@x.org"),
        event("e2", 2, 3, "ann@x.org", "bob@x.org"),
        event("e3", 2, 7, "cy@x.org", "bob@x.org"),
    ]
    users = [ANN, BOB, CY, user("bob", 5, name="Robert"), user("cy", 6, age=30)]
    after = touched(Window(jan(4), jan(7)), users=users, events=events)
    assert after == {
        5: {"ann": {"identity"}, "bob": {"identity", "user"}},
        6: {"cy": {"user"}},
        7: {"bob": {"event"}, "cy": {"event"}},
    }


def test_events_met_at_under_two_addresses_of_one_user_count_together() -> None:
    events = [event("e1", 2, 3, "ann@x.org", "bob@x.org"), event("e2", 2, 3, "lee@x.org", "bob@x.org")]
    users = [ANN, BOB, CY, user("ann", 5, "lee@x.org")]
    after = touched(Window(jan(4), jan(7)), users=users, events=events)
    assert after == {5: {"ann": {"identity", "user"}, "bob": {"identity"}}}


def test_who_leaves_a_list_is_not_touched_by_those_who_stay() -> None:
    events = [
        *(event(key, 2, 3, "ann@x.org", "bob@x.org") for key in ("e1", "e2")),
        *(event(key, 4, 3, "bob@x.org") for key in ("e1", "e2")),
    ]
    users = [ANN, BOB, CY, user("bob", 6, name="Robert")]
    assert touched(Window(jan(5), jan(7)), users=users, events=events) == {6: {"bob": {"identity", "user"}}}


def test_who_is_not_a_user_is_left_out_until_their_record_comes() -> None:
    events = [event("e1", 2, 3, "dee@x.org")]
    orders = [{"id": "o1", "user_id": "dee", "amount": 1, "date": "2024-01-02"}]
    assert touched(users=[ANN, BOB, CY, user("dee", 5)], events=events, orders=orders) == {
        5: {"dee": {"identity", "user"}}
    }


def test_a_user_is_touched_on_the_day_of_their_deletion_and_not_after() -> None:
    events = [event("e1", 2, 6, "ann@x.org", "bob@x.org")]
    users = [ANN, BOB, CY, user("ann", 4, deleted_at="2024-01-04")]
    after = touched(Window(jan(3), jan(7)), users=users, events=events)
    assert after == {4: {"ann": {"identity", "user"}}, 6: {"bob": {"event"}}}


def test_an_earlier_address_on_a_list_touches_its_user() -> None:
    users = [ANN, BOB, CY, user("ann", 3, "lee@x.org")]
    assert touched(Window(jan(4), jan(7)), users=users, events=[event("e1", 5, 5, "ann@x.org")]) == {
        5: {"ann": {"event"}}
    }


@pytest.mark.parametrize(
    ("day", "wanted"),
    [
        pytest.param(2, {"orders": {"o1"}, "users": {"ann"}}, id="an order concerns its user"),
        pytest.param(3, {"messages": {"m1"}, "users": {"bob"}}, id="so does a message on the day it is sent"),
        pytest.param(4, {"events": {"e1"}, "users": {"ann", "bob", "lee"}}, id="an event all who ever are on its list"),
        pytest.param(
            5,
            {"events": {"e1"}, "users": {"ann", "bob", "lee"}},
            id="a user concerns who ever met the holders of their addresses",
        ),
        pytest.param(6, {}, id="nothing happens"),
    ],
)
def test_of_the_logs_only_what_bears_on_a_day_is_looked_at(day: int, wanted: dict[str, set[str]]) -> None:
    message = {"id": "m1", "user_id": "bob", "content": "Hi", "status": "sent", "sent_date": "2024-01-03"}
    documents = {
        "users": [ANN, BOB, CY, user("lee", 1, "lee@y.org"), user("lee", 5, "ann@x.org")],
        "orders": [{"id": "o1", "user_id": "ann", "amount": 1, "date": "2024-01-02"}],
        "messages": [message | {"created_date": "2024-01-01"}],
        "events": [event("e1", 4, 4, "ann@x.org", "bob@x.org"), event("e2", 1, 1, "cy@x.org")],
    }
    concerned = concerning_days(**logs(**documents), window=Window(jan(day), jan(day)))
    found = {kind: {row["id"] for row in rows_of(log.select("id"))} for kind, log in concerned.items()}
    assert {kind: ids for kind, ids in found.items() if ids} == wanted


@pytest.mark.parametrize(
    ("key", "lists", "users"),
    [
        pytest.param(
            "ann", {"e1": {"ann", "bob"}, "e2": {"lee", "bob"}}, {"ann", "bob"}, id="who was met often enough"
        ),
        pytest.param("cy", {"e1": {"cy"}}, {"cy"}, id="nobody, of those met once"),
        pytest.param("dee", {}, set(), id="nothing, without any event"),
    ],
)
def test_of_the_lists_only_who_may_be_a_friend_is_looked_at(
    key: str, lists: dict[str, set[str]], users: set[str]
) -> None:
    documents = {
        "users": [ANN, BOB, CY, user("dee", 1), user("ann", 5, "lee@x.org")],
        "events": [
            event("e1", 1, 1, "ann@x.org", "bob@x.org", "cy@x.org", "guest@x.org"),
            event("e2", 1, 1, "lee@x.org", "bob@x.org"),
            event("e3", 1, 1, "bob@x.org"),
        ],
    }
    known = logs(**documents)
    touched = table([{"user_id": key, "partition_date": jan(7)}], {"user_id": "string", "partition_date": "date"})
    concerned = concerning_users(touched, known["users"], with_participant_count(known["events"]), Policy())
    listed = rows_of(concerned["events"].select("id", "participants"))
    assert {row["id"]: {name.removesuffix("@x.org") for name in row["participants"]} for row in listed} == lists
    assert {row["id"] for row in rows_of(concerned["users"].select("id"))} == users


def test_an_address_that_someone_takes_later_says_nothing_of_them_before() -> None:
    met = [event(key, 2, 2, "ann@x.org", "new@x.org") for key in ("e1", "e2")]
    users = [ANN, BOB, CY, user("dan", 3), user("dan", 5, "new@x.org")]
    came = {"identity", "user"}
    expected = {2: {"ann": {"event"}}, 3: {"dan": came}, 5: {"ann": {"identity"}, "dan": came}}
    assert touched(users=users, events=met) == expected
