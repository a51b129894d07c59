"""Reading: which documents a find or a pipeline gives, and handing them over in batches.

What belongs here: selecting, the stages of pipelines, cursors. What does not: the meaning of a filter
(`bson_query.py`), which cursors are open (`commands.py`), change streams (`change_streams.py`).
"""

import itertools
from collections.abc import Callable, Iterable, Iterator

import bson

from profile_pipeline_tests.servers import bson_query
from profile_pipeline_tests.servers.bson_query import ALL_IDS, BAD_VALUE, CommandError, Document, IdRange, Key, decode
from profile_pipeline_tests.servers.mongodb.store import Collection

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""As the real server's; what is around the documents comes on top."""


class Cursor:
    """Encoded documents that are handed over in batches of bounded size, but at least one document."""

    place = None

    def __init__(self, rows: Iterator[bytes]) -> None:
        self._rows = rows
        self._held: list[bytes] = []
        self.is_done = False

    def batch(self, count: int | None, wait_ms: int = 0) -> list[bytes]:
        """The next documents; fewer than asked for at the end, or where they get too large together."""
        batch, self._held = self._held, []
        size = sum(map(len, batch))
        while count is None or len(batch) < count:
            raw = next(self._rows, None)
            if raw is None:
                self.is_done = True
                break
            size += len(raw)
            if batch and size > MAX_BATCH_BYTES:
                self._held = [raw]
                break
            batch.append(raw)
        return batch


def select(collection: Collection, query: Document, options: Document | None = None) -> Iterator[bytes]:
    """The encoded documents that a filter selects, in the order that a find's options ask for."""
    options = options or {}
    sort = options.get("sort") or {}
    first = next(iter(sort), "")
    bson_query.compile_filter(query)  # For its errors, wherever in the filter they are.
    ids, rest = bson_query.split_id_range(query)
    ids &= _bounds(options)
    if first == "_id":
        rows = collection.scan(ids, descending=sort["_id"] == -1)
    else:
        rows = collection.natural() if ids == ALL_IDS else collection.scan(ids)
    if first == "$natural" and sort[first] == -1:
        rows = reversed(list(rows))
    if rest:
        test = bson_query.compile_filter(rest)
        rows = (raw for raw in rows if test(decode(raw)))
    if first not in ("", "_id", "$natural"):
        found = list(rows)
        bson_query.sort_rows(found, sort, decode)
        rows = iter(found)
    return rows


def _bounds(options: Document) -> IdRange:
    """The range that `min` and `max` of a find give."""
    places: dict[str, Key] = {}
    for name in options.keys() & {"min", "max"}:
        if "hint" not in options or list(options[name]) != ["_id"]:
            raise CommandError(BAD_VALUE, "min and max are only known with a hint, for the index of _id")
        places[name] = bson_query.key(options[name]["_id"])
    return IdRange(places.get("min", ALL_IDS.lower), places.get("max", ALL_IDS.upper))


def find(collection: Collection, options: Document) -> Iterator[bytes]:
    """The encoded documents that a find command gives."""
    rows = select(collection, options.get("filter", {}), options)
    skip, limit = options.get("skip", 0), options.get("limit", 0)
    if skip or limit:
        rows = itertools.islice(rows, skip, skip + limit if limit else None)
    return map(_projection(options["projection"]), rows) if options.get("projection") else rows


def _projection(specification: Document) -> Callable[[bytes], bytes]:
    """What a projection makes of an encoded document; `_id` alone, an ObjectId, is cut out of it."""
    project = bson_query.compile_projection(specification)
    is_only_id = list(specification) == ["_id"] and bool(specification["_id"])

    def apply(raw: bytes) -> bytes:
        if is_only_id and raw[4:9] == b"\x07_id\x00":
            return b"\x16\x00\x00\x00" + raw[4:21] + b"\x00"
        return bson.encode(project(decode(raw)))

    return apply


def count(collection: Collection, options: Document) -> int:
    """What a count command gives."""
    query = options.get("query") or {}
    total = sum(1 for _ in select(collection, query)) if query else len(collection.documents)
    total = max(0, total - options.get("skip", 0))
    return min(total, abs(options["limit"])) if options.get("limit") else total


def aggregate(collection: Collection, namespace: str, pipeline: list[Document]) -> Iterator[bytes]:
    """The encoded documents at the end of a pipeline."""
    first = pipeline[0] if pipeline else {}
    documents: Iterable[Document]
    if "$collStats" in first:
        documents = [{"ns": namespace, "count": len(collection.documents)}]
    else:
        documents = map(decode, select(collection, first.get("$match", {})))
    remaining = pipeline[1:] if first.keys() & {"$collStats", "$match"} else pipeline
    return map(bson.encode, refine(remaining, documents))


def refine(pipeline: list[Document], documents: Iterable[Document]) -> Iterable[Document]:
    """What the stages of a pipeline make of documents."""
    for stage in pipeline:
        [(name, operand)] = stage.items()
        if name not in _STAGES:
            raise CommandError(40324, f"Unrecognized pipeline stage name: '{name}'")
        documents = _STAGES[name](operand, documents)
    return documents


def _sort(operand: Document, documents: Iterable[Document]) -> Iterable[Document]:
    rows = list(documents)
    bson_query.sort_rows(rows, operand, lambda row: row)
    return rows


def _count(operand: str, documents: Iterable[Document]) -> Iterable[Document]:
    total = sum(1 for _ in documents)
    return [{operand: total}] if total else []


def _group(operand: Document, documents: Iterable[Document]) -> Iterable[Document]:
    """Groups by an expression, with sums."""
    by = bson_query.compile_expression(operand["_id"])
    sums = {}
    for name, accumulator in operand.items():
        if name != "_id":
            if list(accumulator) != ["$sum"]:
                raise CommandError(15952, f"unknown group operator '{next(iter(accumulator))}'")
            sums[name] = bson_query.compile_expression(accumulator["$sum"])
    groups: dict[Key, Document] = {}
    for document in documents:
        identity = by(document)
        group = groups.setdefault(bson_query.key(identity), {"_id": identity, **dict.fromkeys(sums, 0)})
        for name, value in sums.items():
            number = value(document)
            group[name] += number if isinstance(number, int | float) else 0
    return groups.values()


_STAGES: dict[str, Callable[..., Iterable[Document]]] = {
    "$match": lambda operand, documents: filter(bson_query.compile_filter(operand), documents),
    "$project": lambda operand, documents: map(bson_query.compile_projection(operand), documents),
    "$skip": lambda operand, documents: itertools.islice(documents, operand, None),
    "$limit": lambda operand, documents: itertools.islice(documents, operand),
    "$sort": _sort,
    "$count": _count,
    "$group": _group,
}
