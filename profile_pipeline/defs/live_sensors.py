"""Re-ingestion when a live source changes: a sensor for each system.

What belongs here: what a tick does, in which order, and what it says. What does not: finding days
(`discovery.py`), what is remembered and when it is time again (`cursors.py`), and running days (`jobs.py`).

While any run of the job is on its way nothing is looked for: the run closes the gap since the watermark itself, only
one runs at a time anyway, two sensors would ask for the same days, and a reader would stand in its way.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg
from pydantic import SecretStr

from profile_pipeline.defs import cursors
from profile_pipeline.defs.cursors import Cursor
from profile_pipeline.defs.jobs import NIGHT_HOUR, nightly_profiles
from profile_pipeline.defs.partitions import SETTINGS
from profile_pipeline.defs.resources import Systems
from profile_pipeline.defs.runs import ended_runs, pause, run_on_its_way, run_request, shown, window_owed
from profile_pipeline.discovery import Known, known, pending_days
from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.settings import Settings
from profile_pipeline.sources.live import LiveSource, WakingSource

INTERVAL_SECONDS = 30
"""Between two ticks. Most find that it is not time to look yet, or ask a change stream, which costs next to nothing."""
LOOK_INTERVAL = timedelta(minutes=1)
"""Between two looks at a source where calls cost nothing: as long as a changed file waits at most."""

AIRTABLE_CALLS = 2
"""What a look takes where little changed: the time and a page of changes."""


@dataclass(frozen=True)
class System:
    """A system with a sensor: its variable, the kinds of record it has, and how often it may be looked at."""

    name: str
    variable: str
    kinds: tuple[str, ...]
    secret: Callable[[Settings], SecretStr | None]
    interval: Callable[[Settings], timedelta]

    @property
    def sensor_name(self) -> str:
        """The name of its sensor."""
        return f"{self.name.lower()}_sensor"


def airtable_interval(settings: Settings) -> timedelta:
    """What the calls of the plan allow."""
    from profile_pipeline.sources.airtable.client import poll_interval  # noqa: PLC0415  # loads the client

    return max(LOOK_INTERVAL, AIRTABLE_CALLS * poll_interval(settings.airtable_monthly_calls))


MONGODB = System(
    "MongoDB",
    "MONGODB_URI",
    ("users", "orders", "events"),
    lambda settings: settings.mongodb_uri,
    lambda settings: LOOK_INTERVAL,
)
AIRTABLE = System(
    "Airtable",
    "AIRTABLE_API_KEY",
    ("messages",),
    lambda settings: settings.airtable_api_key,
    airtable_interval,
)


def live_sensor(system: System) -> dg.SensorDefinition:
    """The sensor of a system, which is on where the system's credentials are set."""
    is_on = system.secret(SETTINGS) is not None

    @dg.sensor(
        name=system.sensor_name,
        job=nightly_profiles,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if is_on else dg.DefaultSensorStatus.STOPPED,
        description=f"Runs the days of which {system.name} has versions that the log lacks, and those they owe.",
    )
    def sensor(
        context: dg.SensorEvaluationContext,
        settings: dg.ResourceParam[Settings],
        systems: dg.ResourceParam[Systems],
    ) -> dg.SensorResult | dg.SkipReason:
        if system.secret(settings) is None:
            *others, last = system.kinds
            kinds = f"{', '.join(others)} and {last} come" if others else f"{last} come"
            return dg.SkipReason(f"{system.variable} is not set; {kinds} from files in {settings.source_dir}")
        return Tick(context, system, settings, systems).result()

    return sensor


