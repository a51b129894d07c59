"""Order features: what a user spent.

What belongs here: counts, sums and dates from orders. What does not: days since the last one, which depends on
the day of reading (`profiles/reading.py`).
"""

from decimal import Decimal

import ibis
import ibis.expr.types as ir
from ibis import _

from profile_pipeline.history import as_of_join, on_each_day, states, touches_because
from profile_pipeline.tables import MONEY, ORDER_FEATURES

NOT_COUNTED = ("cancelled", "canceled", "refunded")
"""Statuses of an order that was not kept, in both spellings."""

REASONS = ("order", "user")
"""What can change an order feature."""


def order_features(touched: ir.Table, orders: ir.Table) -> ir.Table:
    """Order features of each touched user and day, from orders dated on or before the day.

    Args:
        touched: rows of `touched_users`.
        orders: `versions` of `raw_orders`.

    Returns:
        The columns of `order_features`, one row for each row of `touched`.
    """
    counted = orders.filter(~_.status.isin(NOT_COUNTED).fill_null(False)).select(
        "user_id", "amount", "date", "valid_to", valid_from=ibis.greatest(_.valid_from, _.date)
    )
    pairs = states(touched, touches_because(touched, REASONS)).cache()
    return on_each_day(_features(pairs, counted)).select(list(ORDER_FEATURES.columns))


def _features(pairs: ir.Table, orders: ir.Table) -> ir.Table:
    totals = (
        as_of_join(pairs.drop("days"), orders, "user_id")
        .group_by("user_id", "as_of")
        .agg(
            total_orders=_.count(),
            total_spent=_.amount.sum().cast(MONEY),
            first_order_date=_.date.min(),
            last_order_date=_.date.max(),
        )
    )
    everyone = pairs.left_join(totals, ["user_id", "as_of"], rname="total_{name}")
    return everyone.drop("total_user_id", "total_as_of").mutate(
        total_orders=_.total_orders.fill_null(0),
        total_spent=_.total_spent.coalesce(ibis.literal(Decimal("0.00"), type=MONEY)),
        average_order_value=mean_amount(_.total_spent, _.total_orders),
    )


def mean_amount(total: ir.DecimalValue, count: ir.IntegerValue) -> ir.DecimalValue:
    """The total divided by the count, half a cent rounded up; null for none.

    Counted in whole cents, because dividing decimals gives a float in DuckDB and another scale in Spark.
    """
    cents = (total * 100).cast("int64")
    rounded = (2 * cents + count) // (2 * count.nullif(0))
    return (rounded.cast(MONEY) * ibis.literal(Decimal("0.01"), type=MONEY)).cast(MONEY)
