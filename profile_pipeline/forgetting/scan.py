"""Looking through every file below the home for what a person is called.

What belongs here: reading each kind of file in full, and saying where something is left. What does not: removing it.

Files are looked through as they are and, where a format packs, splits or compresses text, through what can be read
from them: tables of the warehouse, each version of the index, Parquet files, SQLite databases. A text that is also part
of a longer word elsewhere, such as user_1 in user_10, is looked for in what can be read only, because bytes do not tell
where a word ends. Numbers name nobody: an id of digits is also the number of something else.
"""

import gzip
import mmap
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from profile_pipeline.forgetting.dagster_state import bodies, redacted
from profile_pipeline.forgetting.identity import names_within
from profile_pipeline.forgetting.needles import Needles
from profile_pipeline.forgetting.request import request_path
from profile_pipeline.index.store import IndexStore
from profile_pipeline.settings import Settings
from profile_pipeline.sql import quoted
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import Warehouse, open_warehouse

DATABASE_SUFFIXES = (".duckdb", ".db", ".lance", ".parquet")

OVERLAP = 4096
"""Bytes read twice where a file is read in pieces: more than any text that is looked for."""

PIECE = 64 << 20

APART = ' " '
"""Between texts that are looked through together: no name reaches over it."""

CALLED_BY = """
    SELECT name FROM raw_users UNION SELECT split_part(email, '@', 1) FROM raw_users
    UNION SELECT split_part(unnest(participants), '@', 1) FROM raw_events
"""
"""What people are called, or will be by their address."""


@dataclass(frozen=True)
class Scan:
    """What was looked through, and where something is left.

    `skipped` are folders that are not ours. `shared` counts names that others have, by their address or record.
    """

    files: int
    left: list[str]
    skipped: list[str]
    shared: int


def scan(settings: Settings, needles: Needles) -> Scan:
    """Look through everything below the home but the sources and what this erasure itself needs until its end."""
    ambiguous: set[str] = set()
    shared: set[str] = set()
    tables: list[str] = []
    if settings.warehouse_path.exists():
        # Closed before its file is read: closing a file gives up the locks that this process has on it.
        with open_warehouse(settings, read_only=True) as warehouse:
            shared = names_within(warehouse, CALLED_BY, {*needles.texts, *needles.names})
            needles = needles.without(shared)
            ambiguous = _parts_of_longer_words(warehouse, needles)
            tables = list(_tables_naming(warehouse, needles))
    skipped = _sources(settings)
    files = [path for path in sorted(settings.home.rglob("*")) if path.is_file() and not _is_skipped(path, skipped)]
    request = request_path(settings)
    left = {str(path) for path in files if path != request and _is_in_file(path, needles, ambiguous)}
    left |= {str(path) for path in files if needles.are_in(str(path.relative_to(settings.home)))}
    left |= {f"the table {name}" for name in tables}
    left |= {f"version {version} of the index" for version in _versions_naming(settings, needles)}
    return Scan(len(files), sorted(left), [str(path) for path in skipped], len(shared))


def _sources(settings: Settings) -> list[Path]:
    """Folders below the home that are not its own: the source, the made-up sample, and another home."""
    folders = [settings.source_dir, settings.home / "sample", settings.home / "demo"]
    home = settings.home.resolve()
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir() and home in folder.resolve().parents]


def _is_skipped(path: Path, skipped: list[Path]) -> bool:
    resolved = path.resolve()
    return any(folder.resolve() in resolved.parents for folder in skipped)


def _parts_of_longer_words(warehouse: Warehouse, needles: Needles) -> set[str]:
    """The texts that are still in some document, which can only be as part of a longer word."""
    found = set()
    for text in {variant.lower() for variant in needles.variants}:
        counts = " + ".join(
            f"(SELECT count(*) FROM (SELECT 1 FROM {table} WHERE contains(lower(document), $text) LIMIT 1))"
            for table in (*(log.name for log in RAW_TABLES.values()), "quarantine")
        )
        if warehouse.connection.execute(f"SELECT {counts}", {"text": text}).fetchall()[0][0]:
            found.add(text)
    return found


def _tables_naming(warehouse: Warehouse, needles: Needles) -> Iterator[str]:
    rows = warehouse.connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND NOT temporary"
    ).fetchall()
    for name in [*(name for (name,) in rows), *warehouse.views()]:
        if _is_in_rows(warehouse.connection, name, needles):
            yield name