class Tick:
    """One tick of a live sensor: at most one look at the source, and at most one run.

    Its steps come in order, and each says why the tick ends with it, or nothing. What they find out is kept in the
    cursor, whether a run is requested or not.
    """

    def __init__(
        self, context: dg.SensorEvaluationContext, system: System, settings: Settings, systems: Systems
    ) -> None:
        """Begin where the tick before ended."""
        self.context, self.system, self.settings, self.systems = context, system, settings, systems
        self.patience, self.now = systems.patience(), systems.now()
        self.last_day = cursors.last_settled_day(self.now, settings.zone, NIGHT_HOUR)
        self.interval = LOOK_INTERVAL
        self.known = Known()
        self.ended: Sequence[dg.RunRecord] = ()
        self.notes: list[str] = []
        self.cursor = self._remembered()

    def result(self) -> dg.SensorResult:
        """What the tick comes to."""
        outcome = self._not_ready() or self._look() or self._owed()
        cursor = self.cursor.model_dump_json()
        if isinstance(outcome, dg.RunRequest):
            return dg.SensorResult(run_requests=[outcome], cursor=cursor)
        return dg.SensorResult(skip_reason="; ".join([outcome, *self.notes]), cursor=cursor)

    def _remembered(self) -> Cursor:
        cursor = cursors.read_cursor(self.context.cursor, Cursor)
        if cursor is None:
            self._note("the cursor was none of this sensor, so it begins anew, which loses nothing")
        return cursor or Cursor()

    def _note(self, text: str) -> None:
        self.context.log.warning(text)
        self.notes.append(text)

    # ---------------------------------------------------------------- whether to look

    def _not_ready(self) -> str | None:
        """Why nothing may be looked for now."""
        if self.last_day < self.settings.start_date:
            return f"the first partition, {self.settings.start_date}, has not ended yet"
        if run := run_on_its_way(self.context.instance):
            return f"{run}; {self.system.name} is looked at when it has ended"
        self.ended = ended_runs(self.context.instance, self.system.sensor_name)
        if self.ended:
            newest = self.ended[0].dagster_run
            self.cursor = cursors.settled(self.cursor, newest.run_id, succeeded=newest.is_success)
        if self.cursor.breaker and self.now < self.cursor.breaker.retry_at:
            return self._down(self.cursor.breaker)
        return None

    def _failed(self, error: PipelineError) -> str:
        """Open the breaker."""
        self.cursor = cursors.failed(self.cursor, self.now, str(error), self.interval)
        assert self.cursor.breaker  # noqa: S101  # it was just opened
        self.context.log.warning(reason := self._down(self.cursor.breaker))
        return reason

    def _down(self, breaker: cursors.Breaker) -> str:
        times = "once" if breaker.failures == 1 else f"{breaker.failures} times in a row"
        return (
            f"{self.system.name} could not be read, {times} since {shown(breaker.since)}: {breaker.reason}; by "
            f"itself it is tried again from {shown(breaker.retry_at)} on"
        )

    # ---------------------------------------------------------------- looking

    def _look(self) -> str | None:
        """Find out what the warehouse knows and, if it is time, what the source has that it lacks."""
        kinds = self.system.kinds
        try:
            source = self.systems.source(kinds[0], self.settings)
        except PipelineError as error:
            return self._failed(error)
        with closing(source):
            names = {kind: source.name(kind) for kind in kinds}
            whole = [kind for kind in kinds if not source.is_incremental(kind)]
            try:
                self.known = known(self.settings, names, counted=whole)
            except PipelineError as error:
                return _unreadable(error)
            scans = [source.scan_interval(records) for records in self.known.records.values()]
            self.interval = max([self.system.interval(self.settings), *scans])
            return self._begin(source, names) or self._read(source)

    def _begin(self, source: LiveSource, names: dict[str, str]) -> str | None:
        """Begin a look if it is time for one; a look under way goes on in any case."""
        self.cursor = cursors.only_of(self.cursor, names, self.known.read_until)
        if self.cursor.looking:
            return None
        try:
            if not (self._is_woken(source) | self._is_time()):
                return None
            clock = self.patience.ask(source.clock)
        except PipelineError as error:
            return self._failed(error)
        self.cursor = cursors.begun(
            self.cursor,
            names,
            read_until=self.known.read_until,
            whole=self.known.records.keys(),
            clock=clock,
            overlap=self.settings.overlap,
            now=self.now,
        )
        return None

    def _is_time(self) -> bool:
        at = cursors.next_look(self.cursor, self.interval)
        return at is None or at <= self.now or self.cursor.breaker is not None

    def _is_woken(self, source: LiveSource) -> bool:
        """Whether a change stream, where there is one, tells of a change; without, looking goes on as ever."""
        if not isinstance(source, WakingSource) or not self.settings.mongodb_change_streams:
            return False
        try:
            is_woken, token = self.patience.ask(lambda: source.woken(self.cursor.token))
        except TransientError:
            raise
        except PipelineError as error:
            self._note(f"no change stream wakes this sensor: {error}")
            is_woken, token = False, None
        self.cursor = self.cursor.model_copy(update={"token": token})
        return is_woken

    def _read(self, source: LiveSource) -> str | None:
        """Read what the look under way has left, as far as time allows."""
        documents = 0
        for kind, remaining in self.cursor.looking.items():
            try:
                found = pending_days(
                    source,
                    kind,
                    remaining.span,
                    self.settings,
                    last_day=self.last_day,
                    patience=self.patience,
                    place=remaining.place,
                )
            except PipelineError as error:
                return _unreadable(error)
            # A place may be what a source stumbles over.
            keeps_place = found.error is None or isinstance(found.error, TransientError)
            self.cursor = cursors.noted(self.cursor, kind, found, keeps_place=keeps_place)
            if found.error:
                return self._failed(found.error)
            documents += found.documents
            if self.patience.is_over:
                break
        self._answered()
        if self.cursor.looking:
            left = ", ".join(self.cursor.looking)
            return f"{documents:,} documents of {self.system.name} read; the next tick goes on with {left}"
        return None

    def _answered(self) -> None:
        """Close the breaker."""
        if self.cursor.breaker:
            self.context.log.info(f"{self.system.name} answers again after {self.cursor.breaker.failures} failures")
        self.cursor = cursors.answered(self.cursor)

    # ---------------------------------------------------------------- requesting

    def _owed(self) -> dg.RunRequest | str:
        """One run over the days that lack versions and those that owe a recompute, or why none is requested.

        What was never read is owed from the first partition on.
        """
        unread = [kind for kind in self.system.kinds if kind not in self.known.read_until]
        everything = [self.settings.start_date, self.last_day] if unread else []
        days = sorted({*self.cursor.pending, *self.known.owed, *everything})
        window = window_owed(days, self.known.computed, self.last_day)
        if window is None:
            return self._nothing_owed()
        if reason := pause(self.ended, window, self.now):
            return reason
        self.context.log.info(
            f"{len(self.cursor.pending)} days of {self.system.name} have what the log lacks, {len(self.known.owed)} "
            f"days owe a recompute, never read: {', '.join(unread) or 'none'}; running {window}"
        )
        self.cursor = cursors.requested(self.cursor, [day for day in days if day in window])
        # The run before makes the key another for a legitimate re-run of the same days.
        state = json.dumps([self.cursor.last_run, *(day.isoformat() for day in days)])
        return run_request(window, state, self.system.sensor_name)

    def _nothing_owed(self) -> str:
        looked_at, again = self.cursor.looked_at, cursors.next_look(self.cursor, self.interval)
        looks = f"; looked at on {shown(looked_at)}, again from {shown(again)} on" if looked_at and again else ""
        return f"{self.system.name} has nothing up to {self.last_day} that the log lacks{looks}"


def _unreadable(error: PipelineError) -> str:
    """Why the warehouse could not be read; a run that writes it closes the gap itself."""
    return f"{error}; the next tick looks again" if isinstance(error, TransientError) else str(error)


mongodb_sensor = live_sensor(MONGODB)
airtable_sensor = live_sensor(AIRTABLE)
