"""A second look at the best of a ranking.

What belongs here: what a reranker is, ordering by it, and finding the one that a setting names. What does not: the
first ranking (`ranking.py`).
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pyarrow as pa

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.embedding import quiet

Reranker = Callable[[str, Sequence[str]], Sequence[float]]
"""Given what is looked for and indexed texts, a number for each text, the higher the better."""

RERANKED_AT_LEAST = 50
"""Profiles that a reranker is given: as many as each ranking hands to a fusion. A cross-encoder of six layers takes a
second for them on two cores."""


def reranked(ranked: pa.Table, text: str, texts: Sequence[str], reranker: Reranker) -> pa.Table:
    """A ranking in the order, and with the scores, of a reranker; equal scores by user.

    Args:
        ranked: `score`, `user_id` and `_rowid`.
        text: what is looked for.
        texts: the indexed texts, one for each row of the ranking.
        reranker: what scores them; it is not asked about nobody.

    Raises:
        PipelineError: it gave another number of scores, or one that is no finite number.
    """
    if not texts:
        return ranked
    try:
        scores = np.asarray(reranker(text, texts), np.float64)
    except (TypeError, ValueError) as error:
        raise PipelineError(f"the reranker failed or gave no numbers: {error}") from error
    if scores.shape != (len(texts),) or not np.isfinite(scores).all():
        raise PipelineError(
            f"the reranker was given {len(texts)} texts and has to give one finite number for each, not {scores!r:.200}"
        )
    rows = ranked.set_column(0, "score", pa.array(scores))
    return rows.sort_by([("score", "descending"), ("user_id", "ascending")])


def load_reranker(name: str) -> Reranker:
    """The reranker of a name: `module:function`, or a cross-encoder's folder or name.

    Raises:
        PipelineError: there is no such thing, or it cannot be loaded.
    """
    module, colon, function = name.partition(":")
    return _function(name, module, function) if colon else _cross_encoder(name)


def _function(name: str, module: str, function: str) -> Reranker:
    try:
        found: Any = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise PipelineError(
            f"PROFILE_PIPELINE_RERANKER is {name!r}, which cannot be loaded: {error}; name a function as "
            "module:function, in a module that Python finds (PYTHONPATH)"
        ) from error
    if not callable(found):
        raise PipelineError(f"PROFILE_PIPELINE_RERANKER is {name!r}, which is no function")
    reranker: Reranker = found
    return reranker


def _cross_encoder(name: str) -> Reranker:
    with quiet():
        # Takes seconds, and few searches are reranked.
        from sentence_transformers import CrossEncoder  # noqa: PLC0415

        try:
            model = CrossEncoder(name)
        except Exception as error:
            first_line = str(error).strip().partition("\n")[0]
            raise PipelineError(
                f"PROFILE_PIPELINE_RERANKER is {name!r}, which is no cross-encoder that can be loaded: {first_line}; "
                "name the folder of one, or a function as module:function"
            ) from error

    def rerank(text: str, texts: Sequence[str]) -> Sequence[float]:
        scores: list[float] = model.predict([(text, each) for each in texts], show_progress_bar=False).tolist()
        return scores

    return rerank
