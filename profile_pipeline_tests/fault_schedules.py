"""Random schedules of writes, clocks, faults and runs against live systems, the same again from the same seed.

What belongs here: what happens when, and what has to hold in the end. What does not: how a system holds records and
which faults it knows (`fault_systems.py`).

A schedule is a list of steps, each with a seed of its own, so that one that fails can be cut down by leaving steps
out. What is written keeps to what sources promise, because nobody could find the rest:

- The times of a record never go backwards, and a change of one that is known is committed no later than the overlap
  after its time. Only records that the log does not have, or has as gone, come with any time.
- The clock of a system is ahead of ours or right, and is set back by less than the overlap.
- A record without any times is the only one that changes without one.
"""

import copy
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

from profile_pipeline.computed_days import days_owed
from profile_pipeline.errors import PipelineError
from profile_pipeline.extraction import ReadingProgress
from profile_pipeline.ingestion import Ingested, ingest_changes, log_sequence
from profile_pipeline.reconciliation import GONE
from profile_pipeline.records.models import MODELS
from profile_pipeline.settings import Settings
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import Warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.fault_systems import BROKEN, UNREADABLE, Fields, Make, System
from profile_pipeline_tests.memory_warehouse import fresh_warehouse
from profile_pipeline_tests.oracle import Row, is_gone, latest_versions

SEED = "FAULT_SCHEDULE_SEED"
"""Variable of the environment that names the only seed to run, and to cut down if it fails."""

FIRST_DAY = date(2024, 1, 1)
DAYS = 2
"""With the nights after them, a tombstone and what comes back after it fit in."""
NIGHTS_TO_SETTLE = 4
"""Keys are compared in the third night at the latest; the fourth has nothing left to do."""
OVERLAP = timedelta(minutes=15)
LAG, STEP_BACK = timedelta(minutes=10), timedelta(minutes=10)
MARGIN = timedelta(seconds=2)
"""Times are written to the second or finer."""
NEVER = 10_000
"""Hours between comparisons of keys that no schedule lives to see."""

CHANGES = {
    "insert": 5,
    "insert_broken": 2,
    "insert_late": 3,
    "insert_bunch": 1,
    "update": 7,
    "update_late": 3,
    "spoil_record": 2,
    "go_back": 3,
    "move_clock": 2,
    "write_while_reading": 4,
    "break_reading": 6,
    "kill": 2,
    "run_past_days": 1,
    "run_today": 1,
    "run_days_owed": 1,
}
"""What happens to a source and its runs, and how often in proportion."""
COMPARED = {
    "insert_very_late": 3,
    "mend_quietly": 4,
    "delete": 4,
    "delete_while_reading": 2,
    "restore": 3,
    "restore_older": 1,
    "insert_again": 2,
    "empty": 1,
}
"""What only a comparison of keys can tell."""


class Step(NamedTuple):
    """Something that happens, and what its choices are drawn from."""

    action: str
    seed: int


def schedule(seed: int) -> list[Step]:
    """The steps of a schedule: changes by day, and after most days the nightly run."""
    rng = Random(seed)
    happenings = CHANGES if options(seed).hours == NEVER else CHANGES | COMPARED
    actions = ["insert"] * 4 + ["insert_broken"] * (rng.random() < 0.5)
    for _ in range(DAYS):
        actions += rng.choices(list(happenings), list(happenings.values()), k=rng.randint(5, 11))
        actions += ["run_night"] * (rng.random() < 0.9)
    return [Step(action, rng.getrandbits(32)) for action in actions]


class Options(NamedTuple):
    """What a schedule keeps throughout: the zone, and the hours between comparisons of keys."""

    zone: ZoneInfo
    hours: int


def options(seed: int) -> Options:
    rng = Random(f"options {seed}")
    zone = rng.choice(("UTC", "UTC", "America/New_York", "Asia/Kolkata"))
    return Options(ZoneInfo(zone), rng.choice((0, 20, 20, 44, NEVER)))


class Killed(Exception):  # noqa: N818
    """The process is gone."""


