"""The indexed text, its tags and its hash."""

import hashlib
from datetime import date

import pytest

from profile_pipeline.index.text import TEXT_RECIPE, user_summaries
from profile_pipeline.policy import Policy
from profile_pipeline.tables import USER_SUMMARIES
from profile_pipeline_tests.stored_profiles import (
    AS_OF,
    DELETED,
    INACTIVE,
    SARAH,
    UNKNOWN,
    Row,
    rows_of,
    table,
)


def summarized(row: Row) -> Row:
    (summary,) = rows_of(user_summaries(table([row]), Policy()))
    assert list(summary) == list(USER_SUMMARIES.columns)
    return summary


def test_the_text_is_the_summary_and_the_domains() -> None:
    row = summarized(SARAH)
    assert row["tags"] == [
        "active_member", "cooking", "cooking_class", "dinner", "hiking", "italian", "japanese", "photography",
        "thai", "vegetarian", "wine_tasting",
    ]  # fmt: skip
    assert row["summary"].endswith("She often attends with her friends Mike Jones and Jenny Kim.")
    assert row["text"] == f"{row['summary']} Domains: {', '.join(row['tags'])}."
    assert row["text_hash"] == hashlib.md5(row["text"].encode()).hexdigest()


@pytest.mark.parametrize(("count", "tags"), [(0, []), (1, ["new_member"]), (2, ["new_member"]), (3, ["active_member"])])
def test_engagement_is_a_tag_from_the_first_event_on(count, tags) -> None:
    row = SARAH | UNKNOWN | {"favorite_event_types": [], "number_of_events_attended": count}
    assert summarized(row)["tags"] == tags


def test_tags_are_lower_case_and_distinct() -> None:
    row = SARAH | UNKNOWN | INACTIVE
    row |= {
        "interests": ["Wine", "wine"],
        "dietary_restrictions": ["Vegan", "None"],
        "cuisine_preference": ["Wine"],
    }
    assert summarized(row)["tags"] == ["vegan", "wine"]


def test_the_order_of_interests_does_not_change_the_tags() -> None:
    assert summarized(SARAH)["tags"] == summarized(SARAH | {"interests": SARAH["interests"][::-1]})["tags"]


def test_a_profile_without_a_tag_has_a_summary_and_no_text() -> None:
    row = summarized(SARAH | UNKNOWN | INACTIVE)
    assert (row["tags"], row["text"], row["text_hash"]) == ([], None, None)
    assert row["summary"] == "Sarah hasn't attended an event yet."


def test_a_deleted_user_has_nulls_but_for_the_recipe() -> None:
    key = {"partition_date": AS_OF, "user_id": "user_001", "text_recipe": TEXT_RECIPE}
    assert summarized(DELETED | {"partition_date": AS_OF}) == dict.fromkeys(USER_SUMMARIES.columns) | key


def test_the_text_does_not_depend_on_the_day() -> None:
    later = summarized(SARAH | {"partition_date": date(2025, 2, 10)})
    assert later["text_hash"] == summarized(SARAH)["text_hash"]


DIGESTS = {1: "2ff8814b8e66adb8f2d5e3ab0b76e42e"}
"""Number of a recipe to a digest of the texts that it makes of `VARIETY`."""

VARIETY = (
    SARAH,
    SARAH | INACTIVE,
    SARAH | {"number_of_events_attended": 1, "gender": "Male", "relationship_status": "Married"},
    SARAH | {"number_of_events_attended": 2, "gender": None, "friends": ["Mike Jones"], "age": 18},
    SARAH | {"dietary_restrictions": ["gluten-free", "vegan"], "cuisine_preference": ["Thai"], "occupation": None},
    SARAH | {"missing_key_fields": ["age", "interests"], "should_request_more_details": True, "interests": None},
    SARAH | {"top_host_event_count": 1, "home_neighborhood": None, "table_type_preference": None},
)


def test_texts_that_are_made_otherwise_have_a_recipe_of_their_own() -> None:
    """When it fails: add 1 to `TEXT_RECIPE`, and the digest told here, so that indexes are built anew."""
    made = [summarized(row) for row in VARIETY]
    told = "\n".join(f"{row['summary']} {row['tags']} {row['text']}" for row in made)
    assert {TEXT_RECIPE: hashlib.md5(told.encode()).hexdigest()} == {TEXT_RECIPE: DIGESTS.get(TEXT_RECIPE)}
