"""The MongoDB server for tests, as the real driver sees it.

With MONGODB_TEST_URI set, what does not need our own commands is held against that server instead.
"""

import itertools
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Int64, ObjectId, Regex
from pymongo import DeleteOne, InsertOne, MongoClient, ReplaceOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, BulkWriteError, CursorNotFound, NetworkTimeout, OperationFailure
from pymongo.write_concern import WriteConcern

from profile_pipeline_tests.servers.mongodb import Document, Server, mongodb_server
from profile_pipeline_tests.servers.mongodb.store import Store
from profile_pipeline_tests.unit.test_bson_query import CASES, DOCUMENTS, IN_ORDER

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def standalone() -> Iterator[Server]:
    with mongodb_server() as server:
        yield server


@pytest.fixture(scope="module")
def replica_set() -> Iterator[Server]:
    with mongodb_server(replica_set="rs0") as server:
        yield server


@pytest.fixture(params=["standalone", "replica_set"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    found: Server = request.getfixturevalue(request.param)
    yield found
    found.recover()


_numbers = itertools.count()


def fresh(server: Server, **options: Any) -> Collection[Document]:
    """A collection that no other test uses."""
    client = server.client(datetime_conversion="DATETIME_AUTO", **options)
    return client[server.database][f"c{next(_numbers)}"]


def ids(documents: Any) -> list[Any]:
    return [document["_id"] for document in documents]


def batch_sizes(users: Collection[Document], **options: Any) -> list[int]:
    batches: Any = users.find_raw_batches(**options)
    return [len(bson.decode_all(batch)) for batch in batches]


# Reading.


def test_filters_select_on_the_server_what_they_select_by_themselves(standalone: Server) -> None:
    users = fresh(standalone)
    users.insert_many({"_id": name, **document} for name, document in DOCUMENTS.items())
    found = {str(query): set(ids(users.find(query))) for query, _ in CASES}
    assert found == {str(query): set(names.split()) for query, names in CASES}
    assert [users.count_documents(query) for query, _ in CASES] == [len(names.split()) for _, names in CASES]


def test_sorts_put_values_of_all_types_in_order(standalone: Server) -> None:
    users = fresh(standalone)
    users.insert_many({"_id": -number, "a": value} for number, value in enumerate(IN_ORDER))
    ascending = [-number for number in range(len(IN_ORDER))]
    assert ids(users.find(sort={"a": 1})) == ascending
    assert ids(users.find(sort={"a": -1})) == ascending[::-1]


def test_ids_of_all_types_are_read_in_order_from_any_place(standalone: Server) -> None:
    users = fresh(standalone)
    values = [value for value in IN_ORDER if not isinstance(value, list | Regex)]
    users.insert_many({"_id": value, "number": number} for number, value in reversed(list(enumerate(values))))
    for number, value in enumerate(values):
        after = users.find({"$expr": {"$gt": ["$_id", {"$literal": value}]}}, sort={"_id": 1})
        assert [document["number"] for document in after] == list(range(number + 1, len(values)))
    assert [document["number"] for document in users.find(sort={"_id": -1})] == list(range(len(values)))[::-1]


def test_batches_are_as_large_as_asked_for(server: Server) -> None:
    users = fresh(server)
    users.insert_many({"_id": number} for number in range(250))
    assert batch_sizes(users) == [101, 149]
    assert batch_sizes(users, batch_size=100) == [100, 100, 50]
    assert ids(users.find(sort={"_id": 1}, skip=3, limit=2, batch_size=1)) == [3, 4]
    assert ids(users.find(sort={"_id": 1}, limit=-2)) == [0, 1]
    assert users.find_one({}, {"_id": 1}, sort={"_id": -1}) == {"_id": 249}


def test_batches_stay_below_16_megabytes(server: Server) -> None:
    users = fresh(server)
    for number in range(5):
        users.insert_one({"_id": number, "text": "x" * 7 * MEGABYTE})
    assert batch_sizes(users) == [2, 2, 1]


def test_a_document_of_16_megabytes_goes_in_and_out(server: Server) -> None:
    users = fresh(server)
    empty = len(bson.encode({"_id": 1, "text": ""}))
    users.insert_one({"_id": 1, "text": "x" * (16 * MEGABYTE - empty)})
    document = users.find_one()
    assert document is not None
    assert len(bson.encode(document)) == 16 * MEGABYTE


def test_a_cursor_meets_what_changes_ahead_of_it(server: Server) -> None:
    users = fresh(server)
    users.insert_many({"_id": number} for number in range(0, 20, 2))
    cursor = users.find(sort={"_id": 1}, batch_size=5)
    met = ids(next(cursor) for _ in range(5))
    users.insert_many([{"_id": 3}, {"_id": 11}])
    users.delete_one({"_id": 14})
    users.delete_one({"_id": 8})
    assert met + ids(cursor) == [0, 2, 4, 6, 8, 10, 11, 12, 16, 18]


def test_a_cursor_over_a_dropped_collection_ends_with_an_error(server: Server) -> None:
    users = fresh(server)
    users.insert_many({"_id": number} for number in range(20))
    cursor = users.find(batch_size=5)
    next(cursor)
    users.drop()
    with pytest.raises(OperationFailure) as caught:
        list(cursor)
    assert caught.value.code == 175


def test_a_killed_cursor_is_not_found(server: Server) -> None:
    users = fresh(server)
    users.insert_many({"_id": number} for number in range(20))
    cursor = users.find(batch_size=5)
    next(cursor)
    assert cursor.cursor_id
    users.database.command("killCursors", users.name, cursors=[Int64(cursor.cursor_id)])
    with pytest.raises(CursorNotFound):
        list(cursor)


def test_min_and_max_bound_a_read(server: Server) -> None:
    users = fresh(server)
    users.insert_many({"_id": number} for number in range(9))
    found = users.find(hint=[("_id", 1)]).min([("_id", 3)]).max([("_id", 6)])
    assert ids(found) == [3, 4, 5]


def test_pipelines_count_group_and_sort(server: Server) -> None:
    users = fresh(server)
    users.insert_many({"_id": number, "even": number % 2 == 0} for number in range(7))
    pipeline: list[Document] = [{"$group": {"_id": "$even", "n": {"$sum": "$_id"}}}, {"$sort": {"n": 1}}]
    assert list(users.aggregate(pipeline)) == [{"_id": False, "n": 9}, {"_id": True, "n": 12}]
    assert list(users.aggregate([{"$match": {"_id": {"$gt": 2}}}, {"$count": "n"}])) == [{"n": 4}]
    assert users.count_documents({"even": True}, skip=1, limit=2) == 2
    assert users.estimated_document_count() == 7
    assert [one["count"] for one in users.aggregate([{"$collStats": {"count": {}}}])] == [7]


def test_what_there_is_can_be_listed(server: Server) -> None:
    users = fresh(server)
    users.create_index("email")
    assert server.database in users.database.client.list_database_names()
    assert users.name in users.database.list_collection_names()
    assert users.database.list_collection_names(filter={"name": users.name}) == [users.name]
    assert list(users.index_information()) == ["_id_", "email_1"]
    users.drop()
    assert users.database.list_collection_names(filter={"name": users.name}) == []


def test_text_that_is_not_utf_8_is_kept_as_it_is(server: Server) -> None:
    users = fresh(server)
    raw = bson.encode({"_id": 1, "name": "abc"}).replace(b"abc", b"a\xffc")
    users.insert_one(bson.raw_bson.RawBSONDocument(raw))
    assert list(users.find_raw_batches({"name": {"$gt": "a"}})) == [raw]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"find": "c", "filter": {"a": {"$colour": 1}}}, 2),
        ({"find": "c", "shape": 1}, 40415),
        ({"aggregate": "c", "pipeline": [{"$colour": 1}], "cursor": {}}, 40324),
        ({"getMore": Int64(5), "collection": "c"}, 43),
        ({"paint": 1}, 59),
    ],
)
def test_a_command_that_is_not_known_is_refused(standalone: Server, command: Document, code: int) -> None:
    with pytest.raises(OperationFailure) as caught:
        standalone.client()[standalone.database].command(command)
    assert caught.value.code == code


