"""Reading a live source bit by bit: which span, from where on, and how far it is known.

What belongs here: the watermark, the span that a window needs, staging documents in committed batches so that a
broken reading goes on where it stopped, and its progress. What does not: how a source is asked (`sources/`), what
the documents say (`ingestion.py`), and what the source no longer has (`reconciliation.py`).

The watermark says: what the source committed before it is in the log or the quarantine. Each ingestion closes the
gap from there to the end of its window, so that nothing depends on which days were run. It is clamped to the
source's own clock, and moves in the transaction that adds the documents or, where keys are compared, in the one that
follows, when the source has proved to be the one that it was. A stretch below it is read again for what was committed
late; content that the log holds already is not added twice.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa

from profile_pipeline.errors import TransientError
from profile_pipeline.records.screening import Rules
from profile_pipeline.records.suppressions import Named
from profile_pipeline.retries import attempts, retried
from profile_pipeline.settings import Settings
from profile_pipeline.sources.live import Batch, LiveSource, Span
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import Warehouse
from profile_pipeline.window import Window

STAGING = {"force_compression": "uncompressed", "wal_autocheckpoint": "128MB"}
"""Staged documents live for minutes: packing them well, each few batches, took two thirds of the time of staging."""


@dataclass(frozen=True)
class Watermark:
    """How far a source is known, by its own clock, UTC; None: not at all yet."""

    read_until: datetime | None
    reconciled_at: datetime | None


@dataclass(frozen=True)
class Plan:
    """What one ingestion reads of a source.

    `dialect` tells apart how documents were selected and are written, `clock` is the source's time now, `ends_at` the
    end of the window in the same terms. With `is_reconciling`, what the source no longer has is looked for, too.
    """

    kind: str
    source: str
    dialect: str
    window: Window
    span: Span
    clock: datetime
    ends_at: datetime
    is_reconciling: bool


@dataclass(frozen=True)
class ReadingProgress:
    """How far a reading has come: documents so far, and about how many in all where that is known."""

    kind: str
    documents: int
    total: int | None
    seconds: float
    failures: int

    @property
    def rate(self) -> float:
        """Documents a second."""
        return self.documents / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far, where the total is known."""
        if self.total is None or not self.rate:
            return None
        return max(self.total - self.documents, 0) / self.rate

    def figures(self) -> dict[str, int | float | None]:
        """What there is to show, by name."""
        return {
            "documents_read": self.documents,
            "documents_in_all": self.total,
            "documents_a_second": round(self.rate),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left),
            "failures": self.failures,
        }

    def __str__(self) -> str:
        """One line for a log."""
        total = "" if self.total is None else f" of about {self.total:,}"
        left = "" if self.seconds_left is None else f", {self.seconds_left:,.0f} s left"
        failures = f", {self.failures} failures" if self.failures else ""
        return f"{self.kind}: {self.documents:,}{total} documents read, {self.rate:,.0f} a second{left}{failures}"


@dataclass(frozen=True)
class Extracted:
    """What one reading of a source did.

    `resumed` documents had been staged by an earlier reading that broke off; `failures` passed by themselves. Of
    what was read now, `withheld` documents belong to people who were erased, and `redacted` ones named them.
    """

    source: str
    span: Span
    documents: int
    resumed: int
    failures: int
    seconds: float
    withheld: int = 0
    redacted: int = 0


def plan_extraction(warehouse: Warehouse, source: LiveSource, kind: str, window: Window, settings: Settings) -> Plan:
    """What has to be read so that the log holds all that is known up to a window's end.

    That is what changed since the watermark, and what the window's own days concern where they lie before it; all
    there is, when nothing has been read yet or the window begins with the first partition.
    """
    mark = watermark(warehouse, source.name(kind), kind)
    clock, ends_at = retried(source.clock), start_of(window.end + timedelta(days=1), settings.zone)
    is_current = clock < start_of(window.end + timedelta(days=2), settings.zone)
    is_reconciling = (
        is_current
        and mark.read_until is not None
        and (
            # Where every record is read anyway, comparing takes no further call.
            mark.reconciled_at is None
            or not source.is_incremental(kind)
            # With all of it away by mistake, the watermark must not pass what comes back.
            or retried(lambda: source.total(kind, Span(None, clock))) == 0
            or clock - mark.reconciled_at >= _reconciling_interval(warehouse, source, kind, settings)
        )
    )
    reads_all = (
        mark.read_until is None
        or window.start <= settings.start_date
        or not source.is_incremental(kind)
        or (is_reconciling and not source.is_listing_keys)
    )
    until = min(clock, ends_at)
    since = None if reads_all else _since(mark, window, settings)
    if since is not None:
        # The source's clock may have been set back.
        since = min(since, until)
    return Plan(
        kind, source.name(kind), repr(source.dialect(kind)), window, Span(since, until), clock, ends_at, is_reconciling
    )


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which a business day begins, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC).replace(tzinfo=None)


