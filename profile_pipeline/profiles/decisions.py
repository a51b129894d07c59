"""Whether to write to a user, and why.

What belongs here: the rules of the decision, their reasons in words, who has which decision on a day, and
whose changed when. What does not: the flags that they read (`features/personalization.py`).

A decision depends on the day only by the end of the cooldown. So it can change on two kinds of days: those
with a new row in `user_profiles` (an act), and those on which a row's `next_eligible_date` comes while the
row still holds (the clock). Reasons name absolute dates only, so they stay the same in between.
"""

from datetime import date

import ibis
import ibis.expr.types as ir
from ibis import _

from profile_pipeline.profiles.latest import latest_profiles
from profile_pipeline.profiles.wording import day_text, listed
from profile_pipeline.tables import MESSAGING_DECISIONS
from profile_pipeline.window import Window

FACTS = (
    "partition_date",
    "id",
    "is_deleted",
    "next_eligible_date",
    "has_enough_fields_to_personalize",
    "should_request_more_details",
    "missing_key_fields",
)
"""The columns of a profile that decide."""

USER_DELETED = "user deleted"
"""The reason that stands beside no decision."""


def can_send_new_message(profile: ir.Table) -> ir.BooleanColumn:
    """Nothing sent yet, or the cooldown is over on the day `as_of`; a queued message does not block."""
    return profile.next_eligible_date.isnull() | (profile.as_of >= profile.next_eligible_date)


def decision(profile: ir.Table) -> ir.StringColumn:
    """`send_personalized_message`, else `request_more_details`, else `wait`.

    Args:
        profile: rows of live users with `FACTS` and `can_send_new_message`.
    """
    return ibis.cases(
        (
            profile.can_send_new_message & profile.has_enough_fields_to_personalize,
            "send_personalized_message",
        ),
        (profile.should_request_more_details, "request_more_details"),
        else_="wait",
    )


def decision_reasons(profile: ir.Table) -> ir.ArrayColumn:
    """The rules that decided, in words; a rule that took no part is not named.

    To send: that no message was sent yet or since when the cooldown is over, and that enough key fields are
    filled. Otherwise the cooldown with the day it ends on, unless details would be requested anyway, and the
    missing key fields, if they are what stands in the way.

    Args:
        profile: rows of live users with `FACTS` and `can_send_new_message`.
    """
    missing = listed(profile.missing_key_fields).replace("_", " ")
    enough = profile.has_enough_fields_to_personalize
    cooled = ibis.coalesce(
        "cooldown over since " + day_text(profile.next_eligible_date), ibis.literal("no message sent yet")
    )
    filled = ibis.coalesce("enough key fields filled (" + missing + " missing)", ibis.literal("all key fields filled"))
    cooling = "cooldown until " + day_text(profile.next_eligible_date)
    lacking = missing + " missing"
    cooldown_blocks = ~profile.can_send_new_message & (enough | ~profile.should_request_more_details)
    fields_block = ~enough | profile.should_request_more_details
    return ibis.cases(
        (profile.can_send_new_message & enough, ibis.array([cooled, filled])),
        (cooldown_blocks & fields_block, ibis.array([cooling, lacking])),
        (cooldown_blocks, ibis.array([cooling])),
        else_=ibis.array([lacking]),
    )


def with_decision(profile: ir.Table) -> ir.Table:
    """Add `can_send_new_message`, `decision` and `decision_reasons` to rows with `FACTS` and `as_of`."""
    rows = profile.mutate(can_send_new_message=can_send_new_message(profile))
    return rows.mutate(decision=decision(rows), decision_reasons=decision_reasons(rows))


def decisions_as_of(user_profiles: ir.Table, day: date) -> ir.Table:
    """Everybody's decision as of a day.

    Args:
        user_profiles: as `tables.USER_PROFILES`.
        day: the day.

    Returns:
        `as_of`, `user_id`, `email`, `name`, `decision`, `decision_reasons`, `can_send_new_message`,
        `next_eligible_date`, `has_queued_messages`, `is_on_team`; one row per user who is not deleted.
    """
    facts = user_profiles.select(*FACTS, "email", "name", "has_queued_messages", "is_on_team")
    rows = latest_profiles(facts, day).mutate(as_of=ibis.literal(day))
    return with_decision(rows).select(
        "as_of",
        "decision",
        "decision_reasons",
        "can_send_new_message",
        "next_eligible_date",
        "has_queued_messages",
        "is_on_team",
        "email",
        "name",
        user_id="id",
    )


def messaging_decisions(user_profiles: ir.Table, window: Window) -> ir.Table:
    """Whose decision or reasons differ from the day before, on each day of a window.

    A user's first row counts as a change; so does a deletion, once: the decision is null then and the only
    reason is `user deleted`. The history of a user who has neither a row nor the end of a cooldown in the
    window is not looked at.

    Args:
        user_profiles: as `tables.USER_PROFILES`, rows before the window included.
        window: the days.

    Returns:
        The columns of `tables.MESSAGING_DECISIONS`; one row per user and day of a change.
    """
    states = _states(_concerned(user_profiles, window), window)
    before = ibis.window(group_by="id", order_by="as_of")
    compared = states.mutate(
        previous_decision=states.decision.lag().over(before),
        previous_reasons=states.decision_reasons.lag().over(before),
    )
    known_before = compared.previous_reasons.notnull()
    changed = (
        compared.as_of.between(window.start, window.end)
        & (known_before | ~compared.is_deleted)
        & ~compared.decision_reasons.identical_to(compared.previous_reasons)
    )
    rows = compared.filter(changed).drop("partition_date").rename(partition_date="as_of", user_id="id")
    return rows.select(*MESSAGING_DECISIONS.columns)


def _concerned(user_profiles: ir.Table, window: Window) -> ir.Table:
    """The rows of users whose decision may change in the window, and the `next_date` that replaces each."""
    known = user_profiles.filter(_.partition_date <= window.end).select(*FACTS)
    acts = known.partition_date >= window.start
    cooldown_ends = known.next_eligible_date.between(window.start, window.end)
    rows = known.semi_join(known.filter(acts | cooldown_ends).select("id"), "id")
    in_order = ibis.window(group_by="id", order_by="partition_date")
    return rows.mutate(next_date=rows.partition_date.lead().over(in_order))


def _states(rows: ir.Table, window: Window) -> ir.Table:
    """What is decided from each day `as_of` on, by an act or by the clock, around a window.

    A row replaced before the window has nothing to say about it; one replaced on its first day says what was
    decided before.
    """
    rows = rows.filter(rows.next_date.isnull() | (rows.next_date >= window.start))
    ends_while_it_holds = (rows.next_eligible_date > rows.partition_date) & (
        rows.next_date.isnull() | (rows.next_eligible_date < rows.next_date)
    )
    acts = rows.mutate(as_of=rows.partition_date)
    clock = rows.filter(ends_while_it_holds, ~rows.is_deleted).mutate(as_of=_.next_eligible_date)
    states = with_decision(acts.union(clock))
    return states.mutate(
        decision=ibis.ifelse(states.is_deleted, ibis.null(), states.decision),
        decision_reasons=ibis.ifelse(states.is_deleted, ibis.array([USER_DELETED]), states.decision_reasons),
        next_eligible_date=ibis.ifelse(states.is_deleted, ibis.null(), states.next_eligible_date),
    )
