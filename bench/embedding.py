"""Embedding texts, beside plain `SentenceTransformer.encode`; and an index in which no text changed.

What belongs here: time and faithfulness of vectors. What does not: finding them (`searching.py`).
"""

import json
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from bench.harness import measured
from bench.profiles import computed, day_home_with_profiles, settings_of
from bench.suite import LAST_DAY, Bench
from bench.table import Row, compared
from bench.vectors import ClusteredEmbedder
from profile_pipeline import build as pipeline
from profile_pipeline.computed_days import has_profiles
from profile_pipeline.index.embedding import SentenceTransformerEmbedder, model_folder
from profile_pipeline.indexing import profile_index
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window

MOST_TEXTS = 1_000
"""So many texts show a rate, in half a minute; a small sample has a tenth of its users."""
LIMIT = 1 / 2
MIN_COSINE = 0.999
NEIGHBOURS = 10
MIN_SAME_NEIGHBOURS = 0.99
MOST_SECONDS_UNCHANGED = 2.0


def pipeline_embeds(texts: str, out: str) -> Generator[None, None, None]:
    """The texts by the pipeline's embedder, loaded before."""
    embedder = SentenceTransformerEmbedder(settings_of(".").embedding_model)
    some = json.loads(Path(texts).read_text())
    embedder.embed(some[:1])
    yield
    np.save(out, embedder.embed(some))


def plain_encode(texts: str, out: str) -> Generator[None, None, None]:
    """The texts by `encode` with its defaults, loaded before."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415  # only this way needs it

    model = SentenceTransformer(str(model_folder(settings_of(".").embedding_model)), local_files_only=True)
    some = json.loads(Path(texts).read_text())
    model.encode(some[:1])
    yield
    np.save(out, model.encode(some))


def summarized(home: str, day: str) -> Generator[None, None, None]:
    """The summaries of a day, whose profiles are there."""
    settings = settings_of(home, start=day)
    window = Window(LAST_DAY, LAST_DAY)
    yield
    with open_warehouse(settings) as warehouse:
        for step in ("user_summaries", "messaging_decisions"):
            pipeline.STEPS[step](warehouse, settings, window)


def indexed(home: str) -> Generator[None, None, dict[str, int]]:
    """The index once more after it was built; the texts embedded then."""
    settings = settings_of(home)
    opening = partial(open_warehouse, settings, read_only=True)
    profile_index(opening, settings, ClusteredEmbedder())
    yield
    report = profile_index(opening, settings, ClusteredEmbedder())
    return {"embedded": report.embedded, "rows": report.served.rows}


def home_with_summaries(bench: Bench) -> Path:
    """The warehouse of the last day, with profiles and their summaries."""
    home = day_home_with_profiles(bench)
    with open_warehouse(settings_of(home), read_only=True) as warehouse:
        is_complete = has_profiles(warehouse)
    if not is_complete:
        # From the beginning, because another comparison may have repeated the profiles.
        measured(computed, {"home": home, "day": LAST_DAY})
        measured(summarized, {"home": home, "day": LAST_DAY})
    return home


def rows(bench: Bench) -> Iterator[Row]:
    """The rows of a size."""
    home = home_with_summaries(bench)
    with open_warehouse(settings_of(home), read_only=True) as warehouse:
        found = warehouse.connection.execute(
            f"SELECT text FROM user_summaries WHERE text IS NOT NULL ORDER BY hash(user_id) "
            f"LIMIT {min(MOST_TEXTS, bench.users // 10)}"
        ).fetchall()
    folder = bench.empty("embedding")
    texts = folder / "texts.json"
    texts.write_text(json.dumps([text for (text,) in found]))
    ours = measured(pipeline_embeds, {"texts": texts, "out": folder / "ours.npy"}, runs=bench.runs)
    theirs = measured(plain_encode, {"texts": texts, "out": folder / "theirs.npy"}, runs=bench.runs)
    cosine, same = faithfulness(np.load(folder / "ours.npy"), np.load(folder / "theirs.npy"))
    row = compared(
        f"embedding of {len(found):,} texts",
        bench.users,
        ours,
        "SentenceTransformer.encode",
        theirs,
        target=f"at most half, cosine {MIN_COSINE}, neighbours {MIN_SAME_NEIGHBOURS:.0%}",
        most=LIMIT,
        note=f"{len(found) / ours.seconds:.0f} texts a second against {len(found) / theirs.seconds:.0f}; least cosine "
        f"{cosine:.5f}; the same {NEIGHBOURS} neighbours for {same:.1%} of the texts",
    )
    yield row.judged(bool(row.met) and cosine >= MIN_COSINE and same >= MIN_SAME_NEIGHBOURS)
    again = measured(indexed, {"home": home})
    yield Row(
        "an index in which no text changed",
        bench.users,
        again.seconds,
        again.cpu_seconds,
        again.peak_mb,
        target=f"embeds nothing, under {MOST_SECONDS_UNCHANGED:.0f} s",
        met=again.told["embedded"] == 0 and again.seconds < MOST_SECONDS_UNCHANGED,
        runs=1,
        note=f"{again.told['embedded']} of {again.told['rows']:,} texts embedded",
    )


def faithfulness(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The least cosine of two embeddings of one text, and for how many texts both have the same nearest ones."""
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (ours, theirs)]
    cosine = float((unit[0] * unit[1]).sum(axis=1).min())
    nearest = []
    for vectors in unit:
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -np.inf)
        nearest.append(np.sort(np.argsort(-scores, axis=1)[:, :NEIGHBOURS], axis=1))
    return cosine, float((nearest[0] == nearest[1]).all(axis=1).mean())
