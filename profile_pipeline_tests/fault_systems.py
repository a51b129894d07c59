"""The two live systems as a schedule of faults sees them: records that change, a clock, and what can go wrong.

What belongs here: how a system holds a record, which faults it can suffer, and what is in it in the end, asked of
the servers directly. What does not: what happens when (`fault_schedules.py`).
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta, timezone
from random import Random
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

import pymongo.common
import pytest
import requests
import stamina
from bson import Int64, ObjectId, json_util
from pydantic import SecretStr
from pymongo import MongoClient

from profile_pipeline.retries import ATTEMPTS
from profile_pipeline.settings import Settings
from profile_pipeline.sources.airtable import AirtableSource
from profile_pipeline.sources.live import LiveSource
from profile_pipeline.sources.mongodb import APP_NAME, MongoSource
from profile_pipeline_tests.servers.airtable import AirtableServer
from profile_pipeline_tests.servers.mongodb import Server

Fields = dict[str, Any]
"""A record by the fields of its model; times are UTC without a zone. `is_broken` is true for one to be rejected."""

BROKEN = "is_broken"
UNREADABLE = ("soon", "2024-13-45", "2024-01-02T25:00:00")
PATIENCE_SECONDS, IMPATIENCE_SECONDS, HANG_SECONDS = 20, 0.3, 0.5
"""How long a client waits for an answer: only where the server hangs is it worth a test's time to give up soon."""


class Truth(NamedTuple):
    """A record as the system has it in the end."""

    document: Fields
    is_broken: bool


class System(Protocol):
    """The records of one kind in a live system, by names that are the same in every schedule."""

    kind: str
    is_telling_all: bool
    """Whether comparing keys brings all documents, so that nothing can stay unseen."""
    keeps_times: bool
    """Whether the system itself notes when a record changed."""
    has_change_times: bool
    """Whether a record says when it changed, whoever notes it."""

    def source(self, settings: Settings, *, is_patient: bool) -> LiveSource: ...

    def set_clock(self, moment: datetime) -> None: ...

    def names(self) -> list[str]: ...

    def key(self, name: str) -> str:
        """Its id in the log."""

    def write(self, name: str, fields: Fields) -> object:
        """Insert or overwrite a record; how it reads now, for `restore`."""

    def remove(self, name: str) -> object: ...

    def restore(self, name: str, held: object) -> None: ...

    def while_reading(self, rng: Random, name: str, fields: Fields | None) -> str:
        """Write or, without fields, remove a record while it is being read; in words."""

    def spoil(self, rng: Random) -> tuple[str, bool]:
        """Let something go wrong in the next reading; in words, and whether the server will not answer for a while."""

    def heal(self) -> None:
        """No faults any more."""

    def truth(self) -> dict[str, Truth]:
        """What there is, by id in the log."""

    def close(self) -> None:
        """Leave nothing behind."""


# ---------------------------------------------------------------- MongoDB

CODES = {
    "NotWritablePrimary": 10107,
    "CursorNotFound": 43,
    "MaxTimeMSExpired": 50,
    "InterruptedDueToReplStateChange": 11602,
    "QueryPlanKilled": 175,
    "ExceededTimeLimit": 262,
    "ShutdownInProgress": 91,
}
UNAUTHORIZED = 13
KOLKATA = timezone(timedelta(hours=5, minutes=30))


