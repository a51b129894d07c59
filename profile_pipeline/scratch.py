"""Databases beside the warehouse, for what is only looked at.

What belongs here: how much such work may hold in memory. What does not: what is looked at, and why.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

MEMORY = "1GB"
"""What reading documents may hold, however many there are; beyond it DuckDB spills to disk, in little more time."""


@contextmanager
def scratch_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database that is gone at the end of the block, and crowds out nothing that runs beside it."""
    with (
        tempfile.TemporaryDirectory() as spill,
        duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": spill}) as connection,
    ):
        yield connection
