"""What each kind of record accepts, how values are normalised, and every reason for rejection in words."""

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from profile_pipeline.records.dialect import Dialect
from profile_pipeline.records.email import normalise_email
from profile_pipeline.records.models import UNDATED, Reading, Rejected, known_days, parse

UTC = ZoneInfo("UTC")
IN_UTC = Reading(UTC)
BERLIN = ZoneInfo("Europe/Berlin")
FIRST = date(2024, 1, 1)
USER = {"id": "u1", "email": "sarah@example.org"}
ORDER = {"id": "o1", "user_id": "u1", "amount": 5, "date": "2024-01-10"}
EVENT = {"id": "e1", "name": "Dinner", "date": "2024-01-15"}
MESSAGE = {"id": "m1", "user_id": "u1", "status": "queued"}
VALID = {"users": USER, "orders": ORDER, "events": EVENT, "messages": MESSAGE}


def row(kind: str, zone: ZoneInfo = UTC, **fields: Any) -> dict[str, Any]:
    return parse(kind, json.dumps(VALID[kind] | fields), Reading(zone)).row


def reason(kind: str, **fields: Any) -> str:
    with pytest.raises(Rejected) as caught:
        row(kind, **fields)
    return caught.value.reason


@pytest.mark.parametrize("kind", VALID)
def test_the_smallest_valid_record_of_each_kind_is_accepted(kind: str) -> None:
    assert row(kind)["id"] == VALID[kind]["id"]


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("users", {"id": None}, "id is missing"),
        ("users", {"id": "  "}, "id is missing"),
        ("users", {"id": 1.5}, "id is 1.5; it must be text or a whole number"),
        ("users", {"id": True}, "id is true; it must be text or a whole number"),
        ("users", {"email": None}, "email is missing"),
        ("users", {"email": "\t"}, "email is missing"),
        ("users", {"email": "sarah"}, 'email is "sarah"; it must be one address, such as sarah@example.org'),
        ("users", {"email": "a@b@c"}, 'email is "a@b@c"; it must be one address, such as sarah@example.org'),
        ("users", {"age": 200}, "age is 200; it must be between 1 and 129"),
        ("users", {"age": 130}, "age is 130; it must be between 1 and 129"),
        ("users", {"age": 0}, "age is 0; it must be between 1 and 129"),
        ("users", {"age": "32"}, 'age is "32"; it must be a whole number'),
        ("users", {"age": 32.5}, "age is 32.5; it must be a whole number"),
        ("users", {"age": True}, "age is true; it must be a whole number"),
        ("users", {"occupation": 5}, "occupation is 5; it must be text"),
        ("users", {"interests": "hiking"}, 'interests is "hiking"; it must be a list of texts'),
        ("users", {"interests": ["a", 5]}, 'interests is ["a", 5]; its item 2 must be text, not 5'),
        ("users", {"is_on_team": "yes"}, 'is_on_team is "yes"; it must be true or false'),
        ("users", {"is_on_team": 1}, "is_on_team is 1; it must be true or false"),
        ("users", {"age": {"$numberDouble": "Infinity"}}, "age is Infinity; it must be a whole number"),
        ("orders", {"user_id": ""}, "user_id is missing"),
        ("orders", {"date": None}, "date is missing"),
        ("orders", {"amount": None}, "amount is missing"),
        ("orders", {"amount": -5}, "amount is -5; it must not be negative"),
        ("orders", {"amount": "-0.01"}, 'amount is "-0.01"; it must not be negative'),
        ("orders", {"amount": 29.333}, "amount is 29.333; it must have at most 2 decimal places"),
        ("orders", {"amount": "1,000"}, 'amount is "1,000"; it must be a number'),
        ("orders", {"amount": "NaN"}, 'amount is "NaN"; it must be a number'),
        ("orders", {"amount": False}, "amount is false; it must be a number"),
        ("orders", {"amount": 1e16}, "amount is 1e+16; it must be below 10,000,000,000"),
        ("events", {"date": None}, "date is missing"),
        ("events", {"participants": "a@b.c"}, 'participants is "a@b.c"; it must be a list of texts'),
        ("messages", {"user_id": None}, "user_id is missing"),
        ("messages", {"status": " "}, "status is missing"),
        ("users", {"id": None, "age": 200}, "id is missing; age is 200; it must be between 1 and 129"),
    ],
)
def test_a_broken_record_is_rejected_with_its_reason_in_words(kind: str, fields: dict[str, Any], expected: str) -> None:
    assert reason(kind, **fields) == expected


