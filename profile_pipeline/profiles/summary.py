"""A profile as one paragraph in plain English.

What belongs here: the sentences, one function each, and their order. What does not: lists, articles and
letter case (`wording.py`), and the text that is indexed (`index/text.py`).

There are two renderings of the same facts. As of a day: "most recently 5 days ago at The Vault". For the
index: "most recently on 2024-02-05 at The Vault", and nobody has lapsed, so that it changes only when facts
change.

A sentence of which nothing is known is left out. The first sentence names the user, the others use a pronoun:
"She's a vegetarian", or "Sarah is a vegetarian" when nothing comes before it.
"""

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from profile_pipeline.policy import Policy
from profile_pipeline.profiles.wording import day_text, listed, lowered, number_article, word_article

DIETS_OF_A_PERSON = ("vegetarian", "vegan", "pescatarian")
"""Diets that name the person who keeps them; any other names what is eaten."""

SAYS_NOTHING = ("none", "any", "n/a", "no preference", "no restrictions")
"""Answers that fill a field without telling anything; "eats none" would say the opposite."""

PARTNERED = ("married", "engaged", "in a relationship")
"""Relationship states that are told; of the others a message had better not speak."""

PRONOUNS = SHE, HE, THEY = ("She", "He", "They")

DETAILS_MISSING = "Details still missing:"
"""How the sentence begins that tells nothing of the user."""

FRIENDS_NAMED = 3
CUISINES_NAMED = 2


@dataclass(frozen=True)
class Voice:
    """How a sentence speaks of the user: by first name when it introduces them, else by pronoun."""

    subject: ir.StringValue
    subject_is: ir.StringValue
    is_plural: ir.BooleanValue

    def verb(self, singular: str, plural: str) -> ir.StringValue:
        """The verb that agrees: she attends, they attend, Sarah attends."""
        return self.is_plural.ifelse(plural, singular)


def with_summary(profiles: ir.Table, policy: Policy, *, as_of_day: bool) -> ir.Table:
    """Add `summary`.

    Args:
        profiles: rows of live users, as `tables.USER_PROFILES`; for a summary as of a day also
            `days_since_last_event`.
        policy: from how many events on a user is active, when they have lapsed, which host is frequent.
        as_of_day: whether to speak as of a day, or for the index.
    """
    columns = profiles.columns
    # In steps, because whether a sentence is there decides how the next one speaks of the user, and because
    # DuckDB computes an expression inside a condition anew for each use, but a column once.
    rows = profiles.mutate(first_name=first_name(profiles), pronoun=pronoun(profiles), diets=diets(profiles))
    rows = rows.mutate(introduction=introduction(rows))
    rows = rows.mutate(tastes=tastes(rows, voice(rows, rows.introduction.notnull())))
    when = event_days_ago(rows) if as_of_day else event_date(rows)
    standing = standing_as_of_day(rows, policy) if as_of_day else standing_by_facts(rows, policy)
    by_then = rows.introduction.notnull() | rows.tastes.notnull()
    again = voice(rows, ibis.literal(True))
    sentences = [
        rows.introduction,
        rows.tastes,
        engagement(rows, voice(rows, by_then), standing, when),
        hosts_and_cuisines(rows, again, policy),
        company(rows, again),
        missing_details(rows),
    ]
    return rows.mutate(summary=ibis.array(sentences).join(" ")).select(*columns, "summary")


def pronoun(profile: ir.Table) -> ir.StringColumn:
    """`She` or `He` when the gender is female or male in any letter case, else `They`."""
    gender = profile.gender.lower()
    return ibis.cases((gender == "female", SHE), (gender == "male", HE), else_=THEY)


def voice(profile: ir.Table, introduced: ir.BooleanValue) -> Voice:
    """By pronoun when an earlier sentence has introduced the user, else by first name."""
    they = profile.pronoun == THEY
    subject = introduced.ifelse(profile.pronoun, profile.first_name)
    copula = ibis.cases((~introduced, " is"), (they, "'re"), else_="'s")
    return Voice(subject, subject + copula, they & introduced)


def first_name(profile: ir.Table) -> ir.StringColumn:
    """The first word of the display name."""
    return profile.name.re_extract(r"\S+", 0)


def diets(profile: ir.Table) -> ir.ArrayColumn:
    """Dietary restrictions in lower case, without answers that tell nothing."""
    lower = profile.dietary_restrictions.map(lambda diet: diet.lower())
    return lower.filter(lambda diet: diet.notin(SAYS_NOTHING))


def introduction(profile: ir.Table) -> ir.StringColumn:
    """Sarah is a 32-year-old software engineer living in Mission District who works in SOMA.

    What is unknown is left out: "Sarah is an 18-year-old.", "Sarah lives in SOMA."
    """
    home, work, occupation = profile.home_neighborhood, profile.work_neighborhood, lowered(profile.occupation)
    aged = number_article(profile.age) + " " + profile.age.cast("string") + "-year-old"
    person = ibis.coalesce(aged + " " + occupation, aged, word_article(profile.occupation) + " " + occupation)
    places = _optional(" living in " + home) + _optional(" who works in " + work)
    lives = " lives in " + home
    works = " works in " + work
    told = ibis.coalesce(" is " + person + places, lives + " and" + works, lives, works)
    return profile.first_name + told + "."


