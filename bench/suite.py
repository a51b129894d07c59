"""What every suite is given: the sample, folders to write to, and the rivals' interpreters.

What belongs here: making the data that all compare on. What does not: a comparison.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from bench.environments import python_of
from bench.table import Row
from profile_pipeline.sample import write_sample
from profile_pipeline.tables import RAW_TABLES

FIRST_DAY, LAST_DAY = date(2024, 1, 1), date(2025, 12, 30)
"""The 730 days of the sample."""


@dataclass(frozen=True)
class Bench:
    """One size of one run.

    Attributes:
        users: the size.
        runs: of how many runs medians are taken.
        folder: what all sizes share: samples and environments.
        installs: whether rivals that are missing are installed.
    """

    users: int
    runs: int
    folder: Path
    installs: bool

    @property
    def sample(self) -> Path:
        """The sample in Parquet, made when it is not there."""
        folder = self.folder / f"sample_{self.users}"
        if not (folder / "messages.parquet").is_file():
            write_sample(folder, self.users, format="parquet")
        return folder

    @property
    def json_lines(self) -> Path:
        """The same sample in JSON Lines, as a system would export it."""
        folder = self.folder / f"json_lines_{self.users}"
        if not (folder / "messages.jsonl").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with duckdb.connect() as connection:
                for kind in RAW_TABLES:
                    _write_json_lines(connection, self.sample / f"{kind}.parquet", folder / f"{kind}.jsonl")
        return folder

    def python(self, environment: str) -> Path:
        """The interpreter of an environment of rivals; raises `RivalMissing`."""
        return python_of(environment, self.folder / "environments", installs=self.installs)

    def clear(self) -> None:
        """Remove what an earlier run of this size left; samples and environments stay."""
        shutil.rmtree(self.folder / f"run_{self.users}", ignore_errors=True)

    def empty(self, name: str) -> Path:
        """An empty folder of this size."""
        folder = self.folder / f"run_{self.users}" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


Suite = Callable[[Bench], Iterable[Row]]


def _write_json_lines(connection: duckdb.DuckDBPyConnection, source: Path, target: Path) -> None:
    """One JSON object a line, moments as ISO 8601."""
    described = connection.execute(f"DESCRIBE SELECT * FROM '{source}'").fetchall()
    columns = ", ".join(
        f"strftime({name} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ') AS {name}" if "TIME" in type_ else name
        for name, type_, *_ in described
    )
    connection.execute(f"COPY (SELECT {columns} FROM '{source}') TO '{target}' (FORMAT json)").fetchall()
