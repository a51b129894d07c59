"""The MongoDB source: users, orders and events, each a collection.

What belongs here: which documents a span of time concerns as a filter, documents as text, and everything that can go
wrong between the driver and a person. What does not: what a document means (`records/`), and what is done with the
documents (`extraction.py`). Nothing here writes to MongoDB.

A collection is read in the order of `_id`, the only index that every collection has and the only value that never
changes, so that a reading that broke off goes on where it was. The filter of a span selects a superset of what the
span concerns: indexes know single values, the rules of `records/models.py` do not fit into them.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from json import JSONEncoder
from typing import Any, TypeVar
from urllib.parse import unquote_plus
from uuid import UUID
from zoneinfo import ZoneInfo

from bson import Binary, CodecOptions, DatetimeMS, ObjectId, Regex, json_util
from bson.codec_options import DatetimeConversion
from bson.errors import BSONError
from pymongo import MongoClient, ReadPreference
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidName,
    InvalidURI,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.records.dialect import Dialect, Path, value_at
from profile_pipeline.records.models import MODELS, WRAPPERS
from profile_pipeline.records.moments import EPOCH, read_moment
from profile_pipeline.settings import MongoKind, Settings
from profile_pipeline.sources.description import SAMPLE_DOCUMENTS, Description, filled_fields
from profile_pipeline.sources.live import Batch, Span

Document = dict[str, Any]
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
BATCH_DOCUMENTS = 5_000
BATCH_BYTES = 16 << 20
"""Bounds on what is held in memory and repeated after a fault: many small documents, or a few very large ones."""
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


# ---------------------------------------------------------------- which documents a span concerns

MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
MAX_OBJECT_SECONDS = 0xFFFF_FFFF
"""The first four bytes of an ObjectId are seconds since 1970."""

_YEAR = r"(?!0000)[0-9]{4}"
_LEAP_YEAR = r"(?!0000)(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DAY = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    rf"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?"
_OFFSET = r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)"
_FIRST_AND_LAST_DAY = "(?:0001-01-01|9999-12-31)"
"""Days with times that another offset moves out of the calendar."""

OTHER_TYPES = ["bool", "object", "binData", "objectId", "regex", "javascript", "timestamp", "minKey", "maxKey"]
"""Types whose values are no times and which lie apart from times in an index; see `span_filter` for the others."""


def span_filter(kind: str, dialect: Dialect, span: Span, zone: ZoneInfo) -> Document:
    """The filter for the documents that a span concerns, as `LiveSource.changes` has it; others may match.

    Every branch can be answered from an index on one of the times or on `_id`, so that a collection with indexes on
    all of them is not scanned. That is why three kinds of values that cannot be read do not match always, but only
    by the time that they nearly are: decimals, fractions of a millisecond, and arrays, by their elements. An index
    has them among times, and MongoDB would have to look into every document for them.

    Args:
        kind: users, orders or events.
        dialect: where the fields are.
        span: without a beginning, every document matches.
        zone: the business time zone, which decides at the ends of the calendar which times can be read.
    """
    if span.since is None:
        return {}
    model = MODELS[kind]
    changes = [_dotted(dialect, name) for name in (model.created_field, "updated_at", "deleted_at")]
    business = [_dotted(dialect, model.business_date_field)] if model.business_date_field else []
    unchanged = {path: {"$in": [None, ""]} for path in changes}
    undated = unchanged | {path: {"$in": [None, ""]} for path in business}
    unmade: list[Document] = [{"_id": {"$not": {"$type": "objectId"}}}]
    if (id_path := _dotted(dialect, "id")) != "_id":
        # An ObjectId there counts before the one in `_id`, but collections seldom have an index for it.
        unmade.append({id_path: {"$type": "objectId"}})
    inside, unreadable = _inside(span.since, span.until), _unreadable(zone)
    return {
        "$or": [
            *({path: condition} for path in changes for condition in inside),
            *(unchanged | {path: condition} for path in business for condition in inside),
            {"_id": _made_inside(span.since, span.until)},
            undated | {"$or": unmade},
            *({path: condition} for path in changes + business for condition in unreadable),
        ]
    }


def _dotted(dialect: Dialect, name: str) -> str:
    return ".".join(dialect.path(name))


def _inside(since: datetime, until: datetime) -> list[Document]:
    """Conditions on a field, one for each type that a time may have, for a time inside a span."""
    first, end = (since - EPOCH) // MILLISECOND, -((EPOCH - until) // MILLISECOND)
    return [
        {"$gte": DatetimeMS(first), "$lt": DatetimeMS(end)},
        {"$gte": first, "$lt": end},
        # Texts are in local time, of any offset; all are less than a day from UTC.
        {"$gte": _day_text(since, -1), "$lt": _day_text(until, 2)},
    ]


def _day_text(at: datetime, days: int) -> str:
    """A day as the lowest text among its times; beyond the calendar what is below or above all of them."""
    try:
        return (at + timedelta(days=days)).date().isoformat()
    except OverflowError:
        return "0" if days < 0 else ":"


def _made_inside(since: datetime, until: datetime) -> Document:
    """The condition on `_id` for an ObjectId made inside a span, whatever the times in its document say."""
    first, end = (since - EPOCH) // SECOND, -((EPOCH - until) // SECOND)
    lower = _object_id(max(0, min(first, MAX_OBJECT_SECONDS)), "00")
    if end > MAX_OBJECT_SECONDS:
        return {"$gte": lower, "$lte": _object_id(MAX_OBJECT_SECONDS, "ff")}
    return {"$gte": lower, "$lt": _object_id(max(0, end), "00")}


def _object_id(seconds: int, rest: str) -> ObjectId:
    return ObjectId(f"{seconds:08x}{rest * 8}")


def _unreadable(zone: ZoneInfo) -> list[Any]:
    """Conditions on a field for values that `read_moment` refuses; a few that it would read match too.

    The pattern stands alone, because only then is it tried on the texts in an index instead of whole documents.
    """
    first, last = _calendar(zone)
    return [
        _unreadable_text(zone),
        {"$in": [float("nan"), []]},
        {"$type": OTHER_TYPES},
        {"$lt": first},
        {"$gt": last},
        {"$lt": DatetimeMS(first)},
        {"$gt": DatetimeMS(last)},
    ]


def _unreadable_text(zone: ZoneInfo) -> Regex[str]:
    """Matches texts that are neither empty nor a time, in the part of the syntax that all engines agree on.

    Blanks match, and texts that begin with some, because they are not where their time is in the order of texts.
    """
    # Without an offset, the ends of the calendar are within it at least in UTC.
    outside = f"{_FIRST_AND_LAST_DAY}[Tt ].*[+-]" if zone.key == "UTC" else _FIRST_AND_LAST_DAY
    return Regex(rf"^(?!(?!{outside}){_DAY}(?:[Tt ]{_CLOCK} ?{_OFFSET}?)?[ \t\n\r\f\v]*$)[\s\S]")


def _calendar(zone: ZoneInfo) -> tuple[int, int]:
    """The first and the last millisecond that can be read; at both ends the calendar of UTC or of the zone ends."""
    first, last = (datetime.min - EPOCH) // MILLISECOND, (datetime.max - EPOCH) // MILLISECOND
    day = timedelta(days=1) // MILLISECOND
    return (
        first if _is_time(first, zone) else first + day,
        last if _is_time(last, zone) else last - day,
    )


def _is_time(value: object, zone: ZoneInfo) -> bool:
    try:
        read_moment(value, zone)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- documents as text

CODEC: CodecOptions[Document] = CodecOptions(
    # One odd value must not stop the documents after it: dates beyond Python's calendar stay numbers, texts that are
    # not UTF-8 get the character that stands for such.
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)
PLACE_JSON = json_util.CANONICAL_JSON_OPTIONS.with_options(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO, tz_aware=False
)
"""Keeps the type of every `_id`."""

_extended = partial(json_util.default, json_options=json_util.RELAXED_JSON_OPTIONS)


def _extended_quickly(value: Any) -> Any:
    """`_extended`, but the two types that every document has are written here, which takes half the time."""
    kind = type(value)
    if kind is ObjectId:
        return {"$oid": str(value)}
    if kind is datetime and value.year >= EPOCH.year:
        return {"$date": value.isoformat(timespec="milliseconds" if value.microsecond else "seconds") + "Z"}
    return _extended(value)


_FORM: dict[str, Any] = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}
# Values that were decoded hold no cycles.
_encode = JSONEncoder(default=_extended_quickly, check_circular=False, **_FORM).encode


def as_json(document: Any) -> str:
    """A decoded document as relaxed extended JSON: keys in order, nothing left out.

    JavaScript code comes as the text that it is.
    """
    try:
        return _encode(document)
    except ValueError:
        # NaN and infinities, which are no JSON and so rare that a slow way does.
        return json_util.dumps(document, json_options=json_util.RELAXED_JSON_OPTIONS, **_FORM)


def batches(documents: Iterable[Document]) -> Iterator[Batch]:
    """Documents as texts, in batches of bounded size, each with the `_id` of its last as the place."""
    texts: list[str] = []
    size = 0
    document: Document = {}
    for document in documents:
        text = as_json(document)
        texts.append(text)
        size += len(text)
        if len(texts) == BATCH_DOCUMENTS or size >= BATCH_BYTES:
            yield Batch(texts, place_of(document))
            texts, size = [], 0
    if texts:
        yield Batch(texts, place_of(document))


def place_of(document: Document) -> str:
    """The place after a document in the order of `_id`."""
    return json_util.dumps(document["_id"], json_options=PLACE_JSON)


def after(query: Document, place: str | None) -> Document:
    """A filter, from a place on.

    Raises:
        PipelineError: the place is none of this source.
    """
    if place is None:
        return query
    try:
        last = json_util.loads(place, json_options=PLACE_JSON)
    except (ValueError, TypeError, ArithmeticError, BSONError):
        raise PipelineError(
            f"the place {place!r:.60}, from which reading MongoDB should go on, is none; start from the beginning"
        ) from None
    # `$gt` outside of `$expr` knows only values of its own type.
    return query | {"$expr": {"$gt": ["$_id", {"$literal": last}]}}


def key_of(document: Document, id_path: Path) -> str | None:
    """The key of a record, as `records/models.py` reads it; None where there is none."""
    value = value_at(document, id_path)
    if value is None:
        value = document.get("_id")
    if type(value) is ObjectId:
        return str(value)
    if not isinstance(value, str | int):
        value = plain(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def plain(value: Any) -> Any:
    """A decoded value as plain JSON, as the models read it from the text."""
    value = json.loads(as_json(value))
    if isinstance(value, dict) and len(value) == 1:
        [(wrapper, inner)] = value.items()
        with suppress(KeyError, TypeError, ValueError):
            return WRAPPERS[wrapper](inner)
    return value


def values_of(key: str) -> list[Any]:
    """The values that a key may stand for in a document; not those with blanks around it, nor dates."""
    values: list[Any] = [key]
    if ObjectId.is_valid(key):
        values.append(ObjectId(key))
    with suppress(ValueError):
        # MongoDB compares numbers of all types; beyond 64 bits none is whole.
        if str(number := int(key)) == key and -(2**63) <= number < 2**63:
            values.append(number)
    with suppress(ValueError):
        if str(identifier := UUID(key)) == key:
            values.append(Binary.from_uuid(identifier))
    return values


# ---------------------------------------------------------------- what can go wrong

UNUSABLE_URI = (
    "MONGODB_URI is no connection string that the driver can use; it should read "
    "mongodb://USER:PASSWORD@HOST:PORT/DATABASE, with special characters in the user and the password written as "
    "%3A for :, %2F for /, %3F for ? and %40 for @"
)
"""Without any part of the string: where it cannot be parsed, the password may be anywhere in it."""

AUTHENTICATION_CODE = 18
UNAUTHORIZED_CODE = 13
ATLAS_CODE = 8000
"""What MongoDB Atlas says instead of both."""
NO_CHANGE_STREAMS_CODE = 40573
LOST_TOKEN_CODES = {260, 280, 286, 40576}
"""InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost, and what old servers say for the first."""
TRANSIENT_CODES = {
    *(6, 7, 89, 9001),  # HostUnreachable, HostNotFound, NetworkTimeout, SocketException
    *(91, 11600, 11601, 11602),  # ShutdownInProgress, Interrupted: at shutdown, by hand, by a change of roles
    *(189, 10058, 10107, 13435, 13436),  # PrimarySteppedDown, and not being primary in its varieties
    *(43, 50, 175, 237, 262),  # CursorNotFound, MaxTimeMSExpired, QueryPlanKilled, CursorKilled, ExceededTimeLimit
    *(63, 133, 134, 150, 234, 13388),  # shards and members that move while one reads
    *(24, 46, 112, 365, 462, 16500),  # a server with too much to do
}
"""Of what passes by itself; the driver repeats a find by itself once, but never a getMore."""
TRANSIENT_LABELS = (
    "RetryableError",
    "RetryableWriteError",
    "SystemOverloadedError",
    "TransientTransactionError",
    "ResumableChangeStreamError",
)

LIBRARY_DETAILS = re.compile(r" \(configured timeouts|, Timeout: |, full error: |, Topology Description")
"""Where the driver's texts turn from what happened to dumps of its state."""
SAID_CHARACTERS = 300


