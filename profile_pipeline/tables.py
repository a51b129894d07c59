"""The catalogue: every table of the warehouse, its grain, and what each column means.

What belongs here: names, types and meanings, from which the warehouse creates its tables and the Dagster UI shows
its schemas. What does not: how a value comes about; search the column's name in
`records/`, `features/` or `profiles/` for that.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Decision = Literal["send_personalized_message", "request_more_details", "wait"]
"""Whether to write to a user; `profiles/decisions.py` has the rule."""

DECISIONS: tuple[Decision, ...] = get_args(Decision)

Columns = dict[str, tuple[str, str]]
"""Column name to (Ibis type, meaning)."""

MONEY = "decimal(18, 2)"
EVENT = "struct<name: string, date: date, venue: string>"
FRIEND = "struct<email: string, name: string, shared_events: int64, since: date>"


@dataclass(frozen=True)
class Table:
    """A table: its name, the columns that identify a row, and all columns in order."""

    name: str
    key: tuple[str, ...]
    columns: Columns

    @property
    def types(self) -> dict[str, str]:
        """Column name to Ibis type."""
        return {name: type_ for name, (type_, _) in self.columns.items()}


PARTITION: Columns = {"partition_date": ("date", "The day this row speaks about, as of its end.")}

LOG: Columns = {
    "created_at": ("timestamp", "When the source says the record was created, UTC."),
    "updated_at": ("timestamp", "When the source says the record last changed, UTC."),
    "deleted_at": ("timestamp", "When the source says the record was deleted, UTC."),
    "deleted_date": ("date", "The business day of `deleted_at`; from it on the record is gone."),
    "changed_at": (
        "timestamp",
        "The record's own time of change, UTC, from the best field it has. Null on a day before it, for which the "
        "version is a copy that gives way to a true one.",
    ),
    "document": ("string", "The source document, verbatim JSON, unknown fields included."),
    "content_hash": (
        "string",
        "MD5 of the document, of a tombstone also of its time. It tells contents of a record apart; `sequence` tells "
        "versions apart.",
    ),
    "source": ("string", "Where the document was read, such as `users.jsonl:17`."),
    "sequence": ("int64", "Order of arrival in the log, over all raw tables; later wins a tie."),
}

PROFILE_FIELDS: Columns = {
    "interests": ("array<string>", "What the user likes to do."),
    "cuisine_preference": ("array<string>", "Cuisines, most liked first."),
    "dietary_restrictions": ("array<string>", "Diets and intolerances."),
    "age": ("int64", "Age in years, 1 to 129."),
    "gender": ("string", "Gender as the user gave it."),
    "occupation": ("string", "What the user does for a living."),
    "relationship_status": ("string", "Relationship status as the user gave it."),
    "table_type_preference": ("string", "Kind of table the user prefers to sit at."),
    "home_neighborhood": ("string", "Where the user lives."),
    "work_neighborhood": ("string", "Where the user works."),
}
"""The ten fields that the personalization score counts."""

KEY_FIELDS = ("interests", "cuisine_preference", "age", "occupation")
"""The fields that make a message personal, in the order in which they are asked for."""

RAW_USERS = Table(
    "raw_users",
    ("partition_date", "id", "content_hash", "sequence"),
    PARTITION
    | {
        "id": ("string", "The user."),
        "email": ("string", "E-mail address, trimmed and casefolded."),
        "name": ("string", "The user's name, where known."),
    }
    | PROFILE_FIELDS
    | {
        "is_on_team": ("boolean", "The source's own flag for staff."),
        "time_zone": ("string", "The user's time zone, an IANA name."),
    }
    | LOG,
)

RAW_ORDERS = Table(
    "raw_orders",
    ("partition_date", "id", "content_hash", "sequence"),
    PARTITION
    | {
        "id": ("string", "The order."),
        "user_id": ("string", "Who ordered."),
        "event_id": ("string", "The event that was ordered, where known."),
        "amount": (MONEY, "What was paid, in the business's currency."),
        "date": ("date", "The business day of the order."),
        "status": ("string", "Status, trimmed, lower case; cancelled and refunded orders do not count."),
    }
    | LOG,
)

RAW_EVENTS = Table(
    "raw_events",
    ("partition_date", "id", "content_hash", "sequence"),
    PARTITION
    | {
        "id": ("string", "The event."),
        "name": ("string", "Title of the event."),
        "date": ("date", "The day it takes place."),
        "venue": ("string", "Where it takes place."),
        "host": ("string", "Who hosts it."),
        "participants": ("array<string>", "E-mail addresses, trimmed and casefolded, each once, no blanks."),
        "event_type": ("string", "Kind of event."),
        "status": ("string", "Status, trimmed, lower case; a cancelled event is attended by nobody."),
    }
    | LOG,
)

RAW_MESSAGES = Table(
    "raw_messages",
    ("partition_date", "id", "content_hash", "sequence"),
    PARTITION
    | {
        "id": ("string", "The message."),
        "user_id": ("string", "To whom."),
        "content": ("string", "Its text."),
        "status": ("string", "Status, trimmed, lower case: queued, sent, or another that counts as neither."),
        "sent_date": ("date", "The business day it was sent."),
        "created_date": ("date", "The business day it was written."),
    }
    | LOG,
)

QUARANTINE = Table(
    "quarantine",
    ("kind", "content_hash"),
    PARTITION
    | {
        "kind": ("string", "Which records it was among: users, orders, events or messages."),
        "record_id": ("string", "The record's key, where it could be read."),
        "reason": ("string", "Why it was rejected, in words."),
        "document": ("string", "The document as it was read."),
        "content_hash": ("string", "MD5 of the document."),
        "source": ("string", "Where the document was read, such as `users.jsonl:17`."),
        "known_on": ("date", "The latest day that it was known on; null where that cannot be read."),
        "attempts": ("int64", "How often it was replayed; null counts as 0."),
        "resolution": (
            "string",
            "Null while it waits; `replayed`: a replay put it into the log; `superseded`: the log holds it, or a later "
            "version of its record.",
        ),
        "resolution_date": ("date", "The day that it was replayed on with that outcome, or of the later version."),
    },
)

TOUCHED_USERS = Table(
    "touched_users",
    ("partition_date", "user_id"),
    PARTITION
    | {
        "user_id": ("string", "A user whose profile may differ from the day before by an act."),
        "touched_by": ("array<string>", "Why, sorted: user, order, event, message, identity."),
    },
)

EVENT_FEATURES = Table(
    "event_features",
    ("partition_date", "user_id"),
    PARTITION
    | {
        "user_id": ("string", "The user."),
        "number_of_events_attended": ("int64", "Distinct events attended."),
        "first_event_date": ("date", "Day of the first event attended."),
        "last_event_date": ("date", "Day of the latest event attended."),
        "event_history": (f"array<{EVENT}>", "Each event attended, oldest first, then by id."),
        "event_history_hosts": ("array<string>", "Hosts, most attended first."),
        "top_host_event_count": ("int64", "Events attended with the first of `event_history_hosts`."),
        "venue_history": ("array<string>", "Venues, most attended first."),
        "favorite_event_types": ("array<string>", "The most attended event types."),
        "friends": ("array<string>", "Names of the people met most often, most shared events first."),
        "friend_details": (f"array<{FRIEND}>", "The same people with what makes them friends."),
    },
)

MESSAGE_FEATURES = Table(
    "message_features",
    ("partition_date", "user_id"),
    PARTITION
    | {
        "user_id": ("string", "The user."),
        "queued_message_count": ("int64", "Messages waiting to be sent."),
        "has_queued_messages": ("boolean", "Whether any message waits."),
        "total_messages_sent": ("int64", "Messages sent."),
        "has_sent_messages": ("boolean", "Whether any message was sent."),
        "last_message_sent_date": ("date", "Day of the latest message sent."),
        "next_eligible_date": ("date", "First day on which the next message may be sent; null: at any time."),
    },
)

ORDER_FEATURES = Table(
    "order_features",
    ("partition_date", "user_id"),
    PARTITION
    | {
        "user_id": ("string", "The user."),
        "total_orders": ("int64", "Orders that count."),
        "total_spent": (MONEY, "Sum of their amounts."),
        "average_order_value": (MONEY, "Mean amount, half a cent rounded up; null when there is no order."),
        "first_order_date": ("date", "Day of the first order."),
        "last_order_date": ("date", "Day of the latest order."),
    },
)

PERSONALIZATION_FLAGS = Table(
    "personalization_flags",
    ("partition_date", "user_id"),
    PARTITION
    | {
        "user_id": ("string", "The user."),
        "missing_key_fields": ("array<string>", "Key fields not filled, in the order in which they are asked for."),
        "has_enough_fields_to_personalize": ("boolean", "Whether enough key fields are filled."),
        "should_request_more_details": ("boolean", "Whether so few are filled that one should ask."),
        "is_first_time_user": ("boolean", "No event attended yet."),
        "is_healthy_active_user": ("boolean", "Enough events attended to call the user active."),
        "is_on_team": ("boolean", "The user's own flag, or a team e-mail domain."),
        "personalization_score": ("int64", "0 to 100: filled fields and events attended."),
    },
)


def _own(table: Table) -> Columns:
    """A feature table's own columns, without its key."""
    return {name: column for name, column in table.columns.items() if name not in table.key}


