"""When what runs.

What belongs here: the nightly job and its schedule. What does not: re-ingestion when a source changes
(`sensors.py`, `live_sensors.py`).
"""

import dagster as dg

NIGHT_HOUR = 2
"""When the day that ended is run; until then sources have time to settle."""

nightly_profiles = dg.define_asset_job(
    "nightly_profiles",
    selection=dg.AssetSelection.all(),
    description="Ingest a day, or a range of days, and bring profiles, decisions and the index up to date.",
)

nightly_profiles_schedule = dg.build_schedule_from_partitioned_job(
    nightly_profiles,
    name="nightly_profiles_schedule",
    description="Each night, the day that ended, once sources had two hours to settle.",
    hour_of_day=NIGHT_HOUR,
)