# Writing.


def test_writes_do_what_they_say(server: Server) -> None:
    users = fresh(server)
    users.insert_many([{"_id": 1, "a": {"b": 1}, "c": 1}, {"_id": 2, "a": 1}, {"_id": 3}])
    assert users.update_one({"_id": 1}, {"$set": {"a.d": [0]}, "$unset": {"c": 1, "none": 1}}).modified_count == 1
    assert users.update_many({}, {"$set": {"e": 1}}).modified_count == 3
    assert users.update_one({"_id": 2}, {"$set": {"e": 1}}).modified_count == 0
    assert users.replace_one({"_id": 3}, {"f": 1}).matched_count == 1
    assert users.update_one({"_id": 4, "g": {"$gt": 1}}, {"$set": {"h": 1}}, upsert=True).upserted_id == 4
    assert isinstance(users.replace_one({"k": 5}, {"m": 1}, upsert=True).upserted_id, ObjectId)
    assert users.delete_one({"_id": 2}).deleted_count == 1
    assert list(users.find({"_id": {"$type": "int"}}, sort={"_id": 1})) == [
        {"_id": 1, "a": {"b": 1, "d": [0]}, "e": 1},
        {"_id": 3, "f": 1},
        {"_id": 4, "h": 1},
    ]
    assert users.delete_many({}).deleted_count == 4


