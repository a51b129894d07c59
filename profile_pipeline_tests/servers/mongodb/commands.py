"""The commands of the server: who may run them, which fault they meet, what they answer.

What belongs here: dispatch, handshake, open cursors, and the commands that only a server for tests has. What does
not: reading (`reading.py`), writing (`writing.py`), the protocol (`wire.py`).

A field of a command that would change its result and is not known is refused; those that only say how to get there,
such as `hint`, are read over, and so is a find's `maxTimeMS`: a fail point with error 50 stands for it.
"""

import itertools
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import bson
from bson import DatetimeMS, Int64, ObjectId

from profile_pipeline_tests.servers.bson_query import BAD_VALUE, CommandError, Document, compile_filter, decode
from profile_pipeline_tests.servers.mongodb import reading, writing
from profile_pipeline_tests.servers.mongodb.change_streams import DEFAULT_WAIT_MS, ChangeStream
from profile_pipeline_tests.servers.mongodb.faults import FailPoint, Rule
from profile_pipeline_tests.servers.mongodb.reading import Cursor
from profile_pipeline_tests.servers.mongodb.scram import AUTHENTICATION_FAILED, Conversation
from profile_pipeline_tests.servers.mongodb.store import Collection, Store, split_documents
from profile_pipeline_tests.servers.mongodb.wire import Reply, Request, Session, array, document

UNKNOWN_ERROR, UNAUTHORIZED, CURSOR_NOT_FOUND, NAMESPACE_EXISTS, NO_SUCH_COMMAND = 8, 13, 43, 48, 59
UNKNOWN_FIELD, ONLY_ON_REPLICA_SETS = 40415, 40573
CODE_NAMES = {
    BAD_VALUE: "BadValue",
    UNKNOWN_ERROR: "UnknownError",
    9: "FailedToParse",
    UNAUTHORIZED: "Unauthorized",
    14: "TypeMismatch",
    18: "AuthenticationFailed",
    CURSOR_NOT_FOUND: "CursorNotFound",
    50: "MaxTimeMSExpired",
    NO_SUCH_COMMAND: "CommandNotFound",
    175: "QueryPlanKilled",
    280: "ChangeStreamFatalError",
    286: "ChangeStreamHistoryLost",
    334: "MechanismUnavailable",
}

VERSION, MAX_WIRE_VERSION = "7.0.14", 21
FIRST_BATCH = 101
COMMANDS_KEPT = 10_000
"""How many of the last commands `takeCommands` can tell."""

_GENERIC = {
    *("$db", "lsid", "$clusterTime", "$readPreference", "readConcern", "writeConcern", "txnNumber", "comment"),
    *("maxTimeMS", "hint", "allowDiskUse", "noCursorTimeout", "ordered"),
}
_FIELDS = {
    "find": {"filter", "sort", "projection", "skip", "limit", "batchSize", "singleBatch", "min", "max"},
    "aggregate": {"pipeline", "cursor"},
    "count": {"query", "limit", "skip"},
    "getMore": {"collection", "batchSize"},
    "insert": {"documents"},
    "update": {"updates"},
    "delete": {"deletes"},
}
_OPEN_TO_ALL = {"hello", "isMaster", "ismaster", "ping", "buildInfo", "saslStart", "saslContinue"}
_UNTOLD = {"endSessions", "configureFailPoint", "setClock", "setLogSize", "onCommand", "takeCommands", "loadFile"}
"""What `takeCommands` leaves out, beside what is open to all."""


