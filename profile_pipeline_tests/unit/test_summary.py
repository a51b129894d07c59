"""The summary, sentence by sentence, as of a day and for the index."""

from datetime import date, timedelta

import pytest

from profile_pipeline.policy import Policy
from profile_pipeline.profiles.summary import with_summary
from profile_pipeline_tests.stored_profiles import AS_OF, INACTIVE, SARAH, UNKNOWN, read, rows_of, table

WHO = "Sarah is a 32-year-old software engineer living in Mission District who works in SOMA. "
TASTES = "She's a vegetarian interested in hiking, photography, and cooking, preferring communal table experiences. "
ENGAGED = "She's an active user who has attended 3 events, most recently 5 days ago at The Vault. "
HOSTS = "She frequently attends events hosted by Chef Mario and enjoys Italian and Thai cuisine venues. "
COMPANY = "She often attends with her friends Mike Jones and Jenny Kim."

BARE = SARAH | UNKNOWN | INACTIVE


def summary(**changes: object) -> str:
    return read(SARAH | changes)["summary"]


def bare(**changes: object) -> str:
    """The summary of a user of whom nothing is known but the changes."""
    return read(BARE | changes)["summary"]


def test_the_worked_example_comes_out_to_the_letter() -> None:
    assert summary() == WHO + TASTES + ENGAGED + HOSTS + COMPANY


def test_a_user_of_whom_nothing_is_known_is_introduced_by_name() -> None:
    assert bare() == "Sarah hasn't attended an event yet."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"age": 18}, "Sarah is an 18-year-old."),
        ({"age": 18, "occupation": "Student"}, "Sarah is an 18-year-old student."),
        ({"occupation": "Engineer"}, "Sarah is an engineer."),
        ({"occupation": "QA Engineer"}, "Sarah is a QA engineer."),
        ({"age": 40, "work_neighborhood": "SOMA"}, "Sarah is a 40-year-old who works in SOMA."),
        ({"occupation": "Nurse", "home_neighborhood": "Mission"}, "Sarah is a nurse living in Mission."),
        ({"home_neighborhood": "Mission"}, "Sarah lives in Mission."),
        ({"work_neighborhood": "SOMA"}, "Sarah works in SOMA."),
        (
            {"home_neighborhood": "Mission", "work_neighborhood": "SOMA"},
            "Sarah lives in Mission and works in SOMA.",
        ),
    ],
)
def test_the_introduction_leaves_out_what_is_unknown(changes, sentence) -> None:
    assert bare(**changes) == f"{sentence} They haven't attended an event yet."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dietary_restrictions": ["Vegan"]}, "She's a vegan."),
        (
            {"dietary_restrictions": ["pescatarian"], "interests": ["art"]},
            "She's a pescatarian interested in art.",
        ),
        ({"dietary_restrictions": ["Gluten-Free"]}, "She eats gluten-free."),
        (
            {"dietary_restrictions": ["gluten-free", "halal"], "interests": ["art", "jazz"]},
            "She eats gluten-free and halal and is interested in art and jazz.",
        ),
        (
            {"dietary_restrictions": ["vegetarian", "gluten-free"], "interests": ["art"]},
            "She's a vegetarian who eats gluten-free and is interested in art.",
        ),
        ({"dietary_restrictions": ["vegetarian", "nut-free"]}, "She's a vegetarian who eats nut-free."),
        ({"dietary_restrictions": ["None"], "interests": ["art"]}, "She's interested in art."),
        ({"interests": ["art"]}, "She's interested in art."),
        (
            {"interests": ["art"], "table_type_preference": "Communal table"},
            "She's interested in art, preferring communal table experiences.",
        ),
        (
            {"dietary_restrictions": ["vegan"], "table_type_preference": "private"},
            "She's a vegan, preferring private table experiences.",
        ),
        ({"table_type_preference": "communal"}, "She prefers communal table experiences."),
    ],
)
def test_tastes_join_diet_interests_and_table(changes, sentence) -> None:
    told = bare(age=32, gender="female", **changes)
    assert told == f"Sarah is a 32-year-old. {sentence} She hasn't attended an event yet."


@pytest.mark.parametrize("answer", ["none", "No preference", "any"])
def test_an_answer_that_tells_nothing_is_not_told(answer) -> None:
    assert bare(dietary_restrictions=[answer], table_type_preference=answer) == bare()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dietary_restrictions": ["vegan"]}, "Sarah is a vegan."),
        (
            {"dietary_restrictions": ["halal"], "interests": ["art"]},
            "Sarah eats halal and is interested in art.",
        ),
        ({"interests": ["art"]}, "Sarah is interested in art."),
        ({"table_type_preference": "communal"}, "Sarah prefers communal table experiences."),
    ],
)
def test_tastes_name_the_user_when_they_come_first(changes, sentence) -> None:
    assert bare(**changes) == f"{sentence} They haven't attended an event yet."


