"""Personalization flags: how much is known about a user, and how engaged they are.

What belongs here: key fields, the score and the flags made from them. What does not: the decision whether to
write (`profiles/decisions.py`).
"""

import ibis
import ibis.expr.types as ir
from ibis import _

from profile_pipeline.policy import Policy
from profile_pipeline.tables import KEY_FIELDS, PERSONALIZATION_FLAGS, PROFILE_FIELDS


def personalization_flags(users: ir.Table, event_features: ir.Table, policy: Policy) -> ir.Table:
    """Flags and score of each touched user and day.

    The score gives `score_per_field` points for each of the ten profile fields that is filled and
    `score_per_event` for each event attended, up to `score_max_events`.

    Args:
        users: the user's record as of each touched day: `raw_users` columns with `user_id` and `partition_date`.
        event_features: rows of the same users and days; a user without a record there is gone.
        policy: thresholds.

    Returns:
        The columns of `personalization_flags`, one row for each row of `event_features`.
    """
    key = ["partition_date", "user_id"]
    counts = event_features.select(*key, attended=_.number_of_events_attended)
    known = counts.left_join(users, key, rname="record_{name}")
    filled = sum(_[name].notnull().cast("int64") for name in PROFILE_FIELDS)
    missing = ibis.array([ibis.ifelse(_[name].isnull(), name, None) for name in KEY_FIELDS])
    domain = _.email.split("@")[1]
    return (
        known.mutate(missing_key_fields=missing.filter(lambda name: name.notnull()))
        .mutate(filled_count=len(KEY_FIELDS) - _.missing_key_fields.length())
        .mutate(
            has_enough_fields_to_personalize=_.filled_count >= policy.enough_fields_min,
            should_request_more_details=_.filled_count < policy.request_details_below,
            is_first_time_user=_.attended == 0,
            is_healthy_active_user=_.attended >= policy.healthy_active_min_events,
            is_on_team=_.is_on_team.fill_null(False)
            | domain.isin([domain.casefold() for domain in policy.team_domains]).fill_null(False),
            personalization_score=policy.score_per_field * filled
            + policy.score_per_event * ibis.least(_.attended, policy.score_max_events),
        )
        .select(list(PERSONALIZATION_FLAGS.columns))
    )
