"""Searching an index of many profiles: by meaning, words and both, with filters and without, next to NumPy.

    python -m bench.search --profiles 200000 --queries 300

The rival compares each query with all vectors in one product in NumPy, which is exact, knows no filter and tells only
who was found. Embedding the query is not counted on either side. Vectors are sums of random vectors of words, weighted
by how rare they are: near where texts share words, as those of a model are, and made in seconds.
"""

import argparse
import hashlib
import json
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from profile_pipeline.index.build import build
from profile_pipeline.index.embedding import Progress
from profile_pipeline.index.filters import Filters
from profile_pipeline.index.search import Mode, Searcher
from profile_pipeline.index.store import INPUT_SCHEMA, IndexStore
from profile_pipeline.sample.vocabulary import CUISINES, DIETS, HOSTS, INTERESTS, NEIGHBORHOODS, OCCUPATIONS, VENUES

DAY = date(2025, 12, 30)
DIMENSION = 384
"""That of the default model."""

FILTERS = {
    "": Filters(),
    "one neighborhood": Filters(neighborhoods=(NEIGHBORHOODS[3],)),
    "half of all": Filters(where="age > 44"),
    "a tag and a score": Filters(tags=("vegan",), min_score=50),
}
SHOWN = ("user_id", "name", "text")
"""What a list of hits shows."""


