"""Tables in DuckDB, through Ibis.

What belongs here: opening the file, reading a table, replacing a window of partitions in one transaction. What
does not: the meaning of columns (`tables.py`) and anything that computes one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.settings import Engine, Settings
from profile_pipeline.tables import READ_TABLES, TABLES
from profile_pipeline.window import Window


@dataclass(frozen=True)
class Written:
    """What replacing a window did: rows it now holds, and rows and partitions that had to be rewritten."""

    rows: int
    rows_written: int
    partitions_written: int


class Warehouse:
    """The tables of `tables.py` behind one connection.

    DuckDB lets one process write a file at a time; a pool in Dagster keeps runs from meeting here, and a
    reader that meets a writer gets a `TransientError`.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, memory_limit: int | None = None) -> None:
        """Wrap an open connection; `open_warehouse` opens one.

        Args:
            connection: to the database with the tables.
            memory_limit: bytes that DuckDB may hold; nothing for its own default.
        """
        # Ibis still writes lambdas as `x -> …`.
        connection.execute("SET lambda_syntax = 'ENABLE_SINGLE_ARROW'")
        self.connection = connection
        self._options = {} if memory_limit is None else {"memory_limit": f"{memory_limit}B"}
        self._set(self._options)
        self.ibis = ibis.duckdb.from_connection(connection)
        # Ibis asks for the columns of a table each time.
        self._tables: dict[str, ir.Table] = {}

    def create_tables(self) -> None:
        """Create each table that is not there yet, and each column that one made by an earlier release lacks.

        Such a column is null in the rows that are there.
        """
        statements = [statement for name in TABLES for statement in self._missing(name)]
        if not statements:
            return
        with self.transaction():
            for statement in statements:
                self.connection.execute(statement).fetchall()

    def expect_tables(self) -> None:
        """Make sure that a reader finds each table with all its columns.

        Raises:
            PipelineError: an earlier release made the warehouse, and nothing was written since.
        """
        lacking = [name for name in READ_TABLES if any(self._missing(name))]
        if lacking:
            raise PipelineError(
                f"an earlier release made this warehouse, whose {', '.join(lacking)} lack what this one reads; run "
                "`profile-pipeline build`, which adds it"
            )

    def _missing(self, name: str) -> Iterator[str]:
        """The statements that make a table, or the columns that it lacks."""
        types = column_types(name)
        try:
            # A quarter of what a query of the catalog takes, which every step would pay.
            existing = self.connection.table(name).columns
        except duckdb.CatalogException:
            columns = ", ".join(f'"{column}" {type_}' for column, type_ in types.items())
            yield f"CREATE TABLE {name} ({columns})"
            return
        except duckdb.IOException:
            # A view over files of another engine, which were moved along with the home: that engine renews it.
            return
        lacking = [column for column in types if column not in existing]
        if lacking and name not in self.views():
            yield from (f'ALTER TABLE {name} ADD COLUMN "{column}" {types[column]}' for column in lacking)

    def table(self, name: str) -> ir.Table:
        """One table, as an Ibis expression to read it by."""
        if name not in self._tables:
            self._tables[name] = self.ibis.table(name)
        return self._tables[name]

    def views(self) -> dict[str, str]:
        """The views of this database, which are tables of another engine, with the statements that created them."""
        rows = self.connection.execute(
            "SELECT view_name, sql FROM duckdb_views() WHERE database_name = current_database() AND NOT internal"
        ).fetchall()
        return dict(rows)

    def engine_table(self, name: str) -> ir.Table:
        """One table, as an Ibis expression from which `replace` computes another."""
        return self.table(name)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block's writes, or none of them."""
        self.connection.execute("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        self.release_caches()

    @contextmanager
    def tuned(self, **options: str) -> Iterator[None]:
        """DuckDB's options of these names set for the block."""
        self._set(options)
        try:
            yield
        finally:
            for name in options:
                self.connection.execute(f"RESET {name}").fetchall()
            self._set(self._options)

    def _set(self, options: dict[str, str]) -> None:
        for name, value in options.items():
            self.connection.execute(f"SET {name} = '{value}'").fetchall()

    def release_caches(self) -> None:
        """Drop what expressions cached.

        Ibis finds a cached result by its expression alone, so none may outlive a write, nor the connection.
        """
        drop_cached(self.ibis)

    def scalar(self, query: str, *parameters: object) -> int:
        """The one number that a query returns, 0 for null."""
        rows = self.connection.execute(query, list(parameters)).fetchall()
        return int(rows[0][0] or 0)

    def records(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        """The rows that a query returns, by column name; for a few rows only."""
        cursor = self.connection.execute(query, list(parameters))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def replace(
        self,
        name: str,
        rows: ir.Table,
        window: Window,
        *,
        in_order: bool = False,
        on_change: Callable[[], None] = lambda: None,
    ) -> Written:
        """Make the window's partitions of a table equal to `rows`, in one transaction.

        Partitions that are equal already are left alone, so a second run writes nothing: their rows are
        compared by count and by the sum of row hashes.

        Args:
            name: the table.
            rows: its columns, by name, for days of the window only.
            window: the partitions to replace; those without a row end up empty.
            in_order: whether the rows come by day anyway. Otherwise they are sorted, so that whoever reads some days
                passes over the others, unread.
            on_change: called before a change is committed, unless there is none, for what has to be written with it.
        """
        self._make_table(name)
        columns = ", ".join(f'"{column}"' for column in TABLES[name].columns)
        between = f"partition_date BETWEEN DATE '{window.start}' AND DATE '{window.end}'"
        order = "" if in_order else " ORDER BY partition_date"
        select = f"SELECT {columns} FROM ({self.ibis.compile(rows)}){order}"
        self.ibis._run_pre_execute_hooks(rows)
        if not self.scalar(f"SELECT count(*) FROM (SELECT 1 FROM {name} WHERE {between} LIMIT 1)"):
            with self.transaction():
                count = self.scalar(f"INSERT INTO {name} ({columns}) {select}")
                if count:
                    on_change()
            days = self.scalar(f"SELECT count(DISTINCT partition_date) FROM {name} WHERE {between}")
            return Written(count, count, days)
        # Made from the table, because equal values of different types have different hashes.
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE staged_rows AS SELECT {columns} FROM {name} LIMIT 0"
        ).fetchall()
        try:
            self.connection.execute(f"INSERT INTO staged_rows {select}").fetchall()
            return self._replace_changed(name, columns, between, on_change)
        finally:
            self.connection.execute("DROP TABLE staged_rows")

    def _make_table(self, name: str) -> None:
        """Take a table that is a view over another engine's files into DuckDB."""
        if name not in self.views():
            return
        with self.transaction():
            self.connection.execute(f"CREATE TEMP TABLE taken AS FROM {name}").fetchall()
            self.connection.execute(f"DROP VIEW {name}").fetchall()
            self.connection.execute(f"CREATE TABLE {name} AS FROM taken").fetchall()
            self.connection.execute("DROP TABLE taken").fetchall()
            self.connection.execute("DELETE FROM parquet_partitions WHERE table_name = ?", [name]).fetchall()

    def _replace_changed(self, name: str, columns: str, between: str, on_change: Callable[[], None]) -> Written:
        digest = f"SELECT partition_date, count(*) AS n, sum(hash({columns})::HUGEINT) AS digest"
        self.connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE changed_days AS
            SELECT coalesce(old.partition_date, new.partition_date) AS partition_date
            FROM ({digest} FROM {name} WHERE {between} GROUP BY 1) AS old
            FULL JOIN ({digest} FROM staged_rows GROUP BY 1) AS new USING (partition_date)
            WHERE (old.n, old.digest) IS DISTINCT FROM (new.n, new.digest)
            """
        ).fetchall()
        changed = "partition_date IN (SELECT partition_date FROM changed_days)"
        days = self.scalar("SELECT count(*) FROM changed_days")
        with self.transaction():
            self.connection.execute(f"DELETE FROM {name} WHERE {changed}").fetchall()
            self.connection.execute(
                f"INSERT INTO {name} ({columns}) SELECT {columns} FROM staged_rows WHERE {changed}"
            ).fetchall()
            if days:
                on_change()
        return Written(
            self.scalar("SELECT count(*) FROM staged_rows"),
            self.scalar(f"SELECT count(*) FROM staged_rows WHERE {changed}"),
            days,
        )


def drop_cached(backend: Any) -> None:
    """Drop what a backend of Ibis has cached for expressions."""
    for name in list(backend._cache_name_to_entry):
        backend._finalize_cached_table(name)


@cache
def column_types(name: str) -> dict[str, str]:
    """The columns of a table with their types in DuckDB's SQL."""
    # Loads a compiler, without which definitions load sooner.
    from ibis.backends.sql.compilers.duckdb import compiler  # noqa: PLC0415

    to_sql = compiler.type_mapper.to_string
    return {column: to_sql(ibis.dtype(type_)) for column, type_ in TABLES[name].types.items()}


@contextmanager
def open_warehouse(settings: Settings, *, read_only: bool = False, must_exist: bool = False) -> Iterator[Warehouse]:
    """Open the warehouse, creating it with its tables unless it must exist or is only to be read.

    To read it, any engine will do.

    Raises:
        PipelineError: it is not there and must be, or is to be read and of an earlier release, or the file is no
            DuckDB database.
        TransientError: another process is writing it.
    """
    path = settings.warehouse_path
    if (read_only or must_exist) and not path.exists():
        raise PipelineError(f"there is no warehouse at {path} yet; run `profile-pipeline build` first")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = duckdb.connect(str(path), read_only=read_only)
    except duckdb.Error as error:
        raise cannot_open(path, error) from None
    engine: Engine = "duckdb" if read_only else settings.engine
    with on_connection(connection, engine, settings.memory_limit) as warehouse:
        if read_only:
            warehouse.expect_tables()
        else:
            warehouse.create_tables()
        yield warehouse


@contextmanager
def on_connection(
    connection: duckdb.DuckDBPyConnection, engine: Engine = "duckdb", memory_limit: int | None = None
) -> Iterator[Warehouse]:
    """The warehouse on a connection, which is closed at the end of the block.

    Raises:
        PipelineError: the engine is not installed, or DuckDB may hold too little memory for what the block asks.
    """
    try:
        warehouse = _warehouse_class(engine)(connection, memory_limit)
    except BaseException:
        connection.close()
        raise
    try:
        yield warehouse
    except duckdb.OutOfMemoryException as error:
        raise PipelineError(
            f"DuckDB needs more memory than it may hold ({str(error).splitlines()[0]}); raise "
            "PROFILE_PIPELINE_MEMORY_LIMIT, free memory, or build fewer days at once"
        ) from error
    finally:
        warehouse.release_caches()
        connection.close()


def _warehouse_class(engine: Engine) -> type[Warehouse]:
    if engine == "duckdb":
        return Warehouse
    try:
        from profile_pipeline.spark.warehouse import SparkWarehouse  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        raise PipelineError(
            f"PROFILE_PIPELINE_ENGINE is spark, but {error.name} is not installed; "
            "`pip install 'profile-pipeline[spark]'` installs it"
        ) from None
    return SparkWarehouse


def cannot_open(path: Path | str, error: duckdb.Error) -> PipelineError:
    """Why a warehouse does not open, as an error that a person can read; transient if another process has it."""
    # DuckDB has no type for it, and other messages name blocks, checksums and the path.
    if "Could not set lock" in str(error):
        return TransientError(f"the warehouse {path} is in use by another process; try again when its run has ended")
    return PipelineError(f"{path} cannot be opened as a warehouse: {str(error).splitlines()[0]}")
