"""The logs: what the sources said, day by day.

What belongs here: one asset for each kind of record. What does not: parsing and storing (`ingestion.py`).
"""

import dagster as dg

from profile_pipeline import build
from profile_pipeline.defs.daily import daily_asset, failing_well
from profile_pipeline.defs.partitions import window_of
from profile_pipeline.defs.reporting import ingested_metadata, report
from profile_pipeline.defs.resources import WarehouseResource
from profile_pipeline.settings import Settings

KINDS = {"duckdb", "json"}


def rejected_share_check(asset: str) -> dg.AssetCheckSpec:
    """The check that a batch is not mostly dirt, which stops what follows."""
    return dg.AssetCheckSpec(
        name=f"{asset}_rejected_share_is_low",
        asset=asset,
        blocking=True,
        description="No more records of the run's days were rejected than the policy's max_rejected_share.",
    )


def ingest(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: Settings, kind: str
) -> dg.MaterializeResult:
    """Ingest the run's days of a kind and report; the share of rejected records is checked on the way."""
    name, window = f"raw_{kind}", window_of(context)
    with failing_well(context), warehouse.open() as opened:
        ingested = build.raw(opened, settings, window, kind)
        report(context, opened, name, window, ingested_metadata(opened, name, window, ingested))
    passed = ingested.rejected_share <= settings.policy.max_rejected_share
    checked = dg.AssetCheckResult(
        passed=passed,
        check_name=f"{name}_rejected_share_is_low",
        metadata={"rejected_share": ingested.rejected_share, "allowed": settings.policy.max_rejected_share},
        description=None if passed else build.rejected_too_many(name, ingested, settings),
    )
    return dg.MaterializeResult(check_results=[checked])


@daily_asset(group="raw", kinds=KINDS, check_specs=[rejected_share_check("raw_users")])
def raw_users(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """Log of user records: one row for each version of a user known on a day.

    A partition holds the versions created or changed on its day, with the source document beside the typed
    columns. It is appended to: a re-run adds the versions not seen yet and drops none. Rejected records go to
    the table `quarantine`, with the reason.
    """
    return ingest(context, warehouse, settings, "users")


@daily_asset(group="raw", kinds=KINDS, check_specs=[rejected_share_check("raw_orders")])
def raw_orders(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """Log of order records: one row for each version of an order known on a day.

    A partition holds the versions created or changed on its day, with the source document beside the typed
    columns. It is appended to: a re-run adds the versions not seen yet and drops none. Rejected records go to
    the table `quarantine`, with the reason.
    """
    return ingest(context, warehouse, settings, "orders")


@daily_asset(group="raw", kinds=KINDS, check_specs=[rejected_share_check("raw_events")])
def raw_events(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """Log of event records: one row for each version of an event known on a day.

    A partition holds the versions created or changed on its day, with the source document beside the typed
    columns. It is appended to: a re-run adds the versions not seen yet and drops none. Rejected records go to
    the table `quarantine`, with the reason.
    """
    return ingest(context, warehouse, settings, "events")


@daily_asset(group="raw", kinds=KINDS, check_specs=[rejected_share_check("raw_messages")])
def raw_messages(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """Log of message records: one row for each version of a message known on a day.

    A partition holds the versions created or changed on its day, with the source document beside the typed
    columns. It is appended to: a re-run adds the versions not seen yet and drops none. Rejected records go to
    the table `quarantine`, with the reason.
    """
    return ingest(context, warehouse, settings, "messages")
