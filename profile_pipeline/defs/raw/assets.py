"""The logs: what the sources said, day by day.

What belongs here: one asset for each kind of record. What does not: parsing and storing (`ingestion.py`).
"""

import time
from collections.abc import Callable

import dagster as dg

from profile_pipeline import build
from profile_pipeline.defs.daily import daily_asset, failing_well
from profile_pipeline.defs.partitions import SETTINGS, window_of
from profile_pipeline.defs.reporting import ingested_metadata, report
from profile_pipeline.defs.resources import WarehouseResource
from profile_pipeline.extraction import ReadingProgress
from profile_pipeline.forgetting.erasure import finish
from profile_pipeline.index.embedding import Embedder
from profile_pipeline.settings import Settings

READING_SECONDS = 10
"""Between two notes of how far reading a live source has come: often enough to see that it goes on."""


def kinds(system: str, secret: object) -> set[str]:
    """What a log is made with, for the UI: the system if its credentials are set, else files."""
    return {"duckdb", system if secret else "json"}


FROM_MONGODB, FROM_AIRTABLE = kinds("mongodb", SETTINGS.mongodb_uri), kinds("airtable", SETTINGS.airtable_api_key)


def log_checks(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks that a batch is neither mostly dirt nor a mass deletion, which stop what follows."""
    return [
        dg.AssetCheckSpec(
            name=f"{asset}_rejected_share_is_low",
            asset=asset,
            blocking=True,
            description="No more records of the run's days were rejected than the policy's max_rejected_share.",
        ),
        dg.AssetCheckSpec(
            name=f"{asset}_deletions_are_plausible",
            asset=asset,
            blocking=True,
            description="No more records are gone from a live source than the policy's max_deleted_share; else none "
            "of them is deleted.",
        ),
    ]


def ingest(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: Settings,
    embedder: Embedder,
    kind: str,
) -> dg.MaterializeResult:
    """Ingest the run's days of a kind and report; rejected and deleted records are counted on the way.

    An erasure that was broken off is finished before anything is read.
    """
    name, window = f"raw_{kind}", window_of(context)
    with failing_well(context):
        finish(settings, embedder)
    with failing_well(context), warehouse.open() as opened:
        ingested = build.raw(opened, settings, window, kind, noting_progress(context))
        report(context, opened, name, window, ingested_metadata(opened, name, window, ingested))
    rejected = build.rejected_too_many(name, ingested, settings)
    deleted = build.deleted_too_many(name, ingested, settings)
    for problem in filter(None, (rejected, deleted)):
        # The step's own error names the check alone.
        context.log.error(problem)
    return dg.MaterializeResult(
        check_results=[
            share_result(
                f"{name}_rejected_share_is_low",
                "rejected_share",
                ingested.rejected_share,
                settings.policy.max_rejected_share,
                rejected,
            ),
            share_result(
                f"{name}_deletions_are_plausible",
                "deleted_share",
                ingested.deletions.share if ingested.deletions else 0.0,
                settings.policy.max_deleted_share,
                deleted,
            ),
        ]
    )


def share_result(check: str, what: str, share: float, allowed: float, problem: str | None) -> dg.AssetCheckResult:
    """The result of a check on a share of records, which fails where there is a problem."""
    metadata = {what: share, "allowed": allowed}
    return dg.AssetCheckResult(passed=problem is None, check_name=check, metadata=metadata, description=problem)


def noting_progress(context: dg.AssetExecutionContext) -> Callable[[ReadingProgress], None]:
    """Note every few seconds how far reading has come, in the log and on the asset."""
    noted = time.monotonic()

    def note(progress: ReadingProgress) -> None:
        nonlocal noted
        if time.monotonic() - noted < READING_SECONDS:
            return
        noted = time.monotonic()
        context.log.info(str(progress))
        metadata = {name: value for name, value in progress.figures().items() if value is not None}
        context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))

    return note


@daily_asset(group="raw", kinds=FROM_MONGODB, check_specs=log_checks("raw_users"))
def raw_users(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
    embedder: dg.ResourceParam[Embedder],
) -> dg.MaterializeResult:
    """Log of user records: one row for each version of a user known on a day.

    A partition holds the versions created or changed on its day, with the source document beside the typed
    columns. It is appended to: a re-run adds the versions not seen yet and drops none. A live source is read from
    its watermark on, so that earlier partitions may gain late versions, too. Rejected records go to the table
    `quarantine`, with the reason.
    """
    return ingest(context, warehouse, settings, embedder, "users")


@daily_asset(group="raw", kinds=FROM_MONGODB, check_specs=log_checks("raw_orders"))
def raw_orders(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
    embedder: dg.ResourceParam[Embedder],
) -> dg.MaterializeResult:
    """Log of order records: one row for each version of an order known on a day.

    A partition holds the versions created or changed on its day, with the source document beside the typed
    columns. It is appended to: a re-run adds the versions not seen yet and drops none. A live source is read from
    its watermark on, so that earlier partitions may gain late versions, too. Rejected records go to the table
    `quarantine`, with the reason.
    """
    return ingest(context, warehouse, settings, embedder, "orders")


@daily_asset(group="raw", kinds=FROM_MONGODB, check_specs=log_checks("raw_events"))
def raw_events(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
    embedder: dg.ResourceParam[Embedder],
) -> dg.MaterializeResult:
    """Log of event records: one row for each version of an event known on a day.

    A partition holds the versions created or changed on its day, with the source document beside the typed
    columns. It is appended to: a re-run adds the versions not seen yet and drops none. A live source is read from
    its watermark on, so that earlier partitions may gain late versions, too. Rejected records go to the table
    `quarantine`, with the reason.
    """
    return ingest(context, warehouse, settings, embedder, "events")


@daily_asset(group="raw", kinds=FROM_AIRTABLE, check_specs=log_checks("raw_messages"))
def raw_messages(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
    embedder: dg.ResourceParam[Embedder],
) -> dg.MaterializeResult:
    """Log of message records: one row for each version of a message known on a day.

    A partition holds the versions created or changed on its day, with the source document beside the typed
    columns. It is appended to: a re-run adds the versions not seen yet and drops none. A live source is read from
    its watermark on, so that earlier partitions may gain late versions, too. Rejected records go to the table
    `quarantine`, with the reason.
    """
    return ingest(context, warehouse, settings, embedder, "messages")
