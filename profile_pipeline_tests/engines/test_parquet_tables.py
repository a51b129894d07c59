"""Derived tables as folders of files: what is replaced, what is left alone, and how one engine follows the other."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import ibis
import pytest

from profile_pipeline.settings import Engine, Settings
from profile_pipeline.tables import RAW_TABLES, TOUCHED_USERS
from profile_pipeline.warehouse import Warehouse, Written, open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.stored_profiles import arrow

pytest.importorskip("pyspark", reason="PySpark is not installed; `pip install -e '.[spark]'` installs it")

NAME = TOUCHED_USERS.name
FIRST, SECOND = date(2024, 1, 1), date(2024, 1, 2)
BOTH = Window(FIRST, SECOND)

Row = dict[str, Any]
ANN: Row = {"partition_date": FIRST, "user_id": "ann", "touched_by": ["event", "user"]}
BOB: Row = {"partition_date": SECOND, "user_id": "bob", "touched_by": ["order"]}
CY: Row = {"partition_date": SECOND, "user_id": "cy", "touched_by": ["user"]}


@contextmanager
def opened(home: Path, engine: Engine = "spark") -> Iterator[Warehouse]:
    with open_warehouse(Settings(_env_file=None, home=home, engine=engine)) as warehouse:
        yield warehouse


def put(warehouse: Warehouse, *rows: Row, window: Window = BOTH) -> Written:
    return warehouse.replace(NAME, ibis.memtable(arrow(rows, TOUCHED_USERS.types)), window)


def read(warehouse: Warehouse) -> list[Row]:
    return warehouse.records(f"SELECT * FROM {NAME} ORDER BY partition_date, user_id")


def read_by_spark(warehouse: Warehouse) -> list[Row]:
    rows = warehouse.engine_table(NAME).order_by("partition_date", "user_id")
    return warehouse.spark.frame(rows).toArrow().to_pylist()


def files(home: Path, day: date, name: str = NAME) -> list[Path]:
    return sorted((home / "tables" / name / f"partition_date={day}").glob("*"))


def test_equal_partitions_are_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as warehouse:
        assert put(warehouse, ANN, BOB) == Written(2, 2, 2)
        before = files(tmp_path, FIRST)
        assert put(warehouse, ANN, BOB) == Written(2, 0, 0)
        assert put(warehouse, ANN, BOB, CY) == Written(3, 2, 1)
        assert read(warehouse) == read_by_spark(warehouse) == [ANN, BOB, CY]
    assert files(tmp_path, FIRST) == before


def test_a_value_that_moves_to_another_column_is_a_difference(tmp_path: Path) -> None:
    with opened(tmp_path) as warehouse:
        put(warehouse, {"partition_date": FIRST, "user_id": None, "touched_by": ["ann"]})
        moved = {"partition_date": FIRST, "user_id": '["ann"]', "touched_by": None}
        assert put(warehouse, moved) == Written(1, 1, 1)
        assert read(warehouse) == [moved]


def test_a_day_that_comes_out_empty_is_empty_and_days_outside_the_window_stay(tmp_path: Path) -> None:
    with opened(tmp_path) as warehouse:
        put(warehouse, ANN, BOB)
        assert put(warehouse, window=Window(SECOND, SECOND)) == Written(0, 0, 1)
        assert read(warehouse) == read_by_spark(warehouse) == [ANN]
    assert not files(tmp_path, SECOND)


def test_files_of_a_run_that_died_count_for_nothing_and_go(tmp_path: Path) -> None:
    with opened(tmp_path) as warehouse:
        put(warehouse, ANN, BOB)
        (kept,) = files(tmp_path, SECOND)
        shutil.copy(kept, kept.with_name("died.parquet"))
        shutil.copytree(kept.parent, tmp_path / "tables" / "staging" / kept.parent.name)
        assert read(warehouse) == read_by_spark(warehouse) == [ANN, BOB]
        put(warehouse, ANN, CY)
        assert read(warehouse) == read_by_spark(warehouse) == [ANN, CY]
    assert len(files(tmp_path, SECOND)) == 1


def test_rows_that_cannot_be_computed_leave_the_table_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path) as warehouse:
        put(warehouse, ANN)
        table = warehouse.engine_table(NAME)
        shutil.rmtree(tmp_path / "tables" / NAME / f"partition_date={FIRST}")
        with pytest.raises(Exception, match="FAILED_READ_FILE"):
            warehouse.replace(NAME, table, BOTH)
        days = warehouse.records("SELECT partition_date FROM parquet_partitions")
    assert days == [{"partition_date": FIRST}]


def test_a_log_is_handed_to_spark_again_only_on_days_that_gained_versions(tmp_path: Path) -> None:
    table = RAW_TABLES["users"]

    def append(sequence: int, day: date) -> None:
        user = {"partition_date": day, "id": "ann", "email": "ann@x.org", "interests": ["chess"], "sequence": sequence}
        warehouse.connection.register("given", arrow([user], table.types))
        warehouse.connection.execute(f"INSERT INTO {table.name} SELECT * FROM given").fetchall()

    with opened(tmp_path) as warehouse:
        append(1, FIRST)
        append(2, SECOND)
        warehouse.engine_table(table.name)
        first, second = files(tmp_path, FIRST, table.name), files(tmp_path, SECOND, table.name)
        append(3, SECOND)
        rows = warehouse.spark.frame(warehouse.engine_table(table.name).order_by("sequence")).toArrow().to_pylist()
        assert rows == warehouse.records(f"SELECT * FROM {table.name} ORDER BY sequence")
    assert files(tmp_path, FIRST, table.name) == first
    assert files(tmp_path, SECOND, table.name) != second


def test_a_home_changes_engines_and_back_and_keeps_its_rows(tmp_path: Path) -> None:
    with opened(tmp_path, "duckdb") as warehouse:
        put(warehouse, ANN, BOB)
    with opened(tmp_path, "spark") as warehouse:
        assert read(warehouse) == read_by_spark(warehouse) == [ANN, BOB]
        put(warehouse, ANN, CY)
    with opened(tmp_path, "duckdb") as warehouse:
        assert read(warehouse) == [ANN, CY]
        assert put(warehouse, ANN, CY) == Written(2, 0, 0)
        put(warehouse, ANN, BOB, CY)
    with opened(tmp_path, "spark") as warehouse:
        assert read(warehouse) == read_by_spark(warehouse) == [ANN, BOB, CY]


def test_a_home_may_move(tmp_path: Path) -> None:
    with opened(tmp_path / "before") as warehouse:
        put(warehouse, ANN)
    (tmp_path / "before").rename(tmp_path / "after")
    with opened(tmp_path / "after") as warehouse:
        assert read(warehouse) == read_by_spark(warehouse) == [ANN]
