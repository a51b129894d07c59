"""The parts of a text that match: why somebody was found.

What belongs here: cutting texts into sentences and ranking those of each text against what was asked. What does
not: ranking profiles (`ranking.py`).
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from profile_pipeline.index.acceleration import word_index
from profile_pipeline.index.embedding import Embedder
from profile_pipeline.index.ranking import reciprocal
from profile_pipeline.index.text import DOMAINS
from profile_pipeline.profiles.summary import DETAILS_MISSING, PRONOUNS

SHOWN_PARTS = 2
"""Sentences told of a profile, out of six at most."""

NEARLY = 0.8
"""A sentence matches by meaning if its cosine is at least this share of that of the best one of its text."""

BEGINNINGS = "|".join((*PRONOUNS, DETAILS_MISSING, DOMAINS))

Ranks = dict[str, int]
"""The sentences of one text that match, each with its rank, from 1 on."""


def sentences(text: str) -> list[str]:
    """The sentences of an indexed text that tell something; the one about details that are missing does not.

    Each begins with the user's name, a pronoun or a heading, which tells its beginning from the end of an
    abbreviation: "at Dr. Wine" is not cut.
    """
    name = re.escape(text.split(maxsplit=1)[0]) if text.split() else ""
    parts: list[str] = re.split(rf"(?<=\.) (?=(?:{name}|{BEGINNINGS})(?:\W|$))", text)
    return [part for part in parts if not part.startswith(DETAILS_MISSING)]


def by_meaning(vector: np.ndarray, texts: Sequence[str], embedder: Embedder) -> list[Ranks]:
    """For each text, the sentences that are nearest to a vector of unit length; all are embedded at once."""
    cut = [sentences(text) for text in texts]
    distinct = list(dict.fromkeys(sentence for parts in cut for sentence in parts))
    scores = dict(zip(distinct, (embedder.embed(distinct) @ vector).tolist(), strict=True)) if distinct else {}
    return [_ranks({part: scores[part] for part in parts}, NEARLY) for parts in cut]


def by_words(text: str, texts: Sequence[str]) -> list[Ranks]:
    """For each text, the sentences that share words with what was asked, by BM25.

    They are put into a table in memory with the same index of words as the profiles', so words are cut, stemmed and
    left out alike.
    """
    cut = [sentences(each) for each in texts]
    distinct = list(dict.fromkeys(sentence for parts in cut for sentence in parts))
    scores = _word_scores(text, distinct) if distinct else {}
    return [_ranks({part: scores[part] for part in parts if part in scores}, 0) for parts in cut]


def best(*rankings: list[Ranks]) -> list[list[str]]:
    """For each text its best sentences, at most `SHOWN_PARTS`, by one ranking or by several fused."""
    return [_best(ranks) for ranks in zip(*rankings, strict=True)]


def _best(rankings: tuple[Ranks, ...]) -> list[str]:
    sums: dict[str, float] = {}
    for ranks in rankings:
        for part, rank in ranks.items():
            sums[part] = sums.get(part, 0) + reciprocal(rank)
    return sorted(sums, key=lambda part: -sums[part])[:SHOWN_PARTS]


def _ranks(scores: dict[str, float], share: float) -> Ranks:
    least = share * max(scores.values(), default=0)
    kept = [part for part, score in scores.items() if score >= least]
    return {part: rank for rank, part in enumerate(sorted(kept, key=lambda part: -scores[part]), 1)}


def _word_scores(text: str, distinct: list[str]) -> dict[str, float]:
    import lancedb  # noqa: PLC0415  # as in `store`

    rows: Any = lancedb.connect("memory://").create_table("sentences", pa.table({"text": distinct}))
    rows.create_index("text", config=word_index())
    found = rows.search(text, query_type="fts", fts_columns="text").limit(len(distinct)).to_arrow()
    return dict(zip(found["text"].to_pylist(), found["_score"].to_pylist(), strict=True))
