"""Finding profiles, beside an exact product in NumPy on the same vectors.

What belongs here: latency and recall of `index.search.match`, without the model, which is measured for itself
(`embedding.py`): vectors of profiles and queries are made up, in clusters.
"""

import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.embedding import home_with_summaries, indexed
from bench.harness import measured
from bench.profiles import settings_of
from bench.suite import Bench
from bench.table import Row, compared
from bench.vectors import ClusteredEmbedder
from profile_pipeline.index.search import match
from profile_pipeline.index.store import IndexStore

QUERIES = 100
LIMIT = 10
MOST_P50_MS, MOST_P99_MS, MIN_RECALL = 10.0, 50.0, 0.99
FILTERS = {"without a filter": None, "with a filter": "age >= 40"}
QUERY_TEXTS = [f"question {number}" for number in range(QUERIES)]


def pipeline_finds(home: str, where: str | None) -> Generator[None, None, dict[str, Any]]:
    """The nearest profiles of each query by `match`; the users found, and milliseconds at the median and 99 %."""
    store, embedder = IndexStore(settings_of(home).index_path), Remembering(QUERY_TEXTS)
    match(store, QUERY_TEXTS[0], embedder, where, LIMIT)
    yield
    return timed(lambda text: match(store, text, embedder, where, LIMIT)["user_id"].to_pylist())


def numpy_finds(home: str, where: str | None) -> Generator[None, None, dict[str, Any]]:
    """The same by a product with all vectors, which are in memory, in the rows that the filter lets through."""
    table = IndexStore(settings_of(home).index_path).open_served()
    rows = table.search().where(where or "true").select(["user_id", "vector"]).limit(table.count_rows()).to_arrow()
    users = rows["user_id"].to_numpy()
    vectors = np.stack(rows["vector"].combine_chunks().flatten().to_numpy().reshape(len(users), -1))
    embedder = Remembering(QUERY_TEXTS)

    def nearest(text: str) -> list[str]:
        scores = vectors @ embedder.embed([text])[0]
        best = np.argpartition(-scores, LIMIT)[:LIMIT]
        return list(users[best[np.argsort(-scores[best])]])

    yield
    return timed(nearest)


class Remembering(ClusteredEmbedder):
    """The vectors of queries, made before they are asked for."""

    def __init__(self, texts: list[str]) -> None:
        """Make the vectors."""
        super().__init__()
        self._vectors = dict(zip(texts, super().embed(texts), strict=True))

    def embed(self, texts: Any, on_progress: Any = None) -> np.ndarray:
        """The vectors of known texts."""
        return np.stack([self._vectors[text] for text in texts])


def timed(find: Any) -> dict[str, Any]:
    """Put all queries, one after the other."""
    found, milliseconds = [], []
    for text in QUERY_TEXTS:
        started = time.perf_counter()
        found.append(find(text))
        milliseconds.append(1000 * (time.perf_counter() - started))
    return {
        "found": found,
        "p50": float(np.percentile(milliseconds, 50)),
        "p99": float(np.percentile(milliseconds, 99)),
    }


def rows(bench: Bench) -> Iterator[Row]:
    """The rows of a size."""
    home = home_with_summaries(bench)
    if not Path(settings_of(home).index_path).is_dir():
        measured(indexed, {"home": home})
    target = f"p50 under {MOST_P50_MS:.0f} ms, p99 under {MOST_P99_MS:.0f} ms, recall {MIN_RECALL}"
    for name, where in FILTERS.items():
        ours, theirs = (
            measured(way, {"home": home, "where": where}, runs=bench.runs) for way in (pipeline_finds, numpy_finds)
        )
        pairs = zip(ours.told["found"], theirs.told["found"], strict=True)
        recall = sum(len({*mine} & {*exact}) for mine, exact in pairs) / (LIMIT * QUERIES)
        p50, p99 = ours.told["p50"], ours.told["p99"]
        row = compared(
            f"search by vector, {name}",
            bench.users,
            ours,
            "exact in NumPy, in memory",
            theirs,
            target=target,
            note=f"{QUERIES} queries: p50 {p50:.1f} ms, p99 {p99:.1f} ms, recall@{LIMIT} {recall:.3f}; NumPy p50 "
            f"{theirs.told['p50']:.1f} ms, p99 {theirs.told['p99']:.1f} ms; vectors made up, in clusters",
        )
        yield row.judged(p50 < MOST_P50_MS and p99 < MOST_P99_MS and recall >= MIN_RECALL)
    for name in ("text", "hybrid"):
        yield Row(f"search by {name}", bench.users, target=target, note="cannot run: `match` finds by vector only")
