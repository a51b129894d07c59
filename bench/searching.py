"""Finding profiles by meaning, by words and by both, with filters and without.

What belongs here: judging what `search.py` measures. What does not: measuring it.
"""

from collections.abc import Generator, Iterator
from typing import Any

from bench.harness import measured
from bench.search import rows as searched
from bench.suite import Bench
from bench.table import Row

QUERIES = 300
MOST_P50_MS, MOST_P99_MS, MIN_RECALL = 10.0, 50.0, 0.99
RIVAL = "exact in numpy"


def searches(profiles: int, queries: int) -> Generator[None, None, dict[str, Any]]:
    """Every way of searching so many profiles."""
    yield
    return searched(profiles, queries)


def rows(bench: Bench) -> Iterator[Row]:
    """The rows of a size: seconds are those of one query at the median, without embedding it."""
    run = measured(searches, {"profiles": bench.users, "queries": QUERIES})
    exact = run.told[RIVAL]
    for name, found in run.told.items():
        if "p50_ms" not in found or name == RIVAL:
            continue
        recall = found.get("recall_at_10")
        told = "" if recall is None else f", recall@10 {recall}"
        yield Row(
            f"search by {name}",
            bench.users,
            found["p50_ms"] / 1000,
            found["cpu_ms"] / 1000,
            run.peak_mb,
            "one exact product in NumPy, in memory, without a filter",
            exact["p50_ms"] / 1000,
            exact["cpu_ms"] / 1000,
            ratio=found["p50_ms"] / exact["p50_ms"],
            target=f"p50 under {MOST_P50_MS:.0f} ms, p99 under {MOST_P99_MS:.0f} ms, recall {MIN_RECALL}",
            met=found["p50_ms"] < MOST_P50_MS
            and found["p99_ms"] < MOST_P99_MS
            and (recall is None or recall >= MIN_RECALL),
            runs=1,
            note=f"{QUERIES} queries: p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms{told}",
        )
