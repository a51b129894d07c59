"""Holds the MongoDB source against a server: the real driver, over a real socket, through real faults."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import bson
import pytest
from bson import Binary, DatetimeMS, Decimal128, Int64, ObjectId, Timestamp

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.records.models import Reading, parse
from profile_pipeline.settings import Settings
from profile_pipeline.sources.live import Batch, Span
from profile_pipeline.sources.mongodb import MongoSource
from profile_pipeline.sources.mongodb.documents import CODEC, as_json
from profile_pipeline_tests.servers.mongodb import Server, mongodb_server

ALL = Span(None, datetime(2030, 1, 1))
MARCH = Span(datetime(2024, 3, 1), datetime(2024, 4, 1))
MIXED_IDS = [
    *(
        1,
        2.5,
        Decimal128("7.5"),
        Int64(2**40),
        "",
        "a",
        "b",
        "\u00e9",
        {"a": 1},
        {"a": 1, "b": "x"},
        Binary(bytes(16), 4),
    ),
    *(ObjectId("65e1000000000000000000aa"), ObjectId("65e2000000000000000000aa"), False, True),
    *(DatetimeMS(-(10**15)), datetime(2024, 3, 1), DatetimeMS(10**15), Timestamp(5, 1)),
]

Make = Callable[..., MongoSource]


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with mongodb_server(replica_set="rs0") as server:
        yield server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The server, as new."""
    yield running
    running.recover()
    with running.client() as client:
        client.drop_database(running.database)
        if running.supports("takeCommands"):
            # Some hold dates that a client can only read when it is told how.
            client.admin.command({"takeCommands": 1}, codec_options=CODEC)


def settings(server: Server, **others: Any) -> Settings:
    return Settings(_env_file=None, **{"mongodb_uri": server.uri, "mongodb_database": server.database, **others})


@pytest.fixture
def make(server: Server) -> Iterator[Make]:
    """Makes sources that are closed in the end."""
    made: list[MongoSource] = []

    def make_source(**others: Any) -> MongoSource:
        made.append(MongoSource.from_settings(settings(server, **others)))
        return made[-1]

    yield make_source
    for source in made:
        source.close()


def insert(server: Server, kind: str, *documents: dict[str, Any]) -> None:
    with server.client() as client:
        client[server.database][kind].insert_many(documents)


def ids(batches: Iterator[Batch] | list[Batch]) -> list[Any]:
    return [json.loads(text)["_id"] for batch in batches for text in batch.documents]


def made(at: datetime, rest: str = "11") -> ObjectId:
    return ObjectId(f"{int(at.replace(tzinfo=UTC).timestamp()):08x}{rest * 8}")


# ---------------------------------------------------------------- reading


