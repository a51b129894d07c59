"""Replaying the quarantine.

What belongs here: the job and what it reports. What does not: what becomes of a rejected record (`replay.py`).
"""

from collections import Counter
from datetime import date

import dagster as dg
from pydantic import Field

from profile_pipeline.computed_days import days_owed
from profile_pipeline.defs.daily import WAREHOUSE_POOL, failing_well
from profile_pipeline.defs.reporting import table_of
from profile_pipeline.defs.resources import WarehouseResource
from profile_pipeline.replay import Replayed, day_of_replay, replay
from profile_pipeline.settings import Settings
from profile_pipeline.window import parse_day


class ReplayConfig(dg.Config):
    """What a run of the job may choose."""

    day: str | None = Field(
        None,
        description="The day on which records enter the log, YYYY-MM-DD; today in the business time zone unless given.",
    )


@dg.op(pool=WAREHOUSE_POOL)
def replay_waiting_records(
    context: dg.OpExecutionContext,
    config: ReplayConfig,
    warehouse: WarehouseResource,
    settings: dg.ResourceParam[Settings],
) -> None:
    """Screen rejected records again; those that are valid by now enter the log on the day.

    The others keep waiting, with the number of attempts. A second run adds nothing to the log.
    """
    with failing_well(context):
        day = day_of_replay(settings, parse_day(config.day) if config.day else None)
        with warehouse.open() as opened:
            done = replay(opened, settings, day)
            owed = days_owed(opened)
    for each in done:
        context.log.info(str(each))
    context.add_output_metadata(replayed_metadata(day, done, owed))


def replayed_metadata(day: date, done: list[Replayed], owed: list[date]) -> dict[str, dg.MetadataValue]:
    """What became of the waiting records of each kind, why others still wait, and which days owe a recompute."""
    reasons = sum((each.reasons for each in done), Counter())
    counts = [{name: value for name, value in vars(each).items() if name != "reasons"} for each in done]
    return {
        "day": dg.MetadataValue.text(day.isoformat()),
        "records": table_of(counts),
        "still_rejected_because": table_of(
            [{"records": count, "reason": reason} for reason, count in reasons.most_common()]
        ),
        "days_owed": dg.MetadataValue.int(len(owed)),
    }


@dg.job(description="Look at rejected records again; those that are valid by now enter the log on the day of the run.")
def quarantine_replay() -> None:
    """What `profile-pipeline quarantine replay` does."""
    replay_waiting_records()
