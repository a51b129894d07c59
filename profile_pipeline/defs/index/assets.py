"""The vector index that people search.

What belongs here: the asset that builds and promotes it. What does not: how (`index/`).
"""

import time

import dagster as dg

from profile_pipeline import indexing
from profile_pipeline.defs.daily import daily_asset, failing_well
from profile_pipeline.defs.partitions import window_of
from profile_pipeline.defs.reporting import (
    PREVIEW_ROWS,
    answers_metadata,
    index_history_metadata,
    index_version_metadata,
    table_of,
)
from profile_pipeline.defs.resources import WarehouseResource
from profile_pipeline.index.embedding import Embedder, Progress, progress_in_words
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.versions import history
from profile_pipeline.settings import Settings

SECONDS_BETWEEN_NOTES = 10
"""Between two notes of how far embedding has come: each is an event in Dagster's storage."""


def noting_embedding(context: dg.AssetExecutionContext) -> Progress:
    """Note every few seconds how far embedding has come, and when it has ended."""
    started = noted = time.monotonic()

    def note(done: int, total: int) -> None:
        nonlocal noted
        now = time.monotonic()
        if done == total or now - noted >= SECONDS_BETWEEN_NOTES:
            noted = now
            context.log.info(f"embedded {progress_in_words(done, total, now - started)}")

    return note


@daily_asset(
    group="index", kinds={"lancedb", "python"}, deps=["user_profiles", "user_summaries", "messaging_decisions"]
)
def profile_index(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    embedder: dg.ResourceParam[Embedder],
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult:
    """Searchable index of profiles in LanceDB: one row for each profile with a tag.

    Whatever partition is run, the index is brought up to the latest day with profiles: only changed texts are
    embedded, users who left are deleted, and the new version is checked before it is promoted in one atomic
    step. A re-run without changes writes and embeds nothing.
    """
    with failing_well(context):
        report = indexing.profile_index(
            warehouse.open,
            settings,
            embedder,
            on_stage=lambda stage: context.log.info(f"index: {stage}"),
            on_progress=noting_embedding(context),
        )
    store = IndexStore(settings.index_path)
    # On the last partition alone, as everywhere: a range logs an event for each of its days.
    context.add_asset_metadata(
        {
            **index_version_metadata(report.served),
            "upserted": report.upserted,
            "deleted": report.deleted,
            "embedded": report.embedded,
            "promoted": report.promoted,
            "runtime": report.runtime or "nothing embedded",
            **answers_metadata(report.answers),
            "history": index_history_metadata(history(store), report.served.version),
            "preview": table_of(store.first_rows(PREVIEW_ROWS)),
        },
        partition_key=window_of(context).end.isoformat(),
    )
    return dg.MaterializeResult()
