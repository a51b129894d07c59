"""Finding profiles by meaning.

What belongs here: the query on the served version and the errors of those who ask. What does not: how a
version comes about (`build.py`).
"""

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.embedding import Embedder
from profile_pipeline.index.store import FILTER_COLUMNS, IndexStore, describe

RESULT_COLUMNS = ("user_id", *FILTER_COLUMNS, "text")


def match(store: IndexStore, text: str, embedder: Embedder, where: str | None, limit: int) -> pa.Table:
    """The profiles nearest in meaning to a text, best first, equal scores by user.

    Exact: the text is compared with every profile that the filter lets through. The served version is opened
    afresh, so a promotion shows in the next call.

    Args:
        store: the index.
        text: what to look for.
        embedder: the model of the served version.
        where: a condition in SQL on the columns of the index, or nothing.
        limit: how many profiles at most, at least 1.

    Returns:
        `score`, the cosine similarity, -1 to 1, then the profile's columns and its indexed text.

    Raises:
        PipelineError: the text is blank, the limit too small, the filter wrong, there is no index yet, or
            it was built with another model or other columns.
    """
    if not text.strip():
        raise PipelineError("the text to match is blank; say what to look for, such as 'vegans who like wine'")
    if limit < 1:
        raise PipelineError(f"the limit {limit} is too small; ask for at least 1 profile")
    table = _open_for(store, embedder.model)
    if where is not None:
        try:
            # Before the model is loaded, which takes seconds.
            table.count_rows(where)
        except (ValueError, RuntimeError) as error:
            raise PipelineError(_wrong_filter(where, str(error))) from None
    query = table.search(embedder.embed([text])[0], vector_column_name="vector").distance_type("dot")
    if where is not None:
        query = query.where(where, prefilter=True)
    found = query.bypass_vector_index().limit(limit).select([*RESULT_COLUMNS, "_distance"]).to_arrow()
    # LanceDB's distance of two vectors is 1 minus their inner product.
    score = pc.subtract(1.0, found["_distance"].cast(pa.float64()))
    ranked = found.drop_columns("_distance").add_column(0, "score", score)
    return ranked.sort_by([("score", "descending"), ("user_id", "ascending")])


def _open_for(store: IndexStore, model: str) -> Any:
    """The served version, if a query by this model can be put to it."""
    table = store.open_served()
    built_with = describe(table).model
    if built_with != model:
        raise PipelineError(
            f"the index was built with the model {built_with}, but EMBEDDING_MODEL is {model}; "
            "set it back, or build the index again"
        )
    absent = [name for name in RESULT_COLUMNS if name not in table.schema.names]
    if absent:
        raise PipelineError(f"the index was built before there was a column {', '.join(absent)}; build the index again")
    return table


def _wrong_filter(where: str, message: str) -> str:
    """Say what is wrong with a filter, without the parts of LanceDB's message that help nobody."""
    reason = re.sub(r"(Invalid input|Invalid user input|Schema error|Error during planning)[:,] ", "", message)
    reason = re.sub(r" Valid fields are .*|, /\S+\.rs:\d+:\d+", "", " ".join(reason.split())).rstrip(".")
    return (
        f"the filter {where!r} cannot be used: {reason}; "
        f"columns: {', '.join(RESULT_COLUMNS)}; "
        "write a day as DATE '2024-01-31' and a list as array_has(tags, 'vegan')"
    )
