"""How well searches find what people judged to be right.

What belongs here: indexing a test collection as profiles are, searching it, and the measures. What does not: reading
it (`collection.py`).

Nothing here ranks or embeds: a document is built into an index as a profile without facts, and searched by `Searcher`.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from math import log2
from statistics import fmean

import numpy as np
import pyarrow as pa

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.build import BuildReport, build
from profile_pipeline.index.collection import Collection
from profile_pipeline.index.embedding import Embedder, Progress
from profile_pipeline.index.search import Mode, Searcher
from profile_pipeline.index.store import INPUT_SCHEMA, IndexStore
from profile_pipeline.index.versions import describe

NO_DAY = date.min
"""As of which a collection is indexed: documents know no days, and no profile was built as of it."""

NEAR, DEEP = 10, 100
"""How many documents are looked at: a first page, and what a reranker could be given."""


@dataclass(frozen=True)
class Measures:
    """How well a ranking answers queries, from 0 to 1, on average over those with a judgment.

    As defined by trec_eval (`ndcg_cut`, `recall`), which BEIR reports by pytrec_eval.
    """

    ndcg_at_10: float
    recall_at_10: float
    recall_at_100: float


def index_collection(
    collection: Collection, store: IndexStore, embedder: Embedder, on_progress: Progress | None = None
) -> BuildReport:
    """Build the documents into an index, and promote it.

    Raises:
        PipelineError: the folder holds an index of profiles, or as `build.build`.
    """
    table = store.open_promoted()
    record = describe(table) if table is not None else None
    if table is not None and (record is None or record.as_of != NO_DAY):
        raise PipelineError(f"{store.path} holds an index of profiles; name another folder for the collection's")
    return build(store, _as_profiles(collection.documents), embedder, as_of=NO_DAY, on_progress=on_progress)


class QueryEmbedder:
    """An `Embedder` that knows the vectors of a collection's queries, which were embedded together.

    One by one they take several times as long, and each would be embedded for each mode.
    """

    def __init__(self, collection: Collection, embedder: Embedder, on_progress: Progress | None = None) -> None:
        """Embed the queries."""
        self.model = embedder.model
        self.revision = embedder.revision
        self.weights_sha256 = embedder.weights_sha256
        self.runtime = embedder.runtime
        texts = sorted(set(collection.queries.values()))
        self._vectors = dict(zip(texts, embedder.embed(texts, on_progress), strict=True))

    def embed(self, texts: Sequence[str], on_progress: Progress | None = None) -> np.ndarray:
        """The vectors of queries, as rows."""
        return np.stack([self._vectors[text] for text in texts])


def search_collection(
    collection: Collection, searcher: Searcher, mode: Mode, on_progress: Progress | None = None
) -> dict[str, list[str]]:
    """The best `DEEP` documents for each query, by id, best first.

    A document with the id of the query is left out, as by BEIR: in some collections queries are documents.
    """
    found: dict[str, list[str]] = {}
    for query, text in collection.queries.items():
        ranked = searcher.search(text, mode=mode, limit=DEEP + 1, columns=["user_id"])["user_id"].to_pylist()
        found[query] = [document for document in ranked if document != query][:DEEP]
        if on_progress:
            on_progress(len(found), len(collection.queries))
    return found


def measure(collection: Collection, found: dict[str, list[str]]) -> Measures:
    """The measures of what was found for each query."""
    pairs = [(found[query], judged) for query, judged in collection.judgments.items()]
    return Measures(
        ndcg_at_10=fmean(ndcg(documents, judged, NEAR) for documents, judged in pairs),
        recall_at_10=fmean(recall(documents, judged, NEAR) for documents, judged in pairs),
        recall_at_100=fmean(recall(documents, judged, DEEP) for documents, judged in pairs),
    )


def ndcg(documents: Sequence[str], judged: dict[str, int], depth: int) -> float:
    """Normalized discounted cumulative gain (Järvelin and Kekäläinen, TOIS 2002) of the first documents.

    The gain is the score itself, not 2 to its power, and the discount log2(rank + 1), as in trec_eval. A document
    without a judgment, or with a negative one, gains nothing; where none could, it is 0.
    """
    best = _discounted(sorted((max(score, 0) for score in judged.values()), reverse=True)[:depth])
    return _discounted(max(judged.get(document, 0), 0) for document in documents[:depth]) / best if best else 0.0


def recall(documents: Sequence[str], judged: dict[str, int], depth: int) -> float:
    """The share of the documents with a positive judgment that are among the first; where there are none, it is 0."""
    right = {document for document, score in judged.items() if score > 0}
    return len(right.intersection(documents[:depth])) / len(right) if right else 0.0


def _discounted(gains: Iterable[int]) -> float:
    return sum(gain / log2(rank + 1) for rank, gain in enumerate(gains, 1))


def _as_profiles(documents: dict[str, str]) -> pa.Table:
    texts = list(documents.values())
    columns = {
        "user_id": list(documents),
        "text": texts,
        "text_hash": [hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for text in texts],
    }
    return pa.table(
        [pa.array(columns.get(field.name, [None] * len(texts)), field.type) for field in INPUT_SCHEMA],
        schema=INPUT_SCHEMA,
    )
