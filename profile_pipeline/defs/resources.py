"""What assets are given: the warehouse, the settings, the embedding model.

What belongs here: wiring settings to connections. What does not: reading the environment (`settings.py`).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource

from profile_pipeline.defs.partitions import SETTINGS
from profile_pipeline.index.embedding import Embedder, SentenceTransformerEmbedder
from profile_pipeline.warehouse import Warehouse, cannot_open, on_connection


class WarehouseResource(DuckDBResource):
    """The DuckDB file; opening it waits a while for another process to let go of it."""

    @contextmanager
    def open(self) -> Iterator[Warehouse]:
        """The warehouse, with its tables, for the length of a step."""
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self.get_connection())
            except duckdb.Error as error:
                raise cannot_open(self.database, error) from None
            warehouse = stack.enter_context(on_connection(connection))
            warehouse.create_tables()
            yield warehouse


class EmbedderResource(dg.ConfigurableResource[Embedder]):
    """The embedding model: a name or a folder. It is loaded when a text is embedded, not before."""

    model: str

    def create_resource(self, context: dg.InitResourceContext) -> Embedder:
        """The embedder that assets and checks are given."""
        return SentenceTransformerEmbedder(self.model)


@dg.definitions
def resources() -> dg.Definitions:
    """The resources of a deployment; tests put their own in place."""
    SETTINGS.home.mkdir(parents=True, exist_ok=True)
    return dg.Definitions(
        resources={
            "settings": SETTINGS,
            "warehouse": WarehouseResource(database=str(SETTINGS.warehouse_path)),
            "embedder": EmbedderResource(model=SETTINGS.embedding_model),
        }
    )
