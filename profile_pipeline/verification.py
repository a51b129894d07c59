"""Whether the stored tables are what the logs say: the law incremental = rebuild, asked of a warehouse in use.

What belongs here: computing tables anew from nothing but the logs, beside the warehouse, and finding the rows that
differ. What does not: how a table is computed (`build.py`), and telling a person (`cli/`, `defs/`).

Two laws are asked, of a sample of users or of everyone. The rows of each day are those that a rebuild writes. And
the latest row of each user up to the last day equals what is computed for them as of that day, whether or not
anything touched them on it: facts do not change between touches, so a touch that was missed shows here.

The warehouse is only read. What is computed lives in a database in memory, which spills into a temporary folder.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import zip_longest
from typing import Any

import duckdb

from profile_pipeline import build, profiles
from profile_pipeline.computed_days import computed_span, days_owed, days_with_profiles, owed_in_words
from profile_pipeline.errors import PipelineError
from profile_pipeline.settings import Settings
from profile_pipeline.sql import quoted
from profile_pipeline.tables import RAW_TABLES, TABLES, user_column
from profile_pipeline.warehouse import Warehouse, cannot_open, on_connection, open_warehouse
from profile_pipeline.window import Window

SAMPLE_USERS = 1_000
"""Users looked at unless everyone is: what is wrong with one user in 300 shows in 96 of 100 samples."""

SHOWN_USERS = 10
"""Rows of each table that are shown with both values; enough to see a pattern, the counts are of all."""

EXCERPT = 40
"""Characters of a value where two stand side by side."""

EVERY_REASON = ["event", "identity", "message", "order", "user"]
"""A user touched for all of these has every feature computed as of the day, none carried over from an earlier one."""

DECIDED = ["decision", "decision_reasons"]
"""What the log of decisions keeps up to date; a date that no reason names may move without a row."""

FIRST_COMPUTED_DAY = "SELECT min(partition_date) FROM stored.computed_days"

Progress = Callable[[str], None]
"""Called before each step with what it does."""


@dataclass(frozen=True)
class Compared:
    """How many rows of a table were looked at, stored or rebuilt, and how many differ."""

    table: str
    rows: int
    differing: int


@dataclass(frozen=True)
class Difference:
    """One value, or one row, that is not what the logs say.

    Attributes:
        table: where.
        partition_date: the partition of the stored row; null when there is none.
        as_of: the day on which it should hold and does not: its own, or a later one up to which nothing touched it.
        user_id: whose row it is.
        problem: `another value`, `row missing`, `row too many` or `row stored 2 times`.
        column: which column has another value; null when it is about the whole row.
        stored: its value as text; lists are JSON.
        rebuilt: the value that follows from the logs.
    """

    table: str
    partition_date: date | None
    as_of: date
    user_id: str
    problem: str
    column: str | None = None
    stored: str | None = None
    rebuilt: str | None = None


@dataclass(frozen=True)
class Verification:
    """What was looked at, and what differs.

    Attributes:
        window: the days.
        users: how many users were looked at.
        known_users: how many there are.
        owed: computed days that owe a recompute anyway; neither they nor what follows them is looked at.
        compared: each table.
        differences: some of what differs, by table, day and user.
        to_build: the days that building again would mend; null when nothing differs, or when it would not help.
    """

    window: Window
    users: int
    known_users: int
    owed: list[date]
    compared: list[Compared]
    differences: list[Difference]
    to_build: Window | None

    @property
    def problem(self) -> str | None:
        """What differs and what to do, in one sentence; null when nothing does."""
        found = [f"{each.differing:,} of {each.table}" for each in self.compared if each.differing]
        if not found:
            return None
        told = f"rows that do not follow from the logs: {', '.join(found)}"
        if self.to_build is None:
            return (
                f"{told}; the rows of each day do, so a day lacks users whose profiles changed on it, and building it "
                "again would leave them out again: this is a fault of profile-pipeline, please report it"
            )
        first, last = self.to_build.start, self.to_build.end
        return f"{told}; `profile-pipeline build --from {first} --to {last}` computes them again"


def verify(
    settings: Settings,
    *,
    day: date | None = None,
    sample: int | None = SAMPLE_USERS,
    on_progress: Progress = lambda step: None,
) -> Verification:
    """Compute tables anew from the logs, and compare them with what is stored.

    Args:
        settings: where the warehouse is, and the policy its tables were computed with.
        day: only the rows of this day, and the profiles as of it; by default all computed days up to the first
            that owes a recompute.
        sample: how many users to look at, chosen at random but the same for the same last day; null for everyone.
        on_progress: told of each step.

    Raises:
        PipelineError: there is no warehouse, it holds no profiles, or the day is not computed or owes a recompute.
        TransientError: another process is writing the warehouse.
    """
    with open_warehouse(settings, read_only=True) as stored:
        owed = days_owed(stored)
        window = _window(_computed_days(stored), owed, day)
    with _beside(settings) as scratch:
        known = _choose_users(scratch, window, sample)
        _rebuild(scratch, settings, window, on_progress)
        on_progress("comparing")
        return _compared(scratch, window, owed, known)


def _computed_days(stored: Warehouse) -> Window:
    """From the first day that a run noted to the last with profiles."""
    with_profiles = days_with_profiles(stored)
    return Window((computed_span(stored) or with_profiles).start, with_profiles.end)


def _window(computed: Window, owed: list[date], day: date | None) -> Window:
    """The days to look at.

    Raises:
        PipelineError: there are none.
    """
    if day is not None and day not in computed:
        raise PipelineError(f"{day} is not computed; the computed days are {computed}")
    last = day or computed.end
    if not owed or last < owed[0]:
        return Window(day or computed.start, last)
    if day is not None or owed[0] == computed.start:
        raise PipelineError(f"{day or computed} cannot be verified, because {owed_in_words(owed)}")
    return Window(computed.start, owed[0] - timedelta(days=1))


@contextmanager
def _beside(settings: Settings) -> Iterator[Warehouse]:
    """An empty warehouse in memory that sees the logs of a stored one; the latter is attached as `stored`."""
    with (
        tempfile.TemporaryDirectory() as spill,
        on_connection(duckdb.connect(config={"temp_directory": spill}), memory_limit=settings.memory_limit) as scratch,
    ):
        try:
            scratch.connection.execute(f"ATTACH {quoted(settings.warehouse_path)} AS stored (READ_ONLY)").fetchall()
        except duckdb.Error as error:
            raise cannot_open(settings.warehouse_path, error) from None
        for table in RAW_TABLES.values():
            scratch.connection.execute(f"CREATE VIEW {table.name} AS FROM stored.{table.name}").fetchall()
        scratch.create_tables()
        yield scratch


def _choose_users(scratch: Warehouse, window: Window, sample: int | None) -> int:
    """Fill `looked_at` with users, and narrow `stored_…` to their rows; how many there are to choose from.

    Whoever has a row in a table but none in the log is among them.
    """
    holders = [("raw_users", "id"), *((name, user_column(name)) for name in build.STEPS)]
    everyone = " UNION ".join(
        f"SELECT {user} AS user_id FROM stored.{name} WHERE partition_date <= DATE '{window.end}'"
        for name, user in holders
    )
    limit = "" if sample is None else f"ORDER BY md5(user_id || '{window.end}'), user_id LIMIT {sample}"
    scratch.connection.execute(f"CREATE TABLE known_users AS {everyone}").fetchall()
    scratch.connection.execute(f"CREATE TABLE looked_at AS FROM known_users {limit}").fetchall()
    # A sample is copied, because each look at a few users' rows reads all of a wide table; everybody's are not.
    made_as = "VIEW" if sample is None else "TABLE"
    for name in build.STEPS:
        columns = ", ".join(f'"{column}"' for column in TABLES[name].columns)
        scratch.connection.execute(
            f"""
            CREATE {made_as} stored_{name} AS
            SELECT {columns} FROM stored.{name}
            WHERE partition_date <= DATE '{window.end}' AND {user_column(name)} IN (SELECT user_id FROM looked_at)
            """
        ).fetchall()
    return scratch.scalar("SELECT count(*) FROM known_users")


def _rebuild(scratch: Warehouse, settings: Settings, window: Window, on_progress: Progress) -> None:
    """Fill the derived tables: the rows of the window's days, and a row as of the last day for everyone looked at.

    `untouched` names those whose row of the last day is only there to be compared with their latest stored one.
    """
    for name, step in build.STEPS.items():
        on_progress(f"computing {name}")
        if name == "messaging_decisions":
            _rebuild_decisions(scratch, window)
            continue
        step(scratch, settings, window)
        if name == "touched_users":
            _ask_as_of_the_last_day(scratch, window)


def _ask_as_of_the_last_day(scratch: Warehouse, window: Window) -> None:
    last = f"DATE '{window.end}'"
    for statement in (
        "DELETE FROM touched_users WHERE user_id NOT IN (SELECT user_id FROM looked_at)",
        f"""
        CREATE TABLE untouched AS FROM looked_at
        WHERE user_id NOT IN (SELECT user_id FROM touched_users WHERE partition_date = {last})
        """,
        f"INSERT INTO touched_users SELECT {last}, user_id, {EVERY_REASON} FROM untouched",
    ):
        scratch.connection.execute(statement).fetchall()


def _rebuild_decisions(scratch: Warehouse, window: Window) -> None:
    """The changes of the window, from rebuilt profiles and, before the window, stored ones; and all as of its end."""
    scratch.connection.execute(
        f"""
        CREATE VIEW known_profiles AS
        FROM user_profiles WHERE {_is_touched("user_profiles", window)}
        UNION ALL BY NAME FROM stored_user_profiles WHERE partition_date < DATE '{window.start}'
        """
    ).fetchall()
    changes = profiles.messaging_decisions(scratch.table("known_profiles"), window)
    scratch.replace("messaging_decisions", changes, window)
    everybody = profiles.decisions_as_of(scratch.table("user_profiles"), window.end)
    scratch.connection.execute(
        f"CREATE TABLE decisions_now AS {scratch.ibis.compile(everybody)}",
    ).fetchall()


def _is_touched(name: str, window: Window) -> str:
    """A condition that leaves out rows that nothing but the question asked for."""
    if name == "messaging_decisions":
        return "true"
    return f"NOT (partition_date = DATE '{window.end}' AND {user_column(name)} IN (SELECT user_id FROM untouched))"


def _compared(scratch: Warehouse, window: Window, owed: list[date], known: int) -> Verification:
    scratch.connection.execute(
        """
        CREATE TABLE differing (
            name VARCHAR, partition_date DATE, as_of DATE, user_id VARCHAR, stored_rows BIGINT, rebuilt_rows BIGINT
        )
        """
    ).fetchall()
    compared = [Compared(name, *_compare(scratch, name, window)) for name in build.STEPS]
    return Verification(
        window=window,
        users=scratch.scalar("SELECT count(*) FROM looked_at"),
        known_users=known,
        owed=owed,
        compared=compared,
        differences=[difference for name in build.STEPS for difference in _shown(scratch, name, window)],
        to_build=_to_build(scratch, window),
    )


def _compare(scratch: Warehouse, name: str, window: Window) -> tuple[int, int]:
    """Note in `differing` the rows of a table that differ; how many were looked at, and how many differ."""
    scratch.connection.execute(
        f"CREATE VIEW rebuilt_{name} AS FROM {name} WHERE {_is_touched(name, window)}"
    ).fetchall()
    rows = _compare_days(scratch, name, window)
    if name != "touched_users":
        rows += _compare_latest(scratch, name, window)
    return rows, scratch.scalar("SELECT count(*) FROM differing WHERE name = ?", name)


def _compare_days(scratch: Warehouse, name: str, window: Window) -> int:
    """The rows of each day of the window; as `Warehouse.replace` does, days first, then the rows of those that differ.

    A row is compared by count and by the sum of hashes, so that one stored twice differs, too.
    """
    columns = ", ".join(f'"{column}"' for column in TABLES[name].columns)
    digest = f"count(*) AS n, sum(hash({columns})::HUGEINT) AS digest"
    between = f"partition_date BETWEEN DATE '{window.start}' AND DATE '{window.end}'"
    different = "(stored.n, stored.digest) IS DISTINCT FROM (rebuilt.n, rebuilt.digest)"
    scratch.connection.execute(
        f"""
        CREATE OR REPLACE TABLE compared_days AS
        SELECT partition_date, greatest(stored.n, rebuilt.n) AS n, {different} AS is_different
        FROM (SELECT partition_date, {digest} FROM stored_{name} WHERE {between} GROUP BY ALL) AS stored
        FULL JOIN (SELECT partition_date, {digest} FROM rebuilt_{name} GROUP BY ALL) AS rebuilt USING (partition_date)
        """
    ).fetchall()
    by_user = f"SELECT partition_date, {user_column(name)} AS user_id, {digest}"
    on_days = "partition_date IN (SELECT partition_date FROM compared_days WHERE is_different) GROUP BY ALL"
    scratch.connection.execute(
        f"""
        INSERT INTO differing
        SELECT '{name}', partition_date, NULL, user_id, coalesce(stored.n, 0), coalesce(rebuilt.n, 0)
        FROM ({by_user} FROM stored_{name} WHERE {on_days}) AS stored
        FULL JOIN ({by_user} FROM rebuilt_{name} WHERE {on_days}) AS rebuilt USING (partition_date, user_id)
        WHERE {different}
        """
    ).fetchall()
    return scratch.scalar("SELECT sum(n) FROM compared_days")


def _compare_latest(scratch: Warehouse, name: str, window: Window) -> int:
    """The latest stored row of each live user with the one as of the last day; of profiles, deleted users' as well.

    A user who was deleted on the day of their creation was never there, and may lack a row. So may whoever was last
    touched before the first computed day, if the log begins earlier. What differs on its own day is not told twice.
    """
    digest = f"count(*) AS n, sum(hash({', '.join(_lasting(name))})::HUGEINT) AS digest"
    live = "user_id IN (SELECT user_id FROM decisions_now)"
    concerned = "true" if name == "user_profiles" else live
    may_lack = f"NOT {live} OR {_log_begins_earlier(scratch)}"
    scratch.connection.execute(
        f"""
        CREATE OR REPLACE TABLE compared_users AS
        WITH latest AS (
            SELECT {user_column(name)} AS user_id, max(partition_date) AS partition_date FROM stored_{name}
            WHERE partition_date <= DATE '{window.end}' GROUP BY ALL
        ),
        stored AS (
            SELECT {user_column(name)} AS user_id, partition_date, {digest} FROM stored_{name}
            WHERE ({user_column(name)}, partition_date) IN (FROM latest) GROUP BY ALL
        ),
        rebuilt AS (
            SELECT {user_column(name)} AS user_id, {digest} FROM {_as_of_the_last_day(name, window)} GROUP BY ALL
        )
        SELECT user_id, stored.partition_date, coalesce(stored.n, 0) AS stored_rows, rebuilt.n AS rebuilt_rows,
            (stored.n, stored.digest) IS DISTINCT FROM (rebuilt.n, rebuilt.digest) AS is_different
        FROM stored FULL JOIN rebuilt USING (user_id)
        WHERE {concerned} AND NOT (stored.n IS NULL AND ({may_lack}))
        """
    ).fetchall()
    scratch.connection.execute(
        f"""
        INSERT INTO differing
        SELECT '{name}', partition_date, DATE '{window.end}', user_id, stored_rows, rebuilt_rows
        FROM compared_users AS compared
        WHERE is_different AND NOT EXISTS (
            FROM differing AS told
            WHERE told.name = '{name}' AND told.user_id = compared.user_id
              AND told.partition_date >= coalesce(compared.partition_date, told.partition_date)
        )
        """
    ).fetchall()
    return scratch.scalar("SELECT count(*) FROM compared_users")


def _lasting(name: str) -> list[str]:
    """The columns that hold until a later row."""
    if name == "messaging_decisions":
        return DECIDED
    return [column for column in TABLES[name].columns if column != "partition_date"]


def _as_of_the_last_day(name: str, window: Window) -> str:
    """The relation with what was rebuilt as of the last day, a row for each user."""
    if name == "messaging_decisions":
        return "decisions_now"
    return f"(FROM {name} WHERE partition_date = DATE '{window.end}')"


def _log_begins_earlier(scratch: Warehouse) -> bool:
    """Whether records were known before the first computed day."""
    first_known = " UNION ALL ".join(
        f"SELECT min(partition_date) AS partition_date FROM {table.name}" for table in RAW_TABLES.values()
    )
    return bool(scratch.scalar(f"SELECT (SELECT min(partition_date) FROM ({first_known})) < ({FIRST_COMPUTED_DAY})"))


def _to_build(scratch: Warehouse, window: Window) -> Window | None:
    """The days that differ, and those from which a row that no longer holds was taken, if they were not looked at.

    A row that is right on its own day, but not as of a later one, is not mended by building those days.
    """
    ((first, last),) = scratch.connection.execute(
        f"""
        SELECT min(from_date), max(coalesce(as_of, partition_date))
        FROM (SELECT *, coalesce(partition_date, ({FIRST_COMPUTED_DAY})) AS from_date FROM differing)
        WHERE as_of IS NULL OR from_date < DATE '{window.start}'
        """
    ).fetchall()
    return None if first is None else Window(first, last)


def _shown(scratch: Warehouse, name: str, window: Window) -> Iterator[Difference]:
    """The first rows of a table that differ, value by value."""
    for found in scratch.records(
        f"""
        SELECT * FROM differing WHERE name = '{name}'
        ORDER BY coalesce(partition_date, as_of), user_id LIMIT {SHOWN_USERS}
        """
    ):
        day, as_of, user = found["partition_date"], found["as_of"], found["user_id"]
        place = (name, day, as_of or day, user)
        if found["stored_rows"] == 0:
            yield Difference(*place, problem="row missing")
        elif found["rebuilt_rows"] == 0:
            yield Difference(*place, problem="row too many")
        elif found["stored_rows"] > 1:
            yield Difference(*place, problem=f"row stored {found['stored_rows']} times")
        else:
            now = _as_of_the_last_day(name, window) if as_of else None
            for column, stored, rebuilt in _values(scratch, name, user, day, now):
                yield Difference(*place, "another value", column, stored, rebuilt)


def _values(
    scratch: Warehouse, name: str, user: str, day: date, now: str | None
) -> Iterator[tuple[str, str | None, str | None]]:
    """The columns in which a stored row differs from the rebuilt one, with both values as text.

    `now` is the relation with what was rebuilt as of the last day; null to compare with the rebuilt row of the day.
    """
    columns = list(TABLES[name].columns) if now is None else _lasting(name)
    rebuilt_in = now or f"(FROM rebuilt_{name} WHERE partition_date = DATE '{day}')"
    select = f"SELECT {', '.join(columns)} FROM {{}} WHERE {user_column(name)} = ?"
    (stored,) = scratch.records(select.format(f"(FROM stored_{name} WHERE partition_date = DATE '{day}')"), user)
    (rebuilt,) = scratch.records(select.format(rebuilt_in), user)
    for column in columns:
        if stored[column] != rebuilt[column]:
            yield column, _as_text(stored[column]), _as_text(rebuilt[column])


def excerpts(stored: str | None, rebuilt: str | None) -> dict[str, str | None]:
    """Both values cut to what a cell of a table holds, around the first character in which they differ."""
    pairs = enumerate(zip_longest(stored or "", rebuilt or ""))
    start = max(0, next((place for place, (one, other) in pairs if one != other), 0) - EXCERPT // 4)
    return {"stored": _excerpt(stored, start), "rebuilt": _excerpt(rebuilt, start)}


def _excerpt(text: str | None, start: int) -> str | None:
    if text is None or len(text) <= EXCERPT:
        return text
    end = start + EXCERPT
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")


def _as_text(value: Any) -> str | None:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return None if value is None else str(value)
