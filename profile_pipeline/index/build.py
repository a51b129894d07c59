"""Building a version of the index and promoting it.

What belongs here: deciding what to embed and write, and the order of the steps that keeps the served
version safe. What does not: how LanceDB does a step (`store.py`) and what makes a version right
(`health.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.embedding import Embedder, Progress
from profile_pipeline.index.health import (
    SAMPLE_SIZE,
    Difference,
    compare,
    desired_rows,
    examine,
    has_current_columns,
    spread,
)
from profile_pipeline.index.store import (
    PRODUCTION,
    IndexStore,
    clean_up,
    compact_when_due,
    delete,
    seal,
    stored_schema,
    upsert,
)


class Stage(StrEnum):
    """What a build has just finished, in order. Up to `CHECKED` the served version is the old one."""

    COMPARED = "compared"
    EMBEDDED = "embedded"
    UPSERTED = "upserted"
    STAGED = "staged"
    CHECKED = "checked"
    PROMOTED = "promoted"
    CLEANED = "cleaned"


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        version: the version served now.
        rows: its rows.
        model: the identity of its model.
        upserted: rows written, because they are new or anything in them changed.
        deleted: rows of users who left.
        embedded: texts embedded for the index, because they or the model are new. The check embeds a sample
            of at most `SAMPLE_SIZE` texts besides, as queries.
        promoted: whether a new version was written and promoted; false when nothing had changed.
    """

    version: int
    rows: int
    model: str
    upserted: int
    deleted: int
    embedded: int
    promoted: bool


def build(
    store: IndexStore,
    profiles: pa.Table,
    embedder: Embedder,
    *,
    as_of: date,
    on_stage: Callable[[Stage], None] = lambda stage: None,
    on_progress: Progress | None = None,
) -> BuildReport:
    """Make the index equal to the profiles: write the change beside the served version, check, promote.

    Only texts whose hash or model changed are embedded; a row that changed otherwise keeps its vector.
    Another model, or other columns, give a version written from scratch, so one never holds vectors of two
    models. If nothing changed, nothing is written, and `as_of` of the served version stays that of its last
    change.

    A failed check or a crash at any point leaves the served version as it was, and the next build starts
    from it.

    Args:
        store: the index.
        profiles: one row for each user, with the columns of `INPUT_SCHEMA`; a profile whose `text` is null is
            not to be indexed.
        embedder: the model.
        as_of: the day the profiles speak of; kept with the version.
        on_stage: told after each stage.
        on_progress: told how many texts are embedded.

    Raises:
        PipelineError: the profiles cannot be indexed, there are none, or the new version fails its check.
        TransientError: another process is building.
    """
    desired = desired_rows(profiles, embedder.model)
    with store.writing():
        served = store.served()
        stored = store.open_served() if served else None
        difference = compare(stored, desired)
        on_stage(Stage.COMPARED)
        if served and difference.is_empty:
            return BuildReport(served.version, served.rows, served.model, 0, 0, 0, promoted=False)
        from_scratch = served is None or served.model != embedder.model or not has_current_columns(stored)
        rows, embedded = _changed_rows(
            desired, difference, stored, embedder, from_scratch=from_scratch, on_progress=on_progress
        )
        on_stage(Stage.EMBEDDED)
        table = _stage(store, rows, difference.extra, from_scratch, on_stage)
        seal(table, embedder.model, as_of)
        clean_up_due = compact_when_due(table)
        on_stage(Stage.STAGED)
        _check(table, desired, embedded, embedder)
        on_stage(Stage.CHECKED)
        store.promote(table.version)
        on_stage(Stage.PROMOTED)
        if clean_up_due:
            clean_up(table, served.version if served else None)
        on_stage(Stage.CLEANED)
        return BuildReport(
            table.version,
            desired.num_rows,
            embedder.model,
            rows.num_rows,
            len(difference.extra),
            len(embedded),
            promoted=True,
        )


def _changed_rows(
    desired: pa.Table,
    difference: Difference,
    stored: Any | None,
    embedder: Embedder,
    *,
    from_scratch: bool,
    on_progress: Progress | None,
) -> tuple[pa.Table, list[int]]:
    """The rows to write with their vectors, and the positions in `desired` of the texts embedded for them."""
    needs_vector = difference.rows["needs_vector"].to_numpy()
    differs = difference.rows["differs"].to_numpy()
    written = np.arange(desired.num_rows) if from_scratch else np.flatnonzero(differs)
    rows = desired.take(pa.array(written))
    fresh = needs_vector[written]
    if not len(written):
        return rows, []
    parts: dict[bool, np.ndarray] = {}
    if fresh.any():
        parts[True] = _embed(embedder, rows["text"].filter(pa.array(fresh)).to_pylist(), on_progress)
    if not fresh.all():
        row_ids = difference.rows["row_id"].take(pa.array(written[~fresh])).to_pylist()
        parts[False] = _stored_vectors(stored, row_ids, rows["user_id"].filter(pa.array(~fresh)))
    dimension = next(iter(parts.values())).shape[1]
    vectors = np.empty((len(written), dimension), np.float32)
    for is_fresh, part in parts.items():
        vectors[fresh == is_fresh] = part
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dimension)
    return rows.append_column(stored_schema(dimension).field("vector"), column), written[fresh].tolist()


def _embed(embedder: Embedder, texts: list[str], on_progress: Progress | None) -> np.ndarray:
    """Embed the texts; LanceDB writes no vector that is not finite, and does not say which."""
    vectors = embedder.embed(texts, on_progress)
    faulty = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(faulty):
        raise PipelineError(
            f"the model {embedder.model} gave {len(faulty)} vectors that are not finite, such as that of "
            f"{texts[faulty[0]]!r}; nothing is promoted"
        )
    return vectors


def _stored_vectors(stored: Any, row_ids: list[int], user_ids: pa.ChunkedArray) -> np.ndarray:
    """The served vectors of these users, in order; LanceDB gives rows in an order of its own."""
    found = stored.take_row_ids(row_ids).select(["user_id", "vector"]).to_arrow()
    order = pc.index_in(user_ids, value_set=found["user_id"])
    vectors = found["vector"].take(order).combine_chunks()
    matrix: np.ndarray = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(row_ids), -1)
    return matrix


def _stage(
    store: IndexStore, rows: pa.Table, extra: list[str], from_scratch: bool, on_stage: Callable[[Stage], None]
) -> Any:
    """Commit the change beside the served version; the table at the result."""
    if from_scratch:
        table = store.write_all(rows)
        on_stage(Stage.UPSERTED)
        return table
    table = store.start_from_served()
    if rows.num_rows:
        upsert(table, rows)
    on_stage(Stage.UPSERTED)
    if extra:
        delete(table, extra)
    return table


def _check(table: Any, desired: pa.Table, embedded: list[int], embedder: Embedder) -> None:
    """Refuse a version that is not right.

    Half of the sample are texts just embedded, as they are most likely to be wrong, half are any.
    """
    sample = {*spread(embedded, SAMPLE_SIZE // 2), *spread(list(range(desired.num_rows)), SAMPLE_SIZE // 2)}
    problems = examine(table, desired, sorted(sample), embedder).problems
    if problems:
        raise PipelineError(
            f"the new version of the index is not promoted and the one in {PRODUCTION} stays: {'; '.join(problems)}"
        )