def tastes(profile: ir.Table, who: Voice) -> ir.StringColumn:
    """She's a vegetarian interested in hiking and cooking, preferring communal table experiences.

    Other diets: "She eats gluten-free and is interested in hiking", "She's a vegetarian who eats gluten-free
    and is interested in hiking". Without diet and interests: "She prefers communal table experiences."
    """
    a_diet = "a " + listed(profile.diets.filter(lambda diet: diet.isin(DIETS_OF_A_PERSON)))
    eats = listed(profile.diets.filter(lambda diet: diet.notin(DIETS_OF_A_PERSON)))
    interested = "interested in " + listed(profile.interests)
    seated = _table_preference(profile) + " table experiences"
    likes = ibis.coalesce(
        who.subject_is + " " + a_diet + " who eats " + eats + _optional(" and is " + interested),
        who.subject_is + " " + a_diet + _optional(" " + interested),
        who.subject + who.verb(" eats ", " eat ") + eats + _optional(who.verb(" and is ", " and are ") + interested),
        who.subject_is + " " + interested,
    )
    return ibis.coalesce(
        likes + _optional(", preferring " + seated) + ".",
        who.subject + who.verb(" prefers ", " prefer ") + seated + ".",
    )


def _table_preference(profile: ir.Table) -> ir.StringColumn:
    """`communal`, from `Communal` or `communal table`; null when it tells nothing."""
    table = profile.table_type_preference.lower().replace("_", " ").re_replace(" tables?$", "")
    return ibis.ifelse(table.isin(SAYS_NOTHING), ibis.null(), table)


def standing_by_facts(profile: ir.Table, policy: Policy) -> ir.StringColumn:
    """`a new user`, or `an active user` from the policy's number of events on."""
    is_active = profile.number_of_events_attended >= policy.healthy_active_min_events
    return is_active.ifelse("an active user", "a new user")


def standing_as_of_day(profile: ir.Table, policy: Policy) -> ir.StringColumn:
    """The same, but `a lapsed user` when an active one has attended nothing in the last days.

    The policy's 90 days end with the day read, so the last event was at least 90 days before it.
    """
    is_active = profile.number_of_events_attended >= policy.healthy_active_min_events
    is_lapsed = is_active & (profile.days_since_last_event >= policy.lapsed_after_days)
    return is_lapsed.ifelse("a lapsed user", standing_by_facts(profile, policy))


def event_days_ago(profile: ir.Table) -> ir.StringColumn:
    """When the latest event was: today, yesterday, or 5 days ago."""
    days = profile.days_since_last_event
    return ibis.cases((days == 0, "today"), (days == 1, "yesterday"), else_=days.cast("string") + " days ago")


def event_date(profile: ir.Table) -> ir.StringColumn:
    """When the latest event was: on 2024-02-05."""
    return "on " + day_text(profile.last_event_date)


def engagement(profile: ir.Table, who: Voice, standing: ir.StringColumn, when: ir.StringColumn) -> ir.StringColumn:
    """She's an active user who has attended 3 events, most recently 5 days ago at The Vault.

    Before the first event: "She hasn't attended an event yet." Without a venue it is left out.
    """
    count = profile.number_of_events_attended
    events = count.cast("string") + (count == 1).ifelse(" event", " events")
    venue = profile.event_history[profile.event_history.length() - 1].venue
    return ibis.ifelse(
        count == 0,
        who.subject + who.verb(" hasn't", " haven't") + " attended an event yet.",
        who.subject_is
        + " "
        + standing
        + " who has attended "
        + events
        + ", most recently "
        + when
        + _optional(" at " + venue)
        + ".",
    )


def hosts_and_cuisines(profile: ir.Table, who: Voice, policy: Policy) -> ir.StringColumn:
    """She frequently attends events hosted by Chef Mario and enjoys Italian and Thai cuisine venues.

    Either half stands alone when the other is not known.
    """
    is_frequent = profile.top_host_event_count >= policy.frequent_host_min_events
    host = ibis.ifelse(is_frequent, profile.event_history_hosts[0], ibis.null())
    attends = who.verb(" frequently attends", " frequently attend") + " events hosted by " + host
    cuisines = listed(profile.cuisine_preference[:CUISINES_NAMED])
    enjoys = who.verb(" enjoys ", " enjoy ") + cuisines + " cuisine venues"
    return who.subject + ibis.coalesce(attends + " and" + enjoys, attends, enjoys) + "."


def company(profile: ir.Table, who: Voice) -> ir.StringColumn:
    """She often attends with her friends Mike Jones and Jenny Kim, and she's married.

    One friend is "her friend". Without friends: "She's married." States that are not partnered are not told.
    """
    status = profile.relationship_status.lower()
    partnered = ibis.ifelse(status.isin(PARTNERED), status, ibis.null())
    possessive = ibis.cases((who.subject == SHE, "her"), (who.subject == HE, "his"), else_="their")
    friends = (profile.friends.length() == 1).ifelse(" friend ", " friends ") + listed(profile.friends[:FRIENDS_NAMED])
    attends = who.subject + who.verb(" often attends", " often attend") + " with " + possessive + friends
    return ibis.coalesce(
        attends + _optional(", and " + who.subject_is.lower() + " " + partnered) + ".",
        who.subject_is + " " + partnered + ".",
    )


def missing_details(profile: ir.Table) -> ir.StringColumn:
    """Details still missing: interests, age, and occupation."""
    missing = listed(profile.missing_key_fields).replace("_", " ")
    told = f"{DETAILS_MISSING} " + missing + "."
    return ibis.ifelse(profile.should_request_more_details, told, ibis.null())


def _optional(words: ir.StringValue) -> ir.StringValue:
    """Words that are left out when a part of them is unknown."""
    return ibis.coalesce(words, ibis.literal(""))
