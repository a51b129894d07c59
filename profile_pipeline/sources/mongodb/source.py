"""Asking MongoDB, with the driver.

What belongs here: settings, connections and queries. What does not: which documents a span concerns (`selection.py`),
documents as text (`documents.py`), faults in words (`faults.py`), and what is done with the documents
(`extraction.py`).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from bson import ObjectId, json_util
from bson.errors import BSONError
from pymongo import MongoClient, ReadPreference
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    ConfigurationError,
    ExecutionTimeout,
    InvalidName,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)

from profile_pipeline.errors import PipelineError
from profile_pipeline.records.dialect import Dialect, Path, value_at
from profile_pipeline.records.models import MODELS
from profile_pipeline.records.moments import read_moment
from profile_pipeline.settings import MongoKind, Settings
from profile_pipeline.sources.description import SAMPLE_DOCUMENTS, Description, filled_fields
from profile_pipeline.sources.live import Batch, Span
from profile_pipeline.sources.mongodb import documents
from profile_pipeline.sources.mongodb.documents import (
    CODEC,
    PLACE_JSON,
    Document,
    after,
    batches,
    key_of,
    plain,
    values_of,
)
from profile_pipeline.sources.mongodb.faults import (
    LOST_TOKEN_CODES,
    NO_CHANGE_STREAMS_CODE,
    UNUSABLE_URI,
    driver_words,
    secrets_in,
    translated,
)
from profile_pipeline.sources.mongodb.selection import dotted, span_filter

Answer = TypeVar("Answer")
Named = TypeVar("Named")
KINDS: tuple[MongoKind, ...] = ("users", "orders", "events")
APP_NAME = "profile_pipeline"
"""Under which the server's log and profiler list what is read here."""
SERVER_SELECTION_MS = 20_000
"""An election takes up to some 12 seconds; a person who mistyped a host should not wait the driver's 30."""
CONNECT_MS = 10_000
"""Far more than any handshake over any distance, half of the driver's."""
SOCKET_MS = 600_000
"""A reply may have to wait for a whole collection to be scanned and sorted, which is not for ever, as the driver's is.
A server that died is noticed within seconds by the driver's heartbeats."""
MAX_STALENESS_SECONDS = 90
"""The smallest lag at which drivers can leave a secondary out."""
BATCH_KEYS = 50_000
"""A megabyte or so of keys."""
FETCH_KEYS = 1_000
"""Each may stand for three values in two places, which stays well below the 16 MB that a query may have."""
COUNT_MS = 3_000
"""A count is for a progress bar; it is not worth more."""
DESCRIBE_MS = 10_000
"""What a person who checks the settings waits for one answer about a collection without indexes."""
CHANGE_WAIT_MS = 100
"""How long the server may wait for the next event: those that are there come without waiting."""
MAX_EVENTS = 50_000
"""One look at a change stream ends after so many, within the minute of a sensor's tick; the next goes on there."""


