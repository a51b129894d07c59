"""What tests of the index share: a model that needs no weights, profiles to index, and a search in one call."""

import hashlib
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from profile_pipeline.index.embedding import Embedder, Progress
from profile_pipeline.index.filters import Filters
from profile_pipeline.index.search import Mode, Searcher
from profile_pipeline.index.store import INPUT_SCHEMA, IndexStore

AS_OF = date(2024, 2, 10)


class BagOfWords:
    """An `Embedder` whose vectors count words, hashed to one of `dimension` places; it notes each text."""

    def __init__(self, model: str = "bag-of-words@1", dimension: int = 64) -> None:
        self.model = model
        self.dimension = dimension
        self.embedded: list[str] = []
        self.revision: str | None = None
        self.weights_sha256: str | None = None

    @property
    def runtime(self) -> str:
        return "counting"

    def embed(self, texts: Sequence[str], on_progress: Progress | None = None) -> np.ndarray:
        self.embedded.extend(texts)
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()) or ["blank"]:
                place = int.from_bytes(hashlib.md5(f"{self.model} {word}".encode()).digest()[:4])
                vectors[row, place % self.dimension] += 1
            if on_progress:
                on_progress(row + 1, len(texts))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def profile(user_id: str, text: str | None, **columns: Any) -> dict[str, Any]:
    """One profile to index; columns not given are null."""
    return {
        "user_id": user_id,
        "text": text,
        "text_hash": None if text is None else hashlib.md5(text.encode()).hexdigest(),
        "tags": ["wine"],
        "profile_date": AS_OF,
        **columns,
    }


def profiles(*rows: dict[str, Any]) -> pa.Table:
    """Profiles as a build takes them."""
    return pa.Table.from_pylist(list(rows), schema=INPUT_SCHEMA)


def people(count: int, **columns: Any) -> list[dict[str, Any]]:
    """Profiles `u0`, `u1`, … with a text each of its own."""
    return [profile(f"u{n}", f"person {n} likes thing{n} and wine", **columns) for n in range(count)]


def match(
    store: IndexStore,
    text: str,
    embedder: Embedder,
    where: str | None,
    limit: int,
    *,
    mode: Mode = Mode.HYBRID,
    filters: Filters | None = None,
) -> pa.Table:
    """One search of the served version; `where` is for filters that are only a condition in SQL."""
    return Searcher(store, embedder).search(text, mode=mode, filters=filters or Filters(where), limit=limit)