USER_PROFILES = Table(
    "user_profiles",
    ("partition_date", "id"),
    PARTITION
    | {
        "id": ("string", "The user."),
        "email": ("string", "Current e-mail address."),
        "name": ("string", "Display name: the user's name, else made from the address."),
    }
    | PROFILE_FIELDS
    | {
        "time_zone": ("string", "The user's time zone, an IANA name."),
        "is_deleted": ("boolean", "Whether the user is gone from this day on; facts are null then."),
    }
    | _own(EVENT_FEATURES)
    | _own(MESSAGE_FEATURES)
    | _own(ORDER_FEATURES)
    | _own(PERSONALIZATION_FLAGS),
)

CLOCK_FIELDS: Columns = {
    "as_of": ("date", "The day the profile is read as of."),
    "days_since_last_event": ("int64", "Calendar days since `last_event_date`."),
    "average_events_per_month": (
        "float64",
        "Events attended per month of 30.4375 days since the first, at least one.",
    ),
    "days_since_last_message": ("int64", "Calendar days since `last_message_sent_date`."),
    "can_send_new_message": ("boolean", "Nothing sent yet, or the cooldown is over."),
    "days_since_last_order": ("int64", "Calendar days since `last_order_date`."),
    "decision": ("string", f"{', '.join(DECISIONS[:-1])} or {DECISIONS[-1]}."),
    "decision_reasons": ("array<string>", "The rules that decided, with values and dates of change."),
    "summary": ("string", "The profile as one paragraph, as of the day."),
}
"""What `profiles_as_of` adds to a stored profile: everything that depends on the day."""

