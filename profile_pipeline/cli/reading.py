"""What the commands that only read print.

What belongs here: which rows and columns a command shows, and saying what exists when there is nothing. What
does not: how they are printed (`output.py`) and how they come about (`profiles/`, `index/`).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
from ibis import _
from rich.console import Console

from profile_pipeline.cli import Format, output
from profile_pipeline.computed_days import days_owed, days_with_profiles, owed_in_words
from profile_pipeline.errors import PipelineError
from profile_pipeline.index.embedding import SentenceTransformerEmbedder
from profile_pipeline.index.filters import Filters
from profile_pipeline.index.rerank import Reranker, load_reranker
from profile_pipeline.index.search import Mode, Searcher
from profile_pipeline.index.store import IndexStore
from profile_pipeline.profiles import decisions_as_of, profiles_as_of
from profile_pipeline.settings import Settings
from profile_pipeline.tables import QUARANTINE
from profile_pipeline.warehouse import Warehouse, open_warehouse

PROFILE_COLUMNS = {
    "id": "id",
    "name": "name",
    "e-mail": "email",
    "events": "number_of_events_attended",
    "last event": "last_event_date",
    "orders": "total_orders",
    "spent": "total_spent",
    "score": "personalization_score",
    "decision": "decision",
}
DECISION_COLUMNS = {
    "user": "user_id",
    "name": "name",
    "e-mail": "email",
    "decision": "decision",
    "reasons": "decision_reasons",
    "queued": "has_queued_messages",
    "team": "is_on_team",
}
HIT_COLUMNS = {
    "score": "score",
    "user": "user_id",
    "name": "name",
    "what matches": "parts",
    "decision": "decision",
    "reasons": "decision_reasons",
    "last event": "last_event_date",
}
QUARANTINE_COLUMNS = {
    "day": "partition_date",
    "kind": "kind",
    "record": "record_id",
    "reason": "reason",
    "attempts": "attempts",
    "resolution": "resolution",
    "resolved": "resolution_date",
    "source": "source",
    "document": "document",
}
WAITING_COLUMNS = {name: column for name, column in QUARANTINE_COLUMNS.items() if not column.startswith("resolution")}

LEADING_FIELDS = ("id", "name", "email", "as_of", "summary", "decision", "decision_reasons")
"""What a single profile opens with; its other fields follow in the catalogue's order."""


@dataclass(frozen=True)
class Asked:
    """What the commands that search share: the arguments of `index.search.Searcher` by their names."""

    filters: Filters | None = None
    as_of: date | None = None
    limit: int = 10
    with_parts: bool = True


def show_profiles(settings: Settings, as_of: date | None, user: str | None, format: Format) -> None:
    """Print every profile as of a day, or one.

    Raises:
        PipelineError: there is no warehouse, nothing is computed for the day, or no such user lives on it.
    """
    with _reading(settings, as_of) as (warehouse, day):
        stored = warehouse.table("user_profiles")
        if user is None:
            rows = profiles_as_of(stored, day, settings.policy).order_by("id")
            if format == "table":
                rows = rows.select(*PROFILE_COLUMNS.values()).limit(output.TABLE_ROWS + 1)
            output.write(output.stream(warehouse, rows), format, PROFILE_COLUMNS)
            return
        found = output.stream(warehouse, profiles_as_of(stored.filter(_.id == user), day, settings.policy)).read_all()
    if not found.num_rows:
        raise PipelineError(
            f"there is no user {user!r} as of {day}; `profile-pipeline profiles --as-of {day}` lists them"
        )
    if format == "table":
        profile = found.to_pylist()[0]
        output.write_fields({name: profile[name] for name in LEADING_FIELDS} | profile)
    else:
        output.write(found.to_reader(), format, PROFILE_COLUMNS)


def show_decisions(settings: Settings, as_of: date | None, decision: str | None, format: Format) -> None:
    """Print everybody's decision as of a day, or those of one kind.

    Raises:
        PipelineError: there is no warehouse, or nothing is computed for the day.
    """
    with _reading(settings, as_of) as (warehouse, day):
        rows = decisions_as_of(warehouse.table("user_profiles"), day)
        if decision is not None:
            rows = rows.filter(_.decision == decision)
        output.write(output.stream(warehouse, rows.order_by("user_id")), format, DECISION_COLUMNS)


