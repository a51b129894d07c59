"""Erasing a person from Dagster's own state: events, runs, ticks and logs.

What belongs here: its SQLite files and the text files beside them. What does not: what Dagster shows (`defs/`).

Previews of rows go altogether, those of past runs and of everybody: they show pieces of values, which cannot be told
from pieces of others. Counts, pictures and the history of runs stay.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from profile_pipeline.errors import TransientError
from profile_pipeline.forgetting.needles import Needles
from profile_pipeline.records.suppressions import MARK
from profile_pipeline.settings import Settings

PREVIEW = "md_str"
"""The field of an event that holds text in Markdown: a table, or a picture."""

BUSY_SECONDS = 60
"""How long the UI, or a daemon, may keep a database to itself."""


def databases(folder: Path) -> Iterator[Path]:
    """The SQLite files of Dagster."""
    yield from sorted(path for path in folder.rglob("*.db") if path.is_file())


def purge_dagster_state(settings: Settings, needles: Needles) -> tuple[int, int]:
    """Take a person out of Dagster's state; how many rows of its databases and how many other files changed.

    Raises:
        TransientError: one of its processes does not let go of a database.
    """
    folder = settings.home / "dagster"
    try:
        rows = sum(_purge_database(path, needles) for path in databases(folder))
    except sqlite3.OperationalError as error:
        raise TransientError(f"Dagster's databases in {folder} are in use ({error}); stop it, or try again") from None
    return rows, sum(_purge_file(path, needles) for path in sorted(folder.rglob("*")) if path.is_file())


def texts(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Each table and column that may hold text."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        for column in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
            yield table, column[1]


def _purge_database(path: Path, needles: Needles) -> int:
    changed = 0
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        wanted = [variant.lower() for variant in needles.variants]
        for table, column in list(texts(connection)):
            conditions = " OR ".join([f'instr(lower("{column}"), ?)'] * len(wanted) + [f'instr("{column}", ?)'])
            rows = connection.execute(
                f'SELECT rowid, "{column}" FROM "{table}" WHERE typeof("{column}") = \'text\' AND ({conditions})',
                [*wanted, f'"{PREVIEW}"'],
            ).fetchall()
            for row, text in rows:
                kept = needles.redact(_without_previews(text))
                if kept != text:
                    connection.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', [kept, row])
                    changed += 1
        # What was overwritten is still in free pages and in the log.
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return changed


def _without_previews(text: str) -> str:
    """An event as JSON without the tables in it; any other text as it is."""
    if f'"{PREVIEW}"' not in text:
        return text
    try:
        event = json.loads(text)
    except ValueError:
        return text
    return json.dumps(event) if _drop_previews(event) else text


def _drop_previews(value: Any) -> bool:
    """Put the mark in place of each table in Markdown; whether there was one."""
    if isinstance(value, list):
        return sum(_drop_previews(each) for each in value) > 0
    if not isinstance(value, dict):
        return False
    dropped = sum(_drop_previews(each) for each in value.values()) > 0
    if str(value.get(PREVIEW, "")).startswith("|"):
        value[PREVIEW] = MARK
        return True
    return dropped


def _purge_file(path: Path, needles: Needles) -> int:
    if path.name.endswith((".db", ".db-wal", ".db-shm", ".db-journal")):
        return 0
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return 0
    kept = needles.redact(text)
    if kept == text:
        return 0
    part = path.with_name(f"{path.name}.part")
    part.write_text(kept)
    os.replace(part, path)
    return 1