def test_reading_goes_on_at_every_place_without_loss_or_repetition(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [{"_id": one} for one in MIXED_IDS]
    insert(server, "users", *random.Random(5).sample(documents, len(documents)))
    monkeypatch.setattr("profile_pipeline.sources.mongodb.documents.BATCH_DOCUMENTS", 1)
    source = make()
    whole = list(source.changes("users", ALL))
    assert len(whole) == len(MIXED_IDS)
    assert ids(whole) == [json.loads(as_json(bson.decode(bson.encode(one), CODEC)))["_id"] for one in documents]
    for position, batch in enumerate(whole):
        assert list(source.changes("users", ALL, batch.place)) == whole[position + 1 :]


def test_batches_follow_each_other_to_the_last_document(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(server, "orders", *({"_id": number} for number in range(25)))
    monkeypatch.setattr("profile_pipeline.sources.mongodb.documents.BATCH_DOCUMENTS", 10)
    batches = list(make().changes("orders", ALL))
    assert [len(batch.documents) for batch in batches] == [10, 10, 5]
    assert ids(batches) == list(range(25))


@pytest.mark.parametrize("kind", ["users", "orders", "events"])
def test_an_empty_or_missing_collection_has_no_batches(make: Make, kind: str) -> None:
    source = make()
    assert list(source.changes(kind, ALL)) == []
    assert list(source.changes(kind, MARCH)) == []
    assert list(source.keys(kind)) == []
    assert source.total(kind, ALL) == 0


def test_a_span_brings_what_changed_in_it_however_the_times_are_written(server: Server, make: Make) -> None:
    old, inside = datetime(2024, 1, 1), datetime(2024, 3, 5, 12)
    insert(
        server,
        "orders",
        {"_id": "bson date", "created_at": old, "updated_at": inside},
        {"_id": "text", "created_at": "2024-01-01", "updated_at": "2024-03-05T12:00:00+01:00"},
        {"_id": "milliseconds", "created_at": 1704067200000, "updated_at": 1709640000000},
        {"_id": "double", "created_at": 1704067200000.0, "updated_at": 1709640000000.0},
        {"_id": "deleted", "created_at": old, "deleted_at": inside},
        {"_id": "business date", "date": inside},
        {"_id": "unreadable", "created_at": old, "updated_at": "a while ago"},
        {"_id": "no time at all"},
        {"_id": made(inside), "created_at": old},
        {"_id": "old bson date", "created_at": old, "date": inside},
        {"_id": "old text", "created_at": "2024-01-01", "updated_at": "2024-02-27T23:59:59Z"},
        {"_id": "old milliseconds", "created_at": 1704067200000},
        {"_id": "new bson date", "created_at": datetime(2024, 4, 1)},
        {"_id": "new text", "created_at": "2024-04-03"},
        {"_id": made(old)},
    )
    source = make()
    found = ids(source.changes("orders", MARCH))
    assert found[:-1] == sorted(
        ["bson date", "text", "milliseconds", "double", "deleted", "business date", "unreadable", "no time at all"]
    )
    assert found[-1] == {"$oid": str(made(inside))}
    assert source.total("orders", MARCH) == 9
    assert source.total("orders", ALL) == 15


def test_reading_a_span_goes_on_at_a_place(server: Server, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    insert(server, "users", *({"_id": n, "updated_at": datetime(2024, 2, 1) + timedelta(days=n)} for n in range(90)))
    monkeypatch.setattr("profile_pipeline.sources.mongodb.documents.BATCH_DOCUMENTS", 7)
    source = make()
    whole = list(source.changes("users", MARCH))
    assert ids(whole) == list(range(29, 60))
    assert list(source.changes("users", MARCH, whole[1].place)) == whole[2:]


def test_mapped_fields_and_collections_are_read_where_they_are(server: Server, make: Make) -> None:
    source = make(
        mongodb_collections={"users": "members"},
        mongodb_fields={"users": {"id": "number", "updated_at": "meta.changed"}},
    )
    insert(
        server,
        "members",
        {"_id": made(datetime(2024, 1, 1)), "number": "a", "meta": {"changed": datetime(2024, 3, 5)}},
        {"_id": made(datetime(2024, 1, 2)), "number": "b", "meta": {"changed": datetime(2024, 1, 5)}},
    )
    assert [json.loads(text)["number"] for batch in source.changes("users", MARCH) for text in batch.documents] == ["a"]
    assert list(source.keys("users")) == [["a", "b"]]
    assert len(ids(source.fetch("users", ["b"]))) == 1
    assert source.name("users") == f"mongodb:{server.database}.members"


def test_documents_come_verbatim(server: Server, make: Make) -> None:
    document = {
        "_id": ObjectId("65e1000000000000000000aa"),
        "zebra": {"b": 1, "a": [Decimal128("1.10"), Int64(5), 2.0, None, datetime(2024, 1, 1, 0, 0, 0, 5000)]},
        "email": "zo\u00eb@example.com",
        "apple": Binary(b"x", 0),
    }
    insert(server, "users", document)
    [batch] = make().changes("users", ALL)
    assert batch.documents == [
        '{"_id":{"$oid":"65e1000000000000000000aa"},"zebra":{"b":1,"a":[{"$numberDecimal":"1.10"},5,2.0,null,'
        '{"$date":"2024-01-01T00:00:00.005Z"}]},"email":"zo\u00eb@example.com",'
        '"apple":{"$binary":{"base64":"eA==","subType":"00"}}}'
    ]


def test_odd_values_stop_neither_their_document_nor_the_next(server: Server, make: Make, tmp_path: Path) -> None:
    far = [
        {"_id": 1, "at": DatetimeMS(10**15)},
        {"_id": 2, "at": DatetimeMS(-(10**15))},
        {"_id": 3, "age": float("nan")},
    ]
    broken = bson.encode({"_id": 4, "name": "caf??"}).replace(b"??", b"\xe9\xff")
    file = tmp_path / "users.bson"
    file.write_bytes(b"".join([*map(bson.encode, far), broken, bson.encode({"_id": 5})]))
    server.load("users", file)
    [batch] = make().changes("users", ALL)
    assert [json.loads(text, parse_constant=pytest.fail) for text in batch.documents] == [
        {"_id": 1, "at": {"$date": {"$numberLong": "1000000000000000"}}},
        {"_id": 2, "at": {"$date": {"$numberLong": "-1000000000000000"}}},
        {"_id": 3, "age": {"$numberDouble": "NaN"}},
        {"_id": 4, "name": "caf\ufffd\ufffd"},
        {"_id": 5},
    ]


def test_a_document_of_16_mb_passes_and_ends_its_batch(server: Server, make: Make) -> None:
    largest = 16 * 2**20 - 100
    insert(server, "users", {"_id": 1}, {"_id": 2, "text": "x" * largest}, {"_id": 3, "text": "y" * 1000}, {"_id": 4})
    batches = list(make().changes("users", ALL))
    assert [ids([batch]) for batch in batches] == [[1, 2, 3], [4]]
    assert len(batches[0].documents[1]) > largest


def test_reading_that_is_given_up_leaves_no_cursor_open(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(server, "users", *({"_id": number} for number in range(20)))
    monkeypatch.setattr("profile_pipeline.sources.mongodb.documents.BATCH_DOCUMENTS", 5)
    reading = make().changes("users", ALL)
    next(reading)
    server.commands()
    reading.close()
    assert [next(iter(command)) for command in server.commands()] == ["killCursors"]


def test_nothing_is_written(server: Server, make: Make) -> None:
    insert(server, "users", {"_id": 1, "updated_at": datetime(2024, 3, 5)})
    server.commands()
    source = make()
    source.clock()
    for kind in ("users", "orders", "events"):
        list(source.changes(kind, ALL))
        list(source.changes(kind, MARCH))
        list(source.keys(kind))
        list(source.fetch(kind, ["1"]))
        source.total(kind, ALL)
        source.total(kind, MARCH)
        source.describe(kind)
    source.woken(None)
    asked = {next(iter(command)) for command in server.commands()}
    assert asked <= {"find", "getMore", "aggregate", "count", "listCollections", "killCursors"}


# ---------------------------------------------------------------- the clock, counts, keys


def test_the_clock_is_the_servers(server: Server, make: Make) -> None:
    source = make()
    server.set_clock(datetime(2024, 3, 5, 12, 30, 1, 500000))
    assert source.clock() == datetime(2024, 3, 5, 12, 30, 1, 500000)
    server.set_clock(None)
    assert abs(source.clock() - datetime.now(UTC).replace(tzinfo=None)) < timedelta(minutes=1)


def test_the_clock_has_no_zone_even_if_the_uri_wants_one(server: Server, make: Make) -> None:
    joint = "&" if "?" in server.uri else "/?"
    assert make(mongodb_uri=f"{server.uri}{joint}tz_aware=true").clock().tzinfo is None


def test_a_count_that_takes_too_long_is_done_without(server: Server, make: Make) -> None:
    insert(server, "users", {"_id": 1})
    server.fail_command("aggregate", "count", mode={"times": 2}, errorCode=50)
    source = make()
    assert (source.total("users", MARCH), source.total("users", ALL)) == (None, None)
    assert (source.total("users", MARCH), source.total("users", ALL)) == (1, 1)


def test_keys_are_all_there_are_as_the_log_has_them(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [
        *({"_id": one, "email": "a@example.com"} for one in MIXED_IDS),
        *({"_id": 100 + number, "id": one} for number, one in enumerate([" spaced ", 7, "", None, ["x"], {"y": 1}])),
    ]
    insert(server, "users", *documents)
    monkeypatch.setattr("profile_pipeline.sources.mongodb.source.BATCH_KEYS", 5)
    source = make()
    batches = list(source.keys("users"))
    assert {len(keys) for keys in batches[:-1]} == {5}
    found = [key for keys in batches for key in keys]
    expected = [
        *("1", "1099511627776", "7.5", "a", "b", "\u00e9", "00000000-0000-0000-0000-000000000000"),
        *("65e1000000000000000000aa", "65e2000000000000000000aa", "-1000000000000000", "2024-03-01T00:00:00Z"),
        *("1000000000000000", "spaced", "7", "103"),
    ]
    assert sorted(found) == sorted(expected)


def test_keys_come_from_the_primary_and_without_the_documents(server: Server, make: Make) -> None:
    insert(server, "users", {"_id": 1, "text": "x" * 1000})
    server.commands()
    source = make()
    list(source.keys("users"))
    list(source.fetch("users", ["1"]))
    list(source.changes("users", ALL))
    keys, fetch, changes = [command for command in server.commands() if "find" in command]
    assert keys["projection"] == {"_id": 1, "id": 1}
    assert "projection" not in changes
    modes = [command.get("$readPreference", {}).get("mode", "primary") for command in (keys, fetch, changes)]
    assert modes == ["primary", "primary", "secondaryPreferred"]


def test_documents_are_fetched_by_keys_of_any_type(server: Server, make: Make) -> None:
    object_id = ObjectId("65e1000000000000000000aa")
    insert(
        server,
        "users",
        *({"_id": one} for one in ("a", 5, Int64(2**40), object_id, Binary(bytes(16), 4), "b", "other")),
        {"_id": "c", "id": "key"},
        {"_id": "d", "id": 77},
    )
    wanted = ["a", "5", str(2**40), str(object_id), "00000000-0000-0000-0000-000000000000", "key", "77", "missing"]
    found = ids(make().fetch("users", wanted))
    assert len(found) == 7
    assert {"a", 5, 2**40, "c", "d"} <= {one for one in found if not isinstance(one, dict)}
    assert {"$oid": str(object_id)} in found
    assert ids(make().fetch("users", [])) == []


def test_many_keys_are_fetched_in_several_questions(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(server, "users", *({"_id": number} for number in range(25)))
    monkeypatch.setattr("profile_pipeline.sources.mongodb.source.FETCH_KEYS", 10)
    server.commands()
    assert sorted(ids(make().fetch("users", [str(number) for number in range(25)]))) == list(range(25))
    assert [next(iter(command)) for command in server.commands()] == ["find"] * 3


# ---------------------------------------------------------------- faults


def read_on(source: MongoSource, span: Span = ALL) -> tuple[list[Any], int]:
    """Read like the extraction does, from the last place after each fault that may pass; and how many there were."""
    place, found, faults = None, [], 0
    while True:
        try:
            for batch in source.changes("users", span, place):
                found += ids([batch])
                place = batch.place
        except TransientError:
            faults += 1
            if faults == 10:
                raise
        else:
            return found, faults


FAULTS: list[dict[str, Any]] = [
    {"closeConnection": True},
    {"errorCode": 43},
    {"errorCode": 91},
    {"errorCode": 189},
    {"errorCode": 10107},
    {"errorCode": 11600},
    {"errorCode": 50},
    {"errorCode": 1, "errorLabels": ["SystemOverloadedError"]},
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_after_a_fault_in_mid_reading_nothing_is_lost_or_repeated(
    server: Server, make: Make, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(server, "users", *({"_id": number} for number in range(50)))
    monkeypatch.setattr("profile_pipeline.sources.mongodb.documents.BATCH_DOCUMENTS", 5)
    server.fail_command("getMore", mode={"times": 2} if "closeConnection" in fault else None, **fault)
    assert read_on(make()) == (list(range(50)), 2 if "closeConnection" in fault else 1)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_reply_that_breaks_off_in_the_middle_is_read_again(
    server: Server, make: Make, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(server, "users", *({"_id": number, "updated_at": datetime(2024, 3, 5)} for number in range(50)))
    monkeypatch.setattr("profile_pipeline.sources.mongodb.documents.BATCH_DOCUMENTS", 7)
    server.on_command("getMore", number=number, closeInReply=True)
    assert read_on(make(), MARCH) == (list(range(50)), 1)


def test_a_server_that_dies_and_comes_back_is_read_on(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(server, "users", *({"_id": number} for number in range(50)))
    monkeypatch.setattr("profile_pipeline.sources.mongodb.documents.BATCH_DOCUMENTS", 5)
    source = make()
    reading = source.changes("users", ALL)
    first = [next(reading), next(reading)]
    server.kill()
    with pytest.raises(TransientError, match="broke"):
        list(reading)
    server.restart()
    assert ids([*first, *source.changes("users", ALL, first[-1].place)]) == list(range(50))


def test_the_first_question_is_repeated_by_itself(server: Server, make: Make) -> None:
    insert(server, "users", {"_id": 1})
    server.fail_command("find", closeConnection=True, appName="profile_pipeline")
    assert ids(make().changes("users", ALL)) == [1]


def test_a_fault_while_keys_are_listed_is_no_short_list(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(server, "users", *({"_id": number} for number in range(50)))
    monkeypatch.setattr("profile_pipeline.sources.mongodb.source.BATCH_KEYS", 5)
    server.fail_command("getMore", closeConnection=True)
    source = make()
    with pytest.raises(TransientError):
        list(source.keys("users"))
    assert sum(map(len, source.keys("users"))) == 50


def test_a_server_that_is_slow_to_answer_says_which_setting_would_wait(server: Server, make: Make) -> None:
    joint = "&" if "?" in server.uri else "/?"
    source = make(mongodb_uri=f"{server.uri}{joint}socketTimeoutMS=300&retryReads=false")
    server.fail_command("find", blockTimeMS=1000, appName="profile_pipeline")
    with pytest.raises(TransientError, match=r"did not answer in time .*socketTimeoutMS in MONGODB_URI"):
        list(source.changes("users", ALL))


def test_a_server_that_is_not_there_is_named_with_its_setting() -> None:
    with mongodb_server() as server:
        server.kill()
        uri = f"{server.uri}/?serverSelectionTimeoutMS=300"
        wanted = r"cannot be reached .*refused.*; check MONGODB_URI"
        source = MongoSource.from_settings(settings(server, mongodb_uri=uri))
        with source, pytest.raises(TransientError, match=wanted) as caught:
            source.clock()
    assert "Topology" not in str(caught.value)


def test_what_the_user_may_not_read_names_the_role(server: Server, make: Make) -> None:
    server.fail_command("find", errorCode=13, appName="profile_pipeline")
    with pytest.raises(
        PipelineError, match=r"\.users may not be read by the user of MONGODB_URI .*role `read`"
    ) as caught:
        list(make().changes("users", ALL))
    assert not isinstance(caught.value, TransientError)


# ---------------------------------------------------------------- users and passwords

PASSWORD = "p@ss:w/rd?%"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    with mongodb_server(user="ann", password=PASSWORD) as server:
        yield server


def guarded_by(server: Server, user_info: str) -> Settings:
    _, _, place = server.uri.rpartition("@")
    return settings(server, mongodb_uri=f"mongodb://{user_info}{place}")


def test_the_right_password_opens_the_database(guarded: Server) -> None:
    with MongoSource.from_settings(settings(guarded)) as source:
        assert list(source.changes("users", ALL)) == []


def test_a_wrong_password_is_named_but_not_shown(guarded: Server) -> None:
    wrong = "wr@ng:w/rd?%"
    source = MongoSource.from_settings(guarded_by(guarded, f"ann:{quote_plus(wrong)}@"))
    with source, pytest.raises(PipelineError, match="refuses the user of MONGODB_URI") as caught:
        list(source.changes("users", ALL))
    assert not isinstance(caught.value, TransientError)
    for secret in (wrong, quote_plus(wrong), guarded.uri):
        assert secret not in str(caught.value)
        assert secret not in repr(source)


def test_without_a_user_the_text_says_that_one_is_wanted(guarded: Server) -> None:
    source = MongoSource.from_settings(guarded_by(guarded, ""))
    with source, pytest.raises(PipelineError, match=r"wants a user .*; name one in MONGODB_URI"):
        list(source.changes("users", ALL))


# ---------------------------------------------------------------- change streams


def test_changes_in_the_three_collections_wake_once(server: Server, make: Make) -> None:
    source = make()
    is_woken, token = source.woken(None)
    assert is_woken, "what was before nobody knows"
    assert token is not None
    is_woken, token = source.woken(token)
    assert not is_woken
    for kind in ("users", "orders", "events"):
        insert(server, kind, {"_id": 1}, {"_id": 2})
        is_woken, token = source.woken(token)
        assert is_woken
        is_woken, token = source.woken(token)
        assert not is_woken
    insert(server, "newsletters", {"_id": 1})
    assert source.woken(token)[0] is False


@pytest.mark.parametrize("change", ["update_one", "delete_one", "drop"])
def test_every_sort_of_change_wakes(server: Server, make: Make, change: str) -> None:
    insert(server, "users", {"_id": 1})
    source = make()
    _, token = source.woken(None)
    with server.client() as client:
        users = client[server.database].users
        {
            "update_one": lambda: users.update_one({}, {"$set": {"age": 5}}),
            "delete_one": lambda: users.delete_one({}),
            "drop": users.drop,
        }[change]()
    is_woken, token = source.woken(token)
    assert is_woken
    assert source.woken(token)[0] is False


def test_a_token_outlives_the_source_that_gave_it(server: Server, make: Make) -> None:
    _, token = make().woken(None)
    insert(server, "users", {"_id": 1})
    assert make().woken(token)[0] is True


def test_changes_that_come_while_one_looks_are_not_missed(server: Server, make: Make) -> None:
    source = make()
    _, token = source.woken(None)
    writer = threading.Thread(target=lambda: [insert(server, "users", {"_id": number}) for number in range(20)])
    writer.start()
    wakes = 0
    while writer.is_alive():
        is_woken, token = source.woken(token)
        wakes += is_woken
    writer.join()
    is_woken, token = source.woken(token)
    assert wakes + is_woken > 0
    assert source.woken(token)[0] is False


def test_more_events_than_one_look_takes_wake_again(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profile_pipeline.sources.mongodb.source.MAX_EVENTS", 10)
    source = make()
    _, token = source.woken(None)
    insert(server, "users", *({"_id": number} for number in range(15)))
    answers = []
    for _ in range(3):
        is_woken, token = source.woken(token)
        answers.append(is_woken)
    assert answers == [True, True, False]


def test_after_a_token_has_expired_one_begins_anew(server: Server, make: Make) -> None:
    source = make()
    _, token = source.woken(None)
    insert(server, "users", *({"_id": number} for number in range(10)))
    server.set_log_size(2)
    try:
        assert source.woken(token) == (True, None)
    finally:
        server.set_log_size(None)
    is_woken, token = source.woken(None)
    assert is_woken
    assert source.woken(token)[0] is False


@pytest.mark.parametrize("code", [260, 280, 286])
def test_a_token_that_the_server_refuses_is_as_good_as_expired(server: Server, make: Make, code: int) -> None:
    source = make()
    _, token = source.woken(None)
    server.fail_command("aggregate", errorCode=code, errorLabels=["NonResumableChangeStreamError"])
    assert source.woken(token) == (True, None)


@pytest.mark.parametrize("token", ["no token", "5", '{"$oid": "x"}', ""])
def test_a_token_that_is_none_is_as_good_as_none(make: Make, token: str) -> None:
    is_woken, anew = make().woken(token)
    assert is_woken
    assert anew is not None


def test_without_a_replica_set_the_setting_to_unset_is_named() -> None:
    with mongodb_server() as server, MongoSource.from_settings(settings(server)) as source:
        with pytest.raises(PipelineError, match="unset MONGODB_CHANGE_STREAMS") as caught:
            source.woken(None)
        assert not isinstance(caught.value, TransientError)


# ---------------------------------------------------------------- what there is


def test_a_description_says_what_is_there(server: Server, make: Make) -> None:
    source = make(mongodb_fields={"users": {"email": "contact.mail"}})
    missing = source.describe("users")
    assert (missing.is_there, missing.count, missing.newest, missing.sampled) == (False, 0, None, 0)
    assert missing.name == f"mongodb:{server.database}.users"
    insert(
        server,
        "users",
        {"_id": made(datetime(2024, 1, 1)), "contact": {"mail": "a@example.com"}, "updated_at": datetime(2024, 2, 1)},
        {"_id": made(datetime(2024, 1, 2)), "contact": {"mail": " "}, "interests": [], "age": 0},
    )
    found = source.describe("users")
    assert (found.is_there, found.count, found.newest, found.sampled) == (True, 2, datetime(2024, 2, 1), 2)
    assert {name: count for name, count in found.filled.items() if count} == {
        "id": 2,
        "email": 1,
        "age": 1,
        "updated_at": 1,
    }
    insert(server, "users", {"_id": made(datetime(2024, 5, 1, 1, 2, 3)), "created_at": "2024-03-01"})
    assert source.describe("users").newest == datetime(2024, 5, 1, 1, 2, 3)


def test_a_description_does_without_what_takes_too_long(server: Server, make: Make) -> None:
    insert(server, "users", {"_id": made(datetime(2024, 1, 2)), "updated_at": datetime(2024, 2, 1)})
    server.fail_command("find", mode={"times": 2}, errorCode=50)
    assert make().describe("users").newest == datetime(2024, 1, 2)


# ---------------------------------------------------------------- with the models


def test_what_is_read_is_what_the_models_read(server: Server, make: Make) -> None:
    at = datetime(2024, 3, 5, 12)
    insert(server, "users", {"_id": made(at), "email": "Ann@Example.com", "age": Int64(31), "created_at": at})
    source = make()
    [batch] = source.changes("users", MARCH)
    zone = source.zone
    record = parse("users", batch.documents[0], Reading(zone), source.dialect("users")).record
    assert (record.id, record.email, record.age) == (str(made(at)), "ann@example.com", 31)  # type: ignore[attr-defined]
    assert record.created is not None
    assert record.created.at == at
    assert list(source.keys("users")) == [[record.id]]
    assert next(source.fetch("users", [record.id])).documents == batch.documents
