"""Rejected documents, looked at again: those that are valid by now enter the log.

What belongs here: screening what waits in quarantine under today's rules, whether the log has moved on meanwhile,
and what becomes of each document. What does not: what a valid record is (`records/`), who keeps an address that two
users claim (`records/holders.py`), and writing to the log (`ingestion.py`).

A document enters the log on the day of the replay only, with its own time of change: nobody knew its record on the
days before, and what was computed for them stays true. Its row stays in quarantine, resolved, so that the table
still says what came.

An edit that moves none of a record's times is filed under the days of the old ones, before the replay: from the day
of the replay on, the version that was replayed holds.
"""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from profile_pipeline.errors import PipelineError
from profile_pipeline.extraction import start_of
from profile_pipeline.ingestion import SHOWN_REASONS, append, rules_of
from profile_pipeline.quarantine import SECOND_HOLDER, SUPERSEDED, reject_second_holders
from profile_pipeline.records.dialect import PLAIN, Dialect
from profile_pipeline.records.screening import screen
from profile_pipeline.settings import Settings
from profile_pipeline.sources import FileSource, source_for
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import Warehouse

REPLAYED = "replayed"
"""The value of `quarantine.resolution` for what a replay put into the log."""

TEMPORARY = ("waiting", "screened", "superseded", "additions", "rejections")


@dataclass(frozen=True)
class Replayed:
    """What a replay did with the waiting documents of a kind.

    Of the `waiting` ones, `replayed` entered the log, `superseded` are no longer wanted there, and the others are
    `still_waiting`, for the `reasons` that are most frequent.
    """

    kind: str
    waiting: int
    replayed: int
    superseded: int
    still_waiting: int
    reasons: Counter[str]

    def __str__(self) -> str:
        """One line for a log."""
        return (
            f"{self.kind}: {self.replayed:,} of {self.waiting:,} waiting records entered the log, "
            f"{self.superseded:,} were superseded, {self.still_waiting:,} still wait"
        )


def day_of_replay(settings: Settings, day: date | None = None) -> date:
    """The day asked for; by default today in the business time zone.

    Raises:
        PipelineError: the day lies before the first partition, or has not come yet.
    """
    today = datetime.now(settings.zone).date()
    chosen = day or today
    if chosen < settings.start_date:
        raise PipelineError(
            f"the day {chosen} lies before the first partition {settings.start_date}; replay on a later one, or set "
            "PROFILE_PIPELINE_START_DATE"
        )
    if chosen > today:
        raise PipelineError(f"the day {chosen} has not come yet in {settings.timezone}; replay on {today} or before")
    return chosen


def replay(
    warehouse: Warehouse, settings: Settings, day: date, kind: str | None = None, *, claims_only: bool = False
) -> list[Replayed]:
    """Screen waiting documents again; those that are valid now enter the log on a day.

    A document is superseded when the log holds its very version of the record, or one with a later change or the
    same time of change. Of several valid documents of one record the latest enters, the others are superseded. What
    was made or changed after the day keeps waiting. Whoever claims another live user's address does so, too, as in
    an ingestion. Those that wait get the reason of today.

    Every document that is looked at counts an attempt; a second replay changes nothing else. Each kind is a
    transaction of its own. The profiles follow when the day is computed; `computed_days.days_owed` names it if it was
    computed already.

    Args:
        warehouse: where the log and the quarantine are.
        settings: the rules of today, and the live sources, whose documents are read as they write them.
        day: the partition that gains versions.
        kind: users, orders, events or messages; all of them unless given.
        claims_only: leaves out what waits for other reasons than that another user held the address.

    Raises:
        PipelineError: a live source's settings are incomplete.
    """
    concerned = f"resolution IS NULL AND ends_with(reason, '{SECOND_HOLDER}')" if claims_only else "resolution IS NULL"
    return [_replay_kind(warehouse, settings, day, each, concerned) for each in RAW_TABLES if kind in (None, each)]


def _replay_kind(warehouse: Warehouse, settings: Settings, day: date, kind: str, concerned: str) -> Replayed:
    concerned = f"kind = '{kind}' AND {concerned}"
    if not warehouse.scalar(f"SELECT count(*) FROM quarantine WHERE {concerned}"):
        return Replayed(kind, 0, 0, 0, 0, Counter())
    dialects = dialects_of(settings, kind)
    with warehouse.transaction():
        _find_waiting(warehouse, concerned)
        _screen_waiting(warehouse, settings, kind, dialects)
        _judge(warehouse, kind, day, start_of(day + timedelta(days=1), settings.zone))
        done = _count(warehouse, kind)
        append(warehouse, kind)
        _resolve(warehouse, kind, day)
        for table in TEMPORARY:
            warehouse.connection.execute(f"DROP TABLE {table}")
    return done


def dialects_of(settings: Settings, kind: str) -> list[tuple[str, Dialect]]:
    """Conditions on the source of a document, and how those that meet them are written.

    A live source's documents are told by the system that their source begins with. All others are plain.
    """
    source = source_for(kind, settings)
    if isinstance(source, FileSource):
        return [("true", PLAIN)]
    with closing(source):
        system, _, _ = source.name(kind).partition(":")
        return [
            (f"starts_with(source, '{system}:')", source.dialect(kind)),
            (f"NOT starts_with(source, '{system}:')", PLAIN),
        ]


