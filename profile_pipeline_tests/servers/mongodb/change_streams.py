"""Change streams: the log of changes as events, from a place that a resume token names.

What belongs here: tokens, places, events. What does not: keeping the log (`store.py`) and cursors (`commands.py`).
"""

import time
from collections.abc import Callable, Iterable

import bson
from bson import DatetimeMS, Timestamp

from profile_pipeline_tests.servers.bson_query import BAD_VALUE, CommandError, Document, decode
from profile_pipeline_tests.servers.mongodb.reading import MAX_BATCH_BYTES
from profile_pipeline_tests.servers.mongodb.store import Change, Store, with_id

FAILED_TO_PARSE, FATAL, HISTORY_LOST = 9, 280, 286
# How long a getMore waits for an event unless it says so itself, as the real server does.
DEFAULT_WAIT_MS = 1000
_SHOWN = ("insert", "update", "replace", "delete", "drop")
_LABELS = ["NonResumableChangeStreamError"]


def token(number: int) -> Document:
    """The resume token of a place in the log."""
    return {"_data": f"82{number:016X}"}


def _number(resume_token: Document) -> int:
    data = str(resume_token.get("_data"))
    try:
        bytes.fromhex(data)
        return int(data.removeprefix("82"), 16)
    except ValueError:
        raise CommandError(FAILED_TO_PARSE, "resume token string was not a valid hex string") from None


Refine = Callable[[Iterable[Document]], Iterable[Document]]


class ChangeStream:
    """A cursor over the log."""

    def __init__(self, store: Store, options: Document, scope: str, refine: Refine) -> None:
        """Watch a namespace, all that begin with a scope that ends in a dot, or all if it is empty."""
        self._store = store
        self._scope = scope
        self._refine = refine
        self._is_one_collection = bool(scope) and not scope.endswith(".")
        self._looks_up = options.get("fullDocument", "default") == "updateLookup"
        self.is_done = False
        known = {"resumeAfter", "startAfter", "startAtOperationTime", "fullDocument", "allChangesForCluster"}
        unknown = set(options) - known - {"fullDocumentBeforeChange", "showExpandedEvents"}
        if unknown or options.get("fullDocument", "default") not in ("default", "updateLookup"):
            raise CommandError(BAD_VALUE, f"options of $changeStream that are not known: {options}")
        self._after = self._start(options)
        self._check_history()

    def _start(self, options: Document) -> int:
        """The number of the last entry that is not to be handed over."""
        resume = options.get("resumeAfter") or options.get("startAfter")
        if resume is not None:
            number = _number(resume)
            if number > self._store.last.number:
                raise CommandError(FATAL, "cannot resume stream; the resume token was not found", _LABELS)
            return number
        moment: Timestamp | None = options.get("startAtOperationTime")
        if moment is None:
            return self._store.last.number
        log = self._store.log
        later = sum(1 for entry in log if entry.at >= moment)
        is_forgotten = later == len(log) < self._store.last.number
        return 0 if is_forgotten else self._store.last.number - later

    def _is_watched(self, namespace: str) -> bool:
        return namespace == self._scope if self._is_one_collection else namespace.startswith(self._scope)

    def _check_history(self) -> None:
        if self._after < self._store.last.number - len(self._store.log):
            message = "Resume of change stream was not possible, as the resume point may no longer be in the oplog."
            raise CommandError(HISTORY_LOST, message, _LABELS)

    @property
    def place(self) -> Document:
        """The token after which reading goes on, `postBatchResumeToken`."""
        return token(self._after)

    def batch(self, count: int | None, wait_ms: int = 0) -> list[bytes]:
        """The next events; waits a while for the first of them."""
        deadline = time.monotonic() + wait_ms / 1000
        while True:
            self._check_history()
            if batch := self._take(count):
                return batch
            remaining = deadline - time.monotonic()
            if self.is_done or remaining <= 0:
                return []
            self._store.changed.wait(remaining)

    def _take(self, count: int | None) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        log, last = self._store.log, self._store.last.number
        while self._after < last and not self.is_done and (count is None or len(batch) < count):
            entry = log[len(log) - last + self._after]
            raws = [bson.encode(event) for event in self._refine(self._events(entry))]
            size += sum(map(len, raws))
            if batch and size > MAX_BATCH_BYTES:
                break
            batch += raws
            self._after = entry.number
            self.is_done = self._is_one_collection and entry.operation == "drop" and self._is_watched(entry.namespace)
        return batch

    def _events(self, entry: Change) -> list[Document]:
        if entry.operation not in _SHOWN or not self._is_watched(entry.namespace):
            return []
        database, _, collection = entry.namespace.partition(".")
        event: Document = {
            "_id": token(entry.number),
            "operationType": entry.operation,
            "clusterTime": entry.at,
            "wallTime": DatetimeMS(entry.seconds * 1000),
            "ns": {"db": database, "coll": collection},
        }
        if entry.operation == "drop":
            return [event, {**event, "operationType": "invalidate"}] if self._is_one_collection else [event]
        document = decode(entry.document)
        event["documentKey"] = {"_id": document["_id"]}
        if entry.operation in ("insert", "replace"):
            event["fullDocument"] = document
        elif entry.operation == "update":
            event["updateDescription"] = decode(entry.description or b"")
            if self._looks_up:
                collection_now = self._store.collections.get(entry.namespace)
                raw = collection_now.documents.get(with_id(entry.document)[0]) if collection_now else None
                event["fullDocument"] = decode(raw) if raw else None
        return [event]
