"""The LanceDB table of indexed profiles and its promotion.

What belongs here: the columns, opening the served version, writing versions beside it, moving the tag that
says which one is served. What does not: what has to be written (`build.py`), whether it is right
(`health.py`), and queries (`search.py`).

LanceDB commits each write as a new, immutable version. Readers open the version under the tag `production`,
and a tag is one small file that is replaced by a rename: a reader finds the old version or the new one,
whole.
"""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from profile_pipeline.errors import PipelineError, TransientError
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

KEPT_VERSIONS = 8
"""Versions left by a clean-up, some three builds: enough for a reader on its way and to move the tag back."""

MAX_VERSIONS = 24
"""Versions after which a build compacts the table and cleans up. A compaction rewrites every row, so it is
not done each time; without one, each build adds a fragment that every search has to open."""

NEVER = timedelta(days=36_500)
"""An age that no version reaches."""


def stored_schema(dimension: int) -> pa.Schema:
    """The columns of the table, for vectors of a dimension."""
    return ROW_SCHEMA.append(pa.field("vector", pa.list_(pa.float32(), dimension)))


@dataclass(frozen=True)
class Served:
    """A version of the index: its number, its model's identity, the day it was built as of, and its rows.

    `probes` is how many parts of the approximate index a search has to read to find what it should; 0 when
    there is none.
    """

    version: int
    model: str
    as_of: date
    rows: int
    probes: int = 0


class IndexStore:
    """The folder with the table. Nothing is opened or created before it is needed."""

    def __init__(self, path: Path) -> None:
        """Name the folder, `settings.index_path`."""
        self.path = path

    def open_served(self) -> Any:
        """The LanceDB table at the promoted version, opened afresh, so that a moved tag is seen.

        Raises:
            PipelineError: nothing was promoted yet.
        """
        table = self._open_promoted()
        if table is None:
            raise PipelineError(f"there is no index at {self.path} yet; run `profile-pipeline build` first")
        return table

    def served(self) -> Served | None:
        """What is being served, or nothing before the first promotion."""
        table = self._open_promoted()
        return describe(table) if table is not None else None

    def first_rows(self, count: int) -> list[dict[str, Any]]:
        """Some rows of the served version, without vectors, in the order they are stored in.

        Raises:
            PipelineError: nothing was promoted yet.
        """
        rows: list[dict[str, Any]] = (
            self.open_served().search().select(INPUT_SCHEMA.names).limit(count).to_arrow().to_pylist()
        )
        return rows

    def _open_promoted(self) -> Any | None:
        table = self.open_latest()
        if table is None or PRODUCTION not in table.tags.list():
            return None
        table.checkout(PRODUCTION)
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

        Raises:
            TransientError: another process is building.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "build.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TransientError(
                    f"the index {self.path} is being built by another process; try again when it has ended"
                ) from None
            yield

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
        if table.version != table.tags.get_version(PRODUCTION):
            table.restore(PRODUCTION)
        return table

    def promote(self, version: int) -> None:
        """Serve a version from now on, in one atomic step."""
        tags = _connect(self.path).open_table(TABLE).tags
        if PRODUCTION in tags.list():
            tags.update(PRODUCTION, version)
        else:
            tags.create(PRODUCTION, version)


def describe(table: Any) -> Served:
    """What `seal` wrote into an open version."""
    metadata = table.schema.field("user_id").metadata
    return Served(
        table.version,
        metadata[b"model"].decode(),
        date.fromisoformat(metadata[b"as_of"].decode()),
        table.count_rows(),
        # Versions from before there were approximate indexes do not say.
        int(metadata.get(b"probes", b"0")),
    )


def seal(table: Any, model: str, as_of: date, probes: int) -> None:
    """Write into the version itself what it was built from, so that the two cannot come apart."""
    sealed = {"model": model, "as_of": as_of.isoformat(), "probes": str(probes)}
    table.update_field_metadata({"path": "user_id", "metadata": sealed})


def delete(table: Any, user_ids: list[str]) -> None:
    """Commit a version without these users; at least one."""
    quoted = ", ".join("'" + user_id.replace("'", "''") + "'" for user_id in user_ids)
    table.delete(f"user_id IN ({quoted})")


def upsert(table: Any, rows: pa.RecordBatchReader) -> None:
    """Commit a version with these rows in place of those of the same users; their keys must be unique."""
    table.merge_insert("user_id").when_matched_update_all().when_not_matched_insert_all().execute(rows)


def compact_when_due(table: Any) -> bool:
    """Put small fragments together if many versions have piled up; whether a clean-up is due, too."""
    due = len(table.list_versions()) > MAX_VERSIONS
    if due:
        table.optimize(cleanup_older_than=NEVER)
    return due


def clean_up(table: Any, previous: int | None) -> None:
    """Drop old versions: all but the last few, the one served before, and whatever else carries a tag.

    LanceDB drops by age, not by number, and refuses to drop one with a tag, so the age is that of the oldest
    version to keep. Files that a killed run never committed go too, once they are a week old.
    """
    committed: Mapping[int, datetime] = {
        version["version"]: version["timestamp"].astimezone() for version in table.list_versions()
    }
    tagged = {tag["version"] for tag in table.tags.list().values()}
    wanted = {*sorted(committed)[-KEPT_VERSIONS:], *tagged, previous} & committed.keys()
    age = datetime.now().astimezone() - committed[min(wanted)]
    # LanceDB reads the clock a little later; what is not dropped for that, the next clean-up drops.
    table.optimize(cleanup_older_than=age + timedelta(seconds=1))


def _connect(path: Path) -> Any:
    # Takes a second, and loading the definitions must not.
    import lancedb  # noqa: PLC0415

    return lancedb.connect(path)
