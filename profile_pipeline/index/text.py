"""The text and the labels under which a profile is found.

What belongs here: tags, the indexed text and its hash. What does not: the sentences (`profiles/summary.py`),
embedding and storing.
"""

import ibis
import ibis.expr.types as ir
from ibis import _

from profile_pipeline.policy import Policy
from profile_pipeline.profiles.summary import diets, with_summary
from profile_pipeline.tables import USER_SUMMARIES

TEXT_RECIPE = 1
"""How texts are made from profiles. Whoever changes a word of them, here or in `profiles/summary.py`, adds 1: then the
next build makes every text anew, and a whole new version of the index beside the one served."""

RECIPE = ibis.literal(TEXT_RECIPE, "int64")

DOMAINS = "Domains:"
"""How the sentence with the tags begins."""

NO_TAGS = ibis.literal([], "array<string>")


def with_tags(profiles: ir.Table, policy: Policy) -> ir.Table:
    """Add `tags`, labels derived from facts: diets, interests, favourite event types, cuisines, engagement.

    In lower case, each once, in alphabetical order, so that a mere change of order changes no text.

    Args:
        profiles: rows of live users, as `tables.USER_PROFILES`.
        policy: from how many events on a user is active.
    """
    lists = (
        diets(profiles),
        profiles.interests,
        profiles.favorite_event_types,
        profiles.cuisine_preference,
        engagement_tag(profiles, policy),
    )
    labels = ibis.array([ibis.coalesce(items, NO_TAGS) for items in lists]).flatten()
    # In steps: `unique` reads what it is given several times.
    rows = profiles.mutate(tags=labels.map(lambda label: label.lower()))
    return rows.mutate(tags=rows.tags.unique().sort())


def engagement_tag(profile: ir.Table, policy: Policy) -> ir.ArrayColumn:
    """`active_member` from the policy's number of events on, `new_member` for fewer, nothing for none."""
    count = profile.number_of_events_attended
    return ibis.cases(
        (count >= policy.healthy_active_min_events, ibis.array(["active_member"])),
        (count > 0, ibis.array(["new_member"])),
        else_=NO_TAGS,
    )


def user_summaries(user_profiles: ir.Table, policy: Policy) -> ir.Table:
    """What the index shows of each profile, without anything that changes by the mere passing of days.

    Args:
        user_profiles: any rows of `tables.USER_PROFILES`.
        policy: from how many events on a user is active, and which host is frequent.

    Returns:
        The columns of `tables.USER_SUMMARIES`, one row per row given. A deleted user has nulls but for the recipe,
        a profile without a tag no text.
    """
    # Deleted users are set apart rather than nulled by a condition around each text: DuckDB computes what a
    # condition guards again wherever it is used, which made this five times slower.
    live = user_profiles.filter(~_.is_deleted)
    told = with_tags(with_summary(live, policy, as_of_day=False), policy)
    text = told.summary + f" {DOMAINS} " + told.tags.join(", ") + "."
    told = told.mutate(text=ibis.ifelse(told.tags.length() > 0, text, ibis.null()))
    told = told.select("partition_date", "summary", "tags", "text", user_id="id", text_hash=told.text.hexdigest("md5"))
    told = told.mutate(text_recipe=RECIPE)
    nothing = {name: ibis.null(type_) for name, type_ in USER_SUMMARIES.types.items()}
    gone = user_profiles.filter(_.is_deleted).select(
        **nothing | {"partition_date": _.partition_date, "user_id": _.id, "text_recipe": RECIPE}
    )
    return told.select(*USER_SUMMARIES.columns).union(gone)