@pytest.mark.parametrize(
    "value", ["2024-02-30", "10.02.2024", "2024-01-01T25:00", "0000-01-01", "soon", True, [], 1e300]
)
def test_what_is_no_time_is_rejected_as_such(value: Any) -> None:
    expected = "it must be a date or time such as 2024-02-10 or 2024-02-10T09:30:00Z, or epoch milliseconds"
    assert reason("orders", date=value) == f"date is {json.dumps(value)}; {expected}"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{", "not readable JSON"),
        ("", "not readable JSON"),
        ('{"id": "u1",}', "not readable JSON"),
        ('{"id": "u1", "email": "a@b.c", "x": NaN}', "NaN is not a JSON value"),
        ('{"id": "u1", "email": "a@b.c", "x": "\\ud800"}', "half of a surrogate pair"),
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "the document is [1]; it must be an object with named fields"),
        ("null", "the document is null; it must be an object with named fields"),
    ],
)
def test_a_line_that_is_no_object_is_rejected(document: str, expected: str) -> None:
    with pytest.raises(Rejected, match=r"^the document is ") as caught:
        parse("users", document, IN_UTC)
    assert expected in caught.value.reason
    assert (caught.value.record_id, caught.value.known_on) == (None, None)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (75.0, "75.00"),
        ("29.33", "29.33"),
        (" 5 ", "5.00"),
        (0, "0.00"),
        (0.1 + 0.2, "0.30"),
        ("29.330", "29.33"),
        (9_999_999_999.99, "9999999999.99"),
    ],
)
def test_amounts_become_decimals_with_two_places(amount: Any, expected: str) -> None:
    assert str(row("orders", amount=amount)["amount"]) == expected
    assert isinstance(row("orders", amount=amount)["amount"], Decimal)


def test_values_are_normalised() -> None:
    user = row(
        "users",
        id=7,
        email=" Sarah@Example.ORG ",
        name=" Sarah ",
        age=32.0,
        gender=" ",
        interests=[" a ", "", None],
    )
    assert user["id"] == "7"
    assert user["email"] == "sarah@example.org"
    assert (user["name"], user["age"], user["gender"], user["interests"]) == ("Sarah", 32, None, ["a"])
    assert row("users", interests=[" ", None], cuisine_preference=[], dietary_restrictions="")["interests"] is None
    event = row("events", participants=[" B@x.y ", "a@x.y", "b@x.y", ""], status=" Cancelled ", name="")
    assert (event["participants"], event["status"], event["name"]) == (["a@x.y", "b@x.y"], "cancelled", None)


def test_of_a_key_that_occurs_twice_the_first_counts() -> None:
    assert parse("users", '{"id": "u1", "email": "a@b.c", "id": "u2"}', IN_UTC).record.id == "u1"


