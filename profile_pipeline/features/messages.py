"""Message features: what a user was written.

What belongs here: counts and dates from messages, and the day from which one may write again. What does not:
whether that day has come (`profiles/reading.py`), and whether one should write (`profiles/decisions.py`).
"""

import ibis
import ibis.expr.types as ir
from ibis import _

from profile_pipeline.history import as_of_join, on_each_day, states, touches_because
from profile_pipeline.policy import Policy
from profile_pipeline.tables import MESSAGE_FEATURES

REASONS = ("message", "user")
"""What can change a message feature."""


def message_features(touched: ir.Table, messages: ir.Table, policy: Policy) -> ir.Table:
    """Message features of each touched user and day.

    A message counts as queued while its status is `queued`; as sent from its `sent_date` on, if its status is
    `sent`.

    Args:
        touched: rows of `touched_users`.
        messages: `versions` of `raw_messages`.
        policy: the cooldown.

    Returns:
        The columns of `message_features`, one row for each row of `touched`.
    """
    is_sent = _.status == "sent"
    counted = (
        messages.filter((_.status == "queued") | (is_sent & _.sent_date.notnull()))
        .mutate(
            sent_date=ibis.ifelse(is_sent, _.sent_date, None),
            valid_from=ibis.ifelse(is_sent, ibis.greatest(_.valid_from, _.sent_date), _.valid_from),
        )
        .select("user_id", "sent_date", "valid_from", "valid_to")
    )
    pairs = states(touched, touches_because(touched, REASONS)).cache()
    return on_each_day(_features(pairs, counted, policy)).select(list(MESSAGE_FEATURES.columns))


def _features(pairs: ir.Table, messages: ir.Table, policy: Policy) -> ir.Table:
    counts = (
        as_of_join(pairs.drop("days"), messages, "user_id")
        .group_by("user_id", "as_of")
        .agg(
            queued_message_count=_.sent_date.isnull().sum(),
            total_messages_sent=_.sent_date.count(),
            last_message_sent_date=_.sent_date.max(),
        )
    )
    everyone = pairs.left_join(counts, ["user_id", "as_of"], rname="count_{name}")
    cooldown = ibis.interval(days=policy.cooldown_days)
    return (
        everyone.drop("count_user_id", "count_as_of")
        .mutate(
            queued_message_count=_.queued_message_count.fill_null(0),
            total_messages_sent=_.total_messages_sent.fill_null(0),
        )
        .mutate(
            has_queued_messages=_.queued_message_count > 0,
            has_sent_messages=_.total_messages_sent > 0,
            next_eligible_date=(_.last_message_sent_date + cooldown).cast("date"),
        )
    )