class Computing(NamedTuple):
    """How days are computed after they were ingested, and in which share of the runs it comes to that.

    The first run is always computed; of the others, some end after they ingested, as when the machine is switched off.
    """

    compute: Callable[[Warehouse, Settings, Window], object]
    share: float


def note_computed(warehouse: Warehouse, settings: Settings, window: Window) -> None:
    """Note days as computed, as the steps do; the steps themselves take seconds."""
    execute = warehouse.connection.execute
    execute("DELETE FROM computed_days WHERE partition_date BETWEEN ? AND ?", [window.start, window.end]).fetchall()
    for day in window:
        execute("INSERT INTO computed_days VALUES (?, ?, [], true)", [day, log_sequence(warehouse)]).fetchall()


QUICKLY = Computing(note_computed, 0.8)


class World:
    """Live systems, a warehouse that follows them, and the time."""

    def __init__(self, seed: int, make: Make, warehouse: Warehouse, home: Path, computing: "Computing") -> None:
        self.warehouse, self.computing = warehouse, computing
        self.zone, self.hours = options(seed)
        self.systems = make(Random(f"systems {seed}"), self.zone, str(seed))
        self.settings = Settings(
            _env_file=None,
            home=home,
            timezone=self.zone.key,
            start_date=FIRST_DAY,
            reconcile_hours=self.hours,
            overlap_minutes=OVERLAP // timedelta(minutes=1),
        )
        self.rng = Random(f"runs {seed}")
        self.notes: list[str] = [f"seed {seed}: {self.zone}, keys compared every {self.hours} hours"]
        self.now, self.ahead = datetime(2024, 1, 1, 12), timedelta(0)
        self.latest_clock = self.now
        self.fields: dict[str, Fields] = {}
        self.broken: set[str] = set()
        self.changed: dict[str, datetime] = {}
        self.graves: dict[str, object] = {}
        self.history: dict[str, list[object]] = defaultdict(list)
        self.went_back: set[str] = set()
        self.deleted: set[str] = set()
        self.pending: list[Callable[[], None]] = []
        self.is_impatient, self.may_fail, self.kill_at, self.is_computed = False, False, 0, False
        self._set_clocks()

    # ---------------------------------------------------------------- time

    @property
    def clock(self) -> datetime:
        """The time of the systems."""
        return self.now + self.ahead

    @property
    def today(self) -> date:
        """The business day that it is for us."""
        return self.now.replace(tzinfo=UTC).astimezone(self.zone).date()

    def play(self, steps: Iterable[Step]) -> None:
        """Let the steps happen, some minutes after each other."""
        for step in steps:
            rng = Random(step.seed)
            self.now += timedelta(seconds=rng.randint(1, 2400))
            self._set_clocks()
            getattr(self, step.action)(rng)

    def note(self, text: str) -> None:
        self.notes.append(f"{self.clock:%d %H:%M:%S} {text}")

    def move_clock(self, rng: Random) -> None:
        """Ahead of ours by minutes or hours; back by a little."""
        ahead = self.ahead + timedelta(minutes=rng.choice((3, 20, 90)))
        behind = max(self.ahead - STEP_BACK * rng.random(), timedelta(0))
        self.ahead = rng.choice((min(ahead, timedelta(hours=3)), behind))
        self._set_clocks()
        self.note(f"the clock is {self.ahead} ahead")

    def _set_clocks(self) -> None:
        # Never by more behind its latest time than it may be set back.
        self.now = max(self.now, self.latest_clock - STEP_BACK - self.ahead)
        self.latest_clock = max(self.latest_clock, self.clock)
        for system in self.systems:
            system.set_clock(self.clock)

    def _moment(self, system: System, name: str, lag: timedelta) -> datetime | None:
        """A time for a change that the source may make now; None if there is none."""
        floor = max(self.latest_clock - OVERLAP + MARGIN, self.changed.get(name, datetime.min))
        moment = self.clock if system.keeps_times else max(self.clock - lag, floor)
        return moment if floor <= moment <= self.clock else None

    # ---------------------------------------------------------------- changes

    def insert(self, rng: Random) -> None:
        self._insert(rng, self.clock)

    def insert_broken(self, rng: Random) -> None:
        """A record that has to be rejected."""
        self._insert(rng, self.clock, is_broken=True)

    def insert_late(self, rng: Random) -> None:
        """A record that is committed after its time, but within the overlap of any run."""
        self._insert(rng, max(self.clock - LAG * rng.random(), self.latest_clock - OVERLAP + MARGIN))

    def insert_bunch(self, rng: Random) -> None:
        """More records of one time than a batch holds."""
        moment = rng.choice((self.clock, self.latest_clock - OVERLAP + MARGIN))
        moment = min(moment, self.clock)
        kind = rng.choice(self.systems).kind
        for _ in range(rng.randint(4, 7)):
            self._insert(rng, moment, kind=kind)

    def insert_very_late(self, rng: Random) -> None:
        """A record of days ago, under a key that the log does not have."""
        system = rng.choice(self.systems)
        unknown = [name for name in self._absent(system) if self._is_unknown(system, name)]
        name = rng.choice(unknown) if unknown and rng.random() < 0.5 else None
        self._insert(rng, self.clock - timedelta(hours=rng.randint(1, 90)), kind=system.kind, name=name)

    def _insert(
        self,
        rng: Random,
        moment: datetime,
        *,
        kind: str | None = None,
        name: str | None = None,
        is_broken: bool = False,
    ) -> None:
        system = rng.choice([system for system in self.systems if kind in (None, system.kind)])
        if name is None:
            name = f"{system.kind[0]}{sum(known[0] == system.kind[0] for known in self.fields) + 1}"
        else:
            self.went_back.add(name)
        fields = invented(system.kind, name, rng, self.today, len(self.notes))
        created = MODELS[system.kind].created_field
        if system.kind != "users" or created in self.fields.get(name, {}) or rng.random() < 0.8:
            fields[created] = moment
            fields |= rng.choice(({}, {"updated_at": None}, {"updated_at": moment}))
        self._write(system, name, fields, rng, moment, is_broken=is_broken)

    def update(self, rng: Random) -> None:
        self._update(rng, timedelta(0))

    def update_late(self, rng: Random) -> None:
        """A change that is committed after its time."""
        self._update(rng, LAG * rng.random())

    def spoil_record(self, rng: Random) -> None:
        """A change after which a record has to be rejected."""
        self._update(rng, timedelta(0), is_broken=True)

    def _update(self, rng: Random, lag: timedelta, *, is_broken: bool = False) -> None:
        system, name = self._some(rng)
        if name is None or (moment := self._moment(system, name, lag)) is None:
            return
        self._write(system, name, self._changed(system, name, rng, moment), rng, moment, is_broken=is_broken)

    def _changed(self, system: System, name: str, rng: Random, moment: datetime) -> Fields:
        """Other fields for a record, with the time of the change if it has times."""
        old = self.fields[name]
        created = MODELS[system.kind].created_field
        fields = invented(system.kind, name, rng, self.today, len(self.notes))
        if created in old:
            fields |= {created: old[created], "updated_at": moment}
            fields |= rng.choice(({}, {}, {"deleted_at": None}, {"deleted_at": moment}))
        if not system.has_change_times and old.get("deleted_at"):
            # Without it the record would be known on its first day only, as it was before.
            fields["deleted_at"] = old["deleted_at"]
        return fields

    def _write(
        self, system: System, name: str, fields: Fields, rng: Random, moment: datetime, *, is_broken: bool = False
    ) -> None:
        self.fields[name] = fields
        written = fields | broken(system.kind, rng) if is_broken else fields
        (self.broken.add if is_broken else self.broken.discard)(name)
        self.changed[name] = max(moment, self.changed.get(name, moment))
        if system.keeps_times:
            self.changed[name] = self.clock
        self.history[name].append(copy.deepcopy(system.write(name, written)))
        self.graves.pop(name, None)
        self.note(f"write {name} {shown(written)}")

    def mend_quietly(self, rng: Random) -> None:
        """A record that was always rejected becomes valid, and its times stay, as when a person mends it by hand."""
        system = rng.choice(self.systems)
        names = [name for name in system.names() if name in self.broken and self._is_unknown(system, name)]
        if names:
            name = rng.choice(names)
            self._write(system, name, self.fields[name], rng, self.changed[name])

    def go_back(self, rng: Random) -> None:
        """A record whose times do not move changes to and fro."""
        system, name = self._some(rng)
        if name is None:
            return
        created, field = MODELS[system.kind].created_field, "content" if system.kind == "messages" else "name"
        is_timeless = created not in self.fields[name] if system.kind == "users" else system.is_telling_all
        if not is_timeless or self._moment(system, name, timedelta(0)) is None:
            return
        self.went_back.add(name)
        self.fields[name] = self.fields[name] | {field: rng.choice(("one", "two")), "touch": 0}
        self._write(system, name, self.fields[name], rng, self.changed.get(name, self.clock))

    def delete(self, rng: Random) -> None:
        """A record goes without a trace; some stay, as all of them would be an incident."""
        system, name = self._some(rng, leaves=3)
        if name is not None:
            self.graves[name] = system.remove(name)
            self.deleted.add(name)
            self.note(f"delete {name}")

    def restore(self, rng: Random) -> None:
        """A record comes back as it was."""
        system = rng.choice(self.systems)
        if not (names := [name for name in self._absent(system) if name in self.graves]):
            return
        name = rng.choice(names)
        if self._is_unknown(system, name) or self.changed[name] >= self.latest_clock - OVERLAP + MARGIN:
            system.restore(name, self.graves.pop(name))
            self.went_back.add(name)
            self.note(f"restore {name}")

    def restore_older(self, rng: Random) -> None:
        """A record comes back as it was earlier, from a backup."""
        system = rng.choice(self.systems)
        names = [name for name in self._absent(system) if self._is_unknown(system, name) and self.history[name][0]]
        if names:
            name = rng.choice(names)
            system.restore(name, copy.deepcopy(rng.choice(self.history[name])))
            self.graves.pop(name, None)
            self.went_back.add(name)
            self.note(f"restore an older {name}")

    def insert_again(self, rng: Random) -> None:
        """Another record under the key of one that was deleted."""
        system = rng.choice(self.systems)
        if names := self._absent(system):
            name = rng.choice(names)
            if (moment := self._moment(system, name, timedelta(0))) is not None:
                self._insert(rng, moment, kind=system.kind, name=name)

    def _some(self, rng: Random, leaves: int = 0) -> tuple[System, str | None]:
        system = rng.choice(self.systems)
        names = system.names()
        return system, rng.choice(names) if len(names) > leaves else None

    def _absent(self, system: System) -> list[str]:
        present = system.names()
        return [name for name in self.fields if name[0] == system.kind[0] and name not in present]

    def _is_unknown(self, system: System, name: str) -> bool:
        """Whether the log does not have the record, or has it as gone from the source."""
        latest = latest_versions(self.rows(system.kind), date.max).get(system.key(name))
        return latest is None or is_tombstone(latest)

    def rows(self, kind: str) -> list[Row]:
        return self.warehouse.records(f"SELECT * FROM {RAW_TABLES[kind].name} ORDER BY sequence")

    # ---------------------------------------------------------------- what goes wrong

    def write_while_reading(self, rng: Random) -> None:
        """A record changes, or a new one comes, in the middle of the next reading."""

        def arm() -> None:
            system, name = self._some(rng)
            if name is None or (moment := self._moment(system, name, timedelta(0))) is None:
                return
            fields = self._changed(system, name, rng, moment)
            self.fields[name], self.changed[name] = fields, moment
            self.note(f"write {name} {shown(fields)} {system.while_reading(rng, name, fields)}")

        self.pending.append(arm)

    def delete_while_reading(self, rng: Random) -> None:
        """A record goes in the middle of the next reading."""

        def arm() -> None:
            system, name = self._some(rng, leaves=3)
            if name is not None:
                self.deleted.add(name)
                self.note(f"delete {name} {system.while_reading(rng, name, None)}")

        self.pending.append(arm)

    def break_reading(self, rng: Random) -> None:
        """Something goes wrong in the next reading."""

        def arm() -> None:
            words, hangs = rng.choice(self.systems).spoil(rng)
            self.may_fail, self.is_impatient = True, self.is_impatient or hangs
            self.note(words)

        self.pending.append(arm)

    def kill(self, rng: Random) -> None:
        """The process of the next reading ends after a batch."""

        def arm() -> None:
            self.may_fail, self.kill_at = True, rng.randint(1, 4)
            self.note(f"killed after {self.kill_at} batches")

        self.pending.append(arm)

    def empty(self, rng: Random) -> None:
        """All records of a kind go, by mistake, and come back after a night."""
        system = rng.choice(self.systems)
        self.pending.clear()
        held = {name: system.remove(name) for name in system.names()}
        self.note(f"empty {system.kind}")
        before = sum(map(is_tombstone, self.rows(system.kind)))
        done = self.run_night(rng)
        assert sum(map(is_tombstone, self.rows(system.kind))) == before, "a mistake deleted"
        deletions = done[system.kind].deletions if done else None
        assert deletions is None or not deletions.gone or not deletions.is_plausible, "a mistake was believed"
        for name, record in held.items():
            system.restore(name, record)
        self.note(f"fill {system.kind} again")

    # ---------------------------------------------------------------- runs

    def run_night(self, rng: Random) -> dict[str, Ingested] | None:
        """The run of the day before, at six in the morning, when it has ended in every zone."""
        morning = datetime(self.now.year, self.now.month, self.now.day, 6)
        self.now = morning + timedelta(days=self.now >= morning)
        self._set_clocks()
        day = self.today - timedelta(days=1)
        done = self.run(Window(day, day))
        if done is None and rng.random() < 0.6:
            done = self.run(Window(day, day))
        return done

    def run_past_days(self, rng: Random) -> None:
        """The run of any days up to yesterday."""
        days = list(Window(FIRST_DAY, max(self.today - timedelta(days=1), FIRST_DAY)))
        self.run(Window(*sorted((rng.choice(days), rng.choice(days)))))

    def run_today(self, rng: Random) -> None:
        """The run of a day that goes on."""
        self.run(Window(self.today, self.today))

    def run_days_owed(self, rng: Random) -> None:
        """What a sensor asks for: the days whose log gained versions after they were computed."""
        if owed := days_owed(self.warehouse):
            self.run(Window(owed[0], owed[-1]))

    def run(self, window: Window) -> dict[str, Ingested] | None:
        """Ingest days and mostly compute them, with what is pending going wrong on the way; None if that ends it."""
        for arm in self.pending:
            arm()
        try:
            done = {system.kind: self._ingest(system, window) for system in self.systems}
        except (PipelineError, Killed) as error:
            if not self.may_fail:
                raise
            self.note(f"run {window}: {type(error).__name__} {error}")
            return None
        finally:
            for system in self.systems:
                system.heal()
            self.pending.clear()
            self.may_fail, self.is_impatient, self.kill_at = False, False, 0
        is_refused = any(one.deletions and not one.deletions.is_plausible for one in done.values())
        self.note(f"run {window}: " + ", ".join(told(kind, one) for kind, one in done.items()))
        if not is_refused and (not self.is_computed or self.rng.random() < self.computing.share):
            self.compute(window)
        return done

    def _ingest(self, system: System, window: Window) -> Ingested:
        batches = 0

        def count(progress: ReadingProgress) -> None:
            nonlocal batches
            batches += 1
            if batches == self.kill_at:
                raise Killed

        with closing(system.source(self.settings, is_patient=not self.is_impatient)) as source:
            return ingest_changes(self.warehouse, source, system.kind, window, self.settings, on_progress=count)

    def compute(self, window: Window) -> None:
        self.is_computed = True
        self.computing.compute(self.warehouse, self.settings, window)

    def settle(self) -> date:
        """Nights without writes and faults until one compares keys and adds nothing; then the days that are owed.

        Returns:
            The last day.

        Raises:
            AssertionError: it takes more of them than it may, or days stay owed.
        """
        self.pending.clear()
        for _ in range(NIGHTS_TO_SETTLE):
            done = self.run_night(self.rng)
            assert done is not None
            has_compared = self.hours == NEVER or all(one.deletions is not None for one in done.values())
            if has_compared and not any(one.versions_added for one in done.values()):
                break
        else:
            raise AssertionError(f"not settled after {NIGHTS_TO_SETTLE} nights")
        day = self.today - timedelta(days=1)
        self.compute(Window(day, day))
        if owed := days_owed(self.warehouse):
            self.compute(Window(owed[0], owed[-1]))
        assert days_owed(self.warehouse) == []
        return day