USER_SUMMARIES = Table(
    "user_summaries",
    ("partition_date", "user_id"),
    PARTITION
    | {
        "user_id": ("string", "The user."),
        "summary": (
            "string",
            "The profile as one paragraph with absolute dates; null when the user is deleted.",
        ),
        "tags": ("array<string>", "Labels derived from facts; without one the profile is not indexed."),
        "text": ("string", "What is indexed: the summary and `Domains: …`; null without a tag."),
        "text_hash": ("string", "MD5 of the text; only a changed one is embedded."),
        "text_recipe": ("int64", "How summary, tags and text were made; another release may make them otherwise."),
    },
)

MESSAGING_DECISIONS = Table(
    "messaging_decisions",
    ("partition_date", "user_id"),
    PARTITION
    | {
        "user_id": ("string", "A user whose decision or its reasons changed on this day."),
        "decision": ("string", "The decision from this day on; null: the user is gone."),
        "decision_reasons": ("array<string>", "The rules that decided, in words."),
        "previous_decision": ("string", "The decision up to the day before; null: none."),
        "next_eligible_date": ("date", "First day on which the next message may be sent; null: at any time."),
    },
)

COMPUTED_DAYS = Table(
    "computed_days",
    ("partition_date",),
    PARTITION
    | {
        "log_sequence": (
            "int64",
            "The newest log entry when the day's touched users were found; 0 once profiles of an earlier day changed.",
        ),
        "missing_tables": ("array<string>", "The tables of profiles that have not been written since."),
        "is_complete": ("boolean", "Whether none is missing."),
    },
)

WATERMARKS = Table(
    "watermarks",
    ("kind",),
    {
        "kind": ("string", "Which records: users, orders, events or messages."),
        "source": ("string", "The live source that they come from."),
        "read_until": ("timestamp", "What it committed before, by its own clock, UTC, is in the logs."),
        "reconciled_at": ("timestamp", "When its keys were last compared with the log, by its own clock, UTC."),
    },
)

