"""Nights on data of which some grew without bound: regulars, events that are edited for ever, users who change daily.

What belongs here: making such logs, and one night on them. What does not: what real data look like (`profiles.py`).

Each night is run on a log and on one of four times that growth. It should take no more than four times as long, and
where what grew lies in the past, hardly longer.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import timedelta

from bench.harness import measured
from bench.profiles import settings_of
from bench.suite import FIRST_DAY, Bench
from bench.table import Row, compared
from profile_pipeline import build as pipeline
from profile_pipeline.warehouse import Warehouse, open_warehouse
from profile_pipeline.window import Window

USERS = 20_000
GROWTH = 4
STEPS = ("touched_users", "event_features")

PEOPLE = f"""
    SELECT DATE '{FIRST_DAY}' AS partition_date, 'u' || number AS id, id || '@x.org' AS email, 'N' || number AS name
    FROM range({USERS}) AS people(number)
"""


@dataclass(frozen=True)
class Shape:
    """What grows: how many days of it, and the query of its versions on so many `days`, for a kind of record."""

    days: int
    kind: str
    versions: str


SHAPES = {
    "twenty people at each of the daily events": Shape(
        250,
        "events",
        f"""
        SELECT DATE '{FIRST_DAY}' + day::INT AS partition_date, 'e' || day AS id, 'Dinner' AS name,
            partition_date AS date, 'Vault' AS venue, 'Mario' AS host, list_transform(
                list_concat(range(20), list_transform(range(10), lambda seat: 20 + (day * 37 + seat * 101) % 19000)),
                lambda guest: 'u' || guest || '@x.org'
            ) AS participants
        FROM range($days) AS days(day)
        """,
    ),
    "two events of the same 300 guests, edited each day": Shape(
        40,
        "events",
        f"""
        SELECT DATE '{FIRST_DAY}' + day::INT AS partition_date, 'e' || event AS id, 'Dinner' AS name,
            DATE '{FIRST_DAY}' AS date, 'Vault' AS venue, 'Mario' AS host,
            list_transform(range(300), lambda guest: 'u' || guest || '@x.org') AS participants
        FROM range($days) AS days(day), range(2) AS events(event)
        """,
    ),
    "500 users who change each day": Shape(
        90,
        "users",
        f"""
        SELECT DATE '{FIRST_DAY}' + day::INT AS partition_date, 'u' || number AS id, id || '@x.org' AS email,
            'N' || day AS name
        FROM range(1, $days) AS days(day), range(500) AS people(number)
        """,
    ),
}


def night(home: str, shape: str, days: int) -> Generator[None, None, None]:
    """Whom the last of so many days touches, and their event features."""
    settings, last = settings_of(home), FIRST_DAY + timedelta(days=days - 1)
    settings.warehouse_path.unlink(missing_ok=True)
    with open_warehouse(settings) as warehouse:
        _insert(warehouse, "users", PEOPLE)
        _insert(warehouse, SHAPES[shape].kind, SHAPES[shape].versions.replace("$days", str(days)))
    yield
    with open_warehouse(settings) as warehouse:
        for name in STEPS:
            pipeline.STEPS[name](warehouse, settings, Window(last, last))


def _insert(warehouse: Warehouse, kind: str, versions: str) -> None:
    newest = pipeline.log_sequence(warehouse)
    warehouse.connection.execute(
        f"INSERT INTO raw_{kind} BY NAME SELECT *, {newest} + row_number() OVER () AS sequence FROM ({versions})"
    ).fetchall()


def rows(bench: Bench) -> Iterator[Row]:
    """A row for each shape, the same for every size."""
    for shape, grows in SHAPES.items():
        few, many = (
            measured(night, {"home": bench.empty("skewed"), "shape": shape, "days": days}, runs=bench.runs)
            for days in (grows.days, GROWTH * grows.days)
        )
        yield compared(
            f"a night with {shape}",
            USERS,
            many,
            f"{grows.days} days of it",
            few,
            target=f"at most {GROWTH} times as long",
            most=GROWTH,
            note=f"{GROWTH * grows.days} days of it",
        )