# ---------------------------------------------------------------- laws


def problems(world: World, day: date) -> list[str]:
    """What is lost, doubled or left over as of a day, of all that happened; nothing if all is well."""
    found = []
    for system in world.systems:
        rows = world.rows(system.kind)
        found += lost(world, system, latest_versions(rows, day), day)
        found += doubled(world, system, rows)
        deleted = {system.key(name) for name in world.deleted if name[0] == system.kind[0]}
        found += [f"{row['id']} never was gone" for row in rows if is_tombstone(row) and row["id"] not in deleted]
    left = [table for table in ("staged_documents", "extractions") if world.warehouse.records(f"FROM {table}")]
    return found + [f"{table} is not empty" for table in left]


def lost(world: World, system: System, latest: dict[str, Row], day: date) -> list[str]:
    """Records that the log has otherwise than the system."""
    found, truth = [], system.truth()
    quarantine = world.warehouse.records("SELECT document FROM quarantine WHERE kind = ?", system.kind)
    rejected = [json.loads(row["document"]) for row in quarantine]
    for key, (document, is_broken) in truth.items():
        if is_broken:
            found += [f"{key} is not in quarantine: {document}"] * (document not in rejected)
            found += [f"{key} is rejected, not gone"] * (key in latest and is_tombstone(latest[key]))
        elif key not in latest or is_tombstone(latest[key]):
            found.append(f"{key} is {'gone' if key in latest else 'missing'} in the log: {document}")
        elif (stored := json.loads(latest[key]["document"])) != document:
            found.append(f"{key} is {document}, in the log {stored}")
    alive = [key for key in latest.keys() - truth.keys() if not is_gone(latest[key], day)]
    return found + [f"{key} is gone, but not in the log" for key in alive]


