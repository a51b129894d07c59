"""Erasing a person from Dagster's own state: events, runs, ticks and logs.

What belongs here: its SQLite files and the text files beside them. What does not: what Dagster shows (`defs/`).

Dagster has to read it afterwards. So the person is looked for where texts are: in the values of what it stores as JSON,
not in numbers, in names of fields, or in what it knows its objects by.

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

BODIES = frozenset(
    [
        *("event", "run_body", "tick_body", "job_body", "instigator_body", "asset_evaluation_body", "body", "value"),
        *("last_materialization", "asset_details", "evaluation_event", "tags", "cached_status_data", "snapshot_body"),
    ]
)
"""The columns with what was said and configured. The others have the keys that Dagster finds it by."""

FIXED = ("__class__", "__enum__", "name", "label", "id", "ids", "key", "keys", "partition", "_value")
"""How fields end that Dagster's own objects are known and found by. It refuses constants that it does not know."""

WHOM = "user"
"""The field of a run's configuration that says whom to erase: there, a word or a number means them, too."""

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


def bodies(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Each table and column that may hold a text."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        for column in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
            if column[1] in BODIES:
                yield table, column[1]


def redacted(text: str, needles: Needles) -> str:
    """A text, or the JSON of an object, in which the person is not named; to the letter if they were not."""
    # A letter that is escaped cannot be looked for.
    if not (needles.may_be_in(text) or "\\u" in text or f'"{WHOM}"' in text):
        return text
    if (value := _decoded(text)) is None:
        return needles.redact(text)
    kept = _redacted_value(value, needles)
    return text if kept == value else json.dumps(kept)


def _decoded(text: str) -> dict[str, Any] | list[Any] | None:
    """The object or list that a text is the JSON of; None if it is none, as a number is."""
    try:
        value = json.loads(text) if text.lstrip()[:1] in ("{", "[") else None
    except ValueError:
        return None
    return value if isinstance(value, dict | list) else None


def _redacted_value(value: Any, needles: Needles) -> Any:
    if isinstance(value, str):
        return redacted(value, needles)
    if isinstance(value, list):
        return [_redacted_value(each, needles) for each in value]
    if not isinstance(value, dict) or value.get("__class__") == "AssetKey":
        return value
    is_plain = "__class__" not in value and "__enum__" not in value
    kept = {
        field: _redacted_value(each, needles) if is_plain or not field.endswith(FIXED) else each
        for field, each in value.items()
    }
    return kept | {WHOM: MARK} if str(value.get(WHOM, "")).strip().lower() in needles.given - {""} else kept


def _purge_database(path: Path, needles: Needles) -> int:
    changed = 0
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        for table, column in list(bodies(connection)):
            rows = connection.execute(f'SELECT rowid, "{column}" FROM "{table}" WHERE typeof("{column}") = \'text\'')
            mended = [(kept, row) for row, text in rows if (kept := redacted(_without_previews(text), needles)) != text]
            connection.executemany(f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', mended)
            changed += len(mended)
        # What was overwritten is still in free pages and in the log.
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return changed


def _without_previews(text: str) -> str:
    """An event as JSON without the tables in it; any other text as it is."""
    if f'"{PREVIEW}"' not in text or (event := _decoded(text)) is None:
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
