"""Reading profiles as of a day: which row speaks, the clock, and the same in SQL."""

from datetime import date
from pathlib import Path

import duckdb
import ibis
import pytest

from profile_pipeline.code import CODE
from profile_pipeline.policy import Policy
from profile_pipeline.profiles.decisions import decisions_as_of
from profile_pipeline.profiles.latest import latest_profiles
from profile_pipeline.profiles.reading import with_clock
from profile_pipeline.profiles.sql import MACROS, PARAMETER, renew_macros
from profile_pipeline.settings import Settings
from profile_pipeline.tables import CLOCK_FIELDS, USER_PROFILES
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline_tests.memory_warehouse import fresh_warehouse
from profile_pipeline_tests.stored_profiles import AS_OF, DELETED, INACTIVE, SARAH, fill, read, rows_of, table


def test_the_worked_example_has_its_clock_fields() -> None:
    profile = read(SARAH)
    assert {name: profile[name] for name in CLOCK_FIELDS if name not in {"summary", "decision_reasons"}} == {
        "as_of": AS_OF,
        "days_since_last_event": 5,
        "average_events_per_month": 3.0,
        "days_since_last_message": 16,
        "can_send_new_message": True,
        "days_since_last_order": 23,
        "decision": "send_personalized_message",
    }
    assert list(profile) == [*USER_PROFILES.columns, *CLOCK_FIELDS]


def test_days_since_what_never_happened_are_unknown() -> None:
    never = INACTIVE | {"last_message_sent_date": None, "next_eligible_date": None, "last_order_date": None}
    profile = read(SARAH | never)
    fields = ("days_since_last_event", "days_since_last_message", "days_since_last_order")
    assert [profile[name] for name in fields] == [None, None, None]
    assert profile["average_events_per_month"] == 0.0
    assert profile["can_send_new_message"] is True


@pytest.mark.parametrize(
    ("first", "attended", "average"),
    [
        (date(2024, 2, 10), 4, 4.0),
        (date(2024, 1, 11), 4, 4.0),
        (date(2023, 12, 11), 4, 2.0),
        (date(2023, 2, 10), 5, 0.42),
    ],
)
def test_events_per_month_count_at_least_one_month(first, attended, average) -> None:
    profile = read(SARAH | {"first_event_date": first, "number_of_events_attended": attended})
    assert profile["average_events_per_month"] == average


@pytest.mark.parametrize(
    ("day", "names"),
    [
        (date(2024, 1, 31), []),
        (date(2024, 2, 1), ["first"]),
        (date(2024, 2, 4), ["first"]),
        (date(2024, 2, 5), ["second"]),
        (date(2024, 2, 8), []),
        (date(2024, 2, 9), ["third"]),
    ],
)
def test_the_latest_row_on_or_before_the_day_speaks(day, names) -> None:
    rows = [
        SARAH | {"partition_date": date(2024, 2, 1), "name": "first"},
        SARAH | {"partition_date": date(2024, 2, 5), "name": "second"},
        DELETED | {"partition_date": date(2024, 2, 8)},
        SARAH | {"partition_date": date(2024, 2, 9), "name": "third"},
    ]
    assert [row["name"] for row in rows_of(latest_profiles(table(rows), day))] == names


def test_each_row_can_be_read_as_of_a_day_of_its_own() -> None:
    rows = table([SARAH]).cross_join(ibis.memtable({"day": [AS_OF, date(2024, 2, 11)]}).cast({"day": "date"}))
    read_rows = rows_of(with_clock(rows, rows.day, Policy()).order_by("as_of"))
    assert read_rows == [read(SARAH), read(SARAH, date(2024, 2, 11))]


@pytest.fixture(scope="module")
def file_with_macros(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = Settings(_env_file=None, home=tmp_path_factory.mktemp("macros"))
    gone = DELETED | {"id": "user_002", "partition_date": AS_OF}
    later = SARAH | {"partition_date": date(2024, 3, 1), "name": "Sarah Later"}
    with open_warehouse(settings) as warehouse:
        fill(warehouse, [SARAH, gone, later])
        renew_macros(warehouse.connection, Policy(), CODE)
    return settings.warehouse_path


@pytest.mark.parametrize("day", ["'2024-02-10'", "DATE '2024-02-10'", "make_date(2024, 2, 10)"])
def test_a_plain_sql_client_reads_the_same_profiles(file_with_macros: Path, day: str) -> None:
    with duckdb.connect(str(file_with_macros), read_only=True) as client:
        profiles = client.sql(f"SELECT * FROM profiles_as_of({day})").to_arrow_table().to_pylist()
        decisions = client.sql(f"SELECT * FROM decisions_as_of({day})").to_arrow_table().to_pylist()
    assert profiles == [read(SARAH)]
    assert decisions == rows_of(decisions_as_of(table([SARAH]), AS_OF))


def test_macros_are_renewed_when_they_follow_from_something_else() -> None:
    def texts() -> dict[str, str]:
        return dict(connection.execute(f"SELECT {listed} WHERE function_name IN {MACROS}").fetchall())

    listed = "function_name, macro_definition FROM duckdb_functions()"
    with fresh_warehouse() as warehouse:
        connection = warehouse.connection
        renew_macros(connection, Policy(), "mine")
        first = texts()
        renew_macros(connection, Policy(lapsed_after_days=31), "mine")
        second = texts()
        assert first["profiles_as_of"] != second["profiles_as_of"]
        connection.execute("CREATE OR REPLACE MACRO decisions_as_of(day) AS TABLE SELECT 1")
        renew_macros(connection, Policy(lapsed_after_days=31), "mine")
        assert texts() == second
        # As another release left it, with that release's stamp.
        stamp = f"SELECT DISTINCT comment FROM duckdb_functions() WHERE function_name IN {MACROS}"
        ((comment,),) = connection.execute(stamp).fetchall()
        connection.execute("CREATE OR REPLACE MACRO decisions_as_of(day) AS TABLE SELECT 1")
        connection.execute(f"COMMENT ON MACRO TABLE decisions_as_of IS '{comment}'")
        renew_macros(connection, Policy(lapsed_after_days=31), "newer")
        assert texts() == second


def test_no_column_is_shadowed_by_the_macros_argument() -> None:
    assert PARAMETER not in {*USER_PROFILES.columns, *CLOCK_FIELDS}