def _is_in_rows(connection: duckdb.DuckDBPyConnection, rows: str, needles: Needles) -> bool:
    """Whether a text of a relation names the person; most are ruled out without a pattern, which takes longer."""
    columns = connection.sql(f"FROM {rows} LIMIT 0")
    typed = zip(columns.columns, columns.types, strict=True)
    texts = [text for name, type_ in typed if (text := _text_of(_named(name), type_))]
    if not texts or not needles.signs:
        return False
    may_be_in = " OR ".join(f"({' AND '.join(['contains(text, ?)'] * len(parts))})" for parts in needles.signs)
    found = f"""
        SELECT 1 FROM (SELECT lower(concat_ws({quoted(APART)}, {", ".join(texts)})) AS text FROM {rows})
        WHERE CASE WHEN {may_be_in} THEN regexp_matches(text, ?) ELSE false END
        LIMIT 1
    """
    parts = [part for parts in needles.signs for part in parts]
    return bool(connection.execute(found, [*parts, needles.expression]).fetchall())


def _text_of(value: str, type_: Any, depth: int = 0) -> str | None:
    """What is text in a value of a type, in SQL; None if nothing is."""
    kind = str(type_.id)
    if kind in ("varchar", "enum", "uuid", "map", "union", "variant"):
        return f"{value}::VARCHAR"
    if kind in ("list", "array"):
        inner = _text_of(f"each{depth}", type_.children[0][1], depth + 1)
        return inner and f"array_to_string(list_transform({value}, lambda each{depth}: {inner}), {quoted(APART)})"
    if kind == "struct":
        fields = [text for name, each in type_.children if (text := _text_of(f"{value}.{_named(name)}", each, depth))]
        return f"concat_ws({quoted(APART)}, {', '.join(fields)})" if fields else None
    return None


def _named(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _texts_in(value: Any) -> Iterator[str]:
    """What is text in a value of Python."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(each)


def _versions_naming(settings: Settings, needles: Needles) -> Iterator[int]:
    """Versions of the index, promoted or not, with a row that names the person."""
    table = IndexStore(settings.index_path).open_latest()
    if table is None:
        return
    for version in [each["version"] for each in table.list_versions()]:
        table.checkout(version)
        columns = [field.name for field in table.schema if field.name != "vector"]
        for batch in table.search().select(columns).to_batches(8192):
            if needles.are_in(APART.join(_texts_in(batch.to_pylist()))):
                yield version
                break


def _is_in_file(path: Path, needles: Needles, ambiguous: set[str]) -> bool:
    unmistakable = [text for text in needles.variants if text.lower() not in ambiguous]
    if path.suffix == ".db":
        return _is_in_sqlite(path, needles, unmistakable)
    if path.name.endswith(".db-shm"):
        # Numbers of pages. As with the database itself, closing it would give up the locks of this process.
        return False
    if path.suffix == ".parquet" and _is_in_parquet(path, needles):
        return True
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            return _is_in_text(file.read(), needles)
    if any(part.endswith(DATABASE_SUFFIXES) for part in path.parts[-4:]) or ".db-" in path.name:
        return _is_in_bytes(path, unmistakable)
    return _is_in_pieces(path, needles)


def _is_in_bytes(path: Path, variants: list[str]) -> bool:
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(text.encode()) >= 0 for text in variants)


def _is_in_pieces(path: Path, needles: Needles) -> bool:
    rest = b""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            if _is_in_text(rest + piece, needles):
                return True
            rest = piece[-OVERLAP:]
    return False


def _is_in_text(content: bytes, needles: Needles) -> bool:
    return needles.are_in(content.decode(errors="replace"))


def _is_in_sqlite(path: Path, needles: Needles, variants: list[str]) -> bool:
    """Whether a row or a page names the person, also a freed one.

    A long text is split over pages, and Dagster compresses its snapshots. What a row has without naming them, such as
    a number, is not looked for in the pages. These are read through SQLite: Dagster may have the file open in this
    process, and would lose its locks if the file were opened and closed beside it.
    """
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for table, column in list(bodies(connection)):
            query = f'SELECT "{column}" FROM "{table}" WHERE typeof("{column}") IN (\'text\', \'blob\')'
            for (value,) in connection.execute(query):
                content = _unpacked(value) if isinstance(value, bytes) else value
                if redacted(content, needles) != content:
                    return True
        pages = connection.serialize()
        elsewhere = {text for text in variants if text.encode() in pages and not _is_said(connection, text)}
    return bool(elsewhere)


def _unpacked(value: bytes) -> str:
    try:
        return zlib.decompress(value).decode(errors="replace")
    except zlib.error:
        return value.decode(errors="replace")


def _is_said(connection: sqlite3.Connection, text: str) -> bool:
    """Whether a value of a database has a text, as it is written."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
    return any(
        connection.execute(f'SELECT 1 FROM "{table}" WHERE instr("{column[1]}", ?) LIMIT 1', [text]).fetchone()
        for table in tables
        for column in connection.execute(f'PRAGMA table_info("{table}")').fetchall()
    )


def _is_in_parquet(path: Path, needles: Needles) -> bool:
    with duckdb.connect() as connection:
        return _is_in_rows(connection, f"read_parquet({quoted(path)})", needles)
