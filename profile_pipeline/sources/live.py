"""What a live source can do: a system whose records change while one reads.

What belongs here: the protocols. What does not: any one system, and what is done with the documents
(`extraction.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from profile_pipeline.records.dialect import Dialect
from profile_pipeline.sources.description import Description


@dataclass(frozen=True)
class Span:
    """A span of the source's own time, UTC without a zone: `since` included, `until` not.

    Without `since` it has no beginning, and every record is asked for.
    """

    since: datetime | None
    until: datetime


@dataclass(frozen=True)
class Batch:
    """Documents as JSON texts, verbatim, and the place, opaque, at which reading goes on after them."""

    documents: list[str]
    place: str


class LiveSource(Protocol):
    """A system that is asked for what changed.

    Every method may raise `TransientError` for what may pass by itself and `PipelineError` for what will not.
    Neither these nor anything else may hold a secret.
    """

    @property
    def is_listing_keys(self) -> bool:
        """Whether `keys` costs much less than reading every document."""
        ...

    def name(self, kind: str) -> str:
        """Where the records are, without secrets, such as `mongodb:club.users`: the `source` of their versions."""
        ...

    def dialect(self, kind: str) -> Dialect:
        """How the documents of a kind are written."""
        ...

    def is_incremental(self, kind: str) -> bool:
        """Whether the source can tell what changed; otherwise `changes` hands over every record each time."""
        ...

    def scan_interval(self, records: int) -> timedelta:
        """The shortest time there has to be between two scans of all of so many records."""
        ...

    def clock(self) -> datetime:
        """The source's own time, UTC without a zone; nothing that it commits later is older by much."""
        ...

    def total(self, kind: str, span: Span) -> int | None:
        """About how many documents `changes` will hand over, for the progress; None if that is not known."""
        ...

    def changes(self, kind: str, span: Span, place: str | None = None) -> Iterator[Batch]:
        """The documents of records that a span concerns, in batches of bounded size, in a fixed order.

        These are at least the records with a time of creation, change or deletion inside the span, or made in
        it by the system's own account, or without such times and with a business date inside, or with times
        that cannot be read. Others may be among them. Each record comes once, unless it changes meanwhile.

        Args:
            kind: users, orders, events or messages.
            span: the time of interest; without a beginning, every record is handed over.
            place: where an earlier reading of the same span ended; from the beginning unless given.
        """
        ...

    def keys(self, kind: str) -> Iterator[list[str]]:
        """The keys of all records that exist now, as their `id` in the log, in batches; never from a stale copy."""
        ...

    def fetch(self, kind: str, keys: list[str]) -> Iterator[Batch]:
        """The documents of these records, however many, those that still exist; the places mean nothing."""
        ...

    def describe(self, kind: str) -> Description:
        """What there is of a kind, at the cost of a look."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class WakingSource(Protocol):
    """A live source that tells of a change when it is made, so that nobody has to look for it."""

    def woken(self, token: str | None) -> tuple[bool, str | None]:
        """Whether any record may have changed since a token, and the token of now.

        Without a token, the answer is True; without a token in return, the next look begins anew.

        Raises:
            PipelineError: the system, as it is set up, cannot tell.
        """
        ...