class MongoSystem:
    """A collection of users, orders or events, some of its fields elsewhere than named."""

    is_telling_all = False
    keeps_times = False
    has_change_times = True

    def __init__(
        self, kind: str, server: Server, client: MongoClient[Fields], rng: Random, *, zone: ZoneInfo, number: str
    ) -> None:
        self.kind, self.client, self.rng, self.zone = kind, client, rng, zone
        self.uri, self.database, self.name = server.uri, server.database, f"{kind}_{number}"
        self.collection = client[server.database][self.name]
        self.fields = rng.choice(
            ({}, {"updated_at": "meta.changed", "created_at": "meta.created"}, {"id": "number", "deleted_at": "gone"})
        )
        self.ids: dict[str, Any] = {}

    def source(self, settings: Settings, *, is_patient: bool) -> LiveSource:
        seconds = PATIENCE_SECONDS if is_patient else IMPATIENCE_SECONDS
        joint = "&" if "?" in self.uri else "/?"
        place = {
            "mongodb_uri": SecretStr(f"{self.uri}{joint}socketTimeoutMS={seconds * 1000:.0f}"),
            "mongodb_database": self.database,
            "mongodb_collections": {self.kind: self.name},
            "mongodb_fields": {self.kind: self.fields},
        }
        return MongoSource.from_settings(settings.model_copy(update=place))

    def set_clock(self, moment: datetime) -> None:
        self.client.admin.command({"setClock": moment, "running": False})

    def names(self) -> list[str]:
        present = {repr(document["_id"]) for document in self.collection.find({}, {"_id": 1})}
        return [name for name, identity in self.ids.items() if repr(identity) in present]

    def key(self, name: str) -> str:
        return name if "id" in self.fields else str(self.ids[name])

    def write(self, name: str, fields: Fields) -> object:
        document = self._document(name, fields)
        self.collection.replace_one({"_id": document["_id"]}, document, upsert=True)
        return document

    def remove(self, name: str) -> object:
        held = self.collection.find_one({"_id": self.ids[name]})
        self.collection.delete_one({"_id": self.ids[name]})
        return held

    def restore(self, name: str, held: object) -> None:
        assert isinstance(held, dict)
        self.collection.replace_one({"_id": self.ids[name]}, held, upsert=True)

    def while_reading(self, rng: Random, name: str, fields: Fields | None) -> str:
        write: Fields = {"delete": self.name, "deletes": [{"q": {"_id": self.ids.get(name)}, "limit": 1}]}
        if fields is not None:
            document = self._document(name, fields)
            update = {"q": {"_id": document["_id"]}, "u": document, "upsert": True}
            write = {"update": self.name, "updates": [update]}
        command, number = rng.choice(("find", "getMore", "getMore")), rng.randint(1, 3)
        self._when(command, number, writes=[write])
        return f"at {command} {number}"

    def spoil(self, rng: Random) -> tuple[str, bool]:
        command = rng.choice(("find", "getMore", "getMore", "count", "hello"))
        times = rng.choice((1, 1, 2, 3, 12))
        if command == "hello":
            self._fail({"times": min(times, 2)}, failCommands=["hello", "isMaster", "ismaster"], closeConnection=True)
            return f"{min(times, 2)} connections reset", False
        fault = rng.choice(("reset", "code", "code", "cut", "hang", "refusal"))
        match fault:
            case "cut":
                number = rng.randint(1, 3)
                self._when(command, number, closeInReply=True)
                return f"{command} {number} cut off in the reply", False
            case "hang":
                # The driver repeats what it can, so that two may have to be waited for.
                self._fail({"times": 1}, [command], blockConnection=True, blockTimeMS=int(HANG_SECONDS * 1000))
                return f"{command} hangs", True
            case "refusal":
                self._fail({"times": 1}, [command], errorCode=UNAUTHORIZED)
                return f"{command} refused", False
            case "reset":
                self._fail({"times": times}, [command], closeConnection=True)
                return f"{command} reset {times} times", False
        name = rng.choice(sorted(CODES))
        self._fail({"times": times}, [command], errorCode=CODES[name])
        return f"{command} fails {times} times with {name}", False

    def heal(self) -> None:
        self.client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
        self.client.admin.command({"onCommand": "off"})

    def truth(self) -> dict[str, Truth]:
        found = {}
        names = {repr(identity): name for name, identity in self.ids.items()}
        for document in self.collection.find():
            text = json_util.dumps(document, json_options=json_util.RELAXED_JSON_OPTIONS)
            found[self.key(names[repr(document["_id"])])] = Truth(json.loads(text), BROKEN in document)
        return found

    def close(self) -> None:
        self.collection.drop()

    def _fail(self, mode: Fields, commands: list[str] | None = None, **data: Any) -> None:
        if commands:
            # Others, such as this object, are to be left alone; before a handshake nobody has a name.
            data |= {"failCommands": commands, "appName": APP_NAME}
        self.client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})

    def _when(self, command: str, number: int, **rule: Any) -> None:
        self.client.admin.command({"onCommand": command, "number": number, "collection": self.name, **rule})

    def _document(self, name: str, fields: Fields) -> Fields:
        document: Fields = {"_id": self._identity(name, fields)} | ({"number": name} if "id" in self.fields else {})
        for field, value in fields.items():
            outer, _, inner = self.fields.get(field, field).rpartition(".")
            level = document.setdefault(outer, {}) if outer else document
            level[inner] = self._form(value) if isinstance(value, datetime) else value
        return document

    def _identity(self, name: str, fields: Fields) -> Any:
        """The `_id`: an ObjectId that some client made when the record was created, or a key of one's own."""
        if name not in self.ids:
            made = fields.get("created_at")
            is_object = made is not None and self.rng.random() < 0.5
            seconds = int(made.replace(tzinfo=UTC).timestamp()) if made else 0
            self.ids[name] = ObjectId(f"{seconds:08x}{len(self.ids):016x}") if is_object else name
        return self.ids[name]

    def _form(self, moment: datetime) -> Any:
        """A time in one of the ways that applications write it."""
        aware = moment.replace(tzinfo=UTC)
        match self.rng.randint(0, 6):
            case 0:
                return moment.isoformat(timespec="milliseconds") + "Z"
            case 1:
                return aware.astimezone(KOLKATA).isoformat()
            case 2:
                return aware.astimezone(self.zone).replace(tzinfo=None).isoformat(" ")
            case 3:
                return Int64(int(aware.timestamp() * 1000))
        return moment


