"""Rows of `user_profiles` for tests of what reads them: the worked example's user, with changes."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from functools import cache
from itertools import count
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from profile_pipeline.policy import Policy
from profile_pipeline.profiles.reading import profiles_as_of
from profile_pipeline.tables import PROFILE_FIELDS, USER_PROFILES
from profile_pipeline.warehouse import Warehouse

AS_OF = date(2024, 2, 10)
Row = dict[str, Any]

SARAH: Row = {
    "partition_date": AS_OF,
    "id": "user_001",
    "email": "sarah.chen@email.com",
    "name": "Sarah Chen",
    "interests": ["hiking", "photography", "cooking"],
    "cuisine_preference": ["Italian", "Thai", "Japanese"],
    "dietary_restrictions": ["vegetarian"],
    "age": 32,
    "gender": "Female",
    "occupation": "Software Engineer",
    "relationship_status": "Single",
    "table_type_preference": "communal",
    "home_neighborhood": "Mission District",
    "work_neighborhood": "SOMA",
    "is_deleted": False,
    "number_of_events_attended": 3,
    "first_event_date": date(2024, 1, 15),
    "last_event_date": date(2024, 2, 5),
    "event_history": [
        {"name": "Italian Wine Tasting", "date": date(2024, 1, 15), "venue": "The Vault"},
        {"name": "Thai Cooking Class", "date": date(2024, 1, 22), "venue": "Culinary Studio"},
        {"name": "Farm to Table Dinner", "date": date(2024, 2, 5), "venue": "The Vault"},
    ],
    "event_history_hosts": ["Chef Mario", "Chef Ploy"],
    "top_host_event_count": 2,
    "venue_history": ["The Vault", "Culinary Studio"],
    "favorite_event_types": ["dinner", "cooking_class", "wine_tasting"],
    "friends": ["Mike Jones", "Jenny Kim"],
    "friend_details": [],
    "queued_message_count": 1,
    "has_queued_messages": True,
    "total_messages_sent": 1,
    "has_sent_messages": True,
    "last_message_sent_date": date(2024, 1, 25),
    "next_eligible_date": date(2024, 2, 1),
    "total_orders": 2,
    "total_spent": Decimal("160.00"),
    "average_order_value": Decimal("80.00"),
    "first_order_date": date(2024, 1, 10),
    "last_order_date": date(2024, 1, 18),
    "missing_key_fields": [],
    "has_enough_fields_to_personalize": True,
    "should_request_more_details": False,
    "is_first_time_user": False,
    "is_healthy_active_user": True,
    "is_on_team": False,
    "personalization_score": 85,
}

UNKNOWN: Row = dict.fromkeys(PROFILE_FIELDS)
"""Changes after which nothing is known about who the user is."""

INACTIVE: Row = {
    "number_of_events_attended": 0,
    "first_event_date": None,
    "last_event_date": None,
    "event_history": [],
    "event_history_hosts": [],
    "top_host_event_count": 0,
    "favorite_event_types": [],
    "friends": [],
}
"""Changes after which the user has attended nothing."""

NUMBERS = count()
DELETED: Row = dict.fromkeys(USER_PROFILES.columns) | {"is_deleted": True, "id": "user_001"}


@cache
def warehouse() -> Warehouse:
    """One DuckDB in memory for all tests that only compute."""
    warehouse = Warehouse(duckdb.connect())
    warehouse.create_tables()
    return warehouse


def table(rows: Iterable[Row], types: dict[str, str] = USER_PROFILES.types) -> ir.Table:
    """Rows as an Ibis table; columns that a row lacks are null."""
    return ibis.memtable(arrow(rows, types))


def stored(rows: Iterable[Row], types: dict[str, str]) -> ir.Table:
    """Rows as a table of `warehouse()`, for expressions that cache; it has a name of its own, because a cached
    result is found by its expression."""
    name = f"stored_{next(NUMBERS)}"
    return warehouse().ibis.create_table(name, arrow(rows, types), temp=True)


def arrow(rows: Iterable[Row], types: dict[str, str] = USER_PROFILES.types) -> pa.Table:
    """Rows as an Arrow table; columns that a row lacks are null."""
    return pa.Table.from_pylist(list(rows), schema=ibis.schema(types).to_pyarrow())


def rows_of(expression: ir.Table) -> list[Row]:
    """What an expression gives."""
    return warehouse().ibis.to_pyarrow(expression).to_pylist()


def fill(target: Warehouse, rows: Iterable[Row]) -> None:
    """Make `user_profiles` hold these rows and no others."""
    target.connection.register("given", arrow(rows))
    target.connection.execute("DELETE FROM user_profiles").fetchall()
    target.connection.execute("INSERT INTO user_profiles SELECT * FROM given").fetchall()


@cache
def _query(day: date) -> str:
    # Compiled once for all tests: that takes longer than to run it.
    return warehouse().ibis.compile(profiles_as_of(warehouse().table("user_profiles"), day, Policy()))


def read(row: Row, day: date = AS_OF) -> Row:
    """One stored row as of a day."""
    fill(warehouse(), [row])
    (profile,) = warehouse().connection.sql(_query(day)).to_arrow_table().to_pylist()
    return profile