def secrets_in(uri: str) -> list[str]:
    """What of a connection string must not be shown, the longest first: as written and as meant."""
    place, _, options = uri.partition("://")[2].partition("?")
    user_info = place.partition("/")[0].rpartition("@")[0]
    pairs = [option.partition("=") for option in re.split("[&;]", options)]
    secret_options = [value for name, _, value in pairs if re.search("password|properties", name, re.IGNORECASE)]
    written = [uri, user_info, user_info.partition(":")[2], *secret_options]
    return sorted({text for secret in written for text in (secret, unquote_plus(secret)) if text}, key=len)[::-1]


def redacted(text: str, secrets: Iterable[str]) -> str:
    """A text without the secrets."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def translated(error: PyMongoError | BSONError, place: str, secrets: Iterable[str]) -> PipelineError:
    """What went wrong, for a person: `TransientError` where it may pass by itself.

    Args:
        error: what the driver raised.
        place: what was being read, such as `mongodb:club.users`.
        secrets: what may be in the driver's text and must not be shown.
    """
    said = _said(error, secrets)
    if isinstance(error, OperationFailure):
        return _refusal(error, said, place)
    if isinstance(error, NetworkTimeout):
        return TransientError(
            f"{place} did not answer in time ({said}); if it is only slow, raise socketTimeoutMS in MONGODB_URI"
        )
    if isinstance(error, ServerSelectionTimeoutError):
        return TransientError(
            f"{place} cannot be reached ({said}); check MONGODB_URI, and that the server runs and lets this machine in"
        )
    # The names behind mongodb+srv are looked up on connecting; the driver calls a silent name server a wrong URI.
    if isinstance(error, ConnectionFailure) or type(error.__cause__).__name__ in ("LifetimeTimeout", "NoNameservers"):
        return TransientError(f"the connection to {place} of MONGODB_URI broke ({said}); try again")
    if isinstance(error, ConfigurationError):
        return PipelineError(f"{place} cannot be used by MONGODB_URI as it is: {said}")
    return PipelineError(f"{place} of MONGODB_URI cannot be read: {said}")


def _said(error: Exception, secrets: Iterable[str]) -> str:
    details = error.details if isinstance(error, OperationFailure) else None
    text = redacted(str((details or {}).get("errmsg") or error), secrets)
    text = " ".join(LIBRARY_DETAILS.split(text)[0].split()).rstrip(".")
    return text[:SAID_CHARACTERS] or type(error).__name__


def _refusal(error: OperationFailure, said: str, place: str) -> PipelineError:
    """What the server itself refused."""
    is_about_password = "auth" in said.lower()
    if error.code == AUTHENTICATION_CODE or (error.code == ATLAS_CODE and is_about_password):
        return PipelineError(
            f"{place} refuses the user of MONGODB_URI ({said}); check its name and password, and authSource, the "
            "database that it belongs to"
        )
    if error.code == UNAUTHORIZED_CODE and "requires authentication" in said:
        return PipelineError(f"{place} wants a user ({said}); name one in MONGODB_URI, with its password")
    if error.code in (UNAUTHORIZED_CODE, ATLAS_CODE):
        return PipelineError(
            f"{place} may not be read by the user of MONGODB_URI ({said}); give it the role `read` on that database"
        )
    if error.code in TRANSIENT_CODES or any(map(error.has_error_label, TRANSIENT_LABELS)):
        return TransientError(f"{place} of MONGODB_URI broke off ({said}); try again")
    return PipelineError(f"{place} of MONGODB_URI cannot be read: {said} (error {error.code})")


# ---------------------------------------------------------------- the source


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
        options = {"sort": {"_id": 1}, "batch_size": BATCH_DOCUMENTS, "allow_disk_use": True}
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
        paths = dict.fromkeys((_dotted(self.dialect(kind), "id"), "_id"))
        for start in range(0, len(keys), FETCH_KEYS):
            values = [value for key in keys[start : start + FETCH_KEYS] for value in values_of(key)]
            query = {"$or": [{path: {"$in": values}} for path in paths]}
            with self._asking(self.name(kind)), collection.find(query, batch_size=BATCH_DOCUMENTS) as cursor:
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
                    pipeline, resume_after=resume_after, max_await_time_ms=CHANGE_WAIT_MS, batch_size=BATCH_DOCUMENTS
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
    for name, dotted in fields.items():
        if name not in names:
            raise PipelineError(
                f"MONGODB_FIELDS has {name!r}, which is no field of {kind}; these are {', '.join(names)}"
            )
        if any(not part or part.startswith("$") for part in dotted.split(".")):
            raise PipelineError(
                f"MONGODB_FIELDS has {dotted!r} for {name} of {kind}, which is no path; write names with dots between"
            )
    return Dialect({name: tuple(dotted.split(".")) for name, dotted in fields.items()})


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
        raise PipelineError(f"MONGODB_URI has options that cannot be used: {_said(error, secrets_in(uri))}") from None


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