def doubled(world: World, system: System, rows: list[Row]) -> list[str]:
    """Versions that the log has twice, unless the source went back to them: A, B, A.

    What came back after its tombstone is there once for the day of its own times, and once for after the tombstone.
    """
    versions = defaultdict(list)
    for row in rows:
        versions[row["partition_date"], row["id"]].append((row["content_hash"], row["changed_at"]))
    went_back = {system.key(name) for name in world.went_back if name[0] == system.kind[0]}
    return [
        f"{key} of {day} is in the log twice"
        for (day, key), found in versions.items()
        if any(one == two for one, two in pairwise(found))
        or (key not in went_back and len({content for content, _ in found}) < len(found))
    ]


def is_tombstone(row: Row) -> bool:
    """Whether a version says that the source no longer has the record."""
    return bool(row["source"].endswith(GONE))


# ---------------------------------------------------------------- running schedules


@dataclass(frozen=True)
class Trial:
    """A schedule to be held against live systems; `check` says what else has to hold as of its last day."""

    seed: int
    make: Make
    home: Path
    computing: Computing = QUICKLY
    check: Callable[[World, date], None] = lambda world, day: None

    def hold(self) -> None:
        """Let the schedule happen, and check what holds at its end.

        What fails tells its steps; with FAULT_SCHEDULE_SEED in the environment, no more of them than it takes.
        """
        try:
            self.play(schedule(self.seed))
        except Exception as error:
            if SEED not in os.environ:
                raise
            failed = self._cut_down(error)
        else:
            return
        raise failed

    def play(self, steps: list[Step]) -> None:
        """Let some steps happen, and check what holds after them."""
        with fresh_warehouse() as warehouse:
            world = World(self.seed, self.make, warehouse, self.home, self.computing)
            try:
                world.play(steps)
                day = world.settle()
                if found := problems(world, day):
                    raise AssertionError("\n".join(found))
                self.check(world, day)
            except Exception as error:
                error.add_note("\n".join(world.notes))
                raise
            finally:
                for system in world.systems:
                    system.close()

    def _cut_down(self, error: Exception) -> Exception:
        """The same failure after as few steps as leaving out one after the other gives."""
        steps = schedule(self.seed)
        for step in reversed(steps):
            fewer = [other for other in steps if other is not step]
            try:
                self.play(fewer)
            except type(error) as same:
                steps, error = fewer, same
        return error


