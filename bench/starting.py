"""The night's job on the committed sample, and the same steps without Dagster, from a bare interpreter.

What belongs here: ways whose imports are measured. That is why nothing is imported before they begin.
"""

# ruff: noqa: PLC0415

from collections.abc import Generator


def job(home: str, repository: str, source: str, start: str, end: str) -> Generator[None, None, None]:
    """Run `nightly_profiles` over days of a source in this process, all assets but the index."""
    import os

    yield
    os.environ |= {
        "DAGSTER_HOME": repository,
        "PROFILE_PIPELINE_HOME": home,
        "PROFILE_PIPELINE_SOURCE_DIR": source,
        "PROFILE_PIPELINE_START_DATE": start,
    }
    import dagster as dg

    from profile_pipeline.definitions import defs

    whole = defs().get_repository_def().get_job("nightly_profiles")
    index = dg.AssetKey("profile_index")
    # A selection of assets alone would bring in all their checks, also those that are no part of this job.
    checks = {key for key in whole.asset_layer.asset_graph.asset_check_keys if key.asset_key != index}
    night = whole.get_subset(
        asset_selection={*whole.asset_layer.executable_asset_keys} - {index}, asset_check_selection=checks
    )
    with dg.DagsterInstance.get() as instance:
        result = night.execute_in_process(
            instance=instance,
            tags={"dagster/asset_partition_range_start": start, "dagster/asset_partition_range_end": end},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    assert result.success


def functions(home: str, source: str, start: str, end: str) -> Generator[None, None, None]:
    """The same steps by plain calls."""
    from datetime import date
    from pathlib import Path

    yield
    from profile_pipeline.build import build
    from profile_pipeline.garbage import collect_rarely
    from profile_pipeline.settings import Settings
    from profile_pipeline.warehouse import open_warehouse
    from profile_pipeline.window import Window

    collect_rarely()
    days = Window(date.fromisoformat(start), date.fromisoformat(end))
    settings = Settings(
        _env_file=None,
        home=Path(home),
        source_dir=Path(source),
        start_date=days.start,
        mongodb_uri=None,
        airtable_api_key=None,
    )
    with open_warehouse(settings) as warehouse:
        build(warehouse, settings, days)
