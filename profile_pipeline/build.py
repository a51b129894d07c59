"""From the warehouse to the warehouse: what each asset reads, calls and writes.

What belongs here: one function for each table, which Dagster and the command line both call, and the order in
which they follow each other. What does not: rules (`records/`, `features/`, `profiles/`), the index (`indexing.py`)
and anything of Dagster (`defs/`).

Each function works on a window of days, reads nothing known after its end, and writes what is not there yet: a
second run over the same log writes no row.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import ibis.expr.types as ir
from ibis import _

from profile_pipeline import features, profiles
from profile_pipeline.code import CODE
from profile_pipeline.computed_days import note_begun, note_written, owe_after
from profile_pipeline.errors import PipelineError
from profile_pipeline.extraction import ReadingProgress
from profile_pipeline.history import as_of_join, holding_from, versions, with_past
from profile_pipeline.index.text import user_summaries as summaries_of
from profile_pipeline.ingestion import Ingested, ingest, ingest_changes, log_sequence
from profile_pipeline.replay import replay
from profile_pipeline.settings import Settings
from profile_pipeline.sources import FileSource, source_for
from profile_pipeline.sql import quoted
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import Warehouse, Written
from profile_pipeline.window import Window


@dataclass(frozen=True)
class Computed:
    """What computing a table for a window did: rows read of its main input, and what was written."""

    rows_in: int
    written: Written
    exported: Path | None = None


Progress = Callable[[str, Ingested | Computed], None]
"""Called after each table with its name and what was done."""


def raw(
    warehouse: Warehouse,
    settings: Settings,
    window: Window,
    kind: str,
    on_progress: Callable[[ReadingProgress], None] = lambda reading: None,
) -> Ingested:
    """Add what is known by the window's end to the log of a kind, and what is rejected to quarantine."""
    source = source_for(kind, settings)
    if isinstance(source, FileSource):
        return ingest(warehouse, source, kind, window, settings)
    with closing(source):
        ingested = ingest_changes(warehouse, source, kind, window, settings, on_progress=on_progress)
    if kind == "users" and ingested.deletions and ingested.deletions.gone and ingested.deletions.is_plausible:
        # Whoever signed up anew was rejected for an address that the tombstone of the old account has freed.
        replay(warehouse, settings, window.end, kind, claims_only=True)
    return ingested


def touched_users(warehouse: Warehouse, settings: Settings, window: Window) -> Computed:
    """Find whom the window's records touch, and note up to which entry of the log they were looked at."""
    sequence = log_sequence(warehouse)
    logs = {kind: log_of(warehouse, kind) for kind in RAW_TABLES}
    rows_in = sum(rows_in_window(warehouse, table.name, window) for table in RAW_TABLES.values())
    if rows_in <= NARROWED_BELOW * sum(rows_of(warehouse, table.name) for table in RAW_TABLES.values()):
        logs = features.concerning_days(**logs, window=window)
    known = {kind: versions(log, window.end) for kind, log in logs.items()}
    touched = features.touched_users(**known, window=window, policy=settings.policy)
    written = warehouse.replace("touched_users", touched, window)
    note_begun(warehouse, window, sequence)
    return Computed(rows_in, written)


def event_features(warehouse: Warehouse, settings: Settings, window: Window) -> Computed:
    """Compute event features of the touched users."""
    touched = in_window(warehouse, "touched_users", window)
    logs = {"users": log_of(warehouse, "users"), "events": features.with_participant_count(log_of(warehouse, "events"))}
    if rows_in_window(warehouse, "touched_users", window) <= NARROWED_BELOW * rows_of(warehouse, "raw_users"):
        logs = features.concerning_users(touched, **logs, policy=settings.policy)
    known = {kind: versions(log, window.end) for kind, log in logs.items()}
    known["events"] = holding_from(known["events"], window.start)
    return _replace(
        warehouse, "event_features", features.event_features(touched, **known, policy=settings.policy), window
    )


def message_features(warehouse: Warehouse, settings: Settings, window: Window) -> Computed:
    """Compute message features of the touched users."""
    touched = in_window(warehouse, "touched_users", window)
    messages = versions(_ever_of(touched, log_of(warehouse, "messages")), window.end)
    return _replace(
        warehouse, "message_features", features.message_features(touched, messages, settings.policy), window
    )