def show_match(settings: Settings, text: str, asked: Asked, format: Format, *, mode: Mode, rerank: bool) -> None:
    """Print the profiles that fit a text best.

    Raises:
        PipelineError: no reranker is set, or as `index.search.Searcher.search`.
    """
    if rerank and settings.reranker is None:
        raise PipelineError(
            "there is nothing to rerank by; set PROFILE_PIPELINE_RERANKER to module:function, or to the folder or name "
            "of a cross-encoder"
        )
    _show_hits(matches(settings, text, asked, mode=mode, reranker=settings.reranker if rerank else None), format)


def matches(
    settings: Settings, text: str, asked: Asked, *, mode: Mode = Mode.HYBRID, reranker: str | None = None
) -> pa.Table:
    """The profiles that fit a text best, while a terminal is told what takes the time."""
    doing = "searching" if mode is Mode.TEXT and reranker is None else "loading the model and searching"
    with Console(stderr=True).status(doing):
        searcher = _searcher(settings, load_reranker(reranker) if reranker else None)
        return searcher.search(text, mode=mode, **vars(asked))


def show_similar(settings: Settings, user_id: str, asked: Asked, format: Format) -> None:
    """Print the profiles most like that of a user.

    Raises:
        PipelineError: as `index.search.Searcher.similar`.
    """
    _show_hits(_searcher(settings).similar(user_id, **vars(asked)), format)


def _searcher(settings: Settings, reranker: Reranker | None = None) -> Searcher:
    embedder = SentenceTransformerEmbedder(settings.embedding_model)
    return Searcher(IndexStore(settings.index_path), embedder, reranker=reranker)


def _show_hits(hits: pa.Table, format: Format) -> None:
    if format == "table" and hits.num_rows:
        print(f"decisions as of {hits['as_of'][0]}; --as-of names another day", file=sys.stderr)
    shown = {heading: name for heading, name in HIT_COLUMNS.items() if name in hits.schema.names}
    output.write(hits.to_reader(), format, shown)


def show_quarantine(
    settings: Settings, kind: str | None, limit: int | None, format: Format, *, resolved: bool = False
) -> None:
    """Print rejected records, by day, kind and reason: those that wait, or those that are resolved as well.

    Raises:
        PipelineError: there is no warehouse.
    """
    with open_warehouse(settings, read_only=True) as warehouse:
        rows = warehouse.table(QUARANTINE.name).mutate(attempts=_.attempts.coalesce(0))
        if not resolved:
            rows = rows.filter(_.resolution.isnull())
        if kind is not None:
            rows = rows.filter(_.kind == kind)
        rows = rows.order_by("partition_date", "kind", "reason", "source")
        shown = output.stream(warehouse, rows.limit(limit))
        output.write(shown, format, QUARANTINE_COLUMNS if resolved else WAITING_COLUMNS)


@contextmanager
def _reading(settings: Settings, as_of: date | None) -> Iterator[tuple[Warehouse, date]]:
    """The warehouse and the day to read it as of.

    A day after the last computed one is as good as any: the clock moves on over what is known. A remark says
    so if what is known is out of date.
    """
    with open_warehouse(settings, read_only=True) as warehouse:
        computed = days_with_profiles(warehouse)
        day = as_of or computed.end
        if day < computed.start:
            raise PipelineError(
                f"nothing is computed as of {day}; the computed days begin on {computed.start} and end on "
                f"{computed.end}"
            )
        remark_on_owed_days(warehouse, day)
        yield warehouse, day


def remark_on_owed_days(warehouse: Warehouse, through: date) -> None:
    """Say on stderr which days up to this one owe a recompute, and how to pay."""
    tell_owed([day for day in days_owed(warehouse) if day <= through])


def tell_owed(owed: list[date]) -> None:
    """Say on stderr that these days owe a recompute, if there are any."""
    if owed:
        output.note(owed_in_words(owed))
