"""From documents to the raw log: which versions are new.

What belongs here: adding to the log the versions of some days that it does not hold, in one transaction with what
is rejected. What does not: what a valid record is (`records/`), who is rejected and how long that waits
(`quarantine.py`), where documents come from (`sources/`), reading live ones bit by bit (`extraction.py`), and what
the log means as of a day (`history.py`).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import duckdb
import pyarrow as pa

from profile_pipeline.computed_days import last_day_before
from profile_pipeline.errors import PipelineError
from profile_pipeline.extraction import (
    Extracted,
    Plan,
    ReadingProgress,
    finish,
    finish_reconciling,
    plan_extraction,
    stage,
    staged,
)
from profile_pipeline.quarantine import file_rejections, find_rejections, reject_second_holders, resolve_superseded
from profile_pipeline.reconciliation import Deletions, find_deletions, list_present, write_tombstones
from profile_pipeline.records.dialect import PLAIN, Dialect
from profile_pipeline.records.models import Reading
from profile_pipeline.records.screening import CHANGED_AT, Rules, screen, typed_columns
from profile_pipeline.records.suppressions import Named
from profile_pipeline.scratch import MEMORY
from profile_pipeline.settings import Settings
from profile_pipeline.sources.files import Documents, FileSource
from profile_pipeline.sources.live import LiveSource
from profile_pipeline.suppression_list import load_suppressions
from profile_pipeline.tables import LOG_READING, RAW_TABLES
from profile_pipeline.warehouse import Warehouse
from profile_pipeline.window import Window

SHOWN_REASONS = 20
"""Enough to see what is wrong with a batch; all of them are in the quarantine."""

TEMPORARY = ("screened", "candidates", "additions", "rejections")


@dataclass(frozen=True)
class Ingested:
    """What one ingestion did, in documents of its batch unless said otherwise: those of the window and of the days
    before it since the last that was computed, and whatever else is new. A first run is so judged by all that it
    takes in.

    `rows_in` documents are in the batch, `rejected` of them broke their model or claimed another user's
    address, `newly_quarantined` of these did not wait in quarantine before. `versions_added` counts rows of the
    log, of which a document has one for each day it is known on. `reasons` holds the most frequent ones.
    `extracted` and `deletions` tell of live sources only. `withheld` documents belong to people who were erased, and
    count as not read; `redacted` ones named them.
    """

    rows_in: int
    versions_added: int
    rejected: int
    newly_quarantined: int
    reasons: Counter[str]
    is_source_missing: bool = False
    extracted: Extracted | None = None
    deletions: Deletions | None = None
    withheld: int = 0
    redacted: int = 0

    @property
    def rejected_share(self) -> float:
        """Rejected documents as a share of the batch, 0 to 1."""
        return self.rejected / self.rows_in if self.rows_in else 0.0


def ingest(warehouse: Warehouse, source: FileSource, kind: str, window: Window, settings: Settings) -> Ingested:
    """Bring the log of a kind up to what the files know at the end of a window, and quarantine what is rejected.

    Versions are added on whichever day up to the window's end they are known, so that what a file gained late is
    never lost; days before the window that gained some owe a recompute then. A range gives what its days give one by
    one. A second run adds nothing. All of it is one transaction.

    Rejected documents are filed under the latest day they were known on, where that can be read, else under
    the first day of the batch that met them first.

    Raises:
        PipelineError: the source cannot be read; nothing has been written then.
    """
    documents = source.read(kind)
    rules = rules_of(settings)
    with _registered(warehouse.connection, documents), warehouse.transaction():
        batch = _batch(warehouse, window, rules)
        ingested = add(warehouse, kind, "documents", rules, _up_to(window, rules), batch=batch)
    return replace(ingested, is_source_missing=documents.is_missing)


def ingest_changes(
    warehouse: Warehouse,
    source: LiveSource,
    kind: str,
    window: Window,
    settings: Settings,
    *,
    on_progress: Callable[[ReadingProgress], None] = lambda progress: None,
) -> Ingested:
    """Bring the log of a kind up to what a live source knows at the end of a window.

    Versions are added on whichever day up to the window's end they are known, because what the source committed
    since the watermark has to be in the log before the watermark may move over it; days before the window that
    gained some owe a recompute then. A second run adds nothing.

    What was read is added in one transaction with the watermark. When keys are to be compared, what the source no
    longer has follows in one of its own, and the watermark with it.

    Raises:
        PipelineError: the source cannot be read; what was read so far is staged, and the next run goes on there.
    """
    plan = plan_extraction(warehouse, source, kind, window, settings)
    rules = rules_of(settings, source.dialect(kind))
    days = _up_to(window, rules)
    extracted = stage(warehouse, source, plan, rules, on_progress)
    if plan.is_reconciling:
        list_present(warehouse, source, plan, rules)
    with warehouse.tuned(memory_limit=MEMORY), warehouse.transaction():
        ingested = _add_staged(warehouse, plan, rules, days)
        finish(warehouse, plan)
    ingested = replace(
        ingested,
        extracted=extracted,
        withheld=ingested.withheld + extracted.withheld,
        redacted=ingested.redacted + extracted.redacted,
    )
    if not plan.is_reconciling:
        return ingested
    return _reconcile(warehouse, source, plan, rules, ingested, max_share=settings.policy.max_deleted_share)


def _up_to(window: Window, rules: Rules) -> Window:
    """All days up to a window's end."""
    return Window(min(rules.first_partition, window.start), window.end)


