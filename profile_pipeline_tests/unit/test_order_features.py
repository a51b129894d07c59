"""Order features: the mean, and which orders count."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from profile_pipeline.features.orders import mean_amount, order_features
from profile_pipeline.history import FOREVER
from profile_pipeline.tables import MONEY, TABLES
from profile_pipeline_tests.stored_profiles import rows_of, stored, table

SUMS = {"total": MONEY, "orders": "int64"}
ORDER = {"user_id": "string", "amount": MONEY, "date": "date", "status": "string"}
VALID = {"valid_from": "date", "valid_to": "date"}


def jan(day: int) -> date:
    return date(2024, 1, day)


@pytest.mark.parametrize(
    ("total", "orders", "mean"),
    [
        ("160.00", 2, "80.00"),
        ("0.01", 2, "0.01"),
        ("0.03", 2, "0.02"),
        ("10.00", 3, "3.33"),
        ("20.00", 3, "6.67"),
        ("0.02", 8, "0.00"),
        ("0.04", 8, "0.01"),
        ("0.00", 5, "0.00"),
        ("1234567890123.45", 1, "1234567890123.45"),
    ],
)
def test_the_mean_is_exact_and_half_a_cent_is_rounded_up(total: str, orders: int, mean: str) -> None:
    sums = table([{"total": Decimal(total), "orders": orders}], SUMS)
    assert rows_of(sums.select(mean=mean_amount(sums.total, sums.orders))) == [{"mean": Decimal(mean)}]


def test_the_mean_of_no_order_is_unknown() -> None:
    sums = table([{"total": None, "orders": 0}], SUMS)
    assert rows_of(sums.select(mean=mean_amount(sums.total, sums.orders))) == [{"mean": None}]


def order(day: int, amount: str, **fields: Any) -> dict[str, Any]:
    """An order of `u1` that is known from its day on."""
    row = {"user_id": "u1", "amount": Decimal(amount), "date": jan(day), "status": None}
    return row | {"valid_from": jan(day), "valid_to": FOREVER} | fields


def test_orders_count_from_their_day_on_while_they_are_kept() -> None:
    touched = [{"partition_date": jan(day), "user_id": "u1", "touched_by": ["order"]} for day in range(1, 7)]
    orders = [
        order(2, "10.00"),
        order(4, "20.00", valid_from=jan(1)),  # paid ahead
        order(3, "1.00", status="cancelled"),
        order(3, "2.00", status="canceled"),
        order(3, "4.00", status="refunded"),
        order(5, "5.00", status="paid", valid_to=jan(6)),  # deleted
        order(2, "100.00", user_id="u2"),
    ]
    found = order_features(stored(touched, TABLES["touched_users"].types), stored(orders, ORDER | VALID))
    assert {
        row["partition_date"].day: (row["total_orders"], str(row["total_spent"]), row["last_order_date"])
        for row in rows_of(found)
    } == {
        1: (0, "0.00", None),
        2: (1, "10.00", jan(2)),
        3: (1, "10.00", jan(2)),
        4: (2, "30.00", jan(4)),
        5: (3, "35.00", jan(5)),
        6: (2, "30.00", jan(4)),
    }
