"""Which days of a source have versions that the log lacks.

What belongs here: what the warehouse knows of a system, reading what changed there for as long as time allows, or
files as a whole, and comparing that with the log by the very rules of ingestion. What does not: writing anything,
remembering how far a look came (`defs/cursors.py`), and asking for runs (`defs/runs.py`).

The warehouse is opened to read, for moments only: what changed is read and typed in a database in memory, so that a
run never waits for a slow source.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TypeVar

import duckdb
import pyarrow as pa

from profile_pipeline.computed_days import days_owed
from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.extraction import watermark
from profile_pipeline.ingestion import find_additions, find_candidates, rules_of, suppress
from profile_pipeline.quarantine import WENT_BACK, find_rejections, reject_second_holders
from profile_pipeline.records.models import MODELS
from profile_pipeline.records.screening import Rules, screen
from profile_pipeline.scratch import scratch_database
from profile_pipeline.settings import Settings
from profile_pipeline.sources.files import FileSource
from profile_pipeline.sources.live import Batch, LiveSource, Span
from profile_pipeline.tables import COMPUTED_DAYS, RAW_TABLES
from profile_pipeline.warehouse import Warehouse, on_connection, open_warehouse
from profile_pipeline.window import Window

Answer = TypeVar("Answer")

ASKING_SECONDS = 25
"""After so long a look asks for no further batch: what is on its way may take a while, and the log follows."""
WAITING_SECONDS = 38
"""After so long it gives a source up, which leaves time to note that within the 45 seconds of a tick. A server that is
not there is reported by the driver before, in its words."""


class Patience:
    """How long one look at a source may take, counted from when this is made.

    A source is asked in a thread of its own. One that hangs, in a name server, a handshake or a query without an
    index, so holds nobody up, whatever limits its driver has; that thread ends when the driver gives up.
    """

    def __init__(
        self,
        asking: float = ASKING_SECONDS,
        waiting: float = WAITING_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask for so many seconds of a clock, and wait for an answer until so many have passed."""
        self.asking, self.waiting, self.clock = asking, waiting, clock
        self.began = clock()

    @property
    def is_over(self) -> bool:
        """Whether nothing more should be asked."""
        return self.clock() - self.began >= self.asking

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """The answer to a question, or what it raises.

        Raises:
            TransientError: it did not come in time.
        """
        answer: Future[Answer] = Future()
        threading.Thread(target=_answer, args=(answer, question), daemon=True).start()
        try:
            return answer.result(max(0.0, self.began + self.waiting - self.clock()))
        except TimeoutError:
            if answer.done():
                return answer.result()
            raise TransientError(f"it did not answer within {self.waiting:g} s") from None


def _answer(answer: "Future[Answer]", question: Callable[[], Answer]) -> None:
    try:
        answer.set_result(question())
    except BaseException as error:  # raised where the answer is waited for
        answer.set_exception(error)


@dataclass(frozen=True)
class Known:
    """What the warehouse knows: days with profiles, days that owe a recompute, and how far sources have been read.

    `read_until` has the kinds that were ever read from the sources in question, `records` the number of records of
    kinds that were to be counted.
    """

    computed: tuple[date, ...] = ()
    owed: tuple[date, ...] = ()
    read_until: Mapping[str, datetime] = field(default_factory=dict)
    records: Mapping[str, int] = field(default_factory=dict)


def known(settings: Settings, sources: Mapping[str, str], counted: Collection[str] = ()) -> Known:
    """What the warehouse knows; nothing, where there is none yet.

    Args:
        settings: where the warehouse is.
        sources: kind of record to the name of its source.
        counted: kinds whose records are counted.

    Raises:
        TransientError: a run is writing the warehouse.
        PipelineError: it cannot be read.
    """
    if not settings.warehouse_path.exists():
        return Known()
    with open_warehouse(settings, read_only=True) as warehouse:
        marks = {kind: watermark(warehouse, source, kind).read_until for kind, source in sources.items()}
        days = warehouse.connection.execute(f"SELECT partition_date FROM {COMPUTED_DAYS.name}").fetchall()
        return Known(
            tuple(day for (day,) in days),
            tuple(days_owed(warehouse)),
            {kind: mark for kind, mark in marks.items() if mark is not None},
            {kind: warehouse.scalar(f"SELECT count(DISTINCT id) FROM {RAW_TABLES[kind].name}") for kind in counted},
        )


@dataclass(frozen=True)
class Found:
    """What reading a span found: the days with versions that the log lacks, in order, of so many documents.

    `place` is where reading goes on unless it is complete; `error` is what the source broke off with.
    """

    days: tuple[date, ...]
    documents: int
    place: str | None
    is_complete: bool
    error: PipelineError | None = None


def pending_days(
    source: LiveSource,
    kind: str,
    span: Span,
    settings: Settings,
    *,
    last_day: date,
    patience: Patience,
    place: str | None = None,
) -> Found:
    """Find the days that a run would add something on: versions to the log, or documents to the quarantine.

    A span is read from a place on, until it ends or time is over, but at least one batch of it. Versions of days
    after the last one are left to the night in which these end. So are rejected documents without a readable day,
    on which no profile depends.

    Args:
        source: what is read.
        kind: users, orders, events or messages.
        span: the time of interest.
        settings: where the warehouse is, and how documents are read.
        last_day: the last day that may be run.
        patience: how long reading may take.
        place: where an earlier reading of the span ended.

    Raises:
        TransientError: a run is writing the warehouse; nothing of what was read counts.
    """
    days = Window(settings.start_date, last_day)
    with scratch_database() as connection:
        screening = _Screening(connection, kind, rules_of(settings, source.dialect(kind)), days)
        is_complete, error = False, None
        try:
            batches = patience.ask(lambda: source.changes(kind, span, place))
            while (batch := _next(batches, patience)) is not None:
                screening.take(batch)
                place = batch.place
                if patience.is_over:
                    break
            else:
                is_complete = True
        except PipelineError as fault:
            error = fault
        concerned = screening.concerned()
    found = _lacking(settings, kind, concerned, days) if concerned else ()
    return Found(found, screening.documents, place, is_complete, error)


