"""The naive summary: one paragraph from one profile of the oracle, where the worked example fixes the words.

What belongs here: the sentences that the worked example pins down. What does not: sentences whose
words are left open (no introduction, several diets, a partner, missing details, a lapsed user); for those there is
None and nothing to compare.
"""

from collections.abc import Sequence

from profile_pipeline.policy import Policy
from profile_pipeline_tests.oracle import Profile


def summary(profile: Profile, policy: Policy) -> str | None:
    """The profile in plain English as of its day; None where the words are open."""
    sentences = (
        who(profile),
        tastes(profile),
        engagement(profile, policy),
        hosts_and_cuisines(profile, policy),
        company(profile),
        "" if not profile["should_request_more_details"] else None,
    )
    if None in sentences:
        return None
    return " ".join(sentence for sentence in sentences if sentence)


def pronouns(profile: Profile) -> tuple[str, str, str, str]:
    """Pronoun, pronoun with "is", possessive, and the ending of a verb."""
    gender = (profile["gender"] or "").strip().casefold()
    forms = {"female": ("She", "She's", "her", "s"), "male": ("He", "He's", "his", "s")}
    return forms.get(gender, ("They", "They're", "their", ""))


def listed(words: Sequence[str]) -> str:
    if len(words) < 3:
        return " and ".join(words)
    return ", ".join(words[:-1]) + ", and " + words[-1]


def who(profile: Profile) -> str | None:
    age, occupation = profile["age"], profile["occupation"]
    home, work = profile["home_neighborhood"], profile["work_neighborhood"]
    if age is None and occupation is None:
        return None  # whether the next sentence begins with the name or a pronoun is left open
    words = (occupation or "").split()
    job = " ".join(word if word.isupper() else word.lower() for word in words)
    if age is not None:
        article = "an" if age in (8, 11, 18) or 80 <= age <= 89 else "a"
        noun = f"{age}-year-old" + (f" {job}" if job else "")
    elif job[0] in "hu" or job[:2] in ("eu", "on") or words[0].isupper():
        return None  # how it is spoken cannot be told from the letter
    else:
        article, noun = ("an" if job[0] in "aeio" else "a"), job
    place = (f" living in {home}" if home else "") + (f" who works in {work}" if work else "")
    return f"{profile['name'].split()[0]} is {article} {noun}{place}."


def tastes(profile: Profile) -> str | None:
    diets, interests = profile["dietary_restrictions"] or [], profile["interests"] or []
    table = profile["table_type_preference"]
    if not diets and not interests and not table:
        return ""
    named = [diet for diet in diets if diet.casefold() in ("vegetarian", "vegan", "pescatarian")]
    if not interests or len(diets) > 1 or named != diets:
        return None
    diet = f"a {diets[0].lower()} " if diets else ""
    preferring = f", preferring {table} table experiences" if table else ""
    return f"{pronouns(profile)[1]} {diet}interested in {listed(interests)}{preferring}."


def engagement(profile: Profile, policy: Policy) -> str | None:
    they, they_are, _, ending = pronouns(profile)
    count, ago = profile["number_of_events_attended"], profile["days_since_last_event"]
    if count == 0:
        return f"{they} {'hasn' if ending else 'haven'}'t attended an event yet."
    if count >= policy.healthy_active_min_events and ago >= policy.lapsed_after_days:
        return None
    kind = "an active user" if count >= policy.healthy_active_min_events else "a new user"
    when = {0: "today", 1: "yesterday"}.get(ago, f"{ago} days ago")
    venue = profile["event_history"][-1]["venue"]
    place = f" at {venue}" if venue else ""
    events = "1 event" if count == 1 else f"{count} events"
    return f"{they_are} {kind} who has attended {events}, most recently {when}{place}."


def hosts_and_cuisines(profile: Profile, policy: Policy) -> str:
    they, _, _, ending = pronouns(profile)
    parts = []
    if profile["top_host_event_count"] >= policy.frequent_host_min_events:
        parts.append(f"frequently attend{ending} events hosted by {profile['event_history_hosts'][0]}")
    if profile["cuisine_preference"]:
        parts.append(f"enjoy{ending} {listed(profile['cuisine_preference'][:2])} cuisine venues")
    return f"{they} {' and '.join(parts)}." if parts else ""


def company(profile: Profile) -> str | None:
    if (profile["relationship_status"] or "").strip().casefold() in (
        "married",
        "engaged",
        "in a relationship",
    ):
        return None
    friends = profile["friends"][:3]
    if not friends:
        return ""
    they, _, their, ending = pronouns(profile)
    return f"{they} often attend{ending} with {their} friend{'s' * (len(friends) > 1)} {listed(friends)}."
