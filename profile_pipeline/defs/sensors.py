"""Re-ingestion when the source changes.

What belongs here: turning changed days into the one range that has to run, and the sensor of the source folder. What
does not: finding them (`sources/`), running it (`jobs.py`), and live sources (`live_sensors.py`).
"""

import hashlib
from collections.abc import Iterable
from datetime import date

import dagster as dg

from profile_pipeline.defs.jobs import nightly_profiles
from profile_pipeline.defs.partitions import DAILY
from profile_pipeline.errors import PipelineError
from profile_pipeline.settings import Settings
from profile_pipeline.sources import FileSource, kinds_from_files
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window

INTERVAL_SECONDS = 60
"""Looking costs a few file stamps while nothing changed; a changed file waits a minute at most."""


def window_owed(changed: Iterable[date], computed: Iterable[date], last_partition: date) -> Window | None:
    """The days to run when some changed: from the first of them to the last one computed, at least to themselves.

    Every computed day from the first changed one on owes a recompute, because profiles carry history forward;
    days that nobody computed owe nothing. The days between are part of the range: it is one pass anyway, and a
    day left out would be owed itself. Days after the last partition are left to the night in which they end.

    Args:
        changed: days whose records changed.
        computed: days that have profiles.
        last_partition: the last day that has ended.

    Returns:
        The window; none if nothing changed up to the last partition.
    """
    due = [day for day in changed if day <= last_partition]
    if not due:
        return None
    return Window(min(due), max([*due, *(day for day in computed if day <= last_partition)]))


def run_request(window: Window, state: str, **tags: str) -> dg.RunRequest:
    """A run of the nightly job over a window, with a key that names the window and the state that asks for it.

    The same state asks for the same key, so a crash between launching and saving the cursor runs nothing twice;
    another change of the same days has another.

    Args:
        window: the days to run.
        state: what was found, such as the cursor of a source of files.
        tags: more of them for the run.
    """
    digest = hashlib.sha256(state.encode()).hexdigest()[:16]
    return dg.RunRequest(
        run_key=f"{window.start}/{window.end}/{digest}",
        tags={
            "dagster/asset_partition_range_start": window.start.isoformat(),
            "dagster/asset_partition_range_end": window.end.isoformat(),
            **tags,
        },
    )


@dg.sensor(
    job=nightly_profiles,
    minimum_interval_seconds=INTERVAL_SECONDS,
    description="Runs the days that a new or changed file of the source folder concerns, and those they owe.",
)
def source_folder_sensor(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SensorResult | dg.SkipReason:
    """Ask the source what changed since the cursor, and request one run over the days owed.

    While a run writes the warehouse the tick is skipped, and the next one sees the same change.
    """
    kinds = kinds_from_files(settings)
    if not kinds:
        return dg.SkipReason(
            "no kind of record comes from files, because MONGODB_URI and AIRTABLE_API_KEY are set; the sensors of "
            "MongoDB and Airtable look for changes"
        )
    try:
        changed, cursor = FileSource.from_settings(settings).changed_days(context.cursor, kinds)
        computed = _computed_days(settings)
    except PipelineError as error:
        return dg.SkipReason(str(error))
    last_partition = DAILY.get_last_partition_key()
    if last_partition is None:
        return dg.SkipReason(f"the first partition, {settings.start_date}, has not ended yet")
    window = window_owed(changed, computed, date.fromisoformat(last_partition))
    if window is None:
        context.update_cursor(cursor)
        return dg.SkipReason(f"nothing changed in {settings.source_dir} up to {last_partition}")
    context.log.info(f"{len(changed)} days changed, the first on {min(changed)}; running {window}")
    return dg.SensorResult(run_requests=[run_request(window, cursor)], cursor=cursor)


def _computed_days(settings: Settings) -> list[date]:
    """The days with profiles, however they were computed; the warehouse knows those of the command line, too."""
    if not settings.warehouse_path.exists():
        return []
    with open_warehouse(settings, read_only=True) as warehouse:
        return [row["partition_date"] for row in warehouse.records("SELECT partition_date FROM computed_days")]