def _next(batches: Iterator[Batch], patience: Patience) -> Batch | None:
    return patience.ask(lambda: next(batches, None))


class _Screening:
    """Documents typed or rejected, batch by batch; kept are those that concern some days, without their text."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, kind: str, rules: Rules, days: Window) -> None:
        self.connection, self.kind, self.rules, self.days = connection, kind, rules, days
        self.documents = 0

    def take(self, batch: Batch) -> None:
        admitted, _ = self.rules.admit(batch.documents, self.kind)
        if not (count := len(admitted)):
            return
        arrived = pa.table(
            {
                "document": pa.array(admitted.values(), pa.large_string()),
                "source": pa.nulls(count, pa.large_string()),
                "position": pa.array(range(self.documents, self.documents + count), pa.int64()),
            }
        )
        self.connection.register("arrived", arrived)
        only = _compared(self.kind)
        screen(self.connection, self.kind, "arrived", "screened", self.rules, window=self.days, only=only)
        self.connection.unregister("arrived")
        self.connection.execute("CREATE TABLE IF NOT EXISTS concerned AS FROM screened LIMIT 0").fetchall()
        self.connection.execute("INSERT INTO concerned FROM screened").fetchall()
        self.documents += count

    def concerned(self) -> pa.Table | None:
        return self.connection.sql("FROM concerned").to_arrow_table() if self.documents else None


def days_of_files(source: FileSource, kind: str, settings: Settings, *, last_day: date) -> tuple[date, ...]:
    """The days that a run would add something on from the files of a kind, as `pending_days` has them.

    With these come the days on which it happens, such as that of an event which was announced before.

    Raises:
        TransientError: a run is writing the warehouse.
        PipelineError: the folder or a file cannot be read.
    """
    days, rules = Window(settings.start_date, last_day), rules_of(settings)
    documents = source.read(kind)
    with scratch_database() as connection:
        connection.register("documents", documents.reader())
        # Whoever was erased is looked for in whole documents.
        only = _compared(kind) if rules.suppressions is None else None
        try:
            screen(connection, kind, "documents", "screened", rules, window=days, only=only)
        except duckdb.Error:
            raise documents.error or PipelineError(f"the {kind} in {source.folder} cannot be read") from None
        suppress(connection, kind, rules, days)
        columns = ", ".join(
            ("position", "record_id", "reason", "days", "edited_date", "content_hash", *_compared(kind))
        )
        concerned = connection.sql(
            f"SELECT {columns}, NULL::VARCHAR AS document, NULL::VARCHAR AS source FROM screened"
        ).to_arrow_table()
    return _lacking(settings, kind, concerned, days) if len(concerned) else ()


def _compared(kind: str) -> tuple[str, ...]:
    """The columns that comparing with the log looks at."""
    business_date = MODELS[kind].business_date_field
    return (
        "id",
        "changed_at",
        *(("email", "deleted_date") if kind == "users" else ()),
        *((business_date,) if business_date else ()),
    )


def _lacking(settings: Settings, kind: str, concerned: pa.Table, days: Window) -> tuple[date, ...]:
    """The days on which a run would add something of these screened documents, and on which that happens."""
    if not settings.warehouse_path.exists():
        with on_connection(duckdb.connect()) as warehouse:
            warehouse.create_tables()
            return _compare(warehouse, kind, concerned, days)
    with open_warehouse(settings, read_only=True) as warehouse:
        return _compare(warehouse, kind, concerned, days)


def _compare(warehouse: Warehouse, kind: str, concerned: pa.Table, days: Window) -> tuple[date, ...]:
    connection, happens = warehouse.connection, MODELS[kind].business_date_field
    connection.register("concerned", concerned)
    # Of its own, because other documents are rejected into it.
    connection.execute("CREATE OR REPLACE TEMP TABLE screened AS FROM concerned").fetchall()
    connection.unregister("concerned")
    window = _narrowed(warehouse, days)
    find_candidates(connection, window)
    find_additions(connection, kind, window)
    # Filed beyond the days, so left out.
    find_rejections(connection, kind, window, days.end + timedelta(days=1))
    if kind == "users":
        reject_second_holders(connection)
    rows = connection.execute(
        f"""
        SELECT partition_date FROM additions
        UNION SELECT {happens or "NULL"} FROM additions JOIN screened USING (position)
        WHERE {happens or "NULL"} BETWEEN partition_date AND DATE '{days.end}'
        UNION SELECT min(partition_date) FROM rejections
        ANTI JOIN (FROM quarantine WHERE NOT {WENT_BACK}) AS met USING (kind, content_hash)
        GROUP BY content_hash
        ORDER BY partition_date
        """
    ).fetchall()
    return tuple(day for (day,) in rows)


def _narrowed(warehouse: Warehouse, days: Window) -> Window:
    """The days from the first that a screened document concerns on, so that less of the log is read."""
    rows = warehouse.connection.execute(
        f"SELECT min(day) FROM (SELECT unnest(days) AS day FROM screened) WHERE day >= DATE '{days.start}'"
    ).fetchall()
    first = rows[0][0]
    return days if first is None or first > days.end else Window(first, days.end)
