"""What is looked for in texts that say who somebody is, in Python and in DuckDB alike."""

import json

import duckdb
import pytest

from profile_pipeline.forgetting.needles import Needles

NEEDLES = Needles(
    ["member-7f3a", "zelda.quist@example.org", "100234", "sunset"], ["Li Na", "Zelda  O'Quist", "Mary-Jane Quist"]
)


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("with LI NA!", True),
        ("Zelda O\u2019Quist", True),
        ("mary jane\nquist", True),
        (json.dumps("by\nMary\u2011Jane Quist", ensure_ascii=False), True),
        ("Li Na-Reed", True),
        # Part of another word, of an address, and of two texts.
        ("Pali Na", False),
        ("li.na@example.net", False),
        ("info@li-na.org", False),
        ('["Li", "Na"]', False),
        ("MEMBER-7F3A.", True),
        ("member-7f3ab", False),
        (r"\nmember-7f3a", True),
        ("<zelda.quist@example.org>", True),
        ("o.zelda.quist@example.org", False),
        # Too common to mean anybody.
        ("100234 at sunset", False),
    ],
)
def test_a_person_is_found_by_the_words_of_a_name_and_by_ids_and_addresses_as_they_are(
    text: str, *, is_named: bool
) -> None:
    assert NEEDLES.are_in(text) == is_named
    assert (NEEDLES.redact(text) != text) == is_named
    with duckdb.connect() as connection:
        found = connection.execute("SELECT regexp_matches(lower(?), ?)", [text, NEEDLES.expression]).fetchall()
    assert found == [(is_named,)]


def test_a_name_that_others_have_is_not_looked_for_however_it_is_written() -> None:
    needles = Needles(["LI  NA", "member-7f3a"], ["Li Na", "Mary-Jane Quist"]).without({"li na"})
    assert [text for text in ("Li Na", "li-na", "member-7f3a", "Mary Jane Quist") if needles.are_in(text)] == [
        "member-7f3a",
        "Mary Jane Quist",
    ]
