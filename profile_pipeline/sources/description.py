"""What there is of a kind of record in a source, for a person who checks the settings.

What belongs here: the description, and which fields documents have. What does not: asking a source for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from profile_pipeline.records.dialect import Dialect, value_at
from profile_pipeline.records.models import MODELS

SAMPLE_DOCUMENTS = 100
"""Enough to find a field that few records have, few enough for a look."""


@dataclass(frozen=True)
class Description:
    """What there is of a kind of record.

    `count` and `newest`, in UTC without a zone, are None where there is none or it would take too long to say.
    `filled` has, for each field of the model, how many of the `sampled` documents have a value for it.
    """

    name: str
    is_there: bool
    count: int | None
    newest: datetime | None
    sampled: int
    filled: dict[str, int]


def filled_fields(kind: str, documents: Sequence[dict[str, Any]], dialect: Dialect) -> dict[str, int]:
    """For each field of a kind, in how many of the documents it has a value."""
    return {
        name: sum(_is_filled(document, dialect, name) for document in documents) for name in MODELS[kind].model_fields
    }


def _is_filled(document: dict[str, Any], dialect: Dialect, name: str) -> bool:
    value = value_at(document, dialect.path(name))
    if name == "id" and value is None:
        value = document.get("_id")
    return value not in (None, []) and not (isinstance(value, str) and not value.strip())
