"""The warehouse's file: partitions replaced in one transaction, and opening what cannot be opened."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pytest
from ibis import _

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.settings import Settings
from profile_pipeline.tables import TABLES
from profile_pipeline.warehouse import Warehouse, Written, open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.stored_profiles import table

TYPES = TABLES["touched_users"].types
JANUARY = Window(date(2024, 1, 1), date(2024, 1, 31))
Row = tuple[int, str, str]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings for a home that is not there yet, whose name has words of an error that says nothing of it."""
    return Settings(_env_file=None, home=tmp_path / "Could not unlock")


@pytest.fixture
def warehouse(settings: Settings) -> Iterator[Warehouse]:
    with open_warehouse(settings) as opened:
        yield opened


def replace(warehouse: Warehouse, *rows: Row, window: Window = JANUARY) -> Written:
    """Replace `touched_users` by rows of day, user and reason."""
    found = [{"partition_date": date(2024, 1, day), "user_id": key, "touched_by": [why]} for day, key, why in rows]
    return warehouse.replace("touched_users", table(found, TYPES), window)


def stored(warehouse: Warehouse) -> list[Row]:
    rows = warehouse.records("SELECT day(partition_date) AS day, user_id, touched_by[1] AS why FROM touched_users")
    return sorted((row["day"], row["user_id"], row["why"]) for row in rows)


def test_what_goes_with_a_change_is_written_with_each_change_and_without_one_not(warehouse: Warehouse) -> None:
    changes: list[str] = []

    def write(name: str, *days: int) -> None:
        found = [{"partition_date": date(2024, 1, day), "user_id": "u1", "touched_by": ["user"]} for day in days]
        rows = table(found, TYPES)
        warehouse.replace("touched_users", rows, JANUARY, on_change=lambda: changes.append(name))

    write("nothing into nothing")
    write("a first row", 1)
    write("the same again", 1)
    write("a row more", 1, 2)
    write("none left")
    assert changes == ["a first row", "a row more", "none left"]


OLD: list[Row] = [(1, "u1", "user"), (2, "u1", "user"), (2, "u2", "user"), (3, "u3", "user")]


@pytest.mark.parametrize(
    ("new", "rows_written", "partitions_written"),
    [
        pytest.param(OLD, 0, 0, id="the same rows"),
        pytest.param([*reversed(OLD)], 0, 0, id="the same rows in another order"),
        pytest.param([*OLD[:3], (3, "u3", "order")], 1, 1, id="a changed value"),
        pytest.param([*OLD, (2, "u9", "user")], 3, 1, id="a row more"),
        pytest.param([*OLD, OLD[0]], 2, 1, id="a row twice"),
        pytest.param([*OLD, (4, "u1", "user")], 1, 1, id="a partition more"),
        pytest.param(OLD[:3], 0, 1, id="a partition without rows"),
        pytest.param(
            [(1, "u1", "user"), (2, "u3", "user"), (3, "u1", "user"), (3, "u2", "user")], 3, 2, id="rows moved"
        ),
        pytest.param([], 0, 3, id="nothing at all"),
    ],
)
def test_only_partitions_that_differ_are_written(
    warehouse: Warehouse, new: list[Row], rows_written: int, partitions_written: int
) -> None:
    assert replace(warehouse, *OLD) == Written(4, 4, 3)
    assert replace(warehouse, *new) == Written(len(new), rows_written, partitions_written)
    assert stored(warehouse) == sorted(new)


def test_partitions_outside_the_window_stay(warehouse: Warehouse) -> None:
    replace(warehouse, *OLD)
    second = Window(date(2024, 1, 2), date(2024, 1, 2))
    assert replace(warehouse, (2, "u9", "user"), window=second) == Written(1, 1, 1)
    assert stored(warehouse) == [OLD[0], (2, "u9", "user"), OLD[3]]


def test_values_of_other_types_that_are_equal_are_no_change(warehouse: Warehouse) -> None:
    day = {"partition_date": date(2024, 1, 1), "log_sequence": 7, "missing_tables": [], "is_complete": True}
    types: dict[str, Any] = TABLES["computed_days"].types
    for kind in ("int64", "int16", "decimal(9, 0)"):
        written = warehouse.replace("computed_days", table([day], types | {"log_sequence": kind}), JANUARY)
        assert written.partitions_written == (1 if kind == "int64" else 0)


@pytest.mark.parametrize("old", [[], OLD], ids=["into an empty window", "over rows"])
def test_an_error_within_leaves_the_old_rows(warehouse: Warehouse, old: list[Row]) -> None:
    replace(warehouse, *old)
    good = table([{"partition_date": date(2024, 1, 1), "user_id": "u9", "touched_by": []}], TYPES)
    # Fails on the second row, when the first has been written.
    bad = table([{"partition_date": date(2024, 1, 2), "user_id": "not a number", "touched_by": []}], TYPES)
    broken = good.union(bad.mutate(user_id=_.user_id.cast("int64").cast("string")))
    with pytest.raises(duckdb.ConversionException):
        warehouse.replace("touched_users", broken, JANUARY)
    assert stored(warehouse) == old
    assert replace(warehouse, *OLD).rows == 4


