"""The LanceDB table of indexed profiles.

What belongs here: the columns, opening a version, writing one beside the one that is served, keeping other
writers out. What does not: what has to be written (`build.py`), whether it is right (`health.py`), which version is
served (`versions.py`), and queries (`search.py`).
"""

import fcntl
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any

import pyarrow as pa

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.sql import quoted
from profile_pipeline.tables import MONEY, PROFILE_INDEX

TABLE = "profiles"
PRODUCTION = "production"
"""The tag on the served version."""

TEXT_COLUMNS = ("user_id", "text", "text_hash")

FILTER_COLUMNS = tuple(name for name in PROFILE_INDEX.columns if name not in TEXT_COLUMNS)
"""What people filter on."""

ARROW_TYPES = {
    "string": pa.string(),
    "int64": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "array<string>": pa.list_(pa.string()),
    # LanceDB refuses to compare a decimal with 12.5; the exact amount is in the warehouse.
    MONEY: pa.float64(),
}
"""Ibis type of the catalogue to the type in the index."""

INPUT_SCHEMA = pa.schema([(name, ARROW_TYPES[type_]) for name, type_ in PROFILE_INDEX.types.items()])
"""What a build is given: one row for each profile."""

ROW_SCHEMA = INPUT_SCHEMA.append(pa.field("model", pa.string()))
"""A row of the index without its vector."""


LANCE_ERROR = "lance error:"
"""What the messages of LanceDB's errors begin with; their type is no other than that of many libraries."""

NO_SUCH_TAG = f"{LANCE_ERROR} Ref not found"
"""What the message begins with where a tag does not exist."""


def stored_schema(dimension: int) -> pa.Schema:
    """The columns of the table, for vectors of a dimension."""
    return ROW_SCHEMA.append(pa.field("vector", pa.list_(pa.float32(), dimension)))


class IndexStore:
    """The folder with the table. Nothing is opened or created before it is needed."""

    def __init__(self, path: Path) -> None:
        """Name the folder, `settings.index_path`."""
        self.path = path
        self._writer: int | None = None

    def open_served(self) -> Any:
        """The LanceDB table at the promoted version, opened afresh, so that a moved tag is seen.

        Raises:
            PipelineError: nothing was promoted yet.
        """
        table = self.open_promoted()
        if table is None:
            raise PipelineError(f"there is no index at {self.path} yet; run `profile-pipeline build` first")
        return table

    def first_rows(self, count: int) -> list[dict[str, Any]]:
        """Some rows of the served version, without vectors, in the order they are stored in.

        Raises:
            PipelineError: nothing was promoted yet.
        """
        rows: list[dict[str, Any]] = (
            self.open_served().search().select(INPUT_SCHEMA.names).limit(count).to_arrow().to_pylist()
        )
        return rows

    def open_promoted(self) -> Any | None:
        """As `open_served`; nothing before the first promotion."""
        table = self.open_latest()
        while table is not None and (number := promoted_number(table)) is not None:
            try:
                table.checkout(number)
            except ValueError:
                if promoted_number(table) == number:
                    raise
                # Another version was promoted since the tag was read, and this one dropped.
                continue
            return table
        return None

    def open_version(self, version: int) -> Any:
        """The LanceDB table at a version.

        Raises:
            PipelineError: there is none, or the version was cleaned up.
        """
        table = self.open_latest()
        if table is None:
            raise PipelineError(f"there is no index at {self.path} yet; run `profile-pipeline build` first")
        try:
            table.checkout(version)
        except ValueError as error:
            raise PipelineError(
                f"version {version} of the index {self.path} is gone, as a later build cleaned up; try again"
            ) from error
        return table

    def open_latest(self) -> Any | None:
        """The LanceDB table at its newest version, promoted or not; nothing if there is none."""
        if not (self.path / f"{TABLE}.lance").is_dir():
            return None
        try:
            return _connect(self.path).open_table(TABLE)
        except ValueError as error:
            # A first build that was killed leaves the folder without a version.
            if "was not found" in str(error):
                return None
            raise

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other builds out; the lock ends with the process, however that ends.

        A block within another of the same thread is part of it.

        Raises:
            TransientError: another process is building.
            PipelineError: the folder cannot be written, or the disk is full.
        """
        if self._writer == get_ident():
            yield
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / "build.lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise TransientError(
                        f"the index {self.path} is being built by another process; try again when it has ended"
                    ) from None
                self._writer = get_ident()
                try:
                    yield
                finally:
                    self._writer = None
        except (OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not str(error).startswith(LANCE_ERROR):
                raise
            raise PipelineError(
                f"the index {self.path} cannot be written: {_reason(error)}; what it serves is as it was, and the next "
                "build begins where this one ended"
            ) from error

    def erase(self) -> None:
        """Remove the index with all of its versions.

        Raises:
            TransientError: another process is building.
        """
        with self.writing():
            for folder in self.path.iterdir():
                if folder.is_dir():
                    shutil.rmtree(folder)

    def write_all(self, rows: pa.RecordBatchReader) -> Any:
        """Commit a version that holds these rows only, with their schema; return the table at it."""
        # LanceDB logs a warning when there is nothing to overwrite.
        mode = "create" if self.open_latest() is None else "overwrite"
        return _connect(self.path).create_table(TABLE, rows, mode=mode)

    def start_from_served(self) -> Any:
        """The table, open for writing, its newest version equal to the served one.

        What a run that never got to its promotion left on top is passed over: a copy of the served version,
        which shares its files, goes above it.
        """
        table = _connect(self.path).open_table(TABLE)
        if table.version != promoted_number(table):
            table.restore(PRODUCTION)
        return table


def promoted_number(table: Any) -> int | None:
    """The number of the served version; nothing before the first promotion.

    This reads the one tag that is never deleted. To list the tags fails if another process deletes one meanwhile.
    """
    try:
        number: int = table.tags.get_version(PRODUCTION)
    except RuntimeError as error:
        if str(error).startswith(NO_SUCH_TAG):
            return None
        raise
    return number


def delete(table: Any, user_ids: list[str]) -> None:
    """Commit a version without these users; at least one."""
    table.delete(is_one_of("user_id", user_ids))


def is_one_of(column: str, values: Iterable[str]) -> str:
    """A condition in SQL: a column of text has one of these values; at least one."""
    return f"{column} IN ({', '.join(map(quoted, values))})"


def upsert(table: Any, rows: pa.RecordBatchReader) -> None:
    """Commit a version with these rows in place of those of the same users; their keys must be unique."""
    table.merge_insert("user_id").when_matched_update_all().when_not_matched_insert_all().execute(rows)


def _reason(error: OSError | RuntimeError) -> str:
    """What an operating system or LanceDB says, without the places in LanceDB's source."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error).removeprefix(LANCE_ERROR).strip().partition("\n")[0].partition(", /")[0]


def _connect(path: Path) -> Any:
    # Takes a second, and loading the definitions must not.
    import lancedb  # noqa: PLC0415

    return lancedb.connect(path)
