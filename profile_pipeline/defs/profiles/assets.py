"""Profiles, what they say in words, and whom to write to.

What belongs here: one asset for each table of profiles. What does not: rules (`profiles/`).
"""

import dagster as dg

from profile_pipeline import build
from profile_pipeline.defs.daily import daily_asset, failing_well
from profile_pipeline.defs.features.assets import KINDS, compute
from profile_pipeline.defs.partitions import window_of
from profile_pipeline.defs.reporting import bar_chart, computed_metadata, report
from profile_pipeline.defs.resources import WarehouseResource
from profile_pipeline.settings import Settings

FEATURES = ["event_features", "message_features", "order_features", "personalization_flags"]


@daily_asset(group="profiles", kinds=KINDS, deps=["touched_users", "raw_users", *FEATURES])
def user_profiles(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """Profiles of the touched users as of the end of the day; stored facts only, nothing that the clock changes.

    A partition holds one row for each user touched on its day; a deleted user's says so. It is replaced; a
    re-run over the same log writes nothing. `profiles_as_of(day)` in SQL gives everybody's profile as of a day.
    """
    window = window_of(context)
    with failing_well(context), warehouse.open() as opened:
        computed = build.user_profiles(opened, settings, window)
        shown = computed_metadata(opened, "user_profiles", window, computed)
        scores = opened.connection.execute(
            """
            SELECT least(personalization_score // 10, 9) * 10 AS lowest, count(*)
            FROM user_profiles WHERE partition_date BETWEEN ? AND ? AND NOT is_deleted GROUP BY 1 ORDER BY 1
            """,
            [window.start, window.end],
        ).fetchall()
        counts = {f"{lowest}+": count for lowest, count in scores}
        shown["scores"] = bar_chart("score", counts)
        report(context, opened, "user_profiles", window, shown)
    return dg.MaterializeResult()


@daily_asset(group="profiles", kinds=KINDS, deps=["user_profiles"])
def user_summaries(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """The touched users' profiles in words, with absolute dates, and the tags and text that are indexed.

    A partition holds one row for each user touched on its day. It is replaced; a re-run over the same log
    writes nothing.
    """
    return compute(context, warehouse, settings, build.user_summaries)


@daily_asset(group="profiles", kinds=KINDS, deps=["user_profiles"])
def messaging_decisions(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """Whose messaging decision changed on the day, by an act or by the clock, with the reasons.

    A partition holds one row for each user whose decision or its reasons differ from the day before. It is
    replaced; a re-run over the same profiles writes nothing. The full list as of the run's last day is written to
    the exports folder; `decisions_as_of(day)` in SQL gives it for any day.
    """
    window = window_of(context)
    with failing_well(context), warehouse.open() as opened:
        computed = build.messaging_decisions(opened, settings, window)
        shown = computed_metadata(opened, "messaging_decisions", window, computed)
        counts = opened.connection.execute(
            "SELECT decision, count(*) FROM decisions_as_of(?) GROUP BY 1 ORDER BY 1", [window.end]
        ).fetchall()
        shown["decisions"] = bar_chart(f"decision as of {window.end}", dict(counts))
        report(context, opened, "messaging_decisions", window, shown)
    return dg.MaterializeResult()