class Service:
    """The commands of one server, on its store."""

    def __init__(self, store: Store, replica_set: str | None, user: str | None, password: str | None) -> None:
        self.store = store
        self.address = ""
        """Host and port, once they are known."""
        self._replica_set = replica_set
        self._user = user
        self._password = password or ""
        self._fail_point = FailPoint()
        self._rules: list[Rule] = []
        self._cursors: dict[int, tuple[str, Cursor | ChangeStream]] = {}
        # Numbers that a server started anew does not hand out again.
        self._cursor_ids = itertools.count(time.time_ns())
        self._retried: dict[tuple[bytes, int], bytes] = {}
        self._commands: deque[Document] = deque(maxlen=COMMANDS_KEPT)

    def answer(self, request: Request, session: Session) -> Reply:
        """The reply to a command, an error included."""
        name, share = request.name, 1.0
        try:
            if name != "configureFailPoint" and self._fail_point.meets(name, session.app_name):
                fault = self._fail_point.data
                if fault.get("blockConnection"):
                    time.sleep(fault.get("blockTimeMS", 0) / 1000)
                if fault.get("closeConnection"):
                    return Reply(b"", 0.0)
                if "errorCode" in fault:
                    message = "Failing command via 'failCommand' failpoint"
                    raise CommandError(fault["errorCode"], message, fault.get("errorLabels", ()))
            # A heartbeat does not wait for whoever reads a whole collection.
            with nullcontext() if name in _OPEN_TO_ALL else self.store.changed:
                share = self._follow_rules(request)
                return Reply(self._run(request, session), share)
        except CommandError as error:
            return Reply(self._error(error), share)
        except Exception as error:
            # A fault of ours, or a command without what it must have.
            traceback.print_exc(file=sys.stderr)
            return Reply(self._error(CommandError(UNKNOWN_ERROR, repr(error))), share)

    def _follow_rules(self, request: Request) -> float:
        """Do what waits for this command; the share of the reply's bytes that will be sent."""
        collection = request.body.get("collection", request.body[request.name])
        met = [rule for rule in self._rules if rule.meets(request.name, collection)]
        for write in itertools.chain.from_iterable(rule.writes for rule in met):
            reply = decode(self._run(Request({**write, "$db": request.database}), Session(None, True)))
            if "writeErrors" in reply:
                raise CommandError(BAD_VALUE, f"a write of onCommand failed: {reply['writeErrors']}")
        return 0.5 if any(rule.closes_in_reply for rule in met) else 1.0

    def _run(self, request: Request, session: Session) -> bytes:
        name = request.name
        if self._user is not None and not session.is_authenticated and name not in _OPEN_TO_ALL:
            raise CommandError(UNAUTHORIZED, f"Command {name} requires authentication")
        if name not in _OPEN_TO_ALL | _UNTOLD:
            self._commands.append(request.body)
        if name not in _COMMANDS:
            raise CommandError(NO_SUCH_COMMAND, f"no such command: '{name}'")
        self._check_fields(request)
        # A write that the driver sends again, because it saw no reply, happens once.
        attempt = (request.body.get("lsid", {}).get("id", b""), request.body.get("txnNumber", 0))
        if attempt in self._retried:
            return self._retried[attempt]
        result = _COMMANDS[name](self, request, session)
        reply = result if isinstance(result, bytes) else self._reply(result)
        if "txnNumber" in request.body:
            self._retried[attempt] = reply
        return reply

    def _check_fields(self, request: Request) -> None:
        known = _GENERIC | _FIELDS.get(request.name, set(request.body)) - {"startTransaction", "collation"}
        if unknown := set(request.body) - known - {request.name}:
            raise CommandError(UNKNOWN_FIELD, f"BSON field '{request.name}.{min(unknown)}' is an unknown field.")
        if request.body.get("readConcern", {}).get("level") == "snapshot":
            raise CommandError(BAD_VALUE, "read concern snapshot is not known here")

    def _reply(self, fields: Document, elements: bytes = b"") -> bytes:
        """A reply, with the time that the members of a replica set tell each other through their clients."""
        fields = {**fields, "ok": fields.get("ok", 1.0)}
        if self._replica_set is not None:
            signature = {"hash": bytes(20), "keyId": Int64(0)}
            fields["operationTime"] = self.store.last.at
            fields["$clusterTime"] = {"clusterTime": self.store.last.at, "signature": signature}
        return document(fields, elements)

    def _error(self, error: CommandError) -> bytes:
        fields: Document = {"ok": 0.0, "errmsg": str(error), "code": error.code}
        fields["codeName"] = CODE_NAMES.get(error.code, f"Location{error.code}")
        return self._reply(fields | ({"errorLabels": error.labels} if error.labels else {}))

    # Who the server is, and who the client is.

    def hello(self, request: Request, session: Session) -> Document:
        application = request.body.get("client", {}).get("application", {})
        session.app_name = application.get("name", session.app_name)
        reply: Document = {
            "helloOk": True,
            "isWritablePrimary" if request.name == "hello" else "ismaster": True,
            "maxBsonObjectSize": writing.MAX_DOCUMENT_BYTES,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "localTime": DatetimeMS(self.store.now_ms()),
            "logicalSessionTimeoutMinutes": 30,
            "minWireVersion": 0,
            "maxWireVersion": MAX_WIRE_VERSION,
            "readOnly": False,
        }
        if self._replica_set is not None:
            at = {"ts": self.store.last.at, "t": Int64(1)}
            moment = DatetimeMS(self.store.last.seconds * 1000)
            reply |= {"setName": self._replica_set, "setVersion": 1, "secondary": False, "hosts": [self.address]}
            reply |= {"primary": self.address, "me": self.address, "electionId": ObjectId("7fffffff0000000000000001")}
            reply["lastWrite"] = {"opTime": at, "lastWriteDate": moment, "majorityOpTime": at}
            reply["lastWrite"]["majorityWriteDate"] = moment
        if "saslSupportedMechs" in request.body:
            reply["saslSupportedMechs"] = ["SCRAM-SHA-256"]
        if "speculativeAuthenticate" in request.body:
            try:
                speculation = Request(request.body["speculativeAuthenticate"])
                reply["speculativeAuthenticate"] = self.sasl_start(speculation, session)
            except CommandError:
                session.conversation = None  # The client goes on as if it had not tried.
        return reply

    def sasl_start(self, request: Request, session: Session) -> Document:
        if self._user is None:
            raise CommandError(AUTHENTICATION_FAILED, "Authentication failed.")
        session.conversation = Conversation(self._user, self._password)
        return session.conversation.start(request.body)

    def sasl_continue(self, request: Request, session: Session) -> Document:
        if session.conversation is None:
            raise CommandError(AUTHENTICATION_FAILED, "Authentication failed.")
        reply = session.conversation.go_on(request.body)
        session.is_authenticated = session.conversation.is_done
        return reply

    def ping(self, request: Request, session: Session) -> Document:
        return {}

    def build_info(self, request: Request, session: Session) -> Document:
        version = [*map(int, VERSION.split(".")), 0]
        return {"version": VERSION, "versionArray": version, "maxBsonObjectSize": writing.MAX_DOCUMENT_BYTES}

    # Reading.

    def _collection(self, request: Request) -> Collection:
        return self.store.collections.get(request.namespace, Collection())

    def _open(self, namespace: str, cursor: Cursor | ChangeStream, count: int, is_single: bool = False) -> bytes:
        batch = cursor.batch(count)
        number = 0 if cursor.is_done or is_single else next(self._cursor_ids)
        if number:
            self._cursors[number] = (namespace, cursor)
        return self._batch_reply("firstBatch", batch, number, namespace, cursor.place)

    def _open_list(self, request: Request, documents: Iterable[Document]) -> bytes:
        cursor = Cursor(map(bson.encode, documents))
        return self._open(f"{request.database}.$cmd.{request.name}", cursor, sys.maxsize)

    def _batch_reply(self, name: str, batch: list[bytes], number: int, namespace: str, place: Document | None) -> bytes:
        fields: Document = {"id": Int64(number), "ns": namespace}
        if place is not None:
            fields["postBatchResumeToken"] = place
        return self._reply({}, b"\x03cursor\x00" + document(fields, array(name, batch)))

    def find(self, request: Request, session: Session) -> bytes:
        body = request.body
        cursor = Cursor(reading.find(self._collection(request), body))
        return self._open(request.namespace, cursor, body.get("batchSize", FIRST_BATCH), body.get("singleBatch", False))

    def get_more(self, request: Request, session: Session) -> bytes:
        body, number = request.body, request.body["getMore"]
        namespace, cursor = self._cursors.pop(number, ("", None))
        if cursor is None or namespace != f"{request.database}.{body['collection']}":
            raise CommandError(CURSOR_NOT_FOUND, f"cursor id {number} not found")
        batch = cursor.batch(body.get("batchSize") or None, body.get("maxTimeMS", DEFAULT_WAIT_MS))
        if not cursor.is_done:
            self._cursors[number] = (namespace, cursor)
        return self._batch_reply("nextBatch", batch, 0 if cursor.is_done else number, namespace, cursor.place)

    def kill_cursors(self, request: Request, session: Session) -> Document:
        killed = [number for number in request.body["cursors"] if self._cursors.pop(number, None)]
        unknown = [number for number in request.body["cursors"] if number not in killed]
        return {"cursorsKilled": killed, "cursorsNotFound": unknown, "cursorsAlive": [], "cursorsUnknown": []}

    def count(self, request: Request, session: Session) -> Document:
        return {"n": reading.count(self._collection(request), request.body)}

    def aggregate(self, request: Request, session: Session) -> bytes:
        pipeline = list(request.body["pipeline"])
        count = request.body.get("cursor", {}).get("batchSize", FIRST_BATCH)
        if not pipeline or "$changeStream" not in pipeline[0]:
            rows = reading.aggregate(self._collection(request), request.namespace, pipeline)
            return self._open(request.namespace, Cursor(rows), count)
        if self._replica_set is None:
            raise CommandError(ONLY_ON_REPLICA_SETS, "The $changeStream stage is only supported on replica sets")
        options, refine = pipeline[0]["$changeStream"], partial(reading.refine, pipeline[1:])
        if request.body["aggregate"] != 1:
            stream = ChangeStream(self.store, options, request.namespace, refine)
            return self._open(request.namespace, stream, count)
        scope = "" if options.get("allChangesForCluster") else f"{request.database}."
        return self._open(f"{request.database}.$cmd.aggregate", ChangeStream(self.store, options, scope, refine), count)

    # Writing.

    def insert(self, request: Request, session: Session) -> Document:
        raws = request.encoded("documents")
        return writing.insert(self.store, request.namespace, raws, request.body.get("ordered", True))

    def update(self, request: Request, session: Session) -> Document:
        updates = list(map(decode, request.encoded("updates")))
        return writing.update(self.store, request.namespace, updates, request.body.get("ordered", True))

    def delete(self, request: Request, session: Session) -> Document:
        return writing.delete(self.store, request.namespace, list(map(decode, request.encoded("deletes"))))

    def drop(self, request: Request, session: Session) -> Document:
        if request.namespace in self.store.collections:
            self.store.commit("drop", request.namespace, [b""])
        return {"ns": request.namespace}

    def drop_database(self, request: Request, session: Session) -> Document:
        for namespace in self._namespaces(request.database):
            self.store.commit("drop", namespace, [b""])
        return {"dropped": request.database}

    def create(self, request: Request, session: Session) -> Document:
        if request.namespace in self.store.collections:
            raise CommandError(NAMESPACE_EXISTS, f"Collection {request.namespace} already exists.")
        self.store.commit("create", request.namespace, [b""])
        return {}

    def create_indexes(self, request: Request, session: Session) -> Document:
        known = [index["name"] for index in self._collection(request).indexes]
        new = [{"v": 2, **index} for index in request.body["indexes"] if index["name"] not in known]
        is_created = request.namespace not in self.store.collections
        self.store.commit("createIndexes", request.namespace, [bson.encode(index) for index in new])
        counts = {"numIndexesBefore": len(known), "numIndexesAfter": len(known) + len(new)}
        return {**counts, "createdCollectionAutomatically": is_created}

    # What there is.

    def _namespaces(self, database: str) -> list[str]:
        return sorted(name for name in self.store.collections if name.startswith(f"{database}."))

    def list_databases(self, request: Request, session: Session) -> Document:
        names = sorted({name.partition(".")[0] for name in self.store.collections})
        databases: list[Document] = [{"name": name, "sizeOnDisk": 1, "empty": False} for name in names]
        return {"databases": list(filter(compile_filter(request.body.get("filter", {})), databases))}

    def list_collections(self, request: Request, session: Session) -> bytes:
        names = [name.partition(".")[2] for name in self._namespaces(request.database)]
        all_of_them: list[Document] = [{"name": name, "type": "collection", "options": {}} for name in names]
        return self._open_list(request, filter(compile_filter(request.body.get("filter", {})), all_of_them))

    def list_indexes(self, request: Request, session: Session) -> bytes:
        return self._open_list(request, self._collection(request).indexes)

    # What only a server for tests does.

    def configure_fail_point(self, request: Request, session: Session) -> Document:
        self._fail_point.configure(request.body)
        return {"count": 0}

    def on_command(self, request: Request, session: Session) -> Document:
        rule = {name: value for name, value in request.body.items() if name not in _GENERIC}
        self._rules = [] if rule["onCommand"] == "off" else [*self._rules, Rule.parse(rule)]
        return {}

    def set_clock(self, request: Request, session: Session) -> Document:
        moment = request.body["setClock"]
        self.store.set_clock(None if moment is None else int(moment), request.body.get("running", False))
        return {}

    def set_log_size(self, request: Request, session: Session) -> Document:
        self.store.keep(request.body["setLogSize"])
        return {}

    def take_commands(self, request: Request, session: Session) -> bytes:
        taken = list(self._commands)
        self._commands.clear()
        return self._open_list(request, taken)

    def load_file(self, request: Request, session: Session) -> Document:
        raws = split_documents(Path(request.body["path"]).read_bytes())
        return writing.insert(self.store, request.namespace, raws, ordered=True)


_COMMANDS: dict[str, Callable[[Service, Request, Session], Document | bytes]] = {
    "hello": Service.hello,
    "isMaster": Service.hello,
    "ismaster": Service.hello,
    "ping": Service.ping,
    "endSessions": Service.ping,
    "buildInfo": Service.build_info,
    "saslStart": Service.sasl_start,
    "saslContinue": Service.sasl_continue,
    "find": Service.find,
    "getMore": Service.get_more,
    "killCursors": Service.kill_cursors,
    "count": Service.count,
    "aggregate": Service.aggregate,
    "insert": Service.insert,
    "update": Service.update,
    "delete": Service.delete,
    "drop": Service.drop,
    "dropDatabase": Service.drop_database,
    "create": Service.create,
    "createIndexes": Service.create_indexes,
    "listDatabases": Service.list_databases,
    "listCollections": Service.list_collections,
    "listIndexes": Service.list_indexes,
    "configureFailPoint": Service.configure_fail_point,
    "onCommand": Service.on_command,
    "setClock": Service.set_clock,
    "setLogSize": Service.set_log_size,
    "takeCommands": Service.take_commands,
    "loadFile": Service.load_file,
}
