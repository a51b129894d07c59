"""The documents of the server and the log of their changes.

What belongs here: keeping and ordering encoded documents, the operations log behind change streams, and the journal
that brings both back after the process was killed. What does not: commands and their options.

A document stays encoded, beside the key of its `_id`; nothing is decoded that no filter asks for, so that a million
documents are read at the speed of the socket.
"""

import os
import struct
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import bson
from bson import ObjectId, Timestamp

from profile_pipeline_tests.servers.bson_query import (
    ALL_IDS,
    OBJECT_ID,
    CommandError,
    Document,
    IdRange,
    Key,
    above,
    decode,
    key,
)

QUERY_PLAN_KILLED = 175
JOURNAL_DOCUMENTS = 100
"""How many documents share an entry of the journal, which is one BSON document; together far below its 2 GB."""

_LENGTH = struct.Struct("<i")


def split_documents(data: bytes | memoryview) -> list[bytes]:
    """The documents of concatenated BSON; an incomplete one at the end, as a kill leaves it, is dropped."""
    documents, at = [], 0
    while at + 4 <= len(data):
        end = at + _LENGTH.unpack_from(data, at)[0]
        if end > len(data):
            break
        documents.append(bytes(data[at:end]))
        at = end
    return documents


def with_id(raw: bytes) -> tuple[Key, bytes]:
    """The key of a document's `_id`, and the document with `_id` first, made up where it is missing."""
    if raw[4:9] == b"\x07_id\x00":
        return (OBJECT_ID, raw[9:21]), raw
    document = decode(raw)
    if next(iter(document), "") != "_id":
        identity = document.pop("_id") if "_id" in document else ObjectId()
        document = {"_id": identity, **document}
        raw = bson.encode(document)
    return key(document["_id"]), raw


class Change(NamedTuple):
    """An entry of the log: what happened to which document, and how it reads after that (`_id` alone if deleted)."""

    seconds: int
    number: int
    operation: str
    namespace: str
    document: bytes
    description: bytes | None = None
    """What an update changed, encoded."""

    @property
    def at(self) -> Timestamp:
        """The place in the log, as a cluster time."""
        return Timestamp(self.seconds, self.number)


class Collection:
    """Encoded documents by the key of their `_id`, in order of insertion, and the keys in order of `_id`."""

    def __init__(self) -> None:
        self.documents: dict[Key, bytes] = {}
        self.indexes: list[Document] = [{"v": 2, "key": {"_id": 1}, "name": "_id_"}]
        self.is_dropped = False
        self._keys: list[Key] = []
        self._is_sorted = True
        self._version = 0

    def put(self, raw: bytes) -> None:
        """Store a document, in place of another with its `_id`."""
        place, raw = with_id(raw)
        if place not in self.documents:
            self._version += 1
            if self._is_sorted and (not self._keys or place > self._keys[-1]):
                self._keys.append(place)
            else:
                self._is_sorted = False
        self.documents[place] = raw

    def remove(self, place: Key) -> None:
        """Remove a document."""
        del self.documents[place]
        self._is_sorted = False
        self._version += 1

    def scan(self, ids: IdRange = ALL_IDS, descending: bool = False) -> Iterator[bytes]:
        """Documents in order of `_id`; as in MongoDB, changes made meanwhile are met if they lie ahead."""
        if ids.among is not None:
            for place in sorted((one for one in ids.among if ids.lower <= one < ids.upper), reverse=descending):
                if place in self.documents:
                    yield self.documents[place]
            return
        lower, upper = ids.lower, ids.upper
        while True:
            if self.is_dropped:
                raise CommandError(QUERY_PLAN_KILLED, "collection dropped")
            if not self._is_sorted:
                self._keys, self._is_sorted = sorted(self.documents), True
            keys, version, documents = self._keys, self._version, self.documents
            start, stop = bisect_left(keys, lower), bisect_left(keys, upper)
            for at in range(stop - 1, start - 1, -1) if descending else range(start, stop):
                yield documents[keys[at]]
                if version != self._version:
                    # Keys may have moved: go on from this one's place.
                    lower, upper = (lower, keys[at]) if descending else (above(keys[at]), upper)
                    break
            else:
                return

    def natural(self) -> Iterator[bytes]:
        """Documents in order of insertion; those inserted after the beginning are not met."""
        for place in list(self.documents):
            if self.is_dropped:
                raise CommandError(QUERY_PLAN_KILLED, "collection dropped")
            if place in self.documents:
                yield self.documents[place]


class Store:
    """All collections of a server by their namespace, `database.collection`, and the log of their changes."""

    def __init__(self, journal: BinaryIO, keeps_log: bool) -> None:
        """Begin with what a journal has, and go on with it."""
        self.changed = threading.Condition(threading.RLock())
        """Held by whoever reads or writes; notified when the log grows."""
        self.collections: dict[str, Collection] = {}
        self.log: list[Change] = []
        self.last = Change(1, 0, "start", "", b"")
        self._log_size: int | None = None
        self._keeps_log = keeps_log
        self._clock: tuple[int, bool] | None = None
        self._journal = journal
        journal.seek(0)
        entries = split_documents(journal.read())
        for raw in entries:
            self._apply(**bson.decode(raw))
        # What a kill left unfinished must not be in front of what comes.
        journal.truncate(sum(map(len, entries)))
        journal.seek(0, os.SEEK_END)

    def set_clock(self, moment_ms: int | None, is_running: bool) -> None:
        """Stop the clock at a moment, or let it run on from there; None is the machine's own time."""
        real = time.time_ns() // 1_000_000
        self._clock = None if moment_ms is None else (moment_ms - real if is_running else moment_ms, is_running)

    def now_ms(self) -> int:
        """The server's time, in milliseconds since 1970."""
        real = time.time_ns() // 1_000_000
        if self._clock is None:
            return real
        moment, is_running = self._clock
        return real + moment if is_running else moment

    def commit(self, operation: str, namespace: str, documents: list[bytes], description: bytes | None = None) -> None:
        """Do one thing to documents of a collection: insert, update, replace, delete; or create, index, drop it."""
        with self.changed:
            seconds = max(self.last.seconds, self.now_ms() // 1000)
            for start in range(0, len(documents), JOURNAL_DOCUMENTS):
                entry: dict[str, Any] = {
                    "seconds": seconds,
                    "operation": operation,
                    "namespace": namespace,
                    "documents": documents[start : start + JOURNAL_DOCUMENTS],
                    "description": description,
                }
                self._apply(**entry)
                self._journal.write(bson.encode(entry))
            self._journal.flush()
            self._forget()
            self.changed.notify_all()

    def keep(self, log_size: int | None) -> None:
        """Let the log have no more than so many entries, as a real one does that is too small."""
        self._log_size = log_size
        self._forget()

    def _forget(self) -> None:
        if self._log_size is not None:
            del self.log[: max(0, len(self.log) - self._log_size)]

    def _apply(
        self, seconds: int, operation: str, namespace: str, documents: list[bytes], description: bytes | None
    ) -> None:
        collection = self.collections.get(namespace)
        if collection is None:
            collection = self.collections[namespace] = Collection()
        for document in documents:
            self.last = Change(seconds, self.last.number + 1, operation, namespace, document, description)
            if self._keeps_log:
                self.log.append(self.last)
            if operation in ("insert", "update", "replace"):
                collection.put(document)
            elif operation == "delete":
                collection.remove(with_id(document)[0])
            elif operation == "createIndexes":
                collection.indexes.append(bson.decode(document))
            elif operation == "drop":
                del self.collections[namespace]
                collection.is_dropped = True
