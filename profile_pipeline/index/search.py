"""Finding profiles by meaning, by words, or by both.

What belongs here: the query on the served version and the errors of those who ask. What does not: how a
version comes about (`build.py`), its indexes (`acceleration.py`) and conditions (`filters.py`).
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.acceleration import TEXT_INDEX, partitioned
from profile_pipeline.index.embedding import Embedder
from profile_pipeline.index.filters import FILTERABLE, Filters
from profile_pipeline.index.store import PRODUCTION, IndexStore
from profile_pipeline.index.versions import describe

RESULT_COLUMNS = FILTERABLE

FUSION_CONSTANT = 60
"""The k of reciprocal rank fusion: Cormack, Clarke and Büttcher, SIGIR 2009, who found 60 good on all they tried."""

FUSED_AT_LEAST = 50
"""Profiles that each of the two searches hands to the fusion: one that both rank lower is on no first page."""

ALL_PARTITIONS = 1 << 16
"""More partitions than any index has, so all are read. A filter keeps too few rows in a partition for the
number that is enough without it."""


class Mode(StrEnum):
    """How profiles are ranked.

    By the cosine of their vectors, by the words that they share with the text (BM25), or by both rankings
    fused.
    """

    VECTOR = "vector"
    TEXT = "text"
    HYBRID = "hybrid"


RANKED_SCHEMA = pa.schema({"score": pa.float64(), "user_id": pa.string(), "_rowid": pa.uint64()})
"""A ranking, before the profiles themselves are read."""


class Searcher:
    """Searches the served version, which it keeps open, and follows when another is promoted; or one version."""

    def __init__(self, store: IndexStore, embedder: Embedder, version: int | None = None) -> None:
        """Name the index, the model of the version, and which one, if not the served; nothing is opened yet."""
        self._store = store
        self._embedder = embedder
        self._version = version
        self._table: Any = None
        self._probes = 0
        self._has_words = False
        self._checked: set[Filters] = set()

    def search(
        self,
        text: str,
        *,
        mode: Mode = Mode.VECTOR,
        filters: Filters | None = None,
        limit: int = 10,
        columns: Sequence[str] = RESULT_COLUMNS,
    ) -> pa.Table:
        """The profiles that fit a text best, best first, equal scores by user.

        Args:
            text: what to look for.
            mode: how profiles are ranked.
            filters: who may be found; nothing for everybody. They apply before the limit.
            limit: how many profiles at most, at least 1.
            columns: what to tell of each; all of them take as long to read as the search itself.

        Returns:
            `score`, then the columns. The score is the cosine similarity, -1 to
            1, by vector; BM25 by text, and only profiles that share a word are found; by both, the sum of
            1 / (60 + rank) over the two rankings.

        Raises:
            PipelineError: the text is blank, the limit too small, the filter wrong, there is no index yet, or
                it was built with another model or other columns.
        """
        if not text.strip():
            raise PipelineError("the text to match is blank; say what to look for, such as 'vegans who like wine'")
        if limit < 1:
            raise PipelineError(f"the limit {limit} is too small; ask for at least 1 profile")
        table = self.table()
        filters = filters or Filters()
        if filters not in self._checked:
            # Before the model is loaded, which takes seconds.
            filters.check(table)
            self._checked.add(filters)
        if mode is Mode.TEXT:
            ranked = self._by_text(text, filters.sql, limit)
        else:
            vector = self._embedder.embed([text])[0]
            ranked = self.nearest(vector, filters.sql, limit if mode is Mode.VECTOR else max(limit, FUSED_AT_LEAST))
            if mode is Mode.HYBRID:
                ranked = fuse([ranked, self._by_text(text, filters.sql, max(limit, FUSED_AT_LEAST))]).slice(0, limit)
        return self._complete(ranked, list(columns))

    def nearest(self, vector: Any, where: str | None, limit: int) -> pa.Table:
        """`score`, `user_id` and `_rowid` of the profiles nearest to a vector of unit length, best first."""
        query = self.table().search(vector, vector_column_name="vector")
        if self._probes:
            query = partitioned(query, self._probes if where is None else ALL_PARTITIONS)
        else:
            query = query.distance_type("dot").bypass_vector_index()
        found = self._run(query, where, limit, "_distance")
        # LanceDB's distance of two vectors is 1 minus their inner product.
        return _ranked(found, pc.subtract(1.0, found["_distance"].cast(pa.float64())))

    def _by_text(self, text: str, where: str | None, limit: int) -> pa.Table:
        """As `nearest`, of the profiles that share words with a text."""
        if not self._has_words:
            raise PipelineError("the index was built before it could be searched by words; build the index again")
        query = self._table.search(text, query_type="fts", fts_columns="text")
        found = self._run(query, where, limit, "_score")
        return _ranked(found, found["_score"].cast(pa.float64()))

    @staticmethod
    def _run(query: Any, where: str | None, limit: int, score: str) -> pa.Table:
        if where is not None:
            query = query.where(where, prefilter=True)
        return query.limit(limit).select(["user_id", score]).with_row_id(True).to_arrow()

    def _complete(self, ranked: pa.Table, columns: list[str]) -> pa.Table:
        """The ranked profiles with their columns."""
        if not ranked.num_rows:
            fields = [pa.field("score", pa.float64()), *(self._table.schema.field(name) for name in columns)]
            return pa.schema(fields).empty_table()
        read = ["user_id", *(name for name in columns if name != "user_id")]
        rows = self._table.take_row_ids(ranked["_rowid"].to_pylist()).select(read)
        found = rows.to_arrow()
        # LanceDB gives rows in an order of its own.
        found = found.take(pc.index_in(ranked["user_id"], value_set=found["user_id"]))
        return found.select(columns).add_column(0, "score", ranked["score"])

    def table(self) -> Any:
        """The LanceDB table at the version to search: the open one, unless another was promoted.

        Raises:
            PipelineError: there is none, or it was built with another model or other columns.
        """
        if self._table is not None and self._is_current():
            return self._table
        table = self._store.open_served() if self._version is None else self._store.open_version(self._version)
        served = describe(table)
        if served is None:
            raise PipelineError(
                "the index was built by an earlier release; run `profile-pipeline build` to build it again"
            )
        if served.model != self._embedder.model:
            raise PipelineError(
                f"the index was built with the model {served.model}, but EMBEDDING_MODEL is {self._embedder.model}; "
                "set it back, or build the index again"
            )
        absent = [name for name in RESULT_COLUMNS if name not in table.schema.names]
        if absent:
            raise PipelineError(
                f"the index was built before there was a column {', '.join(absent)}; build the index again"
            )
        self._table, self._probes, self._checked = table, served.probes, set()
        self._has_words = TEXT_INDEX in {index.name for index in table.list_indices()}
        return table

    def _is_current(self) -> bool:
        return self._version is not None or self._table.tags.get_version(PRODUCTION) == self._table.version


def match(
    store: IndexStore,
    text: str,
    embedder: Embedder,
    where: str | None,
    limit: int,
    *,
    mode: Mode = Mode.VECTOR,
    filters: Filters | None = None,
) -> pa.Table:
    """One search, as `Searcher.search`; `where` is for `filters` that are only a condition in SQL."""
    return Searcher(store, embedder).search(text, mode=mode, filters=filters or Filters(where), limit=limit)


def fuse(rankings: list[pa.Table]) -> pa.Table:
    """Reciprocal rank fusion: the sum over the rankings of 1 / (60 + rank), best first, equal sums by user.

    Args:
        rankings: `score`, `user_id` and `_rowid` each, best first.
    """
    sums: dict[tuple[str, int], float] = {}
    for ranking in rankings:
        for rank, key in enumerate(zip(ranking["user_id"].to_pylist(), ranking["_rowid"].to_pylist(), strict=True), 1):
            sums[key] = sums.get(key, 0) + 1 / (FUSION_CONSTANT + rank)
    rows = [{"score": score, "user_id": user, "_rowid": row} for (user, row), score in sums.items()]
    return _ranked(pa.Table.from_pylist(rows, schema=RANKED_SCHEMA))


def _ranked(found: pa.Table, score: Any | None = None) -> pa.Table:
    if score is not None:
        found = found.append_column("score", score)
    return found.select(RANKED_SCHEMA.names).sort_by([("score", "descending"), ("user_id", "ascending")])