def chunks(seeds: range, size: int) -> list[list[int]]:
    """Seeds, some at a time; only FAULT_SCHEDULE_SEED where the environment has it."""
    if SEED in os.environ:
        return [[int(os.environ[SEED])]]
    return [list(seeds[start : start + size]) for start in range(0, len(seeds), size)]


# ---------------------------------------------------------------- records


def invented(kind: str, name: str, rng: Random, today: date, touch: int) -> Fields:
    """Fields of a valid record, its times apart; `touch` makes them differ from any before."""
    person, day = f"u{rng.randint(1, 5)}", today - timedelta(days=rng.randint(0, 3))
    match kind:
        case "users":
            tastes = {"interests": rng.choice((None, [], ["chess"])), "age": rng.choice((None, 30, 41))}
            return {"email": f"{name}@x.org", "name": rng.choice((None, "Ann Lee")), **tastes, "touch": touch}
        case "orders":
            amount = rng.choice((3, 12.5, "9.99"))
            return {"user_id": person, "amount": amount, "date": day.isoformat(), "event_id": None, "touch": touch}
        case "events":
            guests = [f"u{number}@x.org" for number in rng.sample(range(1, 6), 3)]
            host = rng.choice((None, "Mario"))
            return {"name": "Dinner", "date": day.isoformat(), "participants": guests, "host": host, "touch": touch}
    sent = rng.choice(({"status": "queued"}, {"status": "sent", "sent_date": today}))
    return {"user_id": person, "content": f"Hello {touch}", **sent}


