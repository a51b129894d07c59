"""Erasing a person from the files beside the tables.

What belongs here: the warehouse's own file, exports, the folders of another engine, and the index. What does not: rows
of tables (`purge.py`) and Dagster's files (`dagster_state.py`).
"""

import csv
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from profile_pipeline.computed_days import has_profiles, last_computed_day
from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.forgetting.request import ErasureRequest
from profile_pipeline.index.embedding import Embedder
from profile_pipeline.index.store import IndexStore
from profile_pipeline.indexing import Opening, latest_texts, profile_index
from profile_pipeline.settings import Settings
from profile_pipeline.sql import quoted
from profile_pipeline.tables import PARQUET_PARTITIONS
from profile_pipeline.warehouse import Warehouse

AS_WRITTEN: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
"""Opens a text so that each byte comes back as it was, be it somebody else's encoding or line break."""


def compact(warehouse: Warehouse, settings: Settings) -> None:
    """Put a copy of the warehouse in its place that holds nothing but what its tables have.

    A deleted row stays in the blocks that it was in, until others are written there. The copy is locked, as the
    warehouse is, until the connection is closed, on which nothing else may be written. A kill leaves the one or the
    other file.

    Raises:
        PipelineError: the disk is too small for both.
    """
    path, copy = settings.warehouse_path, settings.warehouse_path.with_suffix(".compacted")
    connection = warehouse.connection
    ((name,),) = connection.execute("SELECT current_database()").fetchall()
    remove(copy)
    try:
        connection.execute(f"ATTACH {quoted(copy)} AS compacted").fetchall()
        connection.execute(f'COPY FROM DATABASE "{name}" TO compacted').fetchall()
        connection.execute("CHECKPOINT compacted").fetchall()
        connection.execute("CHECKPOINT").fetchall()
    except duckdb.Error as error:
        remove(copy)
        raise PipelineError(
            f"{path} cannot be written anew, which takes as much space again: {str(error).splitlines()[0]}"
        ) from None
    os.replace(copy, path)


def remove(path: Path) -> None:
    """Remove a database that nobody has open, with its log and what was spilled of it."""
    for file in (path, path.with_name(f"{path.name}.wal")):
        file.unlink(missing_ok=True)
    shutil.rmtree(path.with_name(f"{path.name}.tmp"), ignore_errors=True)


def purge_exports(settings: Settings, request: ErasureRequest) -> None:
    """Write the exports that list the person again, without them; what they say of others stays to the byte."""
    for part in settings.exports_path.glob("*.part"):
        part.unlink()
    removed = 0
    for path in sorted(settings.exports_path.glob("decisions_*.csv")):
        if not (count := sum(is_theirs for _, is_theirs in _listed(path, request))):
            continue
        part = path.with_name(f"{path.name}.part")
        with part.open("w", **AS_WRITTEN) as file:
            file.writelines(record for record, is_theirs in _listed(path, request) if not is_theirs)
        os.replace(part, path)
        removed += count
    request.note("exports", removed=removed)


def _listed(path: Path, request: ErasureRequest) -> Iterator[tuple[str, bool]]:
    """Each record of an export as it is written, and whether it is the person's; its header is nobody's."""
    known_by = {"user_id": {*request.ids}, "email": {*request.addresses}}
    lines: list[str] = []

    def noted(file: Iterable[str]) -> Iterator[str]:
        for line in file:
            lines.append(line)
            yield line

    with path.open(**AS_WRITTEN) as file:
        records = csv.reader(noted(file))
        columns = next(records, [])
        yield "".join(lines), False
        lines.clear()
        for values in records:
            yield (
                "".join(lines),
                any(value in known_by.get(name, ()) for name, value in zip(columns, values, strict=False)),
            )
            lines.clear()


def purge_engine_files(warehouse: Warehouse, settings: Settings, request: ErasureRequest) -> None:
    """Remove the files of another engine that no table counts any more."""
    folder = settings.home / "tables"
    rows = warehouse.connection.execute(
        f"SELECT table_name, partition_date, unnest(files) FROM {PARQUET_PARTITIONS.name}"
    ).fetchall()
    counted = {folder / name / f"partition_date={day}" / file for name, day, file in rows}
    stale = [path for path in folder.rglob("*") if path.is_file() and path not in counted]
    for path in stale:
        path.unlink()
    request.note("tables", removed=len(stale))


def purge_index(opening: Opening, settings: Settings, embedder: Embedder, request: ErasureRequest) -> None:
    """Build the index anew of those who remain, with no version before it.

    It is removed when nobody is left to be found, or when the new one is refused: what is served must not go on naming
    the person. The next build makes it again then.

    Raises:
        TransientError: another process is building it.
    """
    request.note("index")
    if not settings.index_path.exists():
        return
    try:
        if _is_anybody_indexable(opening, settings):
            report = profile_index(opening, settings, embedder, forgetting=True)
            request.note("index", rewritten=report.served.rows)
            return
    except TransientError:
        raise
    except PipelineError as error:
        why = request.needles.redact(str(error))
        request.remarks.append(f"anything in the index, which is removed, because a new one was refused: {why}")
    IndexStore(settings.index_path).erase()


def _is_anybody_indexable(opening: Opening, settings: Settings) -> bool:
    with opening() as warehouse:
        if not has_profiles(warehouse):
            return False
        people = latest_texts(warehouse, last_computed_day(warehouse), settings.policy)
        count: int = people.count().to_pyarrow().as_py()
        return count > 0
