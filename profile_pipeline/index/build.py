"""Building a version of the index and promoting it.

What belongs here: deciding what to embed and write, and the order of the steps that keeps the served
version safe. What does not: how LanceDB does a step (`store.py`) and what makes a version right
(`health.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.acceleration import accelerate, is_accelerated
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
from profile_pipeline.index.vectors import VectorStore

BATCH_ROWS = 8192
"""Rows written at once: what a build holds besides the profiles, some 25 MB, whatever the size of the index."""


class Stage(StrEnum):
    """What a build has just finished, in order. Up to `CHECKED` the served version is the old one."""

    COMPARED = "compared"
    EMBEDDED = "embedded"
    UPSERTED = "upserted"
    ACCELERATED = "accelerated"
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
        embedded: texts that went through the model, because they or the model are new; equal texts count once,
            and those that a killed build had embedded not at all. The check embeds a sample of at most
            `SAMPLE_SIZE` texts besides, as queries.
        promoted: whether a new version was written and promoted; false when nothing had changed.
        runtime: what computed the vectors; nothing when nothing was embedded.
        probes: how many parts of the approximate index a search reads; 0 when there is none and searches
            compare every vector.
    """

    version: int
    rows: int
    model: str
    upserted: int
    deleted: int
    embedded: int
    promoted: bool
    runtime: str | None = None
    probes: int = 0


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
        if served and difference.is_empty and is_accelerated(stored):
            return BuildReport(served.version, served.rows, served.model, 0, 0, 0, promoted=False, probes=served.probes)
        from_scratch = served is None or served.model != embedder.model or not has_current_columns(stored)
        written = _written(difference, from_scratch=from_scratch)
        fresh = difference.rows["needs_vector"].to_numpy()
        kept = VectorStore(store.path / "embedded", embedder.model)
        texts = desired["text"].take(pa.array(written[fresh[written]])).to_pylist()
        embedded = kept.embed(texts, embedder, on_progress)
        on_stage(Stage.EMBEDDED)
        rows = _rows(desired, difference, written, stored, kept) if len(written) else None
        table = _stage(store, rows, difference.extra, from_scratch, on_stage)
        probes = accelerate(table)
        on_stage(Stage.ACCELERATED)
        seal(table, embedder.model, as_of, probes)
        clean_up_due = compact_when_due(table)
        on_stage(Stage.STAGED)
        _check(table, desired, written[fresh[written]].tolist(), embedder, kept)
        on_stage(Stage.CHECKED)
        store.promote(table.version)
        on_stage(Stage.PROMOTED)
        kept.discard()
        if clean_up_due:
            clean_up(table, served.version if served else None)
        on_stage(Stage.CLEANED)
        return BuildReport(
            table.version,
            desired.num_rows,
            embedder.model,
            len(written),
            len(difference.extra),
            embedded,
            promoted=True,
            runtime=embedder.runtime if embedded else None,
            probes=probes,
        )


def _written(difference: Difference, *, from_scratch: bool) -> np.ndarray:
    """The positions in `desired` of the rows to write."""
    differs = difference.rows["differs"].to_numpy()
    return np.arange(len(differs)) if from_scratch else np.flatnonzero(differs)


def _rows(
    desired: pa.Table, difference: Difference, written: np.ndarray, stored: Any | None, kept: VectorStore
) -> pa.RecordBatchReader:
    """The rows to write with their vectors, batch by batch."""
    fresh = difference.rows["needs_vector"].to_numpy()
    dimension = kept.dimension or (stored.schema.field("vector").type.list_size if stored is not None else 0)
    schema = stored_schema(dimension)

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(written), BATCH_ROWS):
            positions = written[start : start + BATCH_ROWS]
            rows, is_fresh = desired.take(pa.array(positions)), fresh[positions]
            vectors = np.empty((len(positions), dimension), np.float32)
            if is_fresh.any():
                vectors[is_fresh] = kept.of(rows["text"].filter(pa.array(is_fresh)).to_pylist())
            if not is_fresh.all():
                row_ids = difference.rows["row_id"].take(pa.array(positions[~is_fresh])).to_pylist()
                vectors[~is_fresh] = _stored_vectors(stored, row_ids, rows["user_id"].filter(pa.array(~is_fresh)))
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dimension)
            yield from rows.append_column(schema.field("vector"), column).cast(schema).combine_chunks().to_batches()

    return pa.RecordBatchReader.from_batches(schema, batches())


def _stored_vectors(stored: Any, row_ids: list[int], user_ids: pa.ChunkedArray) -> np.ndarray:
    """The served vectors of these users, in order; LanceDB gives rows in an order of its own."""
    found = stored.take_row_ids(row_ids).select(["user_id", "vector"]).to_arrow()
    order = pc.index_in(user_ids, value_set=found["user_id"])
    vectors = found["vector"].take(order).combine_chunks()
    matrix: np.ndarray = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(row_ids), -1)
    return matrix


def _stage(
    store: IndexStore,
    rows: pa.RecordBatchReader | None,
    extra: list[str],
    from_scratch: bool,
    on_stage: Callable[[Stage], None],
) -> Any:
    """Commit the change beside the served version; the table at the result."""
    if from_scratch:
        table = store.write_all(rows)
        on_stage(Stage.UPSERTED)
        return table
    table = store.start_from_served()
    if rows is not None:
        upsert(table, rows)
    on_stage(Stage.UPSERTED)
    if extra:
        delete(table, extra)
    return table


def _check(table: Any, desired: pa.Table, embedded: list[int], embedder: Embedder, kept: VectorStore) -> None:
    """Refuse a version that is not right, and what was kept for it.

    Half of the sample are texts just embedded, as they are most likely to be wrong, half are any.
    """
    sample = {*spread(embedded, SAMPLE_SIZE // 2), *spread(list(range(desired.num_rows)), SAMPLE_SIZE // 2)}
    problems = examine(table, desired, sorted(sample), embedder).problems
    if problems:
        kept.discard()
        raise PipelineError(
            f"the new version of the index is not promoted and the one in {PRODUCTION} stays: {'; '.join(problems)}"
        )
