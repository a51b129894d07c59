"""Names made from addresses, and English lists, articles and letter case."""

import pytest

from profile_pipeline.features.names import display_name
from profile_pipeline.profiles.wording import listed, lowered, number_article, word_article
from profile_pipeline_tests.stored_profiles import rows_of, table


def spoken(column: str, type_: str, value: object, expression: object) -> object:
    rows = table([{column: value}], {column: type_})
    return rows_of(rows.select(out=expression(rows[column])))[0]["out"]


@pytest.mark.parametrize(
    ("name", "email", "shown"),
    [
        ("Sarah Chen", "s@email.com", "Sarah Chen"),
        ("  Sarah Chen ", "s@email.com", "Sarah Chen"),
        (None, "mike.jones@email.com", "Mike Jones"),
        ("  ", "mike_van-dyke@email.com", "Mike Van Dyke"),
        (None, "mike..jones_@email.com", "Mike Jones"),
        (None, "mike", "Mike"),
        (None, "MIKE.JONES@EMAIL.COM", "Mike Jones"),
        (None, "o'neil.2@email.com", "O'neil 2"),
        (None, "élodie@email.com", "Élodie"),
        (None, "_@email.com", "_@email.com"),
        (None, None, None),
    ],
)
def test_a_display_name_is_the_own_name_or_made_from_the_address(name, email, shown) -> None:
    rows = table([{"name": name, "email": email}], {"name": "string", "email": "string"})
    assert rows_of(rows.select(out=display_name(rows.name, rows.email))) == [{"out": shown}]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (None, None),
        ([], None),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b, and c"),
        (["a", "b", "c", "d"], "a, b, c, and d"),
    ],
)
def test_a_list_reads_with_a_serial_comma(items, words) -> None:
    assert spoken("items", "array<string>", items, listed) == words


def test_a_number_has_an_article_as_spoken() -> None:
    numbers = range(1, 130)
    rows = table([{"number": number} for number in numbers], {"number": "int64"})
    articles = rows_of(rows.select("number", article=number_article(rows.number)))
    said_with_an = {row["number"] for row in articles if row["article"] == "an"}
    assert said_with_an == {8, 11, 18, *range(80, 90)}


@pytest.mark.parametrize(
    ("words", "article"),
    [
        ("Software Engineer", "a"),
        ("Engineer", "an"),
        ("Artist", "an"),
        ("Urban Planner", "an"),
        ("Underwriter", "an"),
        ("Uninsured Motorist", "an"),
        ("University Professor", "a"),
        ("Union Organizer", "a"),
        ("User Researcher", "a"),
        ("Urologist", "a"),
        ("European Buyer", "a"),
        ("One-Man Band", "a"),
        ("Oncologist", "an"),
        ("Hotelier", "a"),
        ("Honorary Consul", "an"),
        ("X-ray Technician", "an"),
        ("HR Manager", "an"),
        ("MRI Technician", "an"),
        ("R&D Lead", "an"),
        ("QA Engineer", "a"),
        ("UX Designer", "a"),
        ("UX/UI Designer", "a"),
    ],
)
def test_words_have_an_article_as_spoken(words, article) -> None:
    assert spoken("words", "string", words, word_article) == article


@pytest.mark.parametrize(
    ("words", "lower"),
    [
        ("Software Engineer", "software engineer"),
        ("QA Engineer", "QA engineer"),
        ("C++ Developer", "C++ developer"),
        ("Head of R&D", "head of R&D"),
        ("Vice  President", "vice president"),
        (None, None),
    ],
)
def test_only_words_of_capitals_keep_them(words, lower) -> None:
    assert spoken("words", "string", words, lowered) == lower