def _find_waiting(warehouse: Warehouse, concerned: str) -> None:
    """Make the temporary table `waiting`; position is the order in quarantine."""
    warehouse.connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE waiting AS
        SELECT content_hash, document, source, row_number() OVER (ORDER BY partition_date, rowid) - 1 AS position
        FROM quarantine WHERE {concerned}
        """
    ).fetchall()


def _screen_waiting(warehouse: Warehouse, settings: Settings, kind: str, dialects: list[tuple[str, Dialect]]) -> None:
    """Make the temporary table `screened` of what is waiting."""
    connection = warehouse.connection
    parts: list[str] = []
    for condition, dialect in dialects:
        documents = f"(SELECT document, source, position FROM waiting WHERE {condition})"
        parts.append(f"screened_{len(parts)}")
        screen(connection, kind, documents, parts[-1], rules_of(settings, dialect))
    union = " UNION ALL BY NAME ".join(f"FROM {part}" for part in parts)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE screened AS {union}").fetchall()
    for part in parts:
        connection.execute(f"DROP TABLE {part}")


def _judge(warehouse: Warehouse, kind: str, day: date, ends_at: datetime) -> None:
    """Make the temporary tables `additions`, `rejections` and `superseded`, which share the screened documents.

    Args:
        warehouse: where `screened` is.
        kind: of record.
        day: the day of the replay.
        ends_at: the instant at which it ends, UTC.
    """
    connection = warehouse.connection
    # A deletion need not move `updated_at`; one that is still to come says nothing of what is later.
    changed = f"""greatest(coalesce(changed_at, '-infinity'), created_at,
        CASE WHEN deleted_at < TIMESTAMP '{ends_at}' THEN deleted_at END)"""
    is_later = f"greatest(changed_at, created_at) >= TIMESTAMP '{ends_at}'"
    too_late = f"it is valid, but was made or changed after {day}; replay it on a later day"
    statements = (
        f"""
        CREATE OR REPLACE TEMP TABLE superseded AS
        SELECT position FROM screened
        JOIN (SELECT id, max({changed}) AS latest FROM {RAW_TABLES[kind].name} GROUP BY id) USING (id)
        WHERE reason IS NULL AND latest >= {changed}
        """,
        f"""
        CREATE OR REPLACE TEMP TABLE rejections AS
        SELECT DATE '{day}' AS partition_date, '{kind}' AS kind, record_id, coalesce(reason, '{too_late}') AS reason,
            document, content_hash, source, days[1] AS known_on, position
        FROM screened ANTI JOIN superseded USING (position)
        WHERE reason IS NOT NULL OR {is_later}
        """,
        f"""
        CREATE OR REPLACE TEMP TABLE additions AS
        SELECT DATE '{day}' AS partition_date, position FROM screened
        ANTI JOIN superseded USING (position) ANTI JOIN rejections USING (position)
        """,
    )
    for statement in statements:
        connection.execute(statement).fetchall()
    if kind == "users":
        # Before the latest are chosen: where it is rejected, the user's next document enters instead.
        reject_second_holders(connection)
    connection.execute(
        f"""
        INSERT INTO superseded SELECT position FROM additions JOIN screened USING (position)
        QUALIFY row_number() OVER (PARTITION BY id ORDER BY {changed} DESC, position DESC) > 1
        """
    ).fetchall()
    connection.execute("DELETE FROM additions WHERE position IN (FROM superseded)").fetchall()


def _count(warehouse: Warehouse, kind: str) -> Replayed:
    tables = ("waiting", "additions", "superseded", "rejections")
    waiting, replayed, superseded, rejected = (warehouse.scalar(f"SELECT count(*) FROM {table}") for table in tables)
    reasons = warehouse.connection.execute(
        "SELECT reason, count(*) AS documents FROM rejections GROUP BY reason "
        f"ORDER BY documents DESC, reason LIMIT {SHOWN_REASONS}"
    ).fetchall()
    return Replayed(kind, waiting, replayed, superseded, rejected, Counter(dict(reasons)))


def _resolve(warehouse: Warehouse, kind: str, day: date) -> None:
    """Note in quarantine what became of each waiting document."""
    warehouse.connection.execute(
        f"""
        UPDATE quarantine SET
            attempts = coalesce(attempts, 0) + 1,
            record_id = coalesce(judged.record_id, quarantine.record_id),
            reason = coalesce(judged.reason, quarantine.reason),
            resolution = judged.resolution,
            resolution_date = CASE WHEN judged.resolution IS NOT NULL THEN DATE '{day}' END
        FROM (
            SELECT waiting.content_hash, coalesce(screened.id, screened.record_id) AS record_id, rejections.reason,
                CASE WHEN additions.position IS NOT NULL THEN '{REPLAYED}'
                    WHEN superseded.position IS NOT NULL THEN '{SUPERSEDED}' END AS resolution
            FROM waiting
            JOIN screened USING (position)
            LEFT JOIN additions USING (position)
            LEFT JOIN superseded USING (position)
            LEFT JOIN rejections USING (position)
        ) AS judged
        WHERE quarantine.kind = '{kind}' AND quarantine.content_hash = judged.content_hash
        """
    ).fetchall()
