"""Feast's point-in-time join of features that are given to it, in its offline store for DuckDB."""

from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.offline_stores.duckdb import DuckDBOfflineStoreConfig
from feast.types import Int64


def join(features: str, pairs: str, folder: str, columns: list[str]) -> Generator[None, None, dict[str, Any]]:
    """The features of each pair of `user_id` and `event_timestamp`; rows, and the sum of each column.

    Declaring the features and reading the pairs is preparation, as Feast takes them from memory.
    """
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            registry=str(Path(folder) / "registry.db"),
            provider="local",
            offline_store=DuckDBOfflineStoreConfig(),
            online_store=None,
            entity_key_serialization_version=3,
        )
    )
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="profiles",
        entities=[user],
        ttl=timedelta(0),
        schema=[Field(name=name, dtype=Int64) for name in columns],
        source=FileSource(path=features, timestamp_field="event_timestamp"),
        online=False,
    )
    store.apply([user, view])
    asked = pd.read_parquet(pairs)
    yield
    found = store.get_historical_features(entity_df=asked, features=[f"profiles:{name}" for name in columns]).to_arrow()
    return {"rows": found.num_rows, "sums": {name: sum_of(found[name]) for name in columns}}


def sum_of(column: Any) -> int:
    """The sum of a column, without its gaps."""
    return int(pd.Series(column.to_pandas()).sum())