# ---------------------------------------------------------------- Airtable

TABLE = "messages"
SCHEMAS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "Airtable keeps the time of change": (
        {
            "Member": "multipleRecordLinks",
            "Text": "multilineText",
            "State": "singleSelect",
            "Sent": "date",
            "Written": "dateTime",
            "Gone": "dateTime",
            "Changed": "lastModifiedTime",
        },
        {"updated_at": "Changed"},
    ),
    "people keep the time of change, as text": (
        {
            "Member": "singleLineText",
            "Text": "multilineText",
            "State": "singleSelect",
            "Sent": "date",
            "Written": "singleLineText",
            "Gone": "singleLineText",
            "Edited": "singleLineText",
        },
        {"updated_at": "Edited"},
    ),
    "nobody keeps the time of change": (
        {
            "Member": "multipleRecordLinks",
            "Text": "multilineText",
            "State": "singleSelect",
            "Sent": "date",
            "Written": "dateTime",
            "Gone": "dateTime",
        },
        {},
    ),
}
MAPPED = {
    "user_id": "Member",
    "content": "Text",
    "status": "State",
    "sent_date": "Sent",
    "created_date": "Written",
    "deleted_at": "Gone",
}
MANY_CALLS = 1_000_000
"""A month's calls that leave it to the setting how often keys are compared."""