def broken(kind: str, rng: Random) -> Fields:
    """Fields that make a record one to be rejected, and mark it as such."""
    unreadable = {"updated_at": rng.choice(UNREADABLE)}
    match kind:
        case "users":
            return rng.choice(({"age": 500}, {"email": None}, unreadable)) | {BROKEN: True}
        case "orders":
            return rng.choice(({"amount": "much"}, {"date": "soon"}, unreadable)) | {BROKEN: True}
        case "events":
            return rng.choice(({"date": None}, {"participants": "Ann"}, unreadable)) | {BROKEN: True}
    return rng.choice(({}, unreadable)) | {"status": None, "content": BROKEN}


def shown(fields: Fields) -> str:
    """What a reader of a failed schedule wants to see of a record."""
    times = ("created_at", "created_date", "updated_at", "deleted_at")
    parts = [f"{name}={value:%d %H:%M:%S}" for name, value in fields.items() if isinstance(value, datetime)]
    parts += [f"{name}={fields[name]}" for name in times if name in fields and not isinstance(fields[name], datetime)]
    parts += [f"{name}={fields[name]}" for name in ("touch", "content", BROKEN) if name in fields]
    return " ".join(parts)


def told(kind: str, done: Ingested) -> str:
    """What a reader of a failed schedule wants to see of a run."""
    deletions = done.deletions
    compared = f" ({deletions.gone} gone, {deletions.back} back, {deletions.unknown} unknown)" if deletions else ""
    return f"{kind} +{done.versions_added}{compared}"
