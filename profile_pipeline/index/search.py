"""Finding profiles: those that fit a text, and those like a given one.

What belongs here: a search of the served version from question to answer, and the errors of those who ask. What
does not: how profiles are ranked (`ranking.py`), conditions (`filters.py`), and how a version comes about
(`build.py`).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from profile_pipeline.errors import PipelineError
from profile_pipeline.index import parts
from profile_pipeline.index.clock import CLOCK_COLUMNS, READ_FOR_CLOCK, with_clock
from profile_pipeline.index.embedding import Embedder
from profile_pipeline.index.filters import FILTERABLE, Filters
from profile_pipeline.index.ranking import OpenVersion, fuse
from profile_pipeline.index.rerank import RERANKED_AT_LEAST, Reranker, reranked
from profile_pipeline.index.store import IndexStore, is_one_of, promoted_number
from profile_pipeline.index.versions import described

RESULT_COLUMNS = (*FILTERABLE, *CLOCK_COLUMNS)
"""What can be told of a profile, besides its score: what is stored, and what follows from it as of a day."""

FUSED_AT_LEAST = 50
"""Profiles that each of the two searches hands to the fusion: one that both rank lower is on no first page."""


class Mode(StrEnum):
    """How profiles are ranked.

    By the cosine of their vectors, by the words that they share with the text (BM25), or by both rankings
    fused.
    """

    VECTOR = "vector"
    TEXT = "text"
    HYBRID = "hybrid"


@dataclass(frozen=True)
class Question:
    """What is looked for: a text, how, and the text as the version's model sees it; by words alone nothing does."""

    text: str
    mode: Mode
    vector: np.ndarray | None = None


class Searcher:
    """Searches the served version, which it keeps open, and follows when another is promoted; or one version."""

    def __init__(
        self, store: IndexStore, embedder: Embedder, reranker: Reranker | None = None, version: int | None = None
    ) -> None:
        """Name the index and the model of its served version; nothing is opened yet.

        Args:
            store: the index.
            embedder: the model.
            reranker: has the last word on the order and the scores of `search`.
            version: the number of a version to search instead of the served one.
        """
        self._store = store
        self._embedder = embedder
        self._reranker = reranker
        self._number = version
        self._opened: OpenVersion | None = None

    def search(
        self,
        text: str,
        *,
        mode: Mode = Mode.HYBRID,
        filters: Filters | None = None,
        as_of: date | None = None,
        limit: int = 10,
        columns: Sequence[str] = RESULT_COLUMNS,
        with_parts: bool = False,
    ) -> pa.Table:
        """The profiles that fit a text best, best first, equal scores by user.

        Args:
            text: what to look for.
            mode: how profiles are ranked.
            filters: who may be found; nothing for everybody. They apply before the limit.
            as_of: the day whose clock counts in filters and columns; nothing for the day of the served version.
            limit: how many profiles at most, at least 1.
            columns: what to tell of each; all of them take as long to read as the search itself.
            with_parts: whether to tell which sentences match, too; by meaning, those of everyone found are embedded.

        Returns:
            `score`, then the columns, then `parts` if asked for: at most two sentences of the indexed text, best
            first. The score is the cosine similarity, -1 to 1, by vector; BM25 by text, and only profiles that
            share a word are found; by both, the sum of 1 / (60 + rank) over the two rankings as a share of the
            most it can be, so that 1 is first in both. Sentences are ranked likewise. A reranker gives scores of its
            own to the best 50 at least.

        Raises:
            PipelineError: the text is blank, the limit too small, the filter wrong, there is no index yet, or
                it was built with another model or other columns.
        """
        if not text.strip():
            raise PipelineError("the text to match is blank; say what to look for, such as 'vegans who like wine'")
        chosen = filters or Filters()

        def answer(version: OpenVersion) -> pa.Table:
            day = _day(version, as_of)
            where = _condition(version, chosen, day, limit)
            question = Question(text, mode, None if mode is Mode.TEXT else self._embedded(version, text))
            with chosen.reporting_errors():
                count = max(limit, RERANKED_AT_LEAST) if self._reranker else limit
                ranked = _ranked(version, question, where, count)
            if self._reranker:
                texts = version.complete(ranked, ["text"])["text"].to_pylist()
                ranked = reranked(ranked, text, texts, self._reranker).slice(0, limit)
            rows = _with_columns(version, ranked, day, columns)
            return self._with_parts(rows, version, ranked, question) if with_parts else rows

        return self._answered(answer)

    def similar(
        self,
        user_id: str,
        *,
        filters: Filters | None = None,
        as_of: date | None = None,
        limit: int = 10,
        columns: Sequence[str] = RESULT_COLUMNS,
        with_parts: bool = False,
    ) -> pa.Table:
        """The profiles most like a user's, by the vectors of the served version; the user is left out.

        Nothing is embedded, so the model need not be there.

        Args:
            user_id: whom the others should be like.
            filters: as for `search`; they need not hold for the user.
            as_of: the day whose clock counts in filters and columns; nothing for the day of the served version.
            limit: how many profiles at most, at least 1.
            columns: what to tell of each.
            with_parts: whether to tell which sentences share words with the user's text, too.

        Returns:
            `score`, the cosine similarity, then the columns, then `parts` if asked for; best first, equal scores by
            user.

        Raises:
            PipelineError: the user is not in the index, the limit too small, the filter wrong, there is no index
                yet, or it was built with other columns.
        """
        chosen = filters or Filters()

        def answer(version: OpenVersion) -> pa.Table:
            day = _day(version, as_of)
            where = _condition(version, chosen, day, limit)
            user = _stored(version, user_id, ["vector", "text"])
            with chosen.reporting_errors():
                # One more, for the user, whom nobody is nearer to.
                ranked = version.nearest(user["vector"].values.to_numpy(), where, limit + 1)
            others = ranked.filter(pc.not_equal(ranked["user_id"], user_id)).slice(0, limit)
            rows = _with_columns(version, others, day, columns)
            question = Question(user["text"].as_py(), Mode.TEXT)
            return self._with_parts(rows, version, others, question) if with_parts else rows

        return self._answered(answer)

    def table(self) -> Any:
        """The LanceDB table at the version to search: the open one, unless another was promoted.

        Raises:
            PipelineError: there is none, or it was built with other columns.
        """
        return self._version().table

    def _version(self) -> OpenVersion:
        if self._opened is not None and self._is_current(self._opened):
            return self._opened
        table = self._store.open_served() if self._number is None else self._store.open_version(self._number)
        served = described(table)
        absent = [name for name in (*FILTERABLE, *READ_FOR_CLOCK) if name not in table.schema.names]
        if absent:
            raise PipelineError(
                f"the index was built before there was a column {', '.join(absent)}; build the index again"
            )
        self._opened = OpenVersion.of(table, served)
        return self._opened

    def _is_current(self, opened: OpenVersion) -> bool:
        return self._number is not None or promoted_number(opened.table) == opened.served.version

    def _answered(self, answer: Callable[[OpenVersion], pa.Table]) -> pa.Table:
        """What a version answers; asked again if it was dropped meanwhile, as it is when somebody is forgotten."""
        while True:
            version = self._version()
            try:
                return answer(version)
            except Exception:
                if self._is_current(version):
                    raise

    def _with_parts(self, rows: pa.Table, version: OpenVersion, ranked: pa.Table, question: Question) -> pa.Table:
        """Add `parts`, the sentences of those found that match the question, as the profiles were ranked."""
        texts = version.complete(ranked, ["text"])["text"].to_pylist()
        rankings = []
        if question.vector is not None:
            rankings.append(parts.by_meaning(question.vector, texts, self._embedder))
        if question.mode is not Mode.VECTOR:
            rankings.append(parts.by_words(question.text, texts))
        return rows.append_column("parts", pa.array(parts.best(*rankings), pa.list_(pa.string())))

    def _embedded(self, version: OpenVersion, text: str) -> np.ndarray:
        """A text as the version's model sees it."""
        if version.served.model != self._embedder.model:
            raise PipelineError(
                f"the index was built with the model {version.served.model}, but EMBEDDING_MODEL is "
                f"{self._embedder.model}; set it back, or build the index again"
            )
        vector: np.ndarray = self._embedder.embed([text])[0]
        return vector