def order_features(warehouse: Warehouse, settings: Settings, window: Window) -> Computed:
    """Compute order features of the touched users."""
    touched = in_window(warehouse, "touched_users", window)
    orders = versions(_ever_of(touched, log_of(warehouse, "orders")), window.end)
    return _replace(warehouse, "order_features", features.order_features(touched, orders), window)


def personalization_flags(warehouse: Warehouse, settings: Settings, window: Window) -> Computed:
    """Compute flags and scores of the touched users."""
    rows = features.personalization_flags(
        users_as_touched(warehouse, window),
        in_window(warehouse, "event_features", window),
        settings.policy,
    )
    return _replace(warehouse, "personalization_flags", rows, window)


def user_profiles(warehouse: Warehouse, settings: Settings, window: Window) -> Computed:
    """Assemble the touched users' profiles, and renew the SQL macros that read them."""
    # Loads a compiler, which would be a fifth of the time in which definitions load.
    from profile_pipeline.profiles.sql import renew_macros  # noqa: PLC0415

    rows = profiles.user_profiles(
        in_window(warehouse, "touched_users", window),
        touched_versions(warehouse, window),
        event_features=in_window(warehouse, "event_features", window),
        message_features=in_window(warehouse, "message_features", window),
        order_features=in_window(warehouse, "order_features", window),
        flags=in_window(warehouse, "personalization_flags", window),
    )
    # The order in which the rows are joined is that in which the fewest are held at once.
    with warehouse.tuned(disabled_optimizers="join_order"):
        computed = _replace(
            warehouse, "user_profiles", rows, window, in_order=True, on_change=lambda: owe_after(warehouse, window.end)
        )
    with warehouse.transaction():
        renew_macros(warehouse.connection, settings.policy, CODE)
    note_written(warehouse, "user_profiles", window)
    return computed


def user_summaries(warehouse: Warehouse, settings: Settings, window: Window) -> Computed:
    """Write the touched users' summaries, tags and indexed texts."""
    rows = summaries_of(in_window(warehouse, "user_profiles", window), settings.policy)
    computed = _replace(warehouse, "user_summaries", rows, window, reads="user_profiles", in_order=True)
    note_written(warehouse, "user_summaries", window)
    return computed


def messaging_decisions(warehouse: Warehouse, settings: Settings, window: Window) -> Computed:
    """Find whose decision changed, and export everybody's as of the window's last day."""
    everyone = warehouse.engine_table("user_profiles")
    computed = _replace(
        warehouse,
        "messaging_decisions",
        profiles.messaging_decisions(everyone, window),
        window,
        reads="user_profiles",
    )
    exported = export_decisions(warehouse, settings.exports_path, window.end)
    note_written(warehouse, "messaging_decisions", window)
    return Computed(computed.rows_in, computed.written, exported)


NARROWED_BELOW = 0.05
"""If a window concerns at most this share of the rows, the logs are narrowed to it first; above, narrowing costs more
than it saves. Event features compare touched users and days with the log of users."""

RAW_STEPS = {f"raw_{kind}": kind for kind in RAW_TABLES}
"""Asset name of each log to its kind of record."""

STEPS: dict[str, Callable[[Warehouse, Settings, Window], Computed]] = {
    step.__name__: step
    for step in (
        touched_users,
        event_features,
        message_features,
        order_features,
        personalization_flags,
        user_profiles,
        user_summaries,
        messaging_decisions,
    )
}
"""The tables that follow from the logs, in an order in which each finds what it reads."""


def build(
    warehouse: Warehouse,
    settings: Settings,
    window: Window,
    on_progress: Progress = lambda name, done: None,
    on_reading: Callable[[ReadingProgress], None] = lambda reading: None,
) -> None:
    """Bring every table of the warehouse up to date for a window.

    Raises:
        PipelineError: a source cannot be read, or more records of a kind were rejected, or are gone from a live
            source, than the policy allows.
    """
    for name, kind in RAW_STEPS.items():
        ingested = raw(warehouse, settings, window, kind, on_reading)
        on_progress(name, ingested)
        problem = rejected_too_many(name, ingested, settings) or deleted_too_many(name, ingested, settings)
        if problem:
            raise PipelineError(problem)
    for name, step in STEPS.items():
        on_progress(name, step(warehouse, settings, window))


