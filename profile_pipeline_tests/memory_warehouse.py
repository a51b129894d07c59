"""A warehouse in memory for a few records, as laws and schedules need them by the hundred."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from profile_pipeline.warehouse import Warehouse, on_connection


@contextmanager
def fresh_warehouse() -> Iterator[Warehouse]:
    """A warehouse with empty tables."""
    # Of records this few a second thread would only be waited for.
    with on_connection(duckdb.connect(config={"threads": 1})) as warehouse:
        warehouse.create_tables()
        yield warehouse