@pytest.mark.parametrize(
    ("value", "at", "day"),
    [
        ("2024-01-31", datetime(2024, 1, 30, 23), date(2024, 1, 31)),
        ("2024-01-31T23:30:00Z", datetime(2024, 1, 31, 23, 30), date(2024, 2, 1)),
        ("2024-01-31T23:30:00", datetime(2024, 1, 31, 22, 30), date(2024, 1, 31)),
        ("2024-01-31 23:30:00.25+02", datetime(2024, 1, 31, 21, 30, 0, 250_000), date(2024, 1, 31)),
        (1706743800000, datetime(2024, 1, 31, 23, 30), date(2024, 2, 1)),
        ({"$date": "2024-01-31T23:30:00Z"}, datetime(2024, 1, 31, 23, 30), date(2024, 2, 1)),
        ({"$date": {"$numberLong": "1706743800000"}}, datetime(2024, 1, 31, 23, 30), date(2024, 2, 1)),
        # Skipped and repeated by the clocks: the smaller offset, an hour from UTC.
        ("2024-03-31T02:30:00", datetime(2024, 3, 31, 1, 30), date(2024, 3, 31)),
        ("2024-10-27T02:30:00", datetime(2024, 10, 27, 1, 30), date(2024, 10, 27)),
    ],
)
def test_times_become_utc_and_fall_on_a_day_of_the_business_time_zone(value: Any, at: datetime, day: date) -> None:
    order = row("orders", BERLIN, date=value, updated_at=value, deleted_at=value)
    assert (order["updated_at"], order["date"], order["deleted_date"]) == (at, day, day)


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("users", {}, [FIRST]),
        ("users", {"created_at": "2023-05-05"}, [FIRST]),
        ("users", {"created_at": "2023-05-05", "updated_at": "2024-01-03"}, [FIRST, date(2024, 1, 3)]),
        ("users", {"created_at": "2024-01-03", "updated_at": "2024-01-03T12:00:00Z"}, [date(2024, 1, 3)]),
        (
            "users",
            {"deleted_at": "2024-01-09", "created_at": "2024-01-02"},
            [date(2024, 1, 2), date(2024, 1, 9)],
        ),
        ("orders", {}, [date(2024, 1, 10)]),
        ("orders", {"created_at": "2024-01-08"}, [date(2024, 1, 8)]),
        ("messages", {"sent_date": "2024-01-25"}, [date(2024, 1, 25)]),
        ("messages", {"created_date": "2024-01-24", "sent_date": "2024-01-25"}, [date(2024, 1, 24)]),
        ("users", {"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}}, [date(2024, 1, 12)]),
    ],
)
def test_a_record_is_known_on_the_days_it_was_created_changed_and_deleted(
    kind: str, fields: dict[str, Any], expected: list[date]
) -> None:
    parsed = parse(kind, json.dumps(VALID[kind] | fields), IN_UTC)
    assert known_days(parsed, FIRST) == tuple(expected)


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("users", {"created_at": "2024-01-02", "updated_at": "2024-01-03"}, datetime(2024, 1, 3)),
        ("users", {"created_at": "2024-01-02"}, datetime(2024, 1, 2)),
        ("orders", {}, datetime(2024, 1, 10)),
        ("messages", {"created_date": "2024-01-24", "sent_date": "2024-01-25"}, datetime(2024, 1, 24)),
        ("users", {"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}}, datetime(2024, 1, 12, 21, 44, 35)),
        ("users", {}, None),
    ],
)
def test_the_time_of_change_is_the_best_a_record_has(kind: str, fields: dict[str, Any], expected: Any) -> None:
    assert row(kind, **fields)["changed_at"] == expected


def test_a_message_sent_on_the_day_on_which_its_system_made_it_follows_the_queued_one() -> None:
    dialect = Dialect({"id": ("id",)}, ("fields",), ("createdTime",))

    def changed_at(**fields: Any) -> datetime:
        document = {"id": "rec1", "createdTime": "2024-01-01T10:00:00Z", "fields": {"user_id": "u1", **fields}}
        found = parse("messages", json.dumps(document), IN_UTC, dialect).row["changed_at"]
        assert isinstance(found, datetime)
        return found

    queued = changed_at(content="Hello", status="queued")
    assert changed_at(content="Hello", status="sent", sent_date="2024-01-01") >= queued
    assert changed_at(content="Hello", status="sent", sent_date="2024-01-03") == datetime(2024, 1, 3)


def test_an_object_id_is_the_key_where_there_is_no_id() -> None:
    document = '{"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}, "email": "a@b.c"}'
    assert parse("users", document, IN_UTC).record.id == "65a1b2c3d4e5f60718293a4b"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"created_at": "2024-01-02", "updated_at": "2024-01-03"}, date(2024, 1, 3)),
        ({"created_at": "2024-01-02", "updated_at": "soon"}, None),
        ({"created_at": "soon", "updated_at": "2024-01-03"}, date(2024, 1, 3)),
        ({"created_at": "soon"}, None),
        ({}, UNDATED),
    ],
)
def test_a_rejection_carries_key_and_day_where_they_can_be_read(fields: dict[str, Any], expected: Any) -> None:
    with pytest.raises(Rejected) as caught:
        row("users", age=200, **fields)
    assert (caught.value.record_id, caught.value.known_on) == ("u1", expected)


@pytest.mark.parametrize(
    ("address", "fold", "expected"),
    [
        (" A.B+x@Gmail.com ", False, "a.b+x@gmail.com"),
        (" A.B+x@Gmail.com ", True, "ab@gmail.com"),
        ("a.b+x@example.org", True, "a.b@example.org"),
        ("+x@example.org", True, "+x@example.org"),
        ("no address", True, "no address"),
    ],
)
def test_aliases_are_folded_only_on_request(address: str, fold: bool, expected: str) -> None:
    assert normalise_email(address, fold_aliases=fold) == expected
