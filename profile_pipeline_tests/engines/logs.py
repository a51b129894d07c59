"""The same logs for two engines, and what each makes of them.

What belongs here: filling logs, running the steps that follow from them, and telling results apart. What does not:
the tests, and which histories they take.
"""

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

from profile_pipeline.build import STEPS
from profile_pipeline.policy import Policy
from profile_pipeline.settings import Engine, Settings
from profile_pipeline.tables import DERIVED_TABLES, RAW_TABLES
from profile_pipeline.warehouse import Written, open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.oracle import Log
from profile_pipeline_tests.stored_profiles import arrow

Rows = list[dict[str, Any]]


def side_by_side(logs: Iterable[Log]) -> Log:
    """Logs that know nothing of each other as one: ids and addresses get their log's number in front."""
    together: Log = {kind: [] for kind in RAW_TABLES}
    for number, log in enumerate(logs):
        for kind, rows in log.items():
            together[kind] += [_numbered(row, f"h{number:03}.") for row in rows]
    return together


def _numbered(row: dict[str, Any], prefix: str) -> dict[str, Any]:
    named = {name: prefix + row[name] for name in ("id", "user_id", "email") if row.get(name)}
    if row.get("participants"):
        named["participants"] = [prefix + address for address in row["participants"]]
    return row | named


class Home:
    """A home that one engine computes."""

    def __init__(self, folder: Path, engine: Engine, policy: Policy | None = None) -> None:
        self.settings = Settings(
            home=folder,
            source_dir=folder,
            engine=engine,
            policy=policy or Policy(),
            mongodb_uri=None,
            airtable_api_key=None,
        )

    def append(self, log: Log) -> None:
        """Add rows to the logs."""
        with open_warehouse(self.settings) as warehouse:
            for kind, table in RAW_TABLES.items():
                warehouse.connection.register("given", arrow(log.get(kind, []), table.types))
                warehouse.connection.execute(f"INSERT INTO {table.name} SELECT * FROM given").fetchall()
                warehouse.connection.unregister("given")

    def compute(self, start: date, end: date) -> dict[str, Written]:
        """Run the steps that follow from the logs, each by itself as Dagster does."""
        done = {}
        for name, step in STEPS.items():
            with open_warehouse(self.settings) as warehouse:
                done[name] = step(warehouse, self.settings, Window(start, end)).written
        return done

    def rows(self, relation: str, order: str = "ALL") -> Rows:
        """Rows as DuckDB reads them."""
        with open_warehouse(self.settings, read_only=True) as warehouse:
            return warehouse.connection.sql(f"FROM {relation} ORDER BY {order}").to_arrow_table().to_pylist()

    def tables(self) -> dict[str, Rows]:
        """Each derived table in the order of its key."""
        return {name: self.rows(name, ", ".join(table.key)) for name, table in DERIVED_TABLES.items()}

    def files(self, name: str) -> list[Path]:
        """The files in the folder of a table, whether they count or not."""
        return sorted((self.settings.home / "tables" / name).rglob("*.parquet"))


def assert_equal(found: dict[str, Rows], wanted: dict[str, Rows]) -> None:
    """Row by row and column by column; says the first that differ, for pytest takes minutes to."""
    for name, rows in wanted.items():
        assert len(found[name]) == len(rows), name
        for one, other in zip(found[name], rows, strict=True):
            assert one == other, name