class AirtableSystem:
    """A table of messages."""

    kind = "messages"
    is_telling_all = True

    def __init__(self, rng: Random) -> None:
        self.types, extra = SCHEMAS[rng.choice(sorted(SCHEMAS))]
        # Waiting for the rate of a base would take most of a test's time.
        self.server = AirtableServer({TABLE: self.types}, rate=None)
        self.server.start()
        self.fields = MAPPED | extra
        self.has_change_times = bool(extra)
        self.keeps_times = self.types.get(extra.get("updated_at", "")) == "lastModifiedTime"
        self.made: dict[str, str] = {}

    def source(self, settings: Settings, *, is_patient: bool) -> LiveSource:
        timeout: Any = (PATIENCE_SECONDS, PATIENCE_SECONDS if is_patient else IMPATIENCE_SECONDS)
        options: Any = {"monthly_calls": MANY_CALLS, "pause": lambda seconds: None, "timeout": timeout}
        key = SecretStr(self.server.token)
        return AirtableSource(key, self.server.base, TABLE, self.fields, self.server.url, **options)

    def set_clock(self, moment: datetime) -> None:
        self.server.set_clock(moment)

    def names(self) -> list[str]:
        present = self.server.record_ids(TABLE)
        return [name for name, key in self.made.items() if key in present]

    def key(self, name: str) -> str:
        return self.made.setdefault(name, f"rec{len(self.made):014}")

    def write(self, name: str, fields: Fields) -> object:
        self.server.put(TABLE, self.key(name), self._row(fields))
        return None

    def remove(self, name: str) -> object:
        return self.server.delete(TABLE, self.key(name))

    def restore(self, name: str, held: object) -> None:
        self.server.restore(TABLE, self.key(name), held)

    def while_reading(self, rng: Random, name: str, fields: Fields | None) -> str:
        number = rng.randint(1, 6)
        row = None if fields is None else self._row(fields)

        def act() -> None:
            if row is not None:
                self.server.put(TABLE, self.key(name), row)
            else:
                with suppress(KeyError):
                    self.server.delete(TABLE, self.key(name))

        self.server.on_request(number, act)
        return f"at request {number}"

    def spoil(self, rng: Random) -> tuple[str, bool]:
        after, times = rng.randint(0, 5), rng.choice((1, 1, 2, 3, 20))
        fault = rng.choice((429, 429, 503, 500, "reset", "reset", "cut", "html", "hang", "expiry", "expiry", "billing"))
        if fault == "expiry":
            self.server.on_request(after + 1, self.server.expire_offsets)
            return f"offsets expire before request {after + 1}", False
        if fault in ("hang", "billing"):
            times = 1
        self.server.fail(fault, times, after)
        return f"{fault} {times} times after {after} requests", fault == "hang"

    def heal(self) -> None:
        self.server.recover()

    def truth(self) -> dict[str, Truth]:
        address, offset = f"{self.server.url}/v0/{self.server.base}/{TABLE}", ""
        found = {}
        while True:
            parameters = {"offset": offset} if offset else {}
            headers = {"Authorization": f"Bearer {self.server.token}"}
            page = requests.get(address, parameters, headers=headers, timeout=PATIENCE_SECONDS).json()
            for record in page["records"]:
                found[record["id"]] = Truth(record, record["fields"].get("Text") == BROKEN)
            if not (offset := page.get("offset", "")):
                return found

    def close(self) -> None:
        self.server.close()

    def _row(self, fields: Fields) -> Fields:
        row = {}
        for field, value in fields.items():
            column = self.fields.get(field)
            if column is not None and self.types[column] != "lastModifiedTime":
                row[column] = self._value(column, value)
        return row

    def _value(self, column: str, value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat(timespec="milliseconds") + "Z"
        if isinstance(value, date):
            return value.isoformat()
        if self.types[column] == "multipleRecordLinks" and isinstance(value, str):
            return [value]
        return value


@contextmanager
def small_and_quick() -> Iterator[None]:
    """Batches of a few records, so that few records have many edges, and next to no waits."""
    with pytest.MonkeyPatch.context() as patch, stamina.set_testing(True, attempts=ATTEMPTS):
        patch.setattr("profile_pipeline.sources.mongodb.documents.BATCH_DOCUMENTS", 3)
        patch.setattr("profile_pipeline.sources.mongodb.source.BATCH_KEYS", 3)
        patch.setattr("profile_pipeline.sources.mongodb.source.FETCH_KEYS", 3)
        patch.setattr("profile_pipeline.sources.airtable.source.PAGE_RECORDS", 3)
        # After each broken connection the driver waits half a second before it looks at the server again.
        patch.setattr(pymongo.common, "MIN_HEARTBEAT_INTERVAL", 0.01)
        yield


Make = Callable[[Random, ZoneInfo, str], list[System]]
"""Makes the systems of a schedule from its random choices, its time zone and its number."""
