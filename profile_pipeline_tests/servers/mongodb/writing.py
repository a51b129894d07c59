"""Writing: what insert, update and delete commands make of a collection.

What belongs here: which documents change, and how they read then. What does not: keeping them (`store.py`).
Replacements and the modifiers that tests use are known, all others refused.
"""

import itertools
from typing import Any

import bson

from profile_pipeline_tests.servers.bson_query import CommandError, Document, decode, is_operators
from profile_pipeline_tests.servers.mongodb.reading import select
from profile_pipeline_tests.servers.mongodb.store import Collection, Store, with_id

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
FAILED_TO_PARSE, PATH_NOT_VIABLE, IMMUTABLE_FIELD, TOO_LARGE, DUPLICATE_KEY = 9, 28, 66, 10334, 11000


def insert(store: Store, namespace: str, given: list[bytes], ordered: bool) -> Document:
    """Insert documents; those before the first that cannot be, or unordered all others."""
    collection = store.collections.get(namespace, Collection())
    raws, places, errors = [], set(), []
    for index, (place, raw) in enumerate(map(with_id, given)):
        if len(raw) > MAX_DOCUMENT_BYTES:
            errors.append({"index": index, "code": TOO_LARGE, "errmsg": "object to insert too large"})
        elif place in collection.documents or place in places:
            message = f"E11000 duplicate key error collection: {namespace} index: _id_"
            about = {"keyPattern": {"_id": 1}, "keyValue": {"_id": decode(raw)["_id"]}}
            errors.append({"index": index, "code": DUPLICATE_KEY, "errmsg": message, **about})
        else:
            places.add(place)
            raws.append(raw)
        if errors and ordered:
            break
    if raws:
        store.commit("insert", namespace, raws)
    return {"n": len(raws)} | ({"writeErrors": errors} if errors else {})


def update(store: Store, namespace: str, updates: list[Document], ordered: bool) -> Document:
    """Do updates, those before the first that fails, or unordered all others."""
    matched = modified = 0
    upserted: list[Document] = []
    errors: list[Document] = []
    for index, one in enumerate(updates):
        try:
            found, changed, made = _update(store, namespace, one)
        except CommandError as error:
            errors.append({"index": index, "code": error.code, "errmsg": str(error)})
            if ordered:
                break
            continue
        matched += found
        modified += changed
        upserted += [{"index": index, "_id": identity} for identity in made]
    reply: Document = {"n": matched + len(upserted), "nModified": modified}
    return reply | ({"upserted": upserted} if upserted else {}) | ({"writeErrors": errors} if errors else {})


def _update(store: Store, namespace: str, one: Document) -> tuple[int, int, list[Any]]:
    """How many documents an update matched, how many it changed, and the `_id` of the one that it made."""
    _check_options(one, {"q", "u", "multi", "upsert", "hint"})
    collection = store.collections.get(namespace, Collection())
    found = list(itertools.islice(select(collection, one["q"]), None if one.get("multi") else 1))
    changed = 0
    for raw in found:
        after, description = updated(decode(raw), one["u"])
        if (encoded := bson.encode(after)) != raw:
            changed += 1
            notes = None if description is None else bson.encode(description)
            store.commit("replace" if notes is None else "update", namespace, [encoded], notes)
    if found or not one.get("upsert"):
        return len(found), changed, []
    made, _ = updated(_equalities(one["q"]), one["u"], is_new=True)
    _, encoded = with_id(bson.encode(made))
    store.commit("insert", namespace, [encoded])
    return 0, 0, [decode(encoded)["_id"]]


def delete(store: Store, namespace: str, deletions: list[Document]) -> Document:
    """Delete the documents that filters select, or the first of each."""
    removed = 0
    for one in deletions:
        _check_options(one, {"q", "limit", "hint"})
        rows = select(store.collections.get(namespace, Collection()), one["q"])
        found = list(itertools.islice(rows, one.get("limit") or None))
        if found:
            store.commit("delete", namespace, [bson.encode({"_id": decode(raw)["_id"]}) for raw in found])
        removed += len(found)
    return {"n": removed}


def _check_options(one: Document, known: set[str]) -> None:
    if unknown := set(one) - known:
        raise CommandError(FAILED_TO_PARSE, f"options that are not known here: {sorted(unknown)}")


def updated(document: Document, change: Any, is_new: bool = False) -> tuple[Document, Document | None]:
    """The document after an update, and what a change stream says about the update; None for a replacement."""
    if not isinstance(change, dict):
        raise CommandError(FAILED_TO_PARSE, "updates by pipeline are not known here")
    result = _copy(document)
    description = None
    if is_operators(change):
        description = _modify(result, change, is_new)
    else:
        result = {name: value for name, value in document.items() if name == "_id"} | change
    if "_id" in document and result.get("_id") != document["_id"]:
        raise CommandError(IMMUTABLE_FIELD, "Performing an update on the path '_id' would modify the immutable field")
    return result, description


def _modify(document: Document, change: Document, is_new: bool) -> Document:
    fields: Document = {}
    removed = []
    for name, operands in change.items():
        if name not in ("$set", "$setOnInsert", "$unset"):
            raise CommandError(FAILED_TO_PARSE, f"Unknown modifier: {name}")
        for path, operand in operands.items():
            if name == "$unset":
                removed += [path] if _unset(document, path) else []
            elif name == "$set" or is_new:
                fields[path] = operand
                _set(document, path, operand)
    return {"updatedFields": fields, "removedFields": removed, "truncatedArrays": []}


def _equalities(query: Document) -> Document:
    """The beginning of a document that an upsert makes: what its filter says that fields equal."""
    document: Document = {}
    for name, wanted in query.items():
        if not name.startswith("$") and (not is_operators(wanted) or "$eq" in wanted):
            _set(document, name, wanted["$eq"] if is_operators(wanted) else wanted)
    return document


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(inner) for name, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _step(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name)
    return value[int(name)] if isinstance(value, list) and name.isdigit() and int(name) < len(value) else None


def _set(document: Document, path: str, operand: Any) -> None:
    *parents, leaf = path.split(".")
    value: Any = document
    for name in parents:
        inner = _step(value, name)
        if inner is None and isinstance(value, dict) and name not in value:
            inner = value[name] = {}
        value = inner
    if isinstance(value, dict):
        value[leaf] = operand
    elif isinstance(value, list) and leaf.isdigit():
        value += [None] * (int(leaf) + 1 - len(value))
        value[int(leaf)] = operand
    else:
        raise CommandError(PATH_NOT_VIABLE, f"Cannot create field '{leaf}' on the path {path}")


def _unset(document: Document, path: str) -> bool:
    *parents, leaf = path.split(".")
    value: Any = document
    for name in parents:
        value = _step(value, name)
    if isinstance(value, list) and leaf.isdigit() and int(leaf) < len(value):
        value[int(leaf)] = None
        return True
    return isinstance(value, dict) and value.pop(leaf, _unset) is not _unset
