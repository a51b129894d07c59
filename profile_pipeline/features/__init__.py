"""What users' records say about them: pure functions, Ibis table in, Ibis table out.

No input or output here, no Dagster, and no clock: a feature of a day is a function of the history known by then.
"""

from profile_pipeline.features.attendance import with_participant_count
from profile_pipeline.features.concerned import concerning_days, concerning_users
from profile_pipeline.features.events import event_features
from profile_pipeline.features.messages import message_features
from profile_pipeline.features.orders import order_features
from profile_pipeline.features.personalization import personalization_flags
from profile_pipeline.features.touched import touched_users

__all__ = [
    "concerning_days",
    "concerning_users",
    "event_features",
    "message_features",
    "order_features",
    "personalization_flags",
    "touched_users",
    "with_participant_count",
]
