"""Whether a version of the index is right.

What belongs here: comparing a version with the profiles it should hold, and looking at its vectors. What
does not: what to do about it (`build.py` refuses to promote, an asset check reports).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.acceleration import as_matrix
from profile_pipeline.index.embedding import Embedder
from profile_pipeline.index.store import INPUT_SCHEMA, ROW_SCHEMA, IndexStore

SAMPLE_SIZE = 32
"""Texts that must find themselves: a systematic fault shows in a few, and each costs an embedding."""

UNIT_LENGTH_TOLERANCE = 1e-3
"""How far a vector's length may be from 1: rounding to float32 stays well below, a raw vector well above."""

SCORE_TOLERANCE = 1e-3
"""How far below the best score a text's own may be: products in bfloat16 vary less than this with the other
texts of a batch and with the processor, and people with equal texts tie."""


EXAMPLES = 3
"""Users that a message names: enough to start looking."""


@dataclass(frozen=True)
class Health:
    """What is wrong with a version, in numbers that are all 0 when nothing is.

    Attributes:
        rows: rows of the version.
        missing: profiles that should be in it and are not.
        extra: users in it that should not be.
        stale: rows of which a column, the text's hash or the model is not what it should be.
        duplicates: rows beyond the first of the same user.
        faulty_vectors: vectors that are not finite or not of unit length.
        sampled: texts searched for.
        lost: sampled texts that did not find themselves first.
        examples: some of the users missing, extra and stale.
    """

    rows: int
    missing: int
    extra: int
    stale: int
    duplicates: int
    faulty_vectors: int
    sampled: int
    lost: int
    examples: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """What is wrong, in words; empty when nothing is."""
        found = {
            "missing": "profiles are missing",
            "extra": "users do not belong in it",
            "stale": "rows are out of date",
            "duplicates": "rows repeat a user",
            "faulty_vectors": "vectors are not finite or not of unit length",
            "lost": f"of {self.sampled} sampled texts do not find themselves first",
        }
        return [
            f"{getattr(self, name)} {what}{self._such_as(name)}" for name, what in found.items() if getattr(self, name)
        ]

    def _such_as(self, name: str) -> str:
        examples = self.examples.get(name)
        return f", such as {', '.join(examples)}" if examples else ""


@dataclass(frozen=True)
class Difference:
    """What separates stored rows from the rows wanted.

    Attributes:
        rows: for each wanted row, in order: `user_id`, `row_id`, LanceDB's number of the stored row of the same user
            (null: none), `needs_vector`, whether its text or model is new, and `differs`, whether anything
            is.
        extra: stored users that are not wanted.
    """

    rows: pa.Table
    extra: list[str]

    @property
    def is_empty(self) -> bool:
        """Whether the stored rows are the wanted ones."""
        return not self.extra and not pc.any(self.rows["differs"]).as_py()


