"""What is rejected, and how long it waits.

What belongs here: which screened documents are rejected on which day, the later of two users who claim one address
among them, and the rows of quarantine from the day they are filed until a later version takes their place. What does
not: why a document is no valid record (`records/`), who keeps an address (`records/holders.py`), and looking at what
waits again (`replay.py`).
"""

from datetime import date

import duckdb
import pyarrow as pa

from profile_pipeline.records.holders import Claim, second_holders
from profile_pipeline.records.screening import CHANGED_AT
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.window import Window

SUPERSEDED = "superseded"
"""The value of `quarantine.resolution` for what has a later version in the log."""

WENT_BACK = f"coalesce(resolution = '{SUPERSEDED}' AND resolution_date <= partition_date, false)"
"""What has no later time than the version that superseded it: met again, it is what the source says now."""

SECOND_HOLDER = "two live users cannot share it"
"""How the reason ends for who claims another live user's address."""


def find_rejections(connection: duckdb.DuckDBPyConnection, kind: str, window: Window, filed_on: date) -> None:
    """Rejected documents that concern the window, with the partition they are filed under.

    One without a readable day concerns the window that met it first, which its entry in quarantine remembers.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE rejections AS
        SELECT coalesce(days[1], filed.partition_date, DATE '{filed_on}') AS partition_date,
            '{kind}' AS kind, record_id, reason, document, content_hash, source, days[1] AS known_on, position
        FROM screened
        LEFT JOIN (SELECT content_hash, partition_date FROM quarantine WHERE kind = '{kind}') AS filed
            USING (content_hash)
        WHERE reason IS NOT NULL AND coalesce(days[1], filed.partition_date, DATE '{filed_on}')
            BETWEEN DATE '{window.start}' AND DATE '{window.end}'
        """
    ).fetchall()


def reject_second_holders(connection: duckdb.DuckDBPyConnection) -> None:
    """Move additions that claim another live user's address to the rejections.

    These are temporary tables: `additions` (partition_date, position) of documents in `screened`, and `rejections`.
    Only users who ever claim an address that several claim are looked at one by one, with all their versions.
    """
    newest = connection.execute("SELECT coalesce(max(sequence), 0) FROM raw_users").fetchall()[0][0]
    rows = connection.execute(
        f"""
        WITH added AS (
            SELECT a.partition_date, {CHANGED_AT} AS changed_at, a.position, s.id, s.email, s.deleted_date
            FROM additions AS a JOIN screened AS s USING (position)
        ),
        claims AS (
            SELECT partition_date, changed_at, sequence AS arrival, id, email, deleted_date, false AS is_new
            FROM raw_users
            UNION ALL
            SELECT partition_date, changed_at, position + 1 + ?, id, email, deleted_date, true FROM added
        ),
        contested AS (
            SELECT email FROM claims SEMI JOIN added USING (email)
            GROUP BY email HAVING count(DISTINCT id) > 1
        )
        SELECT * FROM claims WHERE id IN (SELECT id FROM claims SEMI JOIN contested USING (email))
        WINDOW versions AS (PARTITION BY id ORDER BY partition_date, changed_at NULLS FIRST, arrival)
        -- Others of the log change nothing in who holds what; a new one before them may yet be rejected.
        QUALIFY is_new OR lag(is_new) OVER versions OR deleted_date IS NOT NULL
            OR email IS DISTINCT FROM lag(email) OVER versions OR lag(deleted_date) OVER versions IS NOT NULL
        """,
        [newest],
    ).fetchall()
    second = [
        {
            "partition_date": claim.day,
            "position": claim.arrival - 1 - newest,
            "reason": f"email {claim.email} is held by user {holder} as of {claim.day}; {SECOND_HOLDER}",
        }
        for claim, holder in second_holders(Claim(*row) for row in rows).items()
    ]
    if not second:
        return
    connection.register("second_holders", pa.Table.from_pylist(second))
    connection.execute(
        """
        INSERT INTO rejections
        SELECT h.partition_date, 'users', s.id, h.reason, s.document, s.content_hash, s.source, h.partition_date,
            s.position
        FROM second_holders AS h JOIN screened AS s USING (position)
        """
    ).fetchall()
    connection.execute(
        "DELETE FROM additions "
        "WHERE (partition_date, position) IN (SELECT partition_date, position FROM second_holders)"
    ).fetchall()
    connection.unregister("second_holders")


def file_rejections(connection: duckdb.DuckDBPyConnection) -> int:
    """Let rejected documents wait in quarantine, and count those that did not yet.

    One that a version of its own day superseded is there again where the source went back to it.
    """
    ((reopened,),) = connection.execute(
        f"""
        UPDATE quarantine SET resolution = NULL, resolution_date = NULL
        WHERE {WENT_BACK} AND (kind, content_hash) IN (SELECT kind, content_hash FROM rejections)
        """
    ).fetchall()
    ((added,),) = connection.execute(
        """
        INSERT INTO quarantine BY NAME
        SELECT * EXCLUDE (position) FROM rejections ANTI JOIN quarantine USING (kind, content_hash)
        QUALIFY row_number() OVER (PARTITION BY content_hash ORDER BY partition_date, position) = 1
        """
    ).fetchall()
    return int(reopened + added)


def resolve_superseded(connection: duckdb.DuckDBPyConnection, kind: str, newest: int, days: Window) -> None:
    """Resolve what waits in quarantine of a record of which a version was added, after the entry `newest` of the log.

    The source must have the document no more, and the version be of no earlier day, where that can be told. What was
    known after the days that were looked at may still be there.
    """
    connection.execute(
        f"""
        UPDATE quarantine SET resolution = '{SUPERSEDED}', resolution_date = later.partition_date
        FROM (
            SELECT waiting.content_hash, min(log.partition_date) AS partition_date
            FROM quarantine AS waiting JOIN {RAW_TABLES[kind].name} AS log
                ON log.id = waiting.record_id AND log.partition_date >= coalesce(waiting.known_on, log.partition_date)
            WHERE kind = '{kind}' AND resolution IS NULL AND log.sequence > {newest}
                AND coalesce(waiting.known_on <= DATE '{days.end}', true)
                AND waiting.content_hash NOT IN (
                    SELECT content_hash FROM rejections UNION ALL
                    SELECT content_hash FROM screened WHERE reason IS NOT NULL
                )
            GROUP BY waiting.content_hash
        ) AS later
        WHERE quarantine.kind = '{kind}' AND quarantine.content_hash = later.content_hash
        """
    ).fetchall()