def test_a_block_that_fails_leaves_nothing_behind(warehouse: Warehouse) -> None:
    def write_and_fail() -> None:
        with warehouse.transaction():
            warehouse.connection.execute("INSERT INTO computed_days VALUES ('2024-01-01', 1, [], true)").fetchall()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert warehouse.scalar("SELECT count(*) FROM computed_days") == 0


def test_what_was_cached_is_not_taken_for_the_table_after_a_write(warehouse: Warehouse) -> None:
    counts = []
    for rows in (OLD[:1], OLD):
        replace(warehouse, *rows)
        cached = warehouse.table("touched_users").filter(_.user_id == "u1").cache()
        counts.append(cached.count().execute())
    assert counts == [1, 2]


def test_a_warehouse_that_is_written_by_another_process_may_be_tried_again(settings: Settings) -> None:
    settings.home.mkdir()
    code = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(settings.warehouse_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    with writer, writer.stdout:
        assert writer.stdout.readline() == "open\n"
        for read_only in (False, True):
            with pytest.raises(TransientError, match="is in use by another process"):
                open_warehouse(settings, read_only=read_only).__enter__()
        writer.stdin.close()
        assert writer.wait(10) == 0
    with open_warehouse(settings) as opened:
        assert opened.scalar("SELECT count(*) FROM user_profiles") == 0


def damaged(path: Path) -> None:
    """A warehouse whose blocks no longer have the checksums that they were written with."""
    with open_warehouse(Settings(_env_file=None, home=path.parent)) as opened:
        replace(opened, *OLD)
    content = bytearray(path.read_bytes())
    content[4096::7] = bytes(255 - byte for byte in content[4096::7])
    path.write_bytes(content)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(damaged, id="a damaged file"),
        pytest.param(lambda path: path.write_text("no database, but long enough for one. " * 200), id="another file"),
        pytest.param(Path.mkdir, id="a folder"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_warehouse_is_named_and_not_tried_again(settings: Settings, make: Any, read_only: bool) -> None:
    settings.home.mkdir()
    path = settings.warehouse_path
    make(path)
    with pytest.raises(PipelineError, match="cannot be opened as a warehouse") as caught:
        open_warehouse(settings, read_only=read_only).__enter__()
    assert not isinstance(caught.value, TransientError)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_warehouse_is_not_created_by_a_reader(settings: Settings) -> None:
    with pytest.raises(PipelineError, match=r"there is no warehouse at .* run `profile-pipeline build` first"):
        open_warehouse(settings, read_only=True).__enter__()
    assert not settings.home.exists()


def test_too_little_memory_is_told_in_one_sentence(settings: Settings) -> None:
    limited = settings.model_copy(update={"memory_limit": 1_000_000_000})
    one_string = "SELECT length(string_agg(repeat('x', 100_000_000), '')) FROM range(30)"
    with pytest.raises(PipelineError) as caught, open_warehouse(limited) as warehouse:
        warehouse.scalar(one_string)
    assert str(caught.value).startswith("DuckDB needs more memory than it may hold (Out of Memory Error: ")
    assert str(caught.value).endswith("; raise PROFILE_PIPELINE_MEMORY_LIMIT, free memory, or build fewer days at once")


@pytest.mark.parametrize("read_only", [False, True])
def test_duckdb_holds_no_more_than_the_setting_says_also_after_a_block_with_another_limit(
    settings: Settings, read_only: bool
) -> None:
    def limit(warehouse: Warehouse) -> object:
        return warehouse.connection.execute("SELECT current_setting('memory_limit')").fetchone()

    with open_warehouse(settings) as opened:
        unlimited = limit(opened)
    with open_warehouse(settings.model_copy(update={"memory_limit": 2 << 30}), read_only=read_only) as opened:
        assert limit(opened) == ("2.0 GiB",) != unlimited
        with opened.tuned(memory_limit="1GiB"):
            assert limit(opened) == ("1.0 GiB",)
        assert limit(opened) == ("2.0 GiB",)


def test_a_reader_cannot_write(settings: Settings) -> None:
    with open_warehouse(settings) as opened:
        replace(opened, *OLD)
    with open_warehouse(settings, read_only=True) as opened:
        assert stored(opened) == OLD
        with pytest.raises(duckdb.InvalidInputException):
            replace(opened, *OLD[:1])


@pytest.mark.skipif(find_spec("pyspark") is not None, reason="PySpark is installed")
def test_an_engine_that_is_not_installed_is_named_with_the_command_that_installs_it(settings: Settings) -> None:
    with pytest.raises(PipelineError, match=r"pyspark is not installed; `pip install 'profile-pipeline\[spark\]'`"):
        open_warehouse(settings.model_copy(update={"engine": "spark"})).__enter__()