def rejected_too_many(name: str, ingested: Ingested, settings: Settings) -> str | None:
    """Why a batch is refused, with the most frequent reason; None if it is not."""
    if ingested.rejected_share <= settings.policy.max_rejected_share:
        return None
    reason, count = ingested.reasons.most_common(1)[0]
    return (
        f"{name}: {ingested.rejected} of {ingested.rows_in} records were rejected, more than the "
        f"{settings.policy.max_rejected_share:.0%} that PROFILE_PIPELINE_POLICY__MAX_REJECTED_SHARE allows; most "
        f"often ({count} times): {reason}; see `profile-pipeline quarantine`"
    )


def deleted_too_many(name: str, ingested: Ingested, settings: Settings) -> str | None:
    """Why deletions are not believed; None if they are."""
    deletions = ingested.deletions
    if deletions is None or deletions.is_plausible:
        return None
    return (
        f"{name}: {deletions.gone:,} of {deletions.known:,} records are gone from the source, more than the "
        f"{settings.policy.max_deleted_share:.0%} that PROFILE_PIPELINE_POLICY__MAX_DELETED_SHARE allows; none was "
        "deleted here; look at the source, or allow more for one run"
    )


def log_of(warehouse: Warehouse, kind: str) -> ir.Table:
    """The log of a kind of record."""
    return warehouse.engine_table(RAW_TABLES[kind].name)


def _ever_of(touched: ir.Table, log: ir.Table) -> ir.Table:
    """The rows of a log of the records that ever were of a touched user."""
    return with_past(log.semi_join(touched, "user_id"), log)


def in_window(warehouse: Warehouse, name: str, window: Window) -> ir.Table:
    """A table's rows of the window's partitions."""
    return warehouse.engine_table(name).filter(_.partition_date.between(window.start, window.end))


def touched_versions(warehouse: Warehouse, window: Window) -> ir.Table:
    """The versions of the touched users, as far as known by the window's end."""
    touched, log = in_window(warehouse, "touched_users", window), log_of(warehouse, "users")
    return versions(log.semi_join(touched, log.id == touched.user_id), window.end)


def users_as_touched(warehouse: Warehouse, window: Window) -> ir.Table:
    """The touched users' records as of the days on which they were touched."""
    touched = in_window(warehouse, "touched_users", window).select("user_id", as_of=_.partition_date)
    users = touched_versions(warehouse, window).rename(user_id="id")
    return as_of_join(touched, users, "user_id").rename(partition_date="as_of")


def rows_of(warehouse: Warehouse, name: str) -> int:
    """How many rows a table holds."""
    return warehouse.scalar(f"SELECT count(*) FROM {name}")


def rows_in_window(warehouse: Warehouse, name: str, window: Window) -> int:
    """How many rows a table holds in the window."""
    return warehouse.scalar(
        f"SELECT count(*) FROM {name} WHERE partition_date BETWEEN ? AND ?", window.start, window.end
    )


def export_decisions(warehouse: Warehouse, folder: Path, day: date) -> Path:
    """Write everybody's decision as of a day to `decisions_DAY.csv`, whole or not at all.

    Reasons are joined by `; `. Users on the team are listed as such, not left out.
    """
    decisions = profiles.decisions_as_of(warehouse.table("user_profiles"), day)
    listed = decisions.mutate(decision_reasons=_.decision_reasons.join("; ")).order_by("user_id")
    target = folder / f"decisions_{day}.csv"
    with _replacing(target) as part:
        warehouse.connection.execute(f"COPY ({warehouse.ibis.compile(listed)}) TO {quoted(part)} (HEADER)").fetchall()
    return target


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A file to write beside the target, which takes its place when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _replace(
    warehouse: Warehouse,
    name: str,
    rows: ir.Table,
    window: Window,
    *,
    reads: str = "touched_users",
    in_order: bool = False,
    on_change: Callable[[], None] = lambda: None,
) -> Computed:
    written = warehouse.replace(name, rows, window, in_order=in_order, on_change=on_change)
    return Computed(rows_in_window(warehouse, reads, window), written)