def test_an_id_is_there_once_and_stays(server: Server) -> None:
    users = fresh(server)
    documents: list[Document] = [{"_id": 1}, {"_id": 1.0}, {"_id": 2}]
    with pytest.raises(BulkWriteError) as caught:
        users.insert_many(documents)
    details: Any = caught.value.details
    assert [error["code"] for error in details["writeErrors"]] == [11000]
    assert users.count_documents({}) == 1
    with pytest.raises(BulkWriteError):
        users.insert_many(documents, ordered=False)
    assert ids(users.find(sort={"_id": 1})) == [1, 2]
    with pytest.raises(OperationFailure) as failure:
        users.update_one({"_id": 1}, {"$set": {"_id": 5}})
    assert failure.value.code == 66


def test_mixed_and_unacknowledged_writes_arrive(server: Server) -> None:
    users = fresh(server)
    requests: list[Any] = [
        InsertOne({"_id": 1}),
        UpdateOne({"_id": 1}, {"$set": {"a": 1}}),
        ReplaceOne({"_id": 1}, {"b": 1}),
    ]
    users.bulk_write([*requests, InsertOne({"_id": 2}), DeleteOne({"_id": 2})])
    users.with_options(write_concern=WriteConcern(w=0)).insert_one({"_id": 3})
    deadline = time.monotonic() + 10
    while users.count_documents({}) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(users.find(sort={"_id": 1})) == [{"_id": 1, "b": 1}, {"_id": 3}]


# Who the server is.


def test_the_server_is_what_it_was_started_as(standalone: Server, replica_set: Server) -> None:
    assert "setName" not in standalone.client().admin.command("hello")
    client = replica_set.client()
    hello = client.admin.command("hello")
    assert hello["primary"] == hello["me"]
    assert hello["lastWrite"]["lastWriteDate"]
    assert client.primary == client.address


def test_the_clock_tells_the_time_until_it_is_set(standalone: Server) -> None:
    client = standalone.client()

    def told() -> datetime:
        moment: datetime = client.admin.command("hello")["localTime"]
        return moment.replace(tzinfo=UTC)

    assert abs(told() - datetime.now(UTC)) < timedelta(minutes=1)
    moment = datetime(2024, 2, 3, 4, 5, 6, 7000, tzinfo=UTC)
    standalone.set_clock(moment)
    assert told() == told() == moment
    standalone.set_clock(moment, running=True)
    assert moment < told() + timedelta(milliseconds=1) < moment + timedelta(minutes=1)
    standalone.set_clock(None)
    assert abs(told() - datetime.now(UTC)) < timedelta(minutes=1)


