"""Derived tables as folders of Parquet files that Spark writes and DuckDB reads.

What belongs here: the files of a partition, replacing those of a window at once, and handing the logs to Spark.
What does not: the meaning of columns (`tables.py`), and Ibis on Spark (`backend.py`).

A table is the folder `tables/NAME/partition_date=DAY/` of the home. Which files of it count stands in
`parquet_partitions`, in DuckDB, whose transaction makes a replacement whole or nothing. DuckDB has a view of the
table's name over these files, so what only reads need not know of Spark.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import duckdb
import ibis
import ibis.expr.types as ir
from ibis.backends.pyspark.datatypes import PySparkSchema

from profile_pipeline.spark.backend import SparkBackend, spark_session
from profile_pipeline.sql import quoted
from profile_pipeline.tables import DERIVED_TABLES, PARQUET_PARTITIONS, TABLES
from profile_pipeline.warehouse import Warehouse, Written, column_types, drop_cached
from profile_pipeline.window import Window


class Content(NamedTuple):
    """What tells contents of a partition apart: how many rows, and a digest of them."""

    rows: int
    digest: str


class SparkWarehouse(Warehouse):
    """A warehouse in a file of DuckDB, whose derived tables Spark computes."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, memory_limit: int | None = None) -> None:
        """Wrap an open connection to a file; Spark starts when something is first computed, with its own memory."""
        super().__init__(connection, memory_limit)
        ((path,),) = connection.execute(
            "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
        ).fetchall()
        self.folder = Path(path).resolve().parent / "tables"
        self._registered: list[str] = []

    @cached_property
    def spark(self) -> SparkBackend:
        """Ibis on Spark. What a process that died left in the scratch folder goes now."""
        scratch = self.folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        backend = SparkBackend(scratch)
        backend.do_connect(spark_session())
        return backend

    def create_tables(self) -> None:
        """As everywhere; then each derived table becomes a view, renewed where the home or the columns changed."""
        views = self.views()
        super().create_tables()
        for name in DERIVED_TABLES:
            if name not in views:
                self._move_to_files(name)
            elif not self._is_current(name, views[name]):
                self._create_view(name)

    def engine_table(self, name: str) -> ir.Table:
        """One table, as an Ibis expression that Spark computes; a log with all that it has in DuckDB by now."""
        if name not in DERIVED_TABLES:
            self._export_log(name)
        schema = PySparkSchema.from_ibis(ibis.schema(TABLES[name].types))
        session, view = self.spark._session, f"{name}_{uuid4().hex}"
        if files := self._files(name):
            frame = session.read.schema(schema).option("basePath", str(self.folder / name)).parquet(*files)
        else:
            frame = session.createDataFrame([], schema)
        frame.createOrReplaceTempView(view)
        self._registered.append(view)
        return self.spark.table(view).select(*TABLES[name].columns)

    def replace(
        self,
        name: str,
        rows: ir.Table,
        window: Window,
        *,
        in_order: bool = False,
        on_change: Callable[[], None] = lambda: None,
    ) -> Written:
        """As in DuckDB; partitions are compared by count and by the sum of hashes of their rows as JSON."""
        if name not in DERIVED_TABLES:
            return super().replace(name, rows, window, in_order=in_order, on_change=on_change)
        with self._staging() as staging:
            found = self._stage(rows.select(*TABLES[name].columns), staging)
            stored = self._contents(name, window)
            changed = {day: found.get(day) for day in found.keys() | stored.keys() if found.get(day) != stored.get(day)}
            if changed:
                self._publish(name, staging, changed, on_publish=on_change)
        self._forget_registered()
        written = sum(content.rows for content in changed.values() if content)
        return Written(sum(content.rows for content in found.values()), written, len(changed))

    def _stage(self, rows: ir.Table, staging: Path) -> dict[date, Content]:
        """Compute rows into files, and say what each day has."""
        session, view = self.spark._session, f"staged_{uuid4().hex}"
        self.spark.frame(rows).createOrReplaceTempView(view)
        # As few files for a day as its size allows.
        balanced = session.sql(f"SELECT /*+ REBALANCE(partition_date) */ * FROM {view}")
        balanced.write.partitionBy("partition_date").parquet(str(staging))
        session.read.schema(balanced.schema).parquet(str(staging)).createOrReplaceTempView(view)
        # JSON names the columns: without, nulls could change places and hash alike.
        found = session.sql(
            f"""
            SELECT partition_date, count(*) AS rows, sum(cast(xxhash64(to_json(struct(*))) AS decimal(38))) AS digest
            FROM {view} GROUP BY partition_date
            """
        ).collect()
        session.catalog.dropTempView(view)
        return {row["partition_date"]: Content(row["rows"], str(row["digest"])) for row in found}

    def _export_log(self, name: str) -> None:
        """Write the days on which a log gained versions to files again."""
        stored = self._contents(name)
        newest = self.connection.execute(
            f"SELECT partition_date, count(*), max(sequence) FROM {name} GROUP BY partition_date"
        ).fetchall()
        changed = {
            day: Content(rows, str(sequence))
            for day, rows, sequence in newest
            if stored.get(day) != Content(rows, str(sequence))
        }
        self._copy(name, changed)

    def _move_to_files(self, name: str) -> None:
        """Make a table of DuckDB a folder; its rows are compared with the next ones as different."""
        days = self.connection.execute(f"SELECT partition_date, count(*) FROM {name} GROUP BY 1").fetchall()
        shutil.rmtree(self.folder / name, ignore_errors=True)
        self._copy(name, {day: Content(rows, "") for day, rows in days}, drop=True)

    def _copy(self, name: str, days: Mapping[date, Content | None], *, drop: bool = False) -> None:
        """Publish days as DuckDB has them; `drop` has the view take the table's place."""
        with self._staging() as staging:
            if days:
                self.connection.execute(
                    f"""
                    COPY (SELECT * FROM {name} WHERE partition_date IN (SELECT unnest($days)))
                    TO {quoted(staging)} (FORMAT parquet, PARTITION_BY (partition_date), FILENAME_PATTERN '{{uuid}}')
                    """,
                    {"days": list(days)},
                ).fetchall()
            self._publish(name, staging, days, drop=drop)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """A folder to write partitions into. It is empty: one process at a time has the warehouse."""
        staging = self.folder / "staging"
        shutil.rmtree(staging, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        yield staging
        shutil.rmtree(staging, ignore_errors=True)

    def _publish(
        self,
        name: str,
        staging: Path,
        changed: Mapping[date, Content | None],
        *,
        drop: bool = False,
        on_publish: Callable[[], None] = lambda: None,
    ) -> None:
        """Let staged files be the changed days' content, all at once; None: the day is empty now.

        Files that count for nothing, those replaced and those of a broken run, go afterwards.
        """
        rows = []
        for day, content in changed.items():
            folder = self._day_folder(name, day)
            folder.mkdir(parents=True, exist_ok=True)
            staged = sorted((staging / folder.name).glob("*.parquet"))
            files = [file.replace(folder / file.name).name for file in staged]
            if content:
                rows.append([day, name, files, *content])
        with self.transaction():
            if drop:
                self.connection.execute(f"DROP TABLE {name}").fetchall()
            self.connection.execute(
                f"DELETE FROM {PARQUET_PARTITIONS.name} WHERE table_name = ? AND partition_date IN (SELECT unnest(?))",
                [name, list(changed)],
            ).fetchall()
            for row in rows:
                self.connection.execute(f"INSERT INTO {PARQUET_PARTITIONS.name} VALUES (?, ?, ?, ?, ?)", row).fetchall()
            if name in DERIVED_TABLES:
                self._create_view(name)
            on_publish()
        kept = set(self._files(name))
        for day in changed:
            for file in self._day_folder(name, day).iterdir():
                if str(file) not in kept:
                    file.unlink()

    def _create_view(self, name: str) -> None:
        self.connection.execute(self._view(name)).fetchall()

    def _view(self, name: str) -> str:
        """The statement that creates the view of a table over the files that count."""
        types = column_types(name)
        # Says the columns where there is no file yet, and those that files of an earlier release lack.
        nothing = ", ".join(f'NULL::{type_} AS "{column}"' for column, type_ in types.items())
        columns = ", ".join(f'"{column}"' for column in types)
        query = f"SELECT {nothing} WHERE false"
        if files := self._files(name):
            paths = ", ".join(map(quoted, files))
            options = "hive_partitioning = true, hive_types = {'partition_date': DATE}, union_by_name = true"
            query += f" UNION ALL BY NAME FROM read_parquet([{paths}], {options})"
        return f"CREATE OR REPLACE VIEW {name} AS SELECT {columns} FROM ({query})"

    def _is_current(self, name: str, statement: str) -> bool:
        """Whether a view names the columns of this release, and files of this home, which may have moved."""
        is_here = f"'{self.folder}/" in statement or "read_parquet" not in statement
        return is_here and all(f'"{column}"' in statement for column in TABLES[name].columns)

    def _contents(self, name: str, window: Window | None = None) -> dict[date, Content]:
        """What each day of a table has, or each of a window."""
        rows = self.connection.execute(
            f"SELECT partition_date, row_count, digest FROM {PARQUET_PARTITIONS.name} WHERE table_name = ?", [name]
        ).fetchall()
        return {day: Content(*content) for day, *content in rows if window is None or day in window}

    def _files(self, name: str) -> list[str]:
        """The files of a table that count, by day."""
        rows = self.connection.execute(
            f"SELECT partition_date, files FROM {PARQUET_PARTITIONS.name} WHERE table_name = ? ORDER BY partition_date",
            [name],
        ).fetchall()
        return [str(self._day_folder(name, day) / file) for day, files in rows for file in files]

    def _day_folder(self, name: str, day: date) -> Path:
        return self.folder / name / f"partition_date={day}"

    def _forget_registered(self) -> None:
        """Drop what was registered and cached in Spark for a table that is written now."""
        drop_cached(self.spark)
        while self._registered:
            self.spark._session.catalog.dropTempView(self._registered.pop())
