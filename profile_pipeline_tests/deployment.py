"""The real definitions on temporary stores: what tests of Dagster share."""

import json
import shutil
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg

from profile_pipeline.definitions import defs
from profile_pipeline.defs.resources import WarehouseResource
from profile_pipeline.index.embedding import Embedder
from profile_pipeline.settings import Engine, Settings
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline_tests.indexing import BagOfWords

LOADED = defs()


@dg.op(config_schema={"fails": bool})
def outcome(context: dg.OpExecutionContext) -> None:
    if context.op_config["fails"]:
        raise dg.Failure("as asked")


@dg.job(name="nightly_profiles")
def stand_in() -> None:
    """For runs of which only tags and outcome matter."""
    outcome()


class Deployment:
    """A home, a source, an embedder and a Dagster instance, around the code location's own definitions."""

    def __init__(
        self, home: Path, source: Path, embedder: Embedder | None = None, engine: Engine = "duckdb", **policy: Any
    ) -> None:
        self.settings = Settings(
            home=home,
            source_dir=source,
            start_date=date(2024, 1, 1),
            timezone="UTC",
            engine=engine,
            policy=policy,
            mongodb_uri=None,
            airtable_api_key=None,
        )
        home.mkdir(exist_ok=True)
        self.instance = dg.DagsterInstance.ephemeral()
        self.resources = {
            "settings": self.settings,
            "warehouse": WarehouseResource(database=str(self.settings.warehouse_path), engine=engine),
            "embedder": embedder or BagOfWords(),
        }
        self.definitions = dg.Definitions(
            assets=LOADED.assets,
            asset_checks=LOADED.asset_checks,
            jobs=LOADED.jobs,
            executor=dg.in_process_executor,
            resources=self.resources,
        )

    def copy(self, home: Path, embedder: Embedder | None = None) -> "Deployment":
        """Another deployment with the same data and its own copy of the source, which has run nothing yet."""
        shutil.copytree(self.settings.home, home)
        shutil.copytree(self.settings.source_dir, home / "source", dirs_exist_ok=True)
        return Deployment(home, home / "source", embedder)

    def write(self, kind: str, *records: Any) -> None:
        """Make these the records of a kind in the source; text is a line as it is."""
        lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
        self.settings.source_dir.mkdir(exist_ok=True)
        (self.settings.source_dir / f"{kind}.jsonl").write_text("".join(line + "\n" for line in lines))

    def run(self, *days: str, assets: Iterable[str] | None = None, tags: dict[str, str] | None = None) -> "Run":
        """Execute the nightly job for one day, for a range given by its ends, or for what a request's tags say."""
        if len(days) == 2:
            tags = {
                f"dagster/asset_partition_range_{end}": day for end, day in zip(("start", "end"), days, strict=True)
            }
        return Run(
            self.definitions.resolve_job_def("nightly_profiles").execute_in_process(
                instance=self.instance,
                partition_key=days[0] if len(days) == 1 else None,
                tags=tags,
                asset_selection=None if assets is None else [dg.AssetKey(name) for name in assets],
                raise_on_error=False,
            )
        )

    def pretend(self, request: dg.RunRequest, *, fails: bool = False) -> None:
        """Let a run that was requested end, without doing its work."""
        stand_in.execute_in_process(
            instance=self.instance,
            tags=dict(request.tags),
            run_config={"ops": {"outcome": {"config": {"fails": fails}}}},
            raise_on_error=False,
        )

    def rows(self, query: str) -> list[dict[str, Any]]:
        with open_warehouse(self.settings) as warehouse:
            return warehouse.records(query)

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Every table with its rows, in an order that does not depend on when they were written."""
        with open_warehouse(self.settings) as warehouse:
            names = [name for (name,) in warehouse.connection.execute("SHOW TABLES").fetchall()]
            return {name: warehouse.records(f"SELECT * FROM {name} ORDER BY ALL") for name in names}


class Run:
    """What a run of the nightly job left behind."""

    def __init__(self, result: dg.ExecuteInProcessResult) -> None:
        self.result = result
        self.success = result.success

    def checks(self) -> dict[str, dg.AssetCheckEvaluation]:
        return {checked.check_name: checked for checked in self.result.get_asset_check_evaluations()}

    def materialized(self) -> dict[str, list[str]]:
        """Asset to the partitions that the run materialized."""
        found: dict[str, list[str]] = {}
        for event in self.result.get_asset_materialization_events():
            materialization = event.step_materialization_data.materialization
            found.setdefault(materialization.asset_key.to_user_string(), []).append(str(materialization.partition))
        return found

    def metadata(self, asset: str) -> dict[str, Any]:
        """What the asset reported on the run's last partition."""
        *_, last = self.result.asset_materializations_for_node(asset)
        return {name: value.value for name, value in last.metadata.items()}

    def failures(self) -> dict[str, str | None]:
        """Step that failed to what it says."""
        failed = {}
        for event in self.result.filter_events(lambda event: event.is_step_failure):
            description = event.step_failure_data.user_failure_data
            failed[event.step_key] = description.description if description else None
        return failed

    def count(self, kind: dg.DagsterEventType) -> int:
        return len(self.result.filter_events(lambda event: event.event_type == kind))


class Requested(NamedTuple):
    """A deployment, what its sensor's first tick requested, and the run of that."""

    deployment: Deployment
    request: dg.RunRequest
    cursor: str
    run: Run