def _since(mark: Watermark, window: Window, settings: Settings) -> datetime:
    assert mark.read_until is not None  # noqa: S101  # a plan without a watermark reads everything
    return min(mark.read_until - settings.overlap, start_of(window.start, settings.zone))


def _reconciling_interval(warehouse: Warehouse, source: LiveSource, kind: str, settings: Settings) -> timedelta:
    records = warehouse.scalar(f"SELECT count(DISTINCT id) FROM {RAW_TABLES[kind].name}")
    return max(timedelta(hours=settings.reconcile_hours), source.scan_interval(records))


def watermark(warehouse: Warehouse, source: str, kind: str) -> Watermark:
    """How far a source is known; another database, collection or table begins anew."""
    rows = warehouse.records("SELECT * FROM watermarks WHERE kind = ? AND source = ?", kind, source)
    return Watermark(rows[0]["read_until"], rows[0]["reconciled_at"]) if rows else Watermark(None, None)


def stage(
    warehouse: Warehouse, source: LiveSource, plan: Plan, rules: Rules, on_progress: Callable[[ReadingProgress], None]
) -> Extracted:
    """Read a plan's span into `staged_documents`, each batch in a transaction with the place after it.

    What an earlier reading of the same span left is kept, and reading goes on behind it. What fails and may pass is
    tried again from the last batch, with growing waits and jitter; the bound counts attempts without progress.

    Raises:
        TransientError: the source still failed after these attempts; what was read stays staged.
        PipelineError: it fails in a way that will not pass.
    """
    reading = _Reading(warehouse, source, plan, rules, on_progress)
    with warehouse.tuned(**STAGING):
        while not reading.is_done:
            for attempt in attempts():
                with attempt:
                    reading.go_on()
    return reading.result()


class _Reading:
    """One extraction on its way."""

    def __init__(
        self,
        warehouse: Warehouse,
        source: LiveSource,
        plan: Plan,
        rules: Rules,
        on_progress: Callable[[ReadingProgress], None],
    ) -> None:
        self.warehouse, self.source, self.plan, self.on_progress = warehouse, source, plan, on_progress
        self.rules, self.withheld, self.redacted = rules, 0, 0
        self.place, self.resumed = _begin(warehouse, plan)
        self.documents, self.failures, self.is_done = self.resumed, 0, False
        self.began = time.monotonic()
        self.total = retried(lambda: source.total(plan.kind, plan.span))

    def go_on(self) -> None:
        """Read to the end, or up to a failure; one that comes before any progress is raised."""
        place = self.place
        try:
            for batch in self.source.changes(self.plan.kind, self.plan.span, self.place):
                with self.warehouse.transaction():
                    named = append_batch(self.warehouse, self.plan, self.rules, batch, self.documents)
                self.documents += len(batch.documents)
                self.withheld += len(named.owned)
                self.redacted += len(named.redacted)
                self.place = batch.place
                self.on_progress(self.progress())
            self.is_done = True
        except TransientError:
            self.failures += 1
            self.on_progress(self.progress())
            if self.place == place:
                raise

    def progress(self) -> ReadingProgress:
        """How far it has come."""
        return ReadingProgress(self.plan.kind, self.documents, self.total, time.monotonic() - self.began, self.failures)

    def result(self) -> Extracted:
        """What it did."""
        seconds = time.monotonic() - self.began
        return Extracted(
            self.plan.source,
            self.plan.span,
            self.documents,
            self.resumed,
            self.failures,
            seconds,
            self.withheld,
            self.redacted,
        )