def _batch(warehouse: Warehouse, window: Window, rules: Rules) -> Window:
    """A window with the days before it that came after the last computed one."""
    computed = last_day_before(warehouse, window.start)
    first = rules.first_partition if computed is None else computed + timedelta(days=1)
    return Window(min(first, window.start), window.end)


def _reconcile(
    warehouse: Warehouse, source: LiveSource, plan: Plan, rules: Rules, ingested: Ingested, *, max_share: float
) -> Ingested:
    """Take up what the source no longer has, and what was never read of it; both, with what was done before."""
    deletions = find_deletions(warehouse, source, plan, rules, max_share)
    if not deletions.is_plausible:
        return replace(ingested, deletions=deletions)
    days = _up_to(plan.window, rules)
    with warehouse.transaction():
        found = _add_staged(warehouse, plan, rules, days)
        tombstones = write_tombstones(warehouse, plan, log_sequence(warehouse))
        finish_reconciling(warehouse, plan)
    # What waits in quarantine is asked for again; it was counted when it was read.
    waited = found.rejected - found.newly_quarantined
    return replace(
        ingested,
        rows_in=ingested.rows_in + found.rows_in - waited,
        versions_added=ingested.versions_added + found.versions_added + tombstones,
        rejected=ingested.rejected + found.newly_quarantined,
        newly_quarantined=ingested.newly_quarantined + found.newly_quarantined,
        reasons=ingested.reasons + found.reasons,
        deletions=deletions,
    )


def _add_staged(warehouse: Warehouse, plan: Plan, rules: Rules, days: Window) -> Ingested:
    """Add what is staged; in most nights nothing is, and planning for nothing takes longer than all else."""
    documents = staged(plan.kind)
    if not warehouse.scalar(f"SELECT count(*) FROM (FROM {documents} LIMIT 1)"):
        return Ingested(0, 0, 0, 0, Counter())
    return add(warehouse, plan.kind, documents, rules, days, batch=_batch(warehouse, plan.window, rules))


def log_sequence(warehouse: Warehouse) -> int:
    """The newest entry of all logs, 0 when they are empty."""
    return max(warehouse.scalar(f"SELECT max(sequence) FROM {table.name}") for table in RAW_TABLES.values())


def rules_of(settings: Settings, dialect: Dialect = PLAIN) -> Rules:
    """How documents are read, and of whom none are.

    Raises:
        PipelineError: the key of the suppression list is gone.
    """
    reading = Reading(settings.zone, settings.policy.fold_email_aliases)
    return Rules(reading, settings.start_date, dialect, load_suppressions(settings))


def add(
    warehouse: Warehouse,
    kind: str,
    documents: str,
    rules: Rules,
    days: Window,
    *,
    batch: Window | None = None,
) -> Ingested:
    """Add what documents say of some days to the log, and what is rejected to the quarantine.

    The caller has a transaction open.

    Args:
        warehouse: where the log is.
        kind: users, orders, events or messages.
        documents: a relation of (document, source, position).
        rules: how they are read.
        days: the partitions that may gain versions.
        batch: the days that are counted, on the first of which documents are filed that hold no readable day; by
            default all of them. Of other days, what is new is counted, and not what is rejected again and again.

    Raises:
        PipelineError: the log was read with another time zone or first partition.
    """
    _expect_same_reading(warehouse, rules)
    batch = batch or days
    connection = warehouse.connection
    screen(connection, kind, documents, "screened", rules, window=days)
    named = suppress(connection, kind, rules, days)
    find_candidates(connection, days)
    find_additions(connection, kind, days)
    find_rejections(connection, kind, days, batch.start)
    if kind == "users":
        reject_second_holders(connection)
    rows_in, rejected, reasons = _counted(warehouse, kind, batch)
    newest = log_sequence(warehouse)
    versions_added = append(warehouse, kind)
    newly_quarantined = file_rejections(connection)
    resolve_superseded(connection, kind, newest, days)
    for table in TEMPORARY:
        connection.execute(f"DROP TABLE {table}")
    return Ingested(
        rows_in,
        versions_added,
        rejected,
        newly_quarantined,
        reasons,
        withheld=len(named.owned),
        redacted=len(named.redacted),
    )


