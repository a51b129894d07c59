"""Who comes first in one version of the index: by meaning, by words, or by both.

What belongs here: the queries on an open version, and fusing their rankings. What does not: which version is
served and what is told of those found (`search.py`), and how a version comes about (`build.py`).
"""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.acceleration import TEXT_INDEX, partitioned
from profile_pipeline.index.filters import Filters
from profile_pipeline.index.versions import IndexVersion

FUSION_CONSTANT = 60
"""The k of reciprocal rank fusion: Cormack, Clarke and Büttcher, SIGIR 2009, who found 60 good on all they tried."""

ALL_PARTITIONS = 1 << 16
"""More partitions than any index has, so all are read. A filter keeps too few rows in a partition for the
number that is enough without it."""

WORDS_TIED = 50
"""How many more are asked for by words, where equal scores are common: a second query costs as much as the first."""

TIED = 10
"""How many times more is asked for when the last ones tie: by words, thousands of short texts may."""

RANKED_SCHEMA = pa.schema({"score": pa.float64(), "user_id": pa.string(), "_rowid": pa.uint64()})
"""A ranking, before the profiles themselves are read."""


@dataclass(frozen=True)
class OpenVersion:
    """A version that is open; one search reads one version, whatever is promoted meanwhile.

    Attributes:
        table: the LanceDB table at the version.
        served: what the version is.
        has_words: whether it can be searched by words.
        usable: the filters, each with its day, that are known to be right here.
    """

    table: Any
    served: IndexVersion
    has_words: bool
    usable: set[tuple[Filters, date]] = field(default_factory=set)

    @classmethod
    def of(cls, table: Any, served: IndexVersion) -> "OpenVersion":
        """Look at a table that is open at a version."""
        return cls(table, served, TEXT_INDEX in {index.name for index in table.list_indices()})

    def nearest(self, vector: Any, where: str | None, limit: int) -> pa.Table:
        """`score`, `user_id` and `_rowid` of the profiles nearest to a vector of unit length, best first."""
        query = self.table.search(vector, vector_column_name="vector")
        if self.served.probes:
            query = partitioned(query, self.served.probes if where is None else ALL_PARTITIONS, limit)
        else:
            query = query.distance_type("dot").bypass_vector_index()
        return self._best(query, where, limit, 1, "_distance")

    def by_words(self, text: str, where: str | None, limit: int) -> pa.Table:
        """As `nearest`, of the profiles that share words with a text.

        Raises:
            PipelineError: the version was built before it could be searched by words.
        """
        if not self.has_words:
            raise PipelineError("the index was built before it could be searched by words; build the index again")
        query = self.table.search(text, query_type="fts", fts_columns="text")
        return self._best(query, where, limit, WORDS_TIED, "_score")

    def _best(self, query: Any, where: str | None, limit: int, spare: int, column: str) -> pa.Table:
        """The best by LanceDB's distance or score, equal ones by user.

        Which of equal ones it gives is a matter of chance, so it is asked for some to spare, and for more until one is
        worse than the last wanted.
        """
        if where is not None:
            query = query.where(where, prefilter=True)
        query = query.select(["user_id", column]).with_row_id(True)
        # LanceDB refuses a number that is far larger.
        limit = min(limit, self.served.rows)
        count = limit + spare
        while True:
            found = query.limit(count).to_arrow()
            scores = found[column].cast(pa.float64())
            # The distance of two vectors is 1 minus their inner product.
            ranked = _ranked(
                found.append_column("score", pc.subtract(1.0, scores) if column == "_distance" else scores)
            )
            if ranked.num_rows < count or ranked["score"][limit - 1] != ranked["score"][-1]:
                return ranked.slice(0, limit)
            count *= TIED

    def complete(self, ranked: pa.Table, columns: list[str]) -> pa.Table:
        """`score` and the columns of ranked profiles, in their order."""
        if not ranked.num_rows:
            fields = [pa.field("score", pa.float64()), *(self.table.schema.field(name) for name in columns)]
            return pa.schema(fields).empty_table()
        read = ["user_id", *(name for name in columns if name != "user_id")]
        found = self.table.take_row_ids(ranked["_rowid"].to_pylist()).select(read).to_arrow()
        # LanceDB gives rows in an order of its own.
        found = found.take(pc.index_in(ranked["user_id"], value_set=found["user_id"]))
        return found.select(columns).add_column(0, "score", ranked["score"])


def reciprocal(rank: int) -> float:
    """What a rank, from 1 on, adds to a fused score."""
    return 1 / (FUSION_CONSTANT + rank)


def fuse(rankings: list[pa.Table]) -> pa.Table:
    """Reciprocal rank fusion: the sum over the rankings of 1 / (60 + rank), best first, equal sums by user.

    It is told as a share of the most that it can be, so that 1 is first in each.

    Args:
        rankings: `score`, `user_id` and `_rowid` each, best first.
    """
    sums: dict[tuple[str, int], float] = {}
    for ranking in rankings:
        for rank, key in enumerate(zip(ranking["user_id"].to_pylist(), ranking["_rowid"].to_pylist(), strict=True), 1):
            sums[key] = sums.get(key, 0) + reciprocal(rank)
    most = len(rankings) * reciprocal(1)
    rows = [{"score": score / most, "user_id": user, "_rowid": row} for (user, row), score in sums.items()]
    return _ranked(pa.Table.from_pylist(rows, schema=RANKED_SCHEMA))


def _ranked(found: pa.Table) -> pa.Table:
    return found.select(RANKED_SCHEMA.names).sort_by([("score", "descending"), ("user_id", "ascending")])
