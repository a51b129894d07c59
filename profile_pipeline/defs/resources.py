"""What assets and sensors are given: the warehouse, the settings, the embedding model, live systems.

What belongs here: wiring settings to connections. What does not: reading the environment (`settings.py`).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource

from profile_pipeline.defs.partitions import SETTINGS
from profile_pipeline.discovery import Patience
from profile_pipeline.index.embedding import Embedder, SentenceTransformerEmbedder
from profile_pipeline.settings import Engine, Settings
from profile_pipeline.sources import LiveSource, live_source
from profile_pipeline.warehouse import Warehouse, cannot_open, on_connection


class WarehouseResource(DuckDBResource):
    """The DuckDB file; opening it waits a while for another process to let go of it."""

    engine: Engine = "duckdb"
    memory_limit: int | None = None

    @contextmanager
    def open(self) -> Iterator[Warehouse]:
        """The warehouse, with its tables, for the length of a step."""
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self.get_connection())
            except duckdb.Error as error:
                raise cannot_open(self.database, error) from None
            warehouse = stack.enter_context(on_connection(connection, self.engine, self.memory_limit))
            warehouse.create_tables()
            yield warehouse


class EmbedderResource(dg.ConfigurableResource[Embedder]):
    """The embedding model: a name or a folder. It is loaded when a text is embedded, not before."""

    model: str

    def create_resource(self, context: dg.InitResourceContext) -> Embedder:
        """The embedder that assets and checks are given."""
        return SentenceTransformerEmbedder(self.model)


@dataclass(frozen=True)
class Systems:
    """How sensors reach live systems, for how long they wait there, and the clock they go by, UTC without a zone."""

    source: Callable[[str, Settings], LiveSource] = live_source
    patience: Callable[[], Patience] = Patience
    now: Callable[[], datetime] = lambda: datetime.now(UTC).replace(tzinfo=None)


@dg.definitions
def resources() -> dg.Definitions:
    """The resources of a deployment; tests put their own in place."""
    SETTINGS.home.mkdir(parents=True, exist_ok=True)
    return dg.Definitions(
        resources={
            "settings": SETTINGS,
            "warehouse": WarehouseResource(
                database=str(SETTINGS.warehouse_path), engine=SETTINGS.engine, memory_limit=SETTINGS.memory_limit
            ),
            "embedder": EmbedderResource(model=SETTINGS.embedding_model),
            "systems": Systems(),
        }
    )