def _counted(warehouse: Warehouse, kind: str, batch: Window) -> tuple[int, int, Counter[str]]:
    """The documents of a batch, those rejected of them, and the most frequent reasons; none is stored yet."""
    of_batch = f"partition_date BETWEEN DATE '{batch.start}' AND DATE '{batch.end}'"
    rejections = f"""(FROM rejections WHERE {of_batch}
        OR content_hash NOT IN (SELECT content_hash FROM quarantine WHERE kind = '{kind}'))"""
    rows_in = warehouse.scalar(
        f"""
        SELECT count(*) FROM (
            SELECT position FROM candidates WHERE {of_batch}
            UNION SELECT position FROM additions UNION SELECT position FROM {rejections}
        )
        """
    )
    rejected = warehouse.scalar(f"SELECT count(DISTINCT position) FROM {rejections}")
    reasons = warehouse.connection.execute(
        f"SELECT reason, count(DISTINCT position) AS documents FROM {rejections} GROUP BY reason "
        f"ORDER BY documents DESC, reason LIMIT {SHOWN_REASONS}"
    ).fetchall()
    return rows_in, rejected, Counter(dict(reasons))


def _expect_same_reading(warehouse: Warehouse, rules: Rules) -> None:
    """Note how the days of documents are read, or make sure that they are read as before."""
    now = {
        "PROFILE_PIPELINE_TIMEZONE": ("time_zone", rules.reading.zone.key),
        "PROFILE_PIPELINE_START_DATE": ("first_partition", rules.first_partition),
    }
    before = warehouse.records(f"FROM {LOG_READING.name}")
    if not before:
        columns = dict(now.values())
        warehouse.connection.execute(
            f"INSERT INTO {LOG_READING.name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
            list(columns.values()),
        ).fetchall()
        return
    for variable, (column, value) in now.items():
        if before[0][column] is None:
            # An earlier release did not note it.
            warehouse.connection.execute(f"UPDATE {LOG_READING.name} SET {column} = ?", [value]).fetchall()
        elif before[0][column] != value:
            raise PipelineError(
                f"the log of this home was read with {variable}={before[0][column]}, and it is {value} now; set it "
                "back, or begin a new PROFILE_PIPELINE_HOME"
            )


def suppress(connection: duckdb.DuckDBPyConnection, kind: str, rules: Rules, days: Window) -> Named:
    """Take erased people's documents out of `screened`, and screen those that name them again, redacted."""
    if rules.suppressions is None:
        return Named()
    # Looking for what is pending has no log at hand.
    known = connection.execute("SELECT table_name FROM duckdb_tables() WHERE table_name IN ('raw_users', 'screened')")
    users = " UNION ".join(f"SELECT id, email FROM {name}" for (name,) in known.fetchall())
    named = rules.suppressions.find(connection, kind, "screened", rules.dialect, users=users)
    if not named.is_empty:
        rows: list[tuple[int, str | None]] = list(named.redacted.items())
        rows += [(position, None) for position in named.owned]
        changed = {
            "position": pa.array([position for position, _ in rows], pa.int64()),
            "document": pa.array([document for _, document in rows], pa.large_string()),
        }
        connection.register("suppressed", pa.table(changed))
        redacted = """(SELECT suppressed.document, source, position FROM screened JOIN suppressed USING (position)
            WHERE suppressed.document IS NOT NULL)"""
        screen(connection, kind, redacted, "screened_again", rules, window=days)
        connection.execute("DELETE FROM screened WHERE position IN (SELECT position FROM suppressed)").fetchall()
        connection.execute("INSERT INTO screened BY NAME FROM screened_again").fetchall()
        connection.execute("DROP TABLE screened_again").fetchall()
        connection.unregister("suppressed")
    return named


@contextmanager
def _registered(connection: duckdb.DuckDBPyConnection, documents: Documents) -> Iterator[None]:
    """The documents as the relation of that name; the source's own error in place of the engine's.

    It has to enclose the transaction: after an error nothing can be unregistered inside.
    """
    connection.register("documents", documents.reader())
    try:
        yield
    except duckdb.Error as error:
        raise documents.error or error from None
    finally:
        connection.unregister("documents")


def find_candidates(connection: duckdb.DuckDBPyConnection, window: Window) -> None:
    """Each accepted document on each of its days in the window.

    `is_true` on the latest of them. Before the day on which it was edited it is a copy, which stands in for a version
    that nobody read; between that day and a deletion it is neither.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE candidates AS
        SELECT day AS partition_date, position, id, content_hash, changed_at,
            day = days[-1] AS is_true, coalesce(day < edited_date, false) AS is_copy
        FROM (
            SELECT position, id, content_hash, changed_at, edited_date, days, unnest(days) AS day
            FROM screened WHERE reason IS NULL
        )
        WHERE day BETWEEN DATE '{window.start}' AND DATE '{window.end}'
        """
    ).fetchall()


