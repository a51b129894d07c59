"""Golden queries: questions with the users that a good index finds.

What belongs here: reading the file, asking a version, and how much of what is expected was found. What does not:
what a bad answer leads to (`build.py` does not promote, `profile-pipeline index verify` reports).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.search import Mode, Searcher
from profile_pipeline.index.store import is_one_of

ANSWERS = 10
"""The hits that count, unless more users are expected: a first page."""

NAMED = 5
"""Queries and users that a message names."""


class GoldenQuery(BaseModel):
    """A question, and the users that its answer has to hold.

    Attributes:
        query: what one would ask.
        users: who has to be among the first ten hits, or as many as users are named.
        mode: how profiles are ranked.
        since: the day from whose profiles on it holds; null: always.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str = Field(min_length=1, pattern=r"\S")
    users: tuple[str, ...] = Field(min_length=1)
    mode: Mode = Mode.HYBRID
    since: date | None = None

    @field_validator("users")
    @classmethod
    def _each_once(cls, users: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(users))


@dataclass(frozen=True)
class Golden:
    """The questions that a version has to answer before it is served, and the recall it needs."""

    queries: Sequence[GoldenQuery] = ()
    min_recall: float = 0


NO_QUESTIONS = Golden()


@dataclass(frozen=True)
class Answer:
    """What a version answered.

    Attributes:
        query: the question.
        found: users expected that are among the first hits.
        missed: those that are not.
        unknown: users expected who are not in the index at all, such as one who left; they do not count.
    """

    query: GoldenQuery
    found: tuple[str, ...]
    missed: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def recall(self) -> float | None:
        """The share of users that were found, to three digits; null when nobody expected is in the index."""
        known = len(self.found) + len(self.missed)
        return round(len(self.found) / known, 3) if known else None


def read_golden_queries(file: Path) -> list[GoldenQuery]:
    """The questions of a file: a JSON object a line with `query` and `users`, perhaps `mode` and `since`.

    Raises:
        PipelineError: the file is not there, or a line is not such an object.
    """
    try:
        # Other characters at which Python splits lines may stand in a text.
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"the golden queries {file} cannot be read: {error}") from error
    queries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            queries.append(GoldenQuery.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the line"
            raise PipelineError(
                f'{file}:{number}: {place}: {first["msg"]}; write {{"query": "vegans who like jazz", "users": ["u1"]}}'
            ) from None
    return queries


def ask(searcher: Searcher, queries: Sequence[GoldenQuery], as_of: date) -> list[Answer]:
    """Put each question that holds by a day to the version that a searcher searches."""
    queries = [query for query in queries if query.since is None or query.since <= as_of]
    if not queries:
        return []
    known = _known(searcher.table(), {user for query in queries for user in query.users})
    answers = []
    for query in queries:
        limit = max(ANSWERS, len(query.users))
        hits = searcher.search(query.query, mode=query.mode, limit=limit, columns=["user_id"])
        found = set(hits["user_id"].to_pylist())
        expected = [user for user in query.users if user in known]
        answers.append(
            Answer(
                query,
                tuple(user for user in expected if user in found),
                tuple(user for user in expected if user not in found),
                tuple(user for user in query.users if user not in known),
            )
        )
    return answers


def recall_of(answers: Sequence[Answer]) -> float | None:
    """The mean over the questions, to three digits; null without one that can be answered."""
    recalls = [answer.recall for answer in answers if answer.recall is not None]
    return round(fmean(recalls), 3) if recalls else None


def shortfall(answers: Sequence[Answer], least: float) -> str | None:
    """Why the answers are not good enough, with those that miss most; nothing if they are."""
    recall = recall_of(answers)
    if recall is None or recall >= least:
        return None
    worst = sorted((answer for answer in answers if answer.missed), key=lambda answer: answer.recall or 0)[:NAMED]
    told = "; ".join(f"{answer.query.query!r} misses {', '.join(answer.missed[:NAMED])}" for answer in worst)
    return f"golden queries find {recall} of the users expected, less than {least}: {told}"


def _known(table: Any, users: set[str]) -> set[str]:
    found = table.search().where(is_one_of("user_id", sorted(users))).select(["user_id"]).limit(len(users)).to_arrow()
    return set(found["user_id"].to_pylist())