class Words:
    """An embedder whose vectors are sums of a random vector for each word, the rarer the longer."""

    model = f"words@{DIMENSION}"
    runtime = "numpy"
    revision = weights_sha256 = None

    def __init__(self, texts: Sequence[str]) -> None:
        """Count in how many texts each word is."""
        found = Counter(word for text in texts for word in set(words(text)))
        self.lengths = {word: float(np.log(len(texts) / count) + 0.05) for word, count in found.items()}
        self.vectors: dict[str, np.ndarray] = {}

    def embed(self, texts: Sequence[str], on_progress: Progress | None = None) -> np.ndarray:
        """As `index.embedding.Embedder`."""
        rows = np.array([sum(map(self.vector, words(text))) for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def vector(self, word: str) -> np.ndarray:
        """The vector of a word, the same each time."""
        if word not in self.vectors:
            seed = int.from_bytes(hashlib.md5(word.encode()).digest()[:4])
            random = np.random.default_rng(seed).standard_normal(DIMENSION, np.float32)
            self.vectors[word] = random * self.lengths.get(word, 5.0)
        return self.vectors[word]


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"\w+", text.lower())


def people(count: int) -> pa.Table:
    """Profiles with a text each, told as a summary is."""
    random = np.random.default_rng(1)

    def some(values: Sequence[str], most: int) -> list[str]:
        return [str(value) for value in random.choice(values, random.integers(1, most + 1), replace=False)]

    rows = []
    for number in range(count):
        age, home, job = (
            int(random.integers(20, 70)),
            str(random.choice(NEIGHBORHOODS)),
            str(random.choice(OCCUPATIONS)),
        )
        interests, cuisines, diets = some(INTERESTS, 4), some(CUISINES, 3), some(DIETS, 1)
        seen = DAY - timedelta(days=int(random.integers(700)))
        name = f"Given{number % 3000} Family{number}"
        tags = sorted({label.lower() for label in (*interests, *cuisines, *diets)})
        text = (
            f"{name.split(maxsplit=1)[0]} is a {age}-year-old {job.lower()} living in {home}. They are {diets[0]}, "
            f"interested in {' and '.join(interests)}. Most recently on {seen} at {random.choice(VENUES)}, hosted by "
            f"{random.choice(HOSTS)}. Enjoys {' and '.join(cuisines)} cuisine venues. Domains: {', '.join(tags)}."
        )
        rows.append(
            {
                **{"user_id": f"user_{number}", "name": name, "text": text, "tags": tags, "age": age},
                **{"text_hash": hashlib.md5(text.encode()).hexdigest(), "home_neighborhood": home, "occupation": job},
                **{"last_event_date": seen, "personalization_score": int(random.integers(101)), "profile_date": DAY},
            }
        )
    return pa.Table.from_pylist(rows, schema=INPUT_SCHEMA)


def timed(calls: Sequence[Callable[[], object]]) -> dict[str, float]:
    """Milliseconds of a call, after some that are not counted."""
    for call in calls[:20]:
        call()
    wall, cpu = [], []
    for call in calls:
        started, used = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return {
        "p50_ms": round(float(np.percentile(wall, 50)) * 1000, 1),
        "p99_ms": round(float(np.percentile(wall, 99)) * 1000, 1),
        "cpu_ms": round(float(np.percentile(cpu, 50)) * 1000, 1),
    }


def rows(profiles: int, queries: int) -> dict[str, dict[str, float]]:
    """Build an index, build it again without changes, and time every way of searching it."""
    table = people(profiles)
    texts = table["text"].to_pylist()
    embedder = Words(texts)
    random = np.random.default_rng(2)
    asked = [" ".join(random.choice(words(texts[random.integers(profiles)]), 6, replace=False)) for _ in range(queries)]
    with tempfile.TemporaryDirectory() as folder:
        store = IndexStore(Path(folder) / "lancedb")
        result: dict[str, dict[str, float]] = {}
        for step in ("first build", "build without changes"):
            started = time.perf_counter()
            build(store, table, embedder, as_of=DAY)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            result[step] = {"seconds": round(time.perf_counter() - started, 2), "peak_mb": round(peak)}
        vectors = np.vstack([embedder.embed(texts[start : start + 8192]) for start in range(0, profiles, 8192)])
        points = embedder.embed(asked)
        by_text = dict(zip(asked, points, strict=True))
        ready = Ready(by_text, embedder.model)
        searcher = Searcher(store, ready)
        result["exact in numpy"] = timed([partial(nearest, vectors, point) for point in points])
        for mode in Mode:
            for name, filters in FILTERS.items():
                calls = [partial(searcher.search, text, mode=mode, filters=filters, columns=SHOWN) for text in asked]
                label = f"{mode}, {name}" if name else str(mode)
                result[label] = timed(calls)
                if mode is Mode.VECTOR:
                    allowed = pc.is_in(table["user_id"], allowed_users(searcher, filters)).to_numpy()
                    result[label]["recall_at_10"] = recall(searcher, vectors[allowed], by_text, filters)
    return result


class Ready:
    """The queries' vectors, computed before."""

    runtime = "numpy"
    revision = weights_sha256 = None

    def __init__(self, vectors: dict[str, np.ndarray], model: str) -> None:
        """Take the vectors and the name of the model that made them."""
        self.vectors, self.model = vectors, model

    def embed(self, texts: Sequence[str], on_progress: Progress | None = None) -> np.ndarray:
        """As `index.embedding.Embedder`."""
        return np.array([self.vectors[text] for text in texts])


def nearest(vectors: np.ndarray, point: np.ndarray) -> np.ndarray:
    """The rival: the positions of the ten best, best first."""
    scores = vectors @ point
    best = np.argpartition(-scores, 10)[:10]
    return best[np.argsort(-scores[best])]


def allowed_users(searcher: Searcher, filters: Filters) -> pa.ChunkedArray:
    """Whom a filter lets through."""
    where = filters.condition(DAY)
    found = searcher.table().search().where(where) if where else searcher.table().search()
    return found.select(["user_id"]).to_arrow()["user_id"]


def recall(searcher: Searcher, vectors: np.ndarray, points: dict[str, np.ndarray], filters: Filters) -> float:
    """The share of the ten best that a search finds; one with an equal score is as good."""
    found = 0
    for text, point in points.items():
        tenth = np.partition(vectors @ point, -10)[-10]
        scores = searcher.search(text, mode=Mode.VECTOR, filters=filters, columns=SHOWN)["score"].to_numpy()
        found += int((scores >= tenth - 1e-5).sum())
    return round(found / (10 * len(points)), 4)


def main() -> None:
    """Print the figures as a table and as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=300)
    given = parser.parse_args()
    found = rows(given.profiles, given.queries)
    columns = ("seconds", "peak_mb", "p50_ms", "p99_ms", "cpu_ms", "recall_at_10")
    table = Table("what", *columns, title=f"{given.profiles:,} profiles")
    for name, figures in found.items():
        table.add_row(name, *(str(figures.get(column, "")) for column in columns))
    Console(stderr=True).print(table)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
