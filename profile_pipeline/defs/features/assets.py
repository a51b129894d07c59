"""Whom a day touches, and their features as of its end.

What belongs here: one asset for each table of features. What does not: rules (`features/`).
"""

from collections.abc import Callable

import dagster as dg

from profile_pipeline import build
from profile_pipeline.defs.daily import daily_asset, failing_well
from profile_pipeline.defs.partitions import SETTINGS, window_of
from profile_pipeline.defs.reporting import computed_metadata, report
from profile_pipeline.defs.resources import WarehouseResource
from profile_pipeline.settings import Settings
from profile_pipeline.warehouse import Warehouse
from profile_pipeline.window import Window

KINDS = {SETTINGS.engine, "ibis"}

Step = Callable[[Warehouse, Settings, Window], build.Computed]


def compute(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: Settings, step: Step
) -> dg.MaterializeResult:
    """Compute the table of a step for the run's days and report."""
    name, window = context.asset_key.to_user_string(), window_of(context)
    with failing_well(context), warehouse.open() as opened:
        computed = step(opened, settings, window)
        report(context, opened, name, window, computed_metadata(opened, name, window, computed))
    return dg.MaterializeResult()


@daily_asset(group="features", kinds=KINDS, deps=["raw_users", "raw_orders", "raw_events", "raw_messages"])
def touched_users(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """Whose profile may differ from the day before: one row for each user touched on a day, with the reasons.

    A partition holds the users of any record that appeared, changed or happened on its day. It is replaced; a
    re-run over the same log writes nothing.
    """
    return compute(context, warehouse, settings, build.touched_users)


@daily_asset(group="features", kinds=KINDS, deps=["touched_users", "raw_users", "raw_events"])
def event_features(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """What events say about each touched user as of the end of the day: counts, history, favourites, friends.

    A partition holds one row for each user touched on its day. It is replaced; a re-run over the same log
    writes nothing.
    """
    return compute(context, warehouse, settings, build.event_features)


@daily_asset(group="features", kinds=KINDS, deps=["touched_users", "raw_messages"])
def message_features(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """What messages say about each touched user as of the end of the day: queued, sent, eligible from when.

    A partition holds one row for each user touched on its day. It is replaced; a re-run over the same log
    writes nothing.
    """
    return compute(context, warehouse, settings, build.message_features)


@daily_asset(group="features", kinds=KINDS, deps=["touched_users", "raw_orders"])
def order_features(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """What orders say about each touched user as of the end of the day: count, sum, mean, first and last.

    A partition holds one row for each user touched on its day. It is replaced; a re-run over the same log
    writes nothing.
    """
    return compute(context, warehouse, settings, build.order_features)


@daily_asset(group="features", kinds=KINDS, deps=["touched_users", "raw_users", "event_features"])
def personalization_flags(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """How much is known about each touched user as of the end of the day, and how engaged they are.

    A partition holds one row for each user touched on its day. It is replaced; a re-run over the same log
    writes nothing.
    """
    return compute(context, warehouse, settings, build.personalization_flags)