def test_an_old_handshake_is_answered(standalone: Server) -> None:
    address = standalone.client().address
    assert address is not None
    query = struct.pack("<i", 0) + b"admin.$cmd\x00" + struct.pack("<ii", 0, -1) + bson.encode({"isMaster": 1})
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(struct.pack("<iiii", 16 + len(query), 7, 0, 2004) + query)
        reply = connection.recv(65536)
    length, _, response_to, opcode, _, cursor, _, count = struct.unpack_from("<iiiiiqii", reply)
    assert (length, response_to, opcode, cursor, count) == (len(reply), 7, 1, 0, 1)
    assert bson.decode(reply[36:])["maxWireVersion"] >= 9


def test_a_user_is_let_in_by_password_only() -> None:
    with mongodb_server(user="me", password="se cr:et@%") as server:
        users = fresh(server)
        users.insert_one({"_id": 1})
        assert users.count_documents({}) == 1
        address = server.uri.rpartition("@")[2]
        for credentials, code in (("me:wrong@", 18), ("you:secret@", 18), ("", 13)):
            client: MongoClient[Document] = MongoClient(f"mongodb://{credentials}{address}")
            with client:
                assert client.admin.command("ping")["ok"] == 1 if not credentials else True
                with pytest.raises(OperationFailure) as caught:
                    client[server.database].users.find_one()
                assert caught.value.code == code


# Change streams.


def test_a_change_stream_tells_every_change_once(replica_set: Server) -> None:
    users, other = fresh(replica_set), fresh(replica_set)
    with users.watch(full_document="updateLookup", max_await_time_ms=10_000) as stream:
        users.insert_one({"_id": 1, "a": 1, "b": 1})
        other.insert_one({"_id": 1})
        users.update_one({"_id": 1}, {"$set": {"a": 2}, "$unset": {"b": 1}})
        users.replace_one({"_id": 1}, {"c": 1})
        users.delete_one({"_id": 1})
        events = [next(stream) for _ in range(4)]
    assert [event["operationType"] for event in events] == ["insert", "update", "replace", "delete"]
    assert {event["documentKey"]["_id"] for event in events} == {1}
    assert {event["ns"]["coll"] for event in events} == {users.name}
    assert events[0]["fullDocument"] == {"_id": 1, "a": 1, "b": 1}
    assert events[1]["updateDescription"]["updatedFields"] == {"a": 2}
    assert events[1]["updateDescription"]["removedFields"] == ["b"]
    assert events[2]["fullDocument"] == {"_id": 1, "c": 1}
    assert [event["clusterTime"] for event in events] == sorted({event["clusterTime"] for event in events})


def test_a_change_stream_goes_on_after_any_token(replica_set: Server) -> None:
    users = fresh(replica_set)
    with users.watch(max_await_time_ms=100) as stream:
        assert stream.try_next() is None
        start = stream.resume_token
        users.insert_many({"_id": number} for number in range(5))
        tokens = [next(stream)["_id"] for _ in range(5)]
        assert stream.try_next() is None
        end = stream.resume_token
    for token, expected in ((start, [0, 1, 2, 3, 4]), (tokens[1], [2, 3, 4]), (end, [])):
        with users.watch(resume_after=token, max_await_time_ms=100, batch_size=2) as stream:
            events = iter(stream.try_next, None)
            assert [event["documentKey"]["_id"] for event in events] == expected


def test_a_change_stream_waits_for_the_next_change(replica_set: Server) -> None:
    users = fresh(replica_set)
    with users.watch(max_await_time_ms=60_000) as stream:
        threading.Timer(0.2, users.insert_one, [{"_id": 1}]).start()
        started = time.monotonic()
        assert next(stream)["documentKey"] == {"_id": 1}
        assert 0.1 < time.monotonic() - started < 30