@dataclass(frozen=True)
class MongoSource:
    """Users, orders and events in collections of one database; see `LiveSource`.

    Connects when it is first asked for something, and then keeps its connections until it is closed.
    """

    database: Database[Document] = field(repr=False)
    collections: dict[str, str]
    dialects: dict[str, Dialect]
    zone: ZoneInfo
    secrets: list[str] = field(repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> "MongoSource":
        """The database that the settings name; nothing is connected yet.

        Raises:
            PipelineError: a setting is missing or cannot be used; the text names it and holds no secret.
        """
        if settings.mongodb_uri is None:
            raise PipelineError("MONGODB_URI is not set; set it to read users, orders and events from MongoDB")
        uri = settings.mongodb_uri.get_secret_value()
        dialects: dict[str, Dialect] = {kind: _dialect(kind, settings.mongodb_fields.get(kind, {})) for kind in KINDS}
        collections: dict[str, str] = {kind: settings.mongodb_collections.get(kind, kind) for kind in KINDS}
        client = _client(uri, settings)
        try:
            database = _database(client, settings.mongodb_database)
            for collection in collections.values():
                _named(database.get_collection, collection, "MONGODB_COLLECTIONS")
        except PipelineError:
            client.close()
            raise
        return cls(database, collections, dialects, settings.zone, secrets_in(uri))

    def __enter__(self) -> "MongoSource":
        """The source itself; it is closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections; the source cannot be used afterwards."""
        self.database.client.close()

    @property
    def is_listing_keys(self) -> bool:
        """True: keys come without the rest of their documents."""
        return True

    def name(self, kind: str) -> str:
        """Where the records are, such as `mongodb:club.users`."""
        return f"{self._name}.{self.collections[kind]}"

    def dialect(self, kind: str) -> Dialect:
        """How the documents of a kind are written."""
        return self.dialects[kind]

    def is_incremental(self, kind: str) -> bool:
        """True; only a change that leaves all times as they were is not noticed before everything is read again."""
        return True

    def scan_interval(self, records: int) -> timedelta:
        """Zero: nobody counts what is asked here."""
        return timedelta(0)

    def clock(self) -> datetime:
        """The time of the primary."""
        with self._asking(self._name):
            time = self.database.client.admin.command("hello", codec_options=CODEC).get("localTime")
        if not isinstance(time, datetime):
            raise PipelineError(f"{self._name} of MONGODB_URI does not tell its time; such a server cannot be followed")
        return time

    def total(self, kind: str, span: Span) -> int | None:
        """About how many documents `changes` will hand over; None where counting takes too long."""
        collection = self._collection(kind)
        with self._asking(self.name(kind)):
            if span.since is None:
                return _in_time(lambda: collection.estimated_document_count(maxTimeMS=COUNT_MS))
            query = span_filter(kind, self.dialect(kind), span, self.zone)
            return _in_time(lambda: collection.count_documents(query, maxTimeMS=COUNT_MS))

    def changes(self, kind: str, span: Span, place: str | None = None) -> Iterator[Batch]:
        """The documents that a span concerns, in the order of `_id`; see `LiveSource.changes` and `span_filter`."""
        query = after(span_filter(kind, self.dialect(kind), span, self.zone), place)
        # Servers before 6.0 refuse to sort much unless they are told that they may use the disk.
        options = {"sort": {"_id": 1}, "batch_size": documents.BATCH_DOCUMENTS, "allow_disk_use": True}
        with self._asking(self.name(kind)), self._collection(kind).find(query, **options) as cursor:
            yield from batches(cursor)

    def keys(self, kind: str) -> Iterator[list[str]]:
        """The keys of all records that exist now, from the primary: a secondary that lags knows no new ones."""
        id_path = self.dialect(kind).path("id")
        projection = dict.fromkeys(("_id", id_path[0] if id_path[0] == "_id" else ".".join(id_path)), 1)
        options = {"sort": {"_id": 1}, "batch_size": BATCH_KEYS, "projection": projection}
        keys = []
        with self._asking(self.name(kind)), self._collection(kind, ReadPreference.PRIMARY).find(**options) as cursor:
            for document in cursor:
                if (key := key_of(document, id_path)) is not None:
                    keys.append(key)
                if len(keys) == BATCH_KEYS:
                    yield keys
                    keys = []
        if keys:
            yield keys

    def fetch(self, kind: str, keys: list[str]) -> Iterator[Batch]:
        """The documents with these keys, from the primary.

        Where the key is another field than `_id`, that field should have an index.
        """
        collection = self._collection(kind, ReadPreference.PRIMARY)
        paths = dict.fromkeys((dotted(self.dialect(kind), "id"), "_id"))
        for start in range(0, len(keys), FETCH_KEYS):
            values = [value for key in keys[start : start + FETCH_KEYS] for value in values_of(key)]
            query = {"$or": [{path: {"$in": values}} for path in paths]}
            with self._asking(self.name(kind)), collection.find(query, batch_size=documents.BATCH_DOCUMENTS) as cursor:
                yield from batches(cursor)

    def woken(self, token: str | None) -> tuple[bool, str | None]:
        """Whether any of the three collections changed since a token, and the token of now.

        Without a token, or with one that the server no longer knows, the answer is True, because nobody knows;
        without a token in return, the next look begins anew.

        Raises:
            PipelineError: the server has no change streams.
        """
        resume_after = _resume_token(token)
        watched = {"ns.coll": {"$in": list(self.collections.values())}}
        # Without a projection, each event would bring a whole document.
        pipeline: list[Document] = [{"$match": watched}, {"$project": {"_id": 1}}]
        events = 0
        with self._asking(self._name):
            try:
                with self.database.watch(
                    pipeline,
                    resume_after=resume_after,
                    max_await_time_ms=CHANGE_WAIT_MS,
                    batch_size=documents.BATCH_DOCUMENTS,
                ) as stream:
                    while events < MAX_EVENTS and stream.try_next() is not None:
                        events += 1
                    now = stream.resume_token
            except OperationFailure as error:
                if error.code == NO_CHANGE_STREAMS_CODE:
                    raise PipelineError(
                        f"{self._name} is on a server without change streams; unset MONGODB_CHANGE_STREAMS, or let "
                        "MONGODB_URI lead to a replica set"
                    ) from None
                if error.code in LOST_TOKEN_CODES:
                    return True, None
                raise
        return resume_after is None or events > 0, json_util.dumps(now, json_options=PLACE_JSON) if now else None

    def describe(self, kind: str) -> Description:
        """What the collection holds; the sample is what was inserted last, where `_id` is an ObjectId."""
        collection, dialect = self._collection(kind), self.dialect(kind)
        with self._asking(self.name(kind)):
            names = self.database.list_collection_names(filter={"name": self.collections[kind]})
            count = _in_time(lambda: collection.estimated_document_count(maxTimeMS=DESCRIBE_MS))
            times = [self._newest(collection, dialect.path(name)) for name in ("updated_at", "created_at")]
            sample = list(collection.find(sort={"_id": -1}, limit=SAMPLE_DOCUMENTS, max_time_ms=DESCRIBE_MS))
        made = [document["_id"].generation_time for document in sample if isinstance(document["_id"], ObjectId)]
        times += [time.astimezone(UTC).replace(tzinfo=None) for time in made[:1]]
        return Description(
            self.name(kind),
            is_there=bool(names),
            count=count,
            newest=max(filter(None, times), default=None),
            sampled=len(sample),
            filled=filled_fields(kind, sample, dialect),
        )

    @property
    def _name(self) -> str:
        return f"mongodb:{self.database.name}"

    def _collection(self, kind: str, read_preference: Any = None) -> Collection[Document]:
        return self.database.get_collection(self.collections[kind], read_preference=read_preference)

    def _newest(self, collection: Collection[Document], path: Path) -> datetime | None:
        """The highest value of a field as a time; None where it is none or takes too long to find."""
        name = ".".join(path)
        find = partial(collection.find_one, projection={name: 1}, sort={name: -1}, max_time_ms=DESCRIBE_MS)
        document = _in_time(find)
        try:
            return read_moment(plain(value_at(document, path)), self.zone).at
        except ValueError:
            return None

    @contextmanager
    def _asking(self, place: str) -> Iterator[None]:
        """Translate what the driver raises."""
        try:
            yield
        except (PyMongoError, BSONError) as error:
            raise translated(error, place, self.secrets) from None


def _dialect(kind: MongoKind, fields: Mapping[str, str]) -> Dialect:
    """Where the settings say that fields are.

    Raises:
        PipelineError: they name a field that no model has, or a path that leads nowhere.
    """
    names = MODELS[kind].model_fields
    for name, path in fields.items():
        if name not in names:
            raise PipelineError(
                f"MONGODB_FIELDS has {name!r}, which is no field of {kind}; these are {', '.join(names)}"
            )
        if any(not part or part.startswith("$") for part in path.split(".")):
            raise PipelineError(
                f"MONGODB_FIELDS has {path!r} for {name} of {kind}, which is no path; write names with dots between"
            )
    return Dialect({name: tuple(path.split(".")) for name, path in fields.items()})


def _client(uri: str, settings: Settings) -> MongoClient[Document]:
    place, _, options = uri.partition("://")[2].partition("?")
    # An @ where the driver does not look for one: it would take parts of a password for the host or the database.
    is_misread = "@" in uri and "@" not in place.partition("/")[0]
    if is_misread or not uri.startswith(("mongodb://", "mongodb+srv://")):
        raise PipelineError(UNUSABLE_URI)
    given = {option.partition("=")[0].lower() for option in re.split("[&;]", options)}
    defaults: dict[str, Any] = {
        "appName": APP_NAME,
        "serverSelectionTimeoutMS": SERVER_SELECTION_MS,
        "connectTimeoutMS": CONNECT_MS,
        "socketTimeoutMS": SOCKET_MS,
        "retryReads": True,
    }
    # Changes that a secondary does not have yet must be below the watermark by no more than is read again; its lag
    # is known as of the last heartbeats only.
    if "readpreference" not in given and settings.overlap >= timedelta(seconds=2 * MAX_STALENESS_SECONDS):
        defaults |= {"readPreference": "secondaryPreferred", "maxStalenessSeconds": MAX_STALENESS_SECONDS}
    ours = {name: value for name, value in defaults.items() if name.lower() not in given}
    try:
        return MongoClient(uri, connect=False, **ours)
    except (InvalidURI, ValueError, TypeError):
        raise PipelineError(UNUSABLE_URI) from None
    except (PyMongoError, OSError) as error:
        raise PipelineError(
            f"MONGODB_URI has options that cannot be used: {driver_words(error, secrets_in(uri))}"
        ) from None


def _database(client: MongoClient[Document], name: str | None) -> Database[Document]:
    if name is not None:
        return _named(partial(client.get_database, codec_options=CODEC), name, "MONGODB_DATABASE")
    try:
        return client.get_default_database(codec_options=CODEC)
    except ConfigurationError:
        raise PipelineError("MONGODB_URI names no database; name it there, or set MONGODB_DATABASE") from None


def _named(get: Callable[[str], Named], name: str, setting: str) -> Named:
    try:
        return get(name)
    except (InvalidName, TypeError):
        raise PipelineError(f"{setting} has {name!r}, which MongoDB does not allow as a name; correct it") from None


def _resume_token(text: str | None) -> Document | None:
    """A token as the driver wants it; None for one that is none, which is as good as lost."""
    try:
        token = json_util.loads(text or "null", json_options=PLACE_JSON)
    except (ValueError, TypeError, BSONError):
        return None
    return token if isinstance(token, dict) else None


def _in_time(ask: Callable[[], Answer]) -> Answer | None:
    """An answer; None if the server gives up at the time limit that it was given."""
    try:
        return ask()
    except ExecutionTimeout:
        return None
