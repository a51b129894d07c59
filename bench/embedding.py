"""Embedding texts as the index does, next to `SentenceTransformer.encode` with its defaults.

    python -m bench.embedding --texts 1000 --rounds 3

Ways take turns in one process, on the same texts: those of the sample's kind, some 100 tokens each. Beside the texts a
second: the least cosine between the two vectors of a text, and the share of its ten nearest texts that stay the same.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.search import people
from profile_pipeline.index.embedding import DEFAULT_MODEL, SentenceTransformerEmbedder

RIVAL = "encode"
NEIGHBOURS = 10
WARM_UP = 64
"""Texts before the clock starts: libraries choose their kernels on the first ones."""


def rows(texts: int, rounds: int) -> dict[str, dict[str, float]]:
    """Embed the same texts both ways by turns: medians of texts a second, and how far the vectors agree."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415  # takes seconds

    told = people(texts)["text"].to_pylist()
    embedder = SentenceTransformerEmbedder(DEFAULT_MODEL)
    model = SentenceTransformer(str(embedder.folder), local_files_only=True)
    ways: dict[str, Callable[[list[str]], np.ndarray]] = {
        RIVAL: lambda given: model.encode(given, show_progress_bar=False),
        "index": embedder.embed,
    }
    wall: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    vectors: dict[str, np.ndarray] = {}
    for embed in ways.values():
        embed(told[:WARM_UP])
    for _ in range(rounds):
        for way, embed in ways.items():
            started, used = time.perf_counter(), time.process_time()
            vectors[way] = embed(told)
            wall[way].append(texts / (time.perf_counter() - started))
            cpu[way].append(texts / (time.process_time() - used))
    near = {way: neighbours(found) for way, found in vectors.items()}
    same = [len(a & b) / NEIGHBOURS for a, b in zip(near[RIVAL], near["index"], strict=True)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {
        way: {
            "texts_a_second": round(statistics.median(wall[way]), 1),
            "texts_a_cpu_second": round(statistics.median(cpu[way]), 1),
            "ratio": round(statistics.median(wall[way]) / statistics.median(wall[RIVAL]), 2),
            "cpu_ratio": round(statistics.median(cpu[way]) / statistics.median(cpu[RIVAL]), 2),
        }
        for way in ways
    }
    result["index"] |= {
        "least_cosine": round(float((vectors[RIVAL] * vectors["index"]).sum(axis=1).min()), 6),
        "same_neighbours": round(statistics.mean(same), 4),
        "all_ten_the_same": round(statistics.mean(share == 1 for share in same), 4),
        "peak_mb_of_both": round(peak),
    }
    return result


def neighbours(vectors: np.ndarray) -> list[set[int]]:
    """The ten nearest others of each vector."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2)
    return [set(row.tolist()) for row in np.argpartition(-scores, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]]


def main() -> None:
    """Print the figures as a table and as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found = rows(given.texts, given.rounds)
    table = Table("figure", *found, title=f"{given.texts:,} texts")
    for figure in found["index"]:
        table.add_row(figure, *(str(figures.get(figure, "")) for figures in found.values()))
    Console(stderr=True).print(table)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
