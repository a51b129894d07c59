"""Building a version of the index and promoting it.

What belongs here: deciding what to embed and write, and the order of the steps that keeps the served
version safe. What does not: how LanceDB does a step (`store.py`) and what makes a version right
(`health.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.acceleration import accelerate, is_accelerated
from profile_pipeline.index.embedding import Embedder, Progress
from profile_pipeline.index.golden import NO_QUESTIONS, Answer, Golden, ask, recall_of, shortfall
from profile_pipeline.index.health import (
    SAMPLE_SIZE,
    Difference,
    compare,
    desired_rows,
    examine,
    has_current_columns,
    spread,
)
from profile_pipeline.index.search import Searcher
from profile_pipeline.index.store import PRODUCTION, IndexStore, delete, stored_schema, upsert
from profile_pipeline.index.text import TEXT_RECIPE
from profile_pipeline.index.vectors import VectorStore
from profile_pipeline.index.versions import (
    KEPT_VERSIONS,
    IndexVersion,
    clean_up,
    compact_when_due,
    keep_nothing_else,
    promote,
    seal,
    served_version,
)

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
        served: the version served now.
        upserted: rows written, because they are new or anything in them changed.
        deleted: rows of users who left.
        embedded: texts that went through the model, because they or the model are new; equal texts count once,
            and those that a killed build had embedded not at all. The check embeds a sample of at most
            `SAMPLE_SIZE` texts besides, as queries.
        promoted: whether a new version was written and promoted; false when nothing had changed.
        runtime: what computed the vectors; nothing when nothing was embedded.
        answers: what the golden queries found; none when nothing had changed.
    """

    served: IndexVersion
    upserted: int
    deleted: int
    embedded: int
    promoted: bool
    runtime: str | None = None
    answers: Sequence[Answer] = ()


def build(
    store: IndexStore,
    profiles: pa.Table,
    embedder: Embedder,
    *,
    as_of: date,
    golden: Golden = NO_QUESTIONS,
    kept_versions: int = KEPT_VERSIONS,
    forgetting: bool = False,
    on_stage: Callable[[Stage], None] = lambda stage: None,
    on_progress: Progress | None = None,
) -> BuildReport:
    """Make the index equal to the profiles: write the change beside the served version, check, promote.

    Only texts whose hash or model changed are embedded; a row that changed otherwise keeps its vector.
    Another model, another way to make texts or other columns give a whole new version beside the old one, so a
    version never holds vectors of two models or texts of two recipes. If nothing changed, nothing is written, and
    `as_of` of the served version stays that of its last change.

    A failed check or a crash at any point leaves the served version as it was, and the next build starts
    from it.

    Args:
        store: the index.
        profiles: one row for each user, with the columns of `INPUT_SCHEMA`; a profile whose `text` is null is
            not to be indexed.
        embedder: the model.
        as_of: the day the profiles speak of; kept with the version.
        golden: what the new version is asked before it is served.
        kept_versions: how many promoted versions to keep, this one included, at least 1.
        forgetting: write everything into new files, also when nothing changed, and leave no other version on disk; the
            golden queries are asked and refuse nothing.
        on_stage: told after each stage.
        on_progress: told how many texts are embedded.

    Raises:
        PipelineError: the profiles cannot be indexed, there are none, the new version fails its check or the golden
            queries, or it cannot be written.
        TransientError: another process is building.
    """
    desired = desired_rows(profiles, embedder.model)
    with store.writing():
        served = served_version(store)
        stored = store.open_served() if served else None
        difference = compare(stored, desired)
        on_stage(Stage.COMPARED)
        anew = forgetting or served is None or not _is_like(served, stored, embedder)
        if served and not anew and difference.is_empty and is_accelerated(stored):
            return BuildReport(served, 0, 0, 0, promoted=False)
        written = _written(difference, from_scratch=anew)
        fresh = difference.rows["needs_vector"].to_numpy()
        kept = VectorStore(store.path / "embedded", embedder.model)
        texts = desired["text"].take(pa.array(written[fresh[written]])).to_pylist()
        embedded = kept.embed(texts, embedder, on_progress)
        on_stage(Stage.EMBEDDED)
        rows = _rows(desired, difference, written, stored, kept) if len(written) else None
        table = _stage(store, rows, difference.extra, anew, on_stage)
        probes = accelerate(table)
        on_stage(Stage.ACCELERATED)
        record = {
            "previous": served.version if served else None,
            "model": embedder.model,
            "revision": embedder.revision,
            "weights_sha256": embedder.weights_sha256,
            "text_recipe": TEXT_RECIPE,
            "as_of": as_of,
            "built_at": datetime.now(UTC),
            "rows": desired.num_rows,
            "upserted": len(written),
            "deleted": len(difference.extra),
            "embedded": embedded,
            "probes": probes,
        }
        seal(table, record)
        clean_up_due = compact_when_due(table)
        answers = ask(Searcher(store, embedder, version=table.version), golden.queries, as_of)
        if answers:
            record |= {"golden_queries": len(answers), "golden_recall": recall_of(answers)}
            seal(table, record)
        on_stage(Stage.STAGED)
        _check(table, desired, written[fresh[written]].tolist(), embedder, kept)
        if not forgetting:
            # Who asks to be forgotten cannot wait until others are found better.
            _refuse(shortfall(answers, golden.min_recall))
        on_stage(Stage.CHECKED)
        promote(store, table.version, kept_versions)
        on_stage(Stage.PROMOTED)
        kept.discard()
        if forgetting:
            keep_nothing_else(table)
        elif clean_up_due:
            clean_up(table)
        on_stage(Stage.CLEANED)
        return BuildReport(
            IndexVersion(version=table.version, **record),
            len(written),
            len(difference.extra),
            embedded,
            promoted=True,
            runtime=embedder.runtime if embedded else None,
            answers=answers,
        )


def _is_like(served: IndexVersion, stored: Any, embedder: Embedder) -> bool:
    """Whether rows of a new build can stand beside those of a version."""
    return served.model == embedder.model and served.text_recipe == TEXT_RECIPE and has_current_columns(stored)


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
    sample = {*spread(embedded, SAMPLE_SIZE // 2), *spread(range(desired.num_rows), SAMPLE_SIZE // 2)}
    problems = examine(table, desired, sorted(sample), embedder).problems
    if problems:
        kept.discard()
    _refuse("; ".join(problems))


def _refuse(problem: str | None) -> None:
    if problem:
        raise PipelineError(
            f"the new version of the index is not promoted and the one in {PRODUCTION} stays: {problem}"
        )
