"""Profiles as of a day: stored facts, with the clock applied.

What belongs here: everything about a profile that changes by the mere passing of days, so that it is never
stored. What does not: facts (`features/`), and the rules that read the clock (`decisions.py`, `summary.py`).
"""

from datetime import date

import ibis
import ibis.expr.types as ir

from profile_pipeline.policy import Policy
from profile_pipeline.profiles.decisions import with_decision
from profile_pipeline.profiles.latest import latest_profiles
from profile_pipeline.profiles.summary import with_summary
from profile_pipeline.tables import CLOCK_FIELDS, USER_PROFILES

DAYS_PER_MONTH = 30.4375
"""A year of 365.25 days in twelve parts."""


def profiles_as_of(user_profiles: ir.Table, day: date, policy: Policy) -> ir.Table:
    """Every user's profile as of the end of a day.

    Args:
        user_profiles: as `tables.USER_PROFILES`, with any rows after the day, too.
        day: the day.
        policy: when a user has lapsed.

    Returns:
        The columns of `tables.USER_PROFILES` and of `tables.CLOCK_FIELDS`; one row per user who is not
        deleted. `partition_date` is the day the facts last changed.
    """
    return with_clock(latest_profiles(user_profiles, day), ibis.literal(day), policy)


def with_clock(profiles: ir.Table, as_of: ir.DateValue, policy: Policy) -> ir.Table:
    """Add the columns of `tables.CLOCK_FIELDS` to rows of live users.

    Args:
        profiles: as `tables.USER_PROFILES`; each row must hold on its day.
        as_of: the day to read a row as of: one for all, or a column of `profiles`.
        policy: when a user has lapsed.
    """
    rows = with_counted_days(profiles.mutate(as_of=as_of))
    rows = with_summary(with_decision(rows), policy, as_of_day=True)
    return rows.select(*USER_PROFILES.columns, *CLOCK_FIELDS)


def with_counted_days(rows: ir.Table) -> ir.Table:
    """Add the `days_since_…` and `average_events_per_month` to rows with the dates of a profile and `as_of`."""
    return rows.mutate(
        days_since_last_event=rows.as_of.delta(rows.last_event_date, unit="day"),
        average_events_per_month=average_events_per_month(rows),
        days_since_last_message=rows.as_of.delta(rows.last_message_sent_date, unit="day"),
        days_since_last_order=rows.as_of.delta(rows.last_order_date, unit="day"),
    )


def average_events_per_month(profile: ir.Table) -> ir.FloatingColumn:
    """Attended / max(1, (D - first_event_date) / 30.4375 days), 2 decimals; 0.0 when none."""
    months = profile.as_of.delta(profile.first_event_date, unit="day") / DAYS_PER_MONTH
    average = profile.number_of_events_attended / ibis.greatest(months, 1.0)
    return ibis.ifelse(profile.number_of_events_attended == 0, 0.0, average.round(2))
