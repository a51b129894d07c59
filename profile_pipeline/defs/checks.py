"""Checks after the assets that they are about.

What belongs here: asking the questions of `checks.py`, of the index and of `verification.py`, and telling whether
days are missing. What does not: the questions themselves.
"""

from datetime import date

import dagster as dg
from pydantic import Field

from profile_pipeline import indexing
from profile_pipeline.checks import CHECKS, Check, broken_cases
from profile_pipeline.computed_days import days_left_out, days_owed, last_computed_day
from profile_pipeline.defs.daily import WAREHOUSE_POOL, failing_well
from profile_pipeline.defs.partitions import DAILY
from profile_pipeline.defs.reporting import index_state_metadata, verification_metadata
from profile_pipeline.defs.resources import WarehouseResource
from profile_pipeline.index.embedding import Embedder
from profile_pipeline.settings import Settings
from profile_pipeline.verification import SAMPLE_USERS, verify

COMPLETING = ["user_summaries", "messaging_decisions"]
"""A day counts as computed once these are written, too."""

SHOWN_CASES = 10
"""Enough to start looking; the query behind the check gives all."""


def table_check(check: Check) -> dg.AssetChecksDefinition:
    """The asset check that asks one question of the warehouse."""

    @dg.asset_check(
        asset=check.asset,
        name=check.name,
        description=check.meaning,
        blocking=check.blocking,
        pool=WAREHOUSE_POOL,
    )
    def ask(warehouse: WarehouseResource) -> dg.AssetCheckResult:
        with warehouse.open() as opened:
            count, cases = broken_cases(opened, check, SHOWN_CASES)
        return dg.AssetCheckResult(
            passed=count == 0,
            severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
            description=f"{count} cases break it, such as {', '.join(cases)}" if count else None,
            metadata={"broken_cases": count},
        )

    return ask


@dg.asset_check(asset="user_profiles", pool=WAREHOUSE_POOL, additional_deps=COMPLETING)
def user_profiles_owe_no_day(warehouse: WarehouseResource) -> dg.AssetCheckResult:
    """Profiles follow from the log as it is now: no day gained versions, broke off or was left out."""
    with warehouse.open() as opened:
        owed = days_owed(opened)
        left_out = days_left_out(opened)
    metadata: dict[str, dg.MetadataValue] = {"days_owed": dg.MetadataValue.int(len(owed))}
    if owed:
        metadata["first_day_owed"] = dg.MetadataValue.text(owed[0].isoformat())
        metadata["last_day_owed"] = dg.MetadataValue.text(owed[-1].isoformat())
    if left_out:
        metadata["days_left_out"] = dg.MetadataValue.text(str(left_out))
    problems = [f"materialize {left_out}, which was left out"] if left_out else []
    problems += [f"materialize {owed[0]} to {owed[-1]} again"] if owed else []
    return dg.AssetCheckResult(
        passed=not problems,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(problems) or None,
        metadata=metadata,
    )


@dg.asset_check(asset="user_profiles", pool=WAREHOUSE_POOL, additional_deps=COMPLETING)
def user_profiles_have_the_latest_partition(warehouse: WarehouseResource) -> dg.AssetCheckResult:
    """The day that ended last has been computed; a backfill of old days must not look like fresh data."""
    with warehouse.open() as opened:
        computed = last_computed_day(opened)
    latest = date.fromisoformat(DAILY.get_last_partition_key() or computed.isoformat())
    return dg.AssetCheckResult(
        passed=computed >= latest,
        severity=dg.AssetCheckSeverity.WARN,
        description=None if computed >= latest else f"profiles end on {computed}, {latest} is not computed",
        metadata={"last_computed_day": computed.isoformat(), "latest_partition": latest.isoformat()},
    )


@dg.asset_check(asset="profile_index", pool=WAREHOUSE_POOL)
def profile_index_matches_profiles(
    context: dg.AssetCheckExecutionContext,
    warehouse: WarehouseResource,
    embedder: dg.ResourceParam[Embedder],
    settings: dg.ResourceParam[Settings],
) -> dg.AssetCheckResult:
    """The served version holds each indexable profile once and up to date, and finds what it should.

    Sampled texts find themselves first, and the golden queries the users expected.
    """
    with failing_well(context):
        state = indexing.verify_index(warehouse.open, settings, embedder)
    return dg.AssetCheckResult(
        passed=not state.problems,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(state.problems) or None,
        metadata=index_state_metadata(state),
    )


class VerificationConfig(dg.Config):
    """What a run of the weekly job may choose."""

    sample: int | None = Field(SAMPLE_USERS, ge=1, description="How many users to look at; null for everyone.")


@dg.asset_check(asset="user_profiles", pool=WAREHOUSE_POOL, additional_deps=COMPLETING)
def user_profiles_follow_from_the_logs(
    context: dg.AssetCheckExecutionContext, config: VerificationConfig, settings: dg.ResourceParam[Settings]
) -> dg.AssetCheckResult:
    """Computed anew from nothing but the logs, a sample of users has the same rows in every table, on all days."""
    with failing_well(context):
        found = verify(settings, sample=config.sample, on_progress=context.log.info)
    return dg.AssetCheckResult(
        passed=found.problem is None,
        severity=dg.AssetCheckSeverity.ERROR,
        description=found.problem,
        metadata=verification_metadata(found),
    )


@dg.definitions
def checks() -> dg.Definitions:
    """All checks: those above, and one for each question of `checks.py`."""
    return dg.Definitions(
        asset_checks=[
            user_profiles_owe_no_day,
            user_profiles_have_the_latest_partition,
            profile_index_matches_profiles,
            user_profiles_follow_from_the_logs,
            *(table_check(check) for check in CHECKS),
        ]
    )