def test_a_database_is_watched_through_a_pipeline(replica_set: Server) -> None:
    users, other = fresh(replica_set), fresh(replica_set)
    pipeline: list[Document] = [{"$match": {"ns.coll": {"$in": [users.name]}}}, {"$project": {"documentKey": 1}}]
    with users.database.watch(pipeline, max_await_time_ms=100) as stream:
        other.insert_one({"_id": 1})
        users.insert_one({"_id": 2})
        event = next(stream)
        assert event == {"_id": event["_id"], "documentKey": {"_id": 2}}
        assert stream.try_next() is None


def test_a_change_stream_of_a_dropped_collection_ends(replica_set: Server) -> None:
    users = fresh(replica_set)
    users.insert_one({})
    with users.watch(max_await_time_ms=1000) as stream:
        users.drop()
        assert [event["operationType"] for event in stream] == ["drop", "invalidate"]


def test_a_token_older_than_the_log_is_lost(replica_set: Server) -> None:
    users = fresh(replica_set)
    with users.watch(max_await_time_ms=100) as stream:
        stream.try_next()
        token = stream.resume_token
    users.insert_many({"_id": number} for number in range(5))
    replica_set.set_log_size(4)
    try:
        with pytest.raises(OperationFailure) as caught, users.watch(resume_after=token, max_await_time_ms=100):
            pass
        assert caught.value.code == 286
        assert caught.value.has_error_label("NonResumableChangeStreamError")
        with users.watch(max_await_time_ms=100) as stream:
            users.insert_one({"_id": 9})
            assert next(stream)["documentKey"] == {"_id": 9}
    finally:
        replica_set.set_log_size(None)


def test_a_standalone_server_has_no_change_streams(standalone: Server) -> None:
    with pytest.raises(OperationFailure) as caught, fresh(standalone).watch():
        pass
    assert caught.value.code == 40573


def test_a_token_that_is_none_is_refused(replica_set: Server) -> None:
    with pytest.raises(OperationFailure) as caught, fresh(replica_set).watch(resume_after={"_data": "none"}):
        pass
    assert caught.value.code == 9


# What goes wrong.


def test_a_fail_point_holds_for_so_many_commands(server: Server) -> None:
    users = fresh(server, retryReads=False)
    users.insert_one({"_id": 1})
    server.fail_command("find", mode={"times": 2}, errorCode=91, errorLabels=["RetryableError"])
    for _ in range(2):
        with pytest.raises(AutoReconnect) as caught:
            users.find_one()
        assert caught.value.has_error_label("RetryableError")
    assert users.find_one()
    server.fail_command("count", mode={"skip": 1}, errorCode=13)
    assert users.estimated_document_count() == 1
    for _ in range(3):
        with pytest.raises(OperationFailure, match="failCommand"):
            users.estimated_document_count()
    server.recover()
    assert users.estimated_document_count() == 1


def test_a_fail_point_closes_the_connection(server: Server) -> None:
    users = fresh(server)
    users.insert_many({"_id": number} for number in range(20))
    cursor = users.find(batch_size=5)
    next(cursor)
    server.fail_command("getMore", closeConnection=True)
    with pytest.raises(AutoReconnect):
        list(cursor)
    # The driver repeats a find by itself.
    server.fail_command("find", closeConnection=True)
    assert len(list(users.find())) == 20


def test_a_fail_point_makes_one_application_wait(server: Server) -> None:
    name = f"slow{time.monotonic_ns()}"
    users = fresh(server, appname=name, socketTimeoutMS=100, retryReads=False)
    server.fail_command("find", mode="alwaysOn", blockTimeMS=1000, appName=name)
    with pytest.raises(NetworkTimeout):
        users.find_one()
    assert fresh(server, socketTimeoutMS=500, retryReads=False).find_one() is None


def test_a_write_that_is_sent_again_happens_once(replica_set: Server) -> None:
    users = fresh(replica_set)
    replica_set.on_command("insert", collection=users.name, closeInReply=True)
    users.insert_one({"_id": 1})
    replica_set.on_command("update", collection=users.name, closeInReply=True)
    assert users.update_one({"_id": 1}, {"$set": {"a": 1}}).modified_count == 1