def find_additions(connection: duckdb.DuckDBPyConnection, kind: str, window: Window) -> None:
    """The candidates that the log lacks: (partition_date, position)."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE additions AS
        WITH log AS (
            SELECT partition_date, id, content_hash, changed_at, sequence FROM {RAW_TABLES[kind].name}
            WHERE partition_date BETWEEN DATE '{window.start}' AND DATE '{window.end}'
                AND id IN (SELECT id FROM candidates)
        ),
        changes AS (
            SELECT *,
                position = min(position) OVER (PARTITION BY partition_date, id, content_hash) AS is_first
            FROM candidates WHERE is_true
        ),
        -- On the day of its latest change, each content that the log does not hold is new.
        new AS (
            SELECT * FROM changes ANTI JOIN log USING (partition_date, id, content_hash) WHERE is_first
        ),
        -- Before a deletion, which may lie ahead, a version is added where it changed later than those that log and
        -- source have of that day.
        deleted_later AS (
            SELECT partition_date, id, max(changed_at) AS changed_at,
                arg_max(position, (changed_at, position)) AS position
            FROM candidates WHERE NOT is_true AND NOT is_copy AND changed_at IS NOT NULL
            GROUP BY partition_date, id
        ),
        edited AS (
            SELECT partition_date, id, position FROM deleted_later ANTI JOIN (
                SELECT partition_date, id, changed_at FROM log
                UNION ALL SELECT partition_date, id, changed_at FROM changes
            ) AS others
            ON others.partition_date = deleted_later.partition_date AND others.id = deleted_later.id
                AND others.changed_at >= deleted_later.changed_at
        ),
        -- A copy on an earlier day stands in where neither log nor source has a version; the earliest is taken.
        copies AS (
            SELECT partition_date,
                arg_min(position, (coalesce(changed_at, '-infinity'), position)) AS position
            FROM candidates
            ANTI JOIN log USING (partition_date, id)
            ANTI JOIN changes USING (partition_date, id)
            ANTI JOIN edited USING (partition_date, id)
            GROUP BY partition_date, id
        ),
        -- Content that the log holds is appended again where the source went back to it: A, B, A.
        seen AS (
            SELECT DISTINCT partition_date, id FROM changes ANTI JOIN new USING (partition_date, position)
        ),
        source_latest AS (
            SELECT partition_date, id, max(coalesce(changed_at, '-infinity')) AS changed_at,
                arg_max(position, (coalesce(changed_at, '-infinity'), position)) AS position,
                arg_max(content_hash, (coalesce(changed_at, '-infinity'), position)) AS content_hash
            FROM changes SEMI JOIN seen USING (partition_date, id)
            GROUP BY partition_date, id
        ),
        log_latest AS (
            SELECT partition_date, id, max(coalesce(changed_at, '-infinity')) AS changed_at,
                arg_max(content_hash, (coalesce(changed_at, '-infinity'), is_new, arrival)) AS content_hash
            FROM (
                SELECT partition_date, id, content_hash, changed_at, 0 AS is_new, sequence AS arrival FROM log
                UNION ALL
                SELECT partition_date, id, content_hash, changed_at, 1, position FROM new
            )
            SEMI JOIN seen USING (partition_date, id)
            GROUP BY partition_date, id
        )
        SELECT partition_date, position FROM new
        UNION ALL SELECT partition_date, position FROM edited
        UNION ALL SELECT partition_date, position FROM copies
        UNION ALL SELECT partition_date, source_latest.position
        FROM source_latest JOIN log_latest USING (partition_date, id)
        WHERE source_latest.content_hash <> log_latest.content_hash
            AND source_latest.changed_at >= log_latest.changed_at
        """
    ).fetchall()


def append(warehouse: Warehouse, kind: str) -> int:
    """Write the `additions` of `screened` documents to the log, numbered by day and arrival, and count them."""
    columns = ", ".join(f"{CHANGED_AT} AS changed_at" if name == "changed_at" else name for name in typed_columns(kind))
    rows = warehouse.connection.execute(
        f"""
        INSERT INTO {RAW_TABLES[kind].name} BY NAME
        SELECT {columns}, partition_date, document, content_hash, source, sequence FROM screened JOIN (
            -- Before the join, so that whole documents are not sorted.
            SELECT *, {log_sequence(warehouse)} + row_number() OVER (ORDER BY partition_date, position) AS sequence
            FROM additions
        ) USING (position)
        """
    ).fetchall()
    return int(rows[0][0])
