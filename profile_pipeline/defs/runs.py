"""Runs that sensors ask for.

What belongs here: turning days into the one range that has to run, whether a run is on its way, and how long to wait
after one that failed. What does not: finding days, and what a sensor remembers (`cursors.py`).
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from itertools import takewhile

import dagster as dg

from profile_pipeline.defs import cursors
from profile_pipeline.defs.jobs import nightly_profiles
from profile_pipeline.window import Window

SENSOR_TAG = "profile_pipeline/sensor"
"""On each run, the sensor that asked for it, by which the sensor finds it again."""
ON_THE_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Not NOT_STARTED: such a run was made but not submitted, which nobody may ever make up for."""
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
ASSET_JOB = "__ASSET_JOB"
"""What Dagster calls the job when a person materializes assets."""
RUNS_REMEMBERED = 10
"""More failures in a row than that pause no longer."""


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


def run_request(window: Window, state: str, sensor: str) -> dg.RunRequest:
    """A run of the nightly job over a window, with a key that names the window and the state that asks for it.

    The same state asks for the same key, so a crash between launching and saving the cursor runs nothing twice;
    another change of the same days has another.

    Args:
        window: the days to run.
        state: what was found, and the run before.
        sensor: who asks.
    """
    digest = hashlib.sha256(state.encode()).hexdigest()[:16]
    return dg.RunRequest(
        run_key=f"{window.start}/{window.end}/{digest}",
        tags={
            "dagster/asset_partition_range_start": window.start.isoformat(),
            "dagster/asset_partition_range_end": window.end.isoformat(),
            SENSOR_TAG: sensor,
        },
    )


def run_on_its_way(instance: dg.DagsterInstance) -> str | None:
    """Which run that may write the warehouse is on its way, in words."""
    for run in instance.get_runs(dg.RunsFilter(statuses=ON_THE_WAY)):
        if run.job_name == nightly_profiles.name or run.job_name.startswith(ASSET_JOB):
            return f"run {run.run_id[:8]} of {run.job_name} is {run.status.value.lower()}"
    return None


def ended_runs(instance: dg.DagsterInstance, sensor: str) -> Sequence[dg.RunRecord]:
    """The newest runs that a sensor asked for and that have ended, the newest first."""
    return instance.get_run_records(dg.RunsFilter(tags={SENSOR_TAG: sensor}, statuses=ENDED), limit=RUNS_REMEMBERED)


def pause(ended: Sequence[dg.RunRecord], window: Window, now: datetime) -> str | None:
    """Why a window is not requested yet, when the runs before failed.

    Args:
        ended: from `ended_runs`.
        window: what is owed.
        now: UTC, without a zone.
    """
    is_failed = [not record.dagster_run.is_success for record in ended]
    failures = len(list(takewhile(bool, is_failed)))
    if not failures:
        return None
    newest = ended[0]
    again = _end_of(newest) + cursors.doubled(cursors.FIRST_PAUSE, failures, cursors.LONGEST_PAUSE)
    if again <= now:
        return None
    times = "" if failures == 1 else f", the last of {failures} in a row"
    return f"run {newest.dagster_run.run_id[:8]} failed{times}; {window} is requested again from {shown(again)} on"


def _end_of(record: dg.RunRecord) -> datetime:
    """When a run ended; where that was not noted, as of one that could not be launched, when it last changed."""
    if record.end_time is not None:
        return datetime.fromtimestamp(record.end_time, UTC).replace(tzinfo=None)
    return record.update_timestamp.replace(tzinfo=None)


def shown(moment: datetime) -> str:
    """A moment in words."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
