"""The same profiles, computed as other engineers would: what the pipeline is compared with.

What belongs here: one file for each way, which computes every column in `COLUMNS` for all users who are there as of the
end of a day, from the log as Parquet, and leaves them in one Parquet file. What does not: anything of the pipeline's,
for a rival that borrows its code would only be compared with itself.

Each file of profiles has a function `profiles(log, day, out)`: `log` holds `users`, `orders`, `events` and `messages`,
the tables `raw_*` of a warehouse without their documents, so that all begin with the same parsed and normalised
records. The thresholds are those of the default policy. The pipeline's packages are not there where rivals run.
"""

import importlib
from collections.abc import Generator
from datetime import date
from pathlib import Path
from typing import Any

COLUMNS = (
    "id",
    "email",
    "name",
    "interests",
    "cuisine_preference",
    "dietary_restrictions",
    "age",
    "gender",
    "occupation",
    "relationship_status",
    "table_type_preference",
    "home_neighborhood",
    "work_neighborhood",
    "time_zone",
    "number_of_events_attended",
    "first_event_date",
    "last_event_date",
    "event_history",
    "event_history_hosts",
    "top_host_event_count",
    "venue_history",
    "favorite_event_types",
    "friends",
    "friend_details",
    "queued_message_count",
    "has_queued_messages",
    "total_messages_sent",
    "has_sent_messages",
    "last_message_sent_date",
    "next_eligible_date",
    "total_orders",
    "total_spent",
    "average_order_value",
    "first_order_date",
    "last_order_date",
    "missing_key_fields",
    "has_enough_fields_to_personalize",
    "should_request_more_details",
    "is_first_time_user",
    "is_healthy_active_user",
    "is_on_team",
    "personalization_score",
)
"""What a profile holds: the facts of the pipeline's `user_profiles`."""

PROFILE_FIELDS = COLUMNS[3:13]
"""The ten fields that the score counts."""

KEY_FIELDS = ("interests", "cuisine_preference", "age", "occupation")
CANCELLED = ("cancelled", "canceled")
NOT_COUNTED = ("cancelled", "canceled", "refunded")
FRIEND_EVENTS = 2
COOLDOWN_DAYS = 7


def profiles_by(
    rival: str, log: str, day: str, out: str, **options: float
) -> Generator[None, None, dict[str, Any] | None]:
    """Compute the profiles of a day with the function of a module here; its imports are not measured."""
    profiles = importlib.import_module(f"bench.rivals.{rival}").profiles
    yield
    return profiles(Path(log), date.fromisoformat(day), Path(out), **options)