def test_a_connection_breaks_in_the_middle_of_the_nth_reply(server: Server) -> None:
    users = fresh(server)
    users.insert_many({"_id": number} for number in range(50))
    server.on_command("getMore", number=2, collection=users.name, closeInReply=True)
    cursor = users.find(sort={"_id": 1}, batch_size=10)
    assert ids(next(cursor) for _ in range(20)) == list(range(20))
    with pytest.raises(AutoReconnect):
        next(cursor)
    assert len(list(users.find(batch_size=10))) == 50


def test_documents_change_while_they_are_read(server: Server) -> None:
    users = fresh(server)
    users.insert_many({"_id": number} for number in range(30))
    writes: list[Document] = [
        {"insert": users.name, "documents": [{"_id": 15.5}, {"_id": -1}]},
        {"delete": users.name, "deletes": [{"q": {"_id": 25}, "limit": 1}]},
        {"update": users.name, "updates": [{"q": {"_id": 29}, "u": {"$set": {"a": 1}}}]},
    ]
    server.on_command("getMore", number=1, collection=users.name, writes=writes)
    found = list(users.find(sort={"_id": 1}, batch_size=10))
    assert ids(found) == [*range(16), 15.5, *range(16, 25), *range(26, 30)]
    assert found[-1] == {"_id": 29, "a": 1}
    assert users.find_one({"_id": -1})


def test_a_killed_server_comes_back_with_its_port_its_data_and_its_log() -> None:
    with mongodb_server(replica_set="rs0") as server:
        users = fresh(server)
        users.insert_many({"_id": number} for number in range(50))
        users.create_index("email")
        stream = users.watch(max_await_time_ms=1000)
        assert stream.try_next() is None
        users.update_one({"_id": 1}, {"$set": {"a": 1}})
        users.delete_one({"_id": 2})
        cursor = users.find(batch_size=10)
        next(cursor)
        server.kill()
        with pytest.raises(AutoReconnect):
            list(cursor)
        server.restart()
        assert users.count_documents({}) == 49
        assert users.find_one({"_id": 1}) == {"_id": 1, "a": 1}
        assert list(users.index_information()) == ["_id_", "email_1"]
        assert [next(stream)["operationType"] for _ in range(2)] == ["update", "delete"]
        users.insert_one({"_id": 99})
        server.restart()
        assert users.count_documents({}) == 50
        assert next(stream)["documentKey"] == {"_id": 99}


def test_a_journal_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    for expected in (0, 1, 2):
        with journal.open("a+b") as file:
            store = Store(file, keeps_log=True)
            assert sum(len(collection.documents) for collection in store.collections.values()) == expected
            assert len(store.log) == expected
            store.commit("insert", "club.users", [bson.encode({"_id": expected})])
            file.write(bson.encode({"operation": "insert"})[:-3])


def test_the_server_ends_with_the_process_that_started_it() -> None:
    command = [sys.executable, "-m", "profile_pipeline_tests.servers.mongodb"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True)
    assert int(ended.stdout) > 0
    assert ended.stderr == ""


def test_the_server_tells_which_commands_came(standalone: Server) -> None:
    users = fresh(standalone)
    standalone.commands()
    users.insert_one({"_id": 1})
    list(users.find({"a": 1}))
    told = standalone.commands()
    assert [next(iter(command)) for command in told] == ["insert", "find"]
    assert told[1]["filter"] == {"a": 1}
    assert standalone.commands() == []


def test_many_documents_come_in_from_a_file_and_out_by_key(standalone: Server, tmp_path: Path) -> None:
    users = fresh(standalone)
    keys = [ObjectId(number.to_bytes(12, "big")) for number in range(100_000)]
    file = tmp_path / "users.bson"
    file.write_bytes(b"".join(bson.encode({"_id": key, "a": 1}) for key in keys))
    standalone.load(users.name, file)
    assert ids(users.find(projection={"_id": 1}, sort={"_id": 1})) == keys
    page = users.find({"_id": {"$gt": keys[70_000]}}, sort={"_id": 1}, limit=3)
    assert ids(page) == keys[70_001:70_004]
