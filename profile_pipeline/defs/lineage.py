"""Which columns a column is made from.

What belongs here: the origins of derived columns, as the UI shows them. What does not: rules; tests hold that every
column named here exists, and that what is made from profiles is made from these columns.
"""

from profile_pipeline.tables import KEY_FIELDS, PROFILE_FIELDS, TABLES

Origins = list[tuple[str, str]]
"""Pairs of table and column."""

ATTENDED = [("raw_users", "email"), *(("raw_events", name) for name in ("participants", "date", "status"))]
COUNTED_ORDERS = [("raw_orders", name) for name in ("user_id", "date", "status")]
COUNTED_MESSAGES = [("raw_messages", name) for name in ("user_id", "status", "sent_date")]

SUMMARIZED = (
    "name",
    *PROFILE_FIELDS,
    "number_of_events_attended",
    "last_event_date",
    "event_history",
    "event_history_hosts",
    "top_host_event_count",
    "friends",
    "missing_key_fields",
    "should_request_more_details",
)
TAGGED = (
    "interests",
    "cuisine_preference",
    "dietary_restrictions",
    "number_of_events_attended",
    "favorite_event_types",
)
DECIDING = ("is_deleted", "next_eligible_date", "has_enough_fields_to_personalize", "should_request_more_details")


def _of_profiles(*columns: str) -> Origins:
    """Each of some columns of profiles, once."""
    return [("user_profiles", column) for column in dict.fromkeys(columns)]


MADE_FROM: dict[str, dict[str, Origins]] = {
    "touched_users": {
        "user_id": [
            ("raw_users", "id"),
            ("raw_orders", "user_id"),
            ("raw_messages", "user_id"),
            ("raw_events", "participants"),
        ]
    },
    "event_features": {
        "number_of_events_attended": ATTENDED,
        "first_event_date": ATTENDED,
        "last_event_date": ATTENDED,
        "event_history": [*ATTENDED, ("raw_events", "name"), ("raw_events", "venue")],
        "event_history_hosts": [*ATTENDED, ("raw_events", "host")],
        "top_host_event_count": [*ATTENDED, ("raw_events", "host")],
        "venue_history": [*ATTENDED, ("raw_events", "venue")],
        "favorite_event_types": [*ATTENDED, ("raw_events", "event_type")],
        "friends": [*ATTENDED, ("raw_users", "name")],
        "friend_details": [*ATTENDED, ("raw_users", "name")],
    },
    "message_features": {
        "queued_message_count": COUNTED_MESSAGES,
        "has_queued_messages": COUNTED_MESSAGES,
        "total_messages_sent": COUNTED_MESSAGES,
        "has_sent_messages": COUNTED_MESSAGES,
        "last_message_sent_date": COUNTED_MESSAGES,
        "next_eligible_date": COUNTED_MESSAGES,
    },
    "order_features": {
        "total_orders": COUNTED_ORDERS,
        "total_spent": [*COUNTED_ORDERS, ("raw_orders", "amount")],
        "average_order_value": [*COUNTED_ORDERS, ("raw_orders", "amount")],
        "first_order_date": COUNTED_ORDERS,
        "last_order_date": COUNTED_ORDERS,
    },
    "personalization_flags": {
        "missing_key_fields": [("raw_users", name) for name in KEY_FIELDS],
        "has_enough_fields_to_personalize": [("raw_users", name) for name in KEY_FIELDS],
        "should_request_more_details": [("raw_users", name) for name in KEY_FIELDS],
        "is_first_time_user": [("event_features", "number_of_events_attended")],
        "is_healthy_active_user": [("event_features", "number_of_events_attended")],
        "is_on_team": [("raw_users", "is_on_team"), ("raw_users", "email")],
        "personalization_score": [
            *(("raw_users", name) for name in PROFILE_FIELDS),
            ("event_features", "number_of_events_attended"),
        ],
    },
    "user_summaries": {
        "summary": _of_profiles(*SUMMARIZED),
        "tags": _of_profiles(*TAGGED),
        "text": _of_profiles(*SUMMARIZED, *TAGGED),
        "text_hash": _of_profiles(*SUMMARIZED, *TAGGED),
    },
    "messaging_decisions": {
        "decision": _of_profiles(*DECIDING),
        "decision_reasons": _of_profiles(*DECIDING, "missing_key_fields"),
        "previous_decision": _of_profiles(*DECIDING),
    },
}
"""What computing a column reads, table by table."""

COPIED_FROM = {
    "event_features": ("touched_users",),
    "message_features": ("touched_users",),
    "order_features": ("touched_users",),
    "personalization_flags": ("touched_users",),
    "user_profiles": (
        "touched_users",
        "raw_users",
        "event_features",
        "message_features",
        "order_features",
        "personalization_flags",
    ),
    "messaging_decisions": ("user_profiles",),
}
"""Where columns of the same name are taken from; the first table that has it."""


def column_deps(name: str) -> dict[str, Origins]:
    """Each derived column of a table with the columns it is made from."""
    deps = dict(MADE_FROM.get(name, {}))
    for column in TABLES[name].columns:
        sources = [table for table in COPIED_FROM.get(name, ()) if column in TABLES[table].columns]
        if sources and column not in deps:
            deps[column] = [(sources[0], column)]
    return deps