def _day(version: OpenVersion, as_of: date | None) -> date:
    """The day to answer as of.

    Raises:
        PipelineError: it is before the day of the version, which knows what came later.
    """
    known = version.served.as_of
    if as_of is not None and as_of < known:
        raise PipelineError(
            f"the index tells of profiles as of {known} and cannot forget what came after {as_of}; name {known} or "
            f"a later day, or ask `profile-pipeline profiles --as-of {as_of}`"
        )
    return as_of or known


def _condition(version: OpenVersion, filters: Filters, day: date, limit: int) -> str | None:
    """The filters in SQL, once it is certain that they and the limit can be put to a version.

    Raises:
        PipelineError: they cannot. This is told before a model is loaded, which takes seconds.
    """
    if limit < 1:
        raise PipelineError(f"the limit {limit} is too small; ask for at least 1 profile")
    if (filters, day) not in version.usable:
        filters.check(version.table, day)
        version.usable.add((filters, day))
    return filters.condition(day)


def _ranked(version: OpenVersion, question: Question, where: str | None, limit: int) -> pa.Table:
    if question.vector is None:
        return version.by_words(question.text, where, limit)
    if question.mode is Mode.VECTOR:
        return version.nearest(question.vector, where, limit)
    count = max(limit, FUSED_AT_LEAST)
    # LanceDB answers outside of Python's lock, so the two searches share the cores.
    with ThreadPoolExecutor(1) as beside:
        alike = beside.submit(version.by_words, question.text, where, count)
        near = version.nearest(question.vector, where, count)
    return fuse([near, alike.result()]).slice(0, limit)


def _with_columns(version: OpenVersion, ranked: pa.Table, day: date, columns: Sequence[str]) -> pa.Table:
    """`score` and the columns of ranked profiles; those of the clock as of the day."""
    stored = [name for name in columns if name not in CLOCK_COLUMNS]
    if len(stored) == len(columns):
        return version.complete(ranked, stored)
    read = [*stored, *(name for name in READ_FOR_CLOCK if name not in stored)]
    return with_clock(version.complete(ranked, read), day).select(["score", *columns])


def _stored(version: OpenVersion, user_id: str, columns: list[str]) -> dict[str, Any]:
    """Columns of one user, as PyArrow values.

    Raises:
        PipelineError: the user is not in the version.
    """
    found = version.table.search().where(is_one_of("user_id", [user_id])).select(columns).limit(1).to_arrow()
    if not found.num_rows:
        raise PipelineError(
            f"there is no user {user_id!r} in the index, which has profiles with at least one tag; "
            f"`profile-pipeline profiles --user {user_id}` tells what is known of a user"
        )
    return {name: found[name][0] for name in columns}