LOG_READING = Table(
    "log_reading",
    (),
    {
        "time_zone": ("string", "The business time zone in which the days of the logs were told."),
        "first_partition": ("date", "The day on which everything known before it was filed."),
    },
)
"""How the logs were read, in one row: read otherwise, one record would be filed on other days."""

EXTRACTIONS = Table(
    "extractions",
    ("kind",),
    {
        "kind": ("string", "Which records are being read."),
        "source": ("string", "The live source that they come from."),
        "dialect": ("string", "How its documents are written; another one begins anew."),
        "since": ("timestamp", "Begin of the span that is being read, UTC; null: everything."),
        "until": ("timestamp", "End of it, UTC."),
        "place": ("string", "Where reading goes on, in the source's own terms."),
        "documents": ("int64", "Documents staged so far."),
    },
)

PARQUET_PARTITIONS = Table(
    "parquet_partitions",
    ("table_name", "partition_date"),
    PARTITION
    | {
        "table_name": ("string", "The table that the partition is of."),
        "files": ("array<string>", "The files in its folder that count; others are left over."),
        "row_count": ("int64", "How many rows they have."),
        "digest": ("string", "Tells whether newly computed rows are the same; of a log, its newest entry."),
    },
)
"""Where derived tables are folders of files (`PROFILE_PIPELINE_ENGINE=spark`); else empty."""

STAGED_DOCUMENTS = Table(
    "staged_documents",
    ("kind", "position"),
    {
        "kind": ("string", "Which records they are among."),
        "document": ("string", "The document as it was read."),
        "source": ("string", "The live source that it comes from."),
        "position": ("int64", "Order of arrival."),
    },
)
"""What an extraction has read so far; empty once all of it is in the log."""

PROFILE_INDEX = Table(
    "profile_index",
    ("user_id",),
    {
        "user_id": ("string", "The user."),
        **{name: USER_SUMMARIES.columns[name] for name in ("text", "text_hash")},
        **{name: USER_PROFILES.columns[name] for name in ("email", "name")},
        "tags": USER_SUMMARIES.columns["tags"],
        **{
            name: USER_PROFILES.columns[name]
            for name in (
                "interests",
                "cuisine_preference",
                "dietary_restrictions",
                "age",
                "gender",
                "occupation",
                "home_neighborhood",
                "work_neighborhood",
                "relationship_status",
                "number_of_events_attended",
                "first_event_date",
                "last_event_date",
                "last_message_sent_date",
                "next_eligible_date",
                "total_orders",
                "total_spent",
                "last_order_date",
                "personalization_score",
                "has_enough_fields_to_personalize",
                "should_request_more_details",
                "missing_key_fields",
                "is_on_team",
                "is_healthy_active_user",
                "is_first_time_user",
            )
        },
        "profile_date": ("date", "The day on which the facts of the profile last changed."),
    },
)
"""What a build of the index is given. It is no table of the warehouse: the index adds `model` and `vector`.

The decision is not here: it changes with the day, and nothing would rewrite it. What it follows from is.
"""

RAW_TABLES = {"users": RAW_USERS, "orders": RAW_ORDERS, "events": RAW_EVENTS, "messages": RAW_MESSAGES}
"""Kind of record to its log."""

DERIVED_TABLES = {
    table.name: table
    for table in (
        TOUCHED_USERS,
        EVENT_FEATURES,
        MESSAGE_FEATURES,
        ORDER_FEATURES,
        PERSONALIZATION_FLAGS,
        USER_PROFILES,
        USER_SUMMARIES,
        MESSAGING_DECISIONS,
    )
}
"""What follows from the logs alone, and which another engine may compute."""

READ_TABLES = {
    table.name: table
    for table in (*RAW_TABLES.values(), QUARANTINE, *DERIVED_TABLES.values(), COMPUTED_DAYS, WATERMARKS)
}
"""What is read without writing; the others remember how far a run has come."""

TABLES = READ_TABLES | {table.name: table for table in (LOG_READING, EXTRACTIONS, STAGED_DOCUMENTS, PARQUET_PARTITIONS)}


def user_column(name: str) -> str:
    """The column of a derived table that says whose row it is."""
    return DERIVED_TABLES[name].key[-1]