def desired_rows(profiles: pa.Table, model: str) -> pa.Table:
    """The rows that the index should hold, without vectors: every profile with a text, in the index's types.

    Args:
        profiles: the columns of `INPUT_SCHEMA`; others are ignored.
        model: the identity of the model.

    Raises:
        PipelineError: a column is missing or of a wrong type, a key or hash is null, a user comes twice, or
            no profile has a text.
    """
    absent = [name for name in INPUT_SCHEMA.names if name not in profiles.schema.names]
    if absent:
        raise PipelineError(f"the profiles to index lack the column {', '.join(absent)}")
    chosen = _with_plain_decimals(profiles.select(INPUT_SCHEMA.names))
    try:
        rows = chosen.filter(pc.is_valid(chosen["text"])).cast(INPUT_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise PipelineError(f"the profiles to index have a column of the wrong type: {error}") from error
    for key in ("user_id", "text_hash"):
        if rows[key].null_count:
            raise PipelineError(f"{rows[key].null_count} profiles to index have no {key}")
    if not rows.num_rows:
        raise PipelineError("there is nothing to index: no profile has a tag; the served index stays as it is")
    repeated = _repeated(rows["user_id"])
    if repeated:
        raise PipelineError(
            f"{len(repeated)} users come more than once among the profiles to index, such as {repeated[0]!r}"
        )
    return rows.append_column(ROW_SCHEMA.field("model"), pa.repeat(model, rows.num_rows))


def compare(stored: Any | None, desired: pa.Table) -> Difference:
    """Tell what separates a version from the rows wanted.

    A column that the version lacks or holds as another type counts as different in every row.

    Args:
        stored: the open LanceDB table; nothing counts as empty.
        desired: as `desired_rows` gives them.
    """
    names = [] if stored is None else _shared_columns(stored.schema)
    old = pa.table({"user_id": pa.array([], pa.string()), "_rowid": pa.array([], pa.uint64())})
    if stored is not None and "user_id" in names:
        # A text is known by its hash, and far smaller so.
        read = [name for name in names if name != "text"]
        old = stored.search().select(read).with_row_id(True).to_arrow()
    with duckdb.connect() as connection:
        connection.register("old", old)
        connection.register("new", desired.append_column("position", pa.array(range(desired.num_rows))))
        vector_differs = _any_differs(("text_hash", "model"), old.schema.names)
        differs = _any_differs(tuple(name for name in ROW_SCHEMA.names if name != "text"), old.schema.names)
        rows = connection.sql(
            f"""
            SELECT new.user_id, old._rowid AS row_id, {vector_differs} AS needs_vector, {differs} AS differs
            FROM new LEFT JOIN old ON new.user_id = old.user_id ORDER BY new.position
            """
        ).to_arrow_table()
        extra = connection.execute(
            "SELECT user_id FROM old WHERE user_id NOT IN (SELECT user_id FROM new) ORDER BY user_id"
        ).fetchall()
    return Difference(rows, [user_id for (user_id,) in extra])


def has_current_columns(stored: Any) -> bool:
    """Whether a version has the columns of the index, with their types, and no others."""
    return _shared_columns(stored.schema) == ROW_SCHEMA.names and len(stored.schema) == len(ROW_SCHEMA) + 1


def examine(table: Any, desired: pa.Table, sample: list[int], embedder: Embedder) -> Health:
    """Compare a version with the rows wanted, look at each vector, and let sampled texts find themselves.

    The sample is embedded again, as a query would be, so a vector stored with the wrong text is found.
    Scores are exact and come from the same pass over the vectors.

    Args:
        table: the open LanceDB table.
        desired: as `desired_rows` gives them.
        sample: positions in `desired`.
        embedder: the model of the version.
    """
    users = desired["user_id"].take(pa.array(sample, pa.int64())).combine_chunks()
    queries = embedder.embed(desired["text"].take(pa.array(sample, pa.int64())).to_pylist())
    best, own = np.full(len(sample), -np.inf), np.full(len(sample), -np.inf)
    keys: list[pa.Array] = []
    faulty = 0
    for batch in table.search().select(["user_id", "vector"]).to_batches(8192):
        keys.append(batch["user_id"])
        vectors = as_matrix(batch["vector"])
        lengths = np.linalg.norm(vectors, axis=1)
        sound = np.isfinite(lengths) & (np.abs(lengths - 1) <= UNIT_LENGTH_TOLERANCE)
        faulty += int((~sound).sum())
        if vectors.shape[1] != queries.shape[1]:
            continue
        scores = np.where(sound[:, None], vectors, 0) @ queries.T
        best = np.maximum(best, scores.max(axis=0))
        found = pc.index_in(users, value_set=batch["user_id"]).to_pylist()
        for position, row in enumerate(found):
            if row is not None:
                own[position] = scores[row, position]
    stored = pa.chunked_array(keys, pa.string())
    difference = compare(table, desired)
    is_missing = pc.is_null(difference.rows["row_id"])
    is_stale = pc.and_not(difference.rows["differs"], is_missing)
    missing, stale = (difference.rows["user_id"].filter(chosen) for chosen in (is_missing, is_stale))
    return Health(
        rows=len(stored),
        missing=len(missing),
        extra=len(difference.extra),
        stale=len(stale),
        duplicates=len(stored) - len(stored.unique()),
        faulty_vectors=faulty,
        sampled=len(sample),
        lost=int((~(np.isfinite(own) & (own >= best - SCORE_TOLERANCE))).sum()),
        examples={
            "missing": missing.slice(0, EXAMPLES).to_pylist(),
            "extra": difference.extra[:EXAMPLES],
            "stale": stale.slice(0, EXAMPLES).to_pylist(),
        },
    )


def verify(store: IndexStore, profiles: pa.Table, embedder: Embedder, version: int | None = None) -> Health:
    """Compare the served version, or one that is named, with the profiles it should hold.

    Args:
        store: the index.
        profiles: as for `build`.
        embedder: the model that should be served; it embeds a sample of `SAMPLE_SIZE` texts.
        version: the number of the version.

    Raises:
        PipelineError: there is no index yet, or the profiles cannot be indexed.
    """
    table = store.open_served() if version is None else store.open_version(version)
    desired = desired_rows(profiles, embedder.model)
    return examine(table, desired, spread(range(desired.num_rows), SAMPLE_SIZE), embedder)


def spread(positions: Sequence[int], size: int) -> list[int]:
    """At most `size` of the positions, evenly spread, so that the same input gives the same sample."""
    if len(positions) <= size:
        return list(positions)
    return [positions[index * len(positions) // size] for index in range(size)]


def _with_plain_decimals(rows: pa.Table) -> pa.Table:
    """Decimals as text, whose nearest float Arrow finds; of the decimals themselves it makes 240.95000000000002."""
    for position, column in enumerate(rows.schema):
        if pa.types.is_decimal(column.type):
            rows = rows.set_column(position, column.name, rows[column.name].cast(pa.string()))
    return rows


def _repeated(keys: pa.ChunkedArray) -> list[str]:
    counts = keys.value_counts()
    repeated: list[str] = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    return sorted(repeated)


def _shared_columns(schema: pa.Schema) -> list[str]:
    return [
        field.name for field in ROW_SCHEMA if field.name in schema.names and schema.field(field.name).type == field.type
    ]


def _any_differs(names: tuple[str, ...], stored: list[str]) -> str:
    """A condition on `old` and `new`; always true when a column is not stored."""
    if not set(names) <= set(stored):
        return "true"
    return " OR ".join(f'old."{name}" IS DISTINCT FROM new."{name}"' for name in names)
