"""When what runs.

What belongs here: the nightly job, the weekly one, and their schedules. What does not: re-ingestion when a source
changes (`sensors.py`, `live_sensors.py`).
"""

import dagster as dg

from profile_pipeline.defs.partitions import SETTINGS

NIGHT_HOUR = 2
"""When the day that ended is run; until then sources have time to settle."""

VERIFICATION_CRON = "0 5 * * 0"
"""Sundays, hours after the nightly run, so that neither waits for the other."""

VERIFICATION = dg.AssetSelection.checks(
    dg.AssetCheckKey(dg.AssetKey("user_profiles"), "user_profiles_follow_from_the_logs")
)
"""Computes a sample anew, which costs more than the other checks and tells nothing new each night."""

nightly_profiles = dg.define_asset_job(
    "nightly_profiles",
    selection=dg.AssetSelection.all() - VERIFICATION,
    description="Ingest a day, or a range of days, and bring profiles, decisions and the index up to date.",
)

nightly_profiles_schedule = dg.build_schedule_from_partitioned_job(
    nightly_profiles,
    name="nightly_profiles_schedule",
    description="Each night, the day that ended, once sources had two hours to settle.",
    hour_of_day=NIGHT_HOUR,
)

weekly_verification = dg.define_asset_job(
    "weekly_verification",
    selection=VERIFICATION,
    description="Compute a sample of users anew from the logs, and compare it with what is stored.",
)

weekly_verification_schedule = dg.ScheduleDefinition(
    name="weekly_verification_schedule",
    job=weekly_verification,
    cron_schedule=VERIFICATION_CRON,
    execution_timezone=SETTINGS.timezone,
    description="Each week, a sample of users; other users each time.",
)