def _begin(warehouse: Warehouse, plan: Plan) -> tuple[str | None, int]:
    """The place and the documents that an earlier reading of the span left; else a clean start."""
    wanted = {"source": plan.source, "dialect": plan.dialect, "since": plan.span.since, "until": plan.span.until}
    rows = warehouse.records("SELECT * FROM extractions WHERE kind = ?", plan.kind)
    if rows and all(rows[0][name] == value for name, value in wanted.items()):
        return rows[0]["place"], rows[0]["documents"]
    with warehouse.transaction():
        clear_staged(warehouse, plan.kind)
        warehouse.connection.execute(
            "INSERT INTO extractions BY NAME SELECT ? AS kind, ? AS source, ? AS dialect, ?::TIMESTAMP AS since, "
            "?::TIMESTAMP AS until, NULL AS place, 0 AS documents",
            [plan.kind, *wanted.values()],
        ).fetchall()
    return None, 0


def append_batch(warehouse: Warehouse, plan: Plan, rules: Rules, batch: Batch, documents: int) -> Named:
    """Stage a batch behind so many documents, note the place after it, and return what was not staged as it is.

    Erased people's documents must not get here: what is deleted stays in the file for a while.
    """
    admitted, named = rules.admit(batch.documents, plan.kind)
    # The name must not be that of the table, which it would hide.
    arrived = pa.table(
        {
            "document": pa.array(admitted.values(), pa.large_string()),
            "position": pa.array([documents + place for place in admitted], pa.int64()),
        }
    )
    connection = warehouse.connection
    connection.register("arrived_documents", arrived)
    connection.execute(
        "INSERT INTO staged_documents BY NAME SELECT ? AS kind, document, ? AS source, position FROM arrived_documents",
        [plan.kind, plan.source],
    ).fetchall()
    connection.unregister("arrived_documents")
    connection.execute(
        "UPDATE extractions SET place = ?, documents = ? WHERE kind = ?",
        [batch.place, documents + len(batch.documents), plan.kind],
    ).fetchall()
    return named


def staged(kind: str) -> str:
    """What is staged of a kind, as a relation that an ingestion reads."""
    return f"(SELECT document, source, position FROM staged_documents WHERE kind = '{kind}')"


def clear_staged(warehouse: Warehouse, kind: str) -> None:
    """Forget what is staged of a kind; the caller has a transaction open."""
    for table in ("staged_documents", "extractions"):
        warehouse.connection.execute(f"DELETE FROM {table} WHERE kind = ?", [kind]).fetchall()


def finish(warehouse: Warehouse, plan: Plan) -> None:
    """Move the watermark over what was read; the caller's transaction adds it to the log.

    Where keys are compared next, it waits for that: an empty copy, or another database of the same name, must not
    move it.
    """
    if not plan.is_reconciling:
        _mark(warehouse, plan, _read(warehouse, plan))
    clear_staged(warehouse, plan.kind)


def finish_reconciling(warehouse: Warehouse, plan: Plan) -> None:
    """Move the watermark, and note that keys were compared; the caller's transaction writes what followed."""
    _mark(warehouse, plan, replace(_read(warehouse, plan), reconciled_at=plan.clock))
    clear_staged(warehouse, plan.kind)


def _read(warehouse: Warehouse, plan: Plan) -> Watermark:
    before = watermark(warehouse, plan.source, plan.kind)
    return replace(before, read_until=max(filter(None, (before.read_until, plan.span.until))))


def _mark(warehouse: Warehouse, plan: Plan, mark: Watermark) -> None:
    warehouse.connection.execute("DELETE FROM watermarks WHERE kind = ?", [plan.kind]).fetchall()
    warehouse.connection.execute(
        "INSERT INTO watermarks BY NAME SELECT ? AS kind, ? AS source, ?::TIMESTAMP AS read_until, "
        "?::TIMESTAMP AS reconciled_at",
        [plan.kind, plan.source, mark.read_until, mark.reconciled_at],
    ).fetchall()