@pytest.mark.parametrize(
    ("gender", "sentences"),
    [
        (
            "female",
            "She's a vegan. She hasn't attended an event yet. She enjoys Thai cuisine venues. She's married.",
        ),
        (
            "MALE",
            "He's a vegan. He hasn't attended an event yet. He enjoys Thai cuisine venues. He's married.",
        ),
        (
            "non-binary",
            "They're a vegan. They haven't attended an event yet. They enjoy Thai cuisine venues. They're married.",
        ),
    ],
)
def test_pronouns_and_verbs_agree(gender, sentences) -> None:
    facts = {
        "age": 32,
        "dietary_restrictions": ["vegan"],
        "cuisine_preference": ["Thai"],
        "relationship_status": "Married",
    }
    assert bare(gender=gender, **facts) == f"Sarah is a 32-year-old. {sentences}"


def test_verbs_agree_with_they_in_every_sentence() -> None:
    assert summary(gender=None, dietary_restrictions=["halal"]) == (
        WHO + "They eat halal and are interested in hiking, photography, and cooking, "
        "preferring communal table experiences. "
        "They're an active user who has attended 3 events, most recently 5 days ago at The Vault. "
        "They frequently attend events hosted by Chef Mario and enjoy Italian and Thai cuisine venues. "
        "They often attend with their friends Mike Jones and Jenny Kim."
    )


@pytest.mark.parametrize(
    ("count", "days_ago", "sentence"),
    [
        (1, 0, "a new user who has attended 1 event, most recently today at The Vault."),
        (2, 1, "a new user who has attended 2 events, most recently yesterday at The Vault."),
        (2, 400, "a new user who has attended 2 events, most recently 400 days ago at The Vault."),
        (3, 89, "an active user who has attended 3 events, most recently 89 days ago at The Vault."),
        (3, 90, "a lapsed user who has attended 3 events, most recently 90 days ago at The Vault."),
    ],
)
def test_engagement_names_standing_and_the_latest_event(count, days_ago, sentence) -> None:
    last = AS_OF - timedelta(days=days_ago)
    assert f" She's {sentence} " in summary(number_of_events_attended=count, last_event_date=last)


def test_an_unknown_venue_is_left_out() -> None:
    history = [*SARAH["event_history"][:2], {"name": "Walk", "date": date(2024, 2, 5), "venue": None}]
    assert "attended 3 events, most recently 5 days ago. She" in summary(event_history=history)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cuisine_preference": None}, "She frequently attends events hosted by Chef Mario. "),
        ({"top_host_event_count": 1}, "She enjoys Italian and Thai cuisine venues. "),
        ({"top_host_event_count": 1, "cuisine_preference": ["Thai"]}, "She enjoys Thai cuisine venues. "),
        ({"top_host_event_count": 1, "cuisine_preference": None}, ""),
    ],
)
def test_hosts_and_cuisines_stand_alone(changes, sentence) -> None:
    assert summary(**changes) == WHO + TASTES + ENGAGED + sentence + COMPANY


@pytest.mark.parametrize(
    ("friends", "status", "sentence"),
    [
        (["Mike Jones"], "Single", " She often attends with her friend Mike Jones."),
        (["A", "B", "C", "D"], None, " She often attends with her friends A, B, and C."),
        (["A"], "In a relationship", " She often attends with her friend A, and she's in a relationship."),
        ([], "Engaged", " She's engaged."),
        ([], "divorced", ""),
    ],
)
def test_company_is_friends_and_a_partner(friends, status, sentence) -> None:
    expected = (WHO + TASTES + ENGAGED + HOSTS).rstrip() + sentence
    assert summary(friends=friends, relationship_status=status) == expected


@pytest.mark.parametrize(
    ("requested", "sentence"),
    [(True, " Details still missing: cuisine preference, age, and occupation."), (False, "")],
)
def test_missing_details_are_told_when_they_should_be_requested(requested, sentence) -> None:
    missing = ["cuisine_preference", "age", "occupation"]
    told = bare(interests=["art"], missing_key_fields=missing, should_request_more_details=requested)
    assert told == f"Sarah is interested in art. They haven't attended an event yet.{sentence}"


def test_the_summary_for_the_index_has_absolute_dates_and_no_lapse() -> None:
    (row,) = rows_of(with_summary(table([SARAH]), Policy(lapsed_after_days=1), as_of_day=False))
    engaged = "She's an active user who has attended 3 events, most recently on 2024-02-05 at The Vault. "
    assert row["summary"] == WHO + TASTES + engaged + HOSTS + COMPANY
