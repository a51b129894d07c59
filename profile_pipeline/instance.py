"""Where and how Dagster keeps its own state.

Outside `defs/`, because loading definitions should not load a database toolkit.

What belongs here: the folder of run history, logs and artifacts, and writing a long range's events at a bearable
cost. What does not: every other property of the instance (`dagster.yaml`).
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from dagster import DagsterInstance, EventLogEntry
from dagster._core.events import ASSET_EVENTS
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, _event_logs_directory
from dagster._serdes import ConfigurableClassData, serialize_value

from profile_pipeline.settings import load_settings

EVENT_BATCH_SIZE = "1000"
"""Enough to make the cost of a transaction vanish; a batch holds one asset's partitions, so none waits for others."""

OPEN_FILES = 4
"""Databases of events that a process keeps open: the index's, and those of a few runs, which a sensor may look at."""

os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", EVENT_BATCH_SIZE)


class HomeInstance(DagsterInstance):
    """A Dagster instance whose state lives in `PROFILE_PIPELINE_HOME/dagster`, not in `DAGSTER_HOME`.

    A class and not a path in `dagster.yaml`, because a path there is either fixed or taken from a variable that must
    then be set, and our home has a default. Dagster asks the `instance_class` of `dagster.yaml` for the two methods
    below.
    """

    @classmethod
    def config_schema(cls) -> Mapping[str, object]:
        """No keys in `dagster.yaml` besides Dagster's own."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, ConfigurableClassData | None]:
        """Dagster's own storages, below the home instead of `base_dir`, with our event log.

        Absolute, because a run's process may work in another folder than the one that launched it.

        Raises:
            PipelineError: the settings cannot be read.
        """
        home = str(load_settings().home.absolute() / "dagster")
        defaults = dict(InstanceRef.config_defaults(home))
        sqlite = defaults["storage"]
        if sqlite is not None:
            defaults["storage"] = ConfigurableClassData(__name__, RangeStorage.__name__, sqlite.config_yaml)
        return defaults


class RangeStorage(DagsterSqliteStorage):
    """Dagster's storage in SQLite, with `RangeEventLogStorage` for its events."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        """Open the databases below a folder."""
        super().__init__(base_dir, inst_data)
        self._event_log_storage = RangeEventLogStorage(_event_logs_directory(base_dir))

    @classmethod
    def from_config_value(  # type: ignore[override]  # as wide as what Dagster passes
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, str]
    ) -> "RangeStorage":
        """What Dagster calls to make the storage that an instance names."""
        return cls.from_local(inst_data=inst_data, **config_value)


class RangeEventLogStorage(SqliteEventLogStorage):
    """Dagster's event log in SQLite, with the events of a range of partitions written in one transaction.

    A range run plans and materializes each asset once for each partition. Dagster's own storage opens two databases
    and commits several times for each of these events, some 10 ms: seven years of days in a dozen assets would
    take ten minutes to log and five seconds to compute.

    The files written last stay open. To open one and close it again takes several milliseconds, as SQLite then puts
    its write-ahead log away, and a run does so hundreds of times.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        """Open the databases below a folder."""
        self._engines: OrderedDict[str, sa.Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    def dispose(self) -> None:
        """Close the files, too."""
        super().dispose()
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        """A transaction in the database of a run, or of the index."""
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> sa.Engine:
        if not Path(self.path_for_shard(shard)).exists() and shard in self._engines:
            # Dagster was told to wipe its history.
            self._engines.pop(shard).dispose()
        if shard not in self._engines:
            engine = sa.create_engine(
                self.conn_string_for_shard(shard),
                poolclass=sa.QueuePool,
                pool_size=1,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
            )
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            self._engines[shard] = engine
        self._engines.move_to_end(shard)
        while len(self._engines) > OPEN_FILES:
            self._engines.popitem(last=False)[1].dispose()
        return self._engines[shard]

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store the asset events of a run together, and any other event by itself."""
        of_assets: dict[str, list[EventLogEntry]] = {}
        for event in events:
            if (
                event.is_dagster_event
                and event.dagster_event_type in ASSET_EVENTS
                and event.get_dagster_event().asset_key
            ):
                of_assets.setdefault(event.run_id, []).append(event)
            else:
                self.store_event(event)
        for run_id, batch in of_assets.items():
            self._store_asset_events(run_id, batch)

    def _store_asset_events(self, run_id: str, events: Sequence[EventLogEntry]) -> None:
        """Store events of one run in the run's database and in the index, as `store_event` does one by one."""
        rows = [self._event_to_row(event) for event in events]
        with self.run_connection(run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
        with self.index_transaction() as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
            # Ids count up within the transaction, which holds the only write lock.
            last = connection.execute(sa.select(sa.func.max(SqlEventLogStorageTable.c.id))).scalar_one()
            ids = range(last - len(rows) + 1, last + 1)
            self._store_asset_event_tags(connection, events, ids)
            # An asset's entry tells its latest event of each type; those before it would be overwritten.
            latest = {
                (event.get_dagster_event().asset_key, event.dagster_event_type): (event, event_id)
                for event, event_id in zip(events, ids, strict=True)
            }
            for event, event_id in latest.values():
                self._store_asset_event(connection, event, event_id)

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        """Note for each partition that a check is planned, as Dagster does, which serializes the event for each."""
        planned = event.get_dagster_event().asset_check_planned_data
        subset = planned.partitions_subset
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(event),
            "evaluation_event_timestamp": self._event_insert_timestamp(event),
            "evaluation_event_storage_id": event_id,
        }
        rows = [row | {"partition": partition} for partition in (subset.get_partition_keys() if subset else [None])]
        with self.index_connection() as connection:
            connection.execute(AssetCheckExecutionsTable.insert(), rows)
