"""Re-ingestion when files change.

What belongs here: the sensor of the source folder. What does not: finding days (`discovery.py`), asking for runs
(`runs.py`), and live sources (`live_sensors.py`).
"""

from datetime import UTC, date, datetime

import dagster as dg

from profile_pipeline.defs import cursors
from profile_pipeline.defs.cursors import FolderCursor
from profile_pipeline.defs.jobs import nightly_profiles
from profile_pipeline.defs.partitions import DAILY
from profile_pipeline.defs.runs import ended_runs, pause, run_on_its_way, run_request, window_owed
from profile_pipeline.discovery import days_of_files, known
from profile_pipeline.errors import PipelineError
from profile_pipeline.settings import Settings
from profile_pipeline.sources import FileSource, kinds_from_files

NAME = "source_folder_sensor"
INTERVAL_SECONDS = 60
"""Looking costs a few file stamps while nothing changed; a changed file waits a minute at most."""


@dg.sensor(
    name=NAME,
    job=nightly_profiles,
    minimum_interval_seconds=INTERVAL_SECONDS,
    description="Runs the days of which a new or changed file has versions that the log lacks, and those they owe.",
)
def source_folder_sensor(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.RunRequest | dg.SkipReason:
    """Look at the files that changed since the last tick, and request one run over the days owed.

    While a run is on its way nothing is looked for, and the next tick sees the same change. What was found stays
    owed until a run of this sensor succeeds.
    """
    last_partition = DAILY.get_last_partition_key()
    if last_partition is None:
        return dg.SkipReason(f"the first partition, {settings.start_date}, has not ended yet")
    if reason := _not_ready(context.instance, settings):
        return dg.SkipReason(reason)
    last_day = date.fromisoformat(last_partition)
    cursor = cursors.read_cursor(context.cursor, FolderCursor) or FolderCursor()
    if ended := ended_runs(context.instance, NAME):
        newest = ended[0].dagster_run
        cursor = cursors.settled(cursor, newest.run_id, succeeded=newest.is_success)
    try:
        cursor, problems = _looked(cursor, settings, last_day)
        state = known(settings, {})
    except PipelineError as error:
        return dg.SkipReason(str(error))
    for problem in problems:
        context.log.warning(problem)
    days = sorted({*cursor.pending, *state.owed})
    window = window_owed(days, state.computed, last_day)
    # It names the run before, so that the key is another for a legitimate re-run of the same days.
    found = cursors.requested(cursor, days).model_dump_json()
    context.update_cursor(found)
    if window is None:
        nothing = f"{settings.source_dir} has nothing up to {last_day} that the log lacks"
        return dg.SkipReason("; ".join(problems) or nothing)
    if reason := pause(ended, window, datetime.now(UTC).replace(tzinfo=None)):
        return dg.SkipReason(reason)
    context.log.info(f"{len(days)} days are owed, the first of them {days[0]}; running {window}")
    return run_request(window, found, NAME)


def _not_ready(instance: dg.DagsterInstance, settings: Settings) -> str | None:
    """Why nothing may be looked for now."""
    if not kinds_from_files(settings):
        return (
            "no kind of record comes from files, because MONGODB_URI and AIRTABLE_API_KEY are set; the sensors of "
            "MongoDB and Airtable look for changes"
        )
    if run := run_on_its_way(instance):
        return f"{run}; {settings.source_dir} is looked at when it has ended"
    return None


def _looked(cursor: FolderCursor, settings: Settings, last_day: date) -> tuple[FolderCursor, list[str]]:
    """The cursor with what files that changed have that the log lacks; and which kinds cannot be read, and why.

    These are looked at again at the next tick.
    """
    source, kinds = FileSource(settings.source_dir), kinds_from_files(settings)
    files, found = dict(cursor.files), set[date]()
    problems: list[str] = []
    for kind, stamps in source.stamps().items():
        if kind not in kinds or stamps == cursor.files.get(kind):
            continue
        try:
            found.update(days_of_files(source, kind, settings, last_day=last_day))
            files[kind] = stamps
        except PipelineError as error:
            problems.append(str(error))
    return cursors.requested(cursor.model_copy(update={"files": files}), found), problems
