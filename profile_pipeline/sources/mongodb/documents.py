"""Decoded documents as text, the places between them, and their keys.

What belongs here: extended JSON, batches and places. What does not: asking for documents (`source.py`), and what a
document means (`records/`).
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from json import JSONEncoder
from typing import Any
from uuid import UUID

from bson import Binary, CodecOptions, ObjectId, json_util
from bson.codec_options import DatetimeConversion
from bson.errors import BSONError

from profile_pipeline.errors import PipelineError
from profile_pipeline.records.dialect import Path, value_at
from profile_pipeline.records.models import unwrapped
from profile_pipeline.records.moments import EPOCH
from profile_pipeline.sources.live import Batch

Document = dict[str, Any]

BATCH_DOCUMENTS = 5_000
BATCH_BYTES = 16 << 20
"""Bounds on what is held in memory and repeated after a fault: many small documents, or a few very large ones."""

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
    return unwrapped(json.loads(as_json(value)))


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
