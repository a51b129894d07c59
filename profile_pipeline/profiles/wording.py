"""English, as Ibis expressions.

What belongs here: lists, articles and letter case, which know nothing of profiles. What does not: sentences
(`summary.py`) and reasons (`decisions.py`).

A null in makes a null out, so that a sentence is left out when a part it cannot do without is unknown.
"""

import ibis
import ibis.expr.types as ir

AN_NUMBER = r"^(8|11|18|8[0-9])$"
"""Numbers up to 129 that are spoken with a vowel first: eight, eleven, eighteen, eighty to eighty-nine."""

VOWEL_SOUND = r"^([aeiou]|hono|honest|heir|hour|x-ray)"
"""Words that begin with a vowel as spoken: vowel letters, a silent h, and x-ray."""

CONSONANT_SOUND = r"^(eu|ewe|one($|[^a-z])|once|u($|[^a-z])|ubi|uk[er]|uni[cfloqtv]|uro|ura|us[aeu]|ut[eio])"
"""Words that begin with a vowel letter spoken as you or one: European, one-man, union, user, utility."""

SPELLED = r"^[A-Z&/]*[A-Z]([^A-Za-z]|$)"
"""A word of capitals is spelled out, letter by letter: QA, HR, UX."""

VOWEL_LETTER = r"^[AEFHILMNORSX]"
"""Letters whose names begin with a vowel, as in an HR manager and a UX designer."""


def listed(items: ir.ArrayValue) -> ir.StringValue:
    """`a`, `a and b`, or `a, b, and c`; null for no items."""
    count = items.length()
    last = items[count - 1]
    return ibis.cases(
        (count == 1, last),
        (count == 2, items[0] + " and " + last),
        (count > 2, items[: count - 1].join(", ") + ", and " + last),
    )


def day_text(day: ir.DateValue) -> ir.StringValue:
    """A day as `2024-02-05`."""
    return day.cast("string")


def number_article(number: ir.IntegerValue) -> ir.StringValue:
    """`a` or `an` before a number from 1 to 129, as spoken: a 32-year-old, an 18-year-old."""
    return number.cast("string").re_search(AN_NUMBER).ifelse("an", "a")


def word_article(words: ir.StringValue) -> ir.StringValue:
    """`a` or `an` before words, as spoken: an engineer, a user researcher, an HR manager, a QA engineer."""
    lower = words.lower()
    vowel = ibis.ifelse(
        words.re_search(SPELLED),
        words.re_search(VOWEL_LETTER),
        lower.re_search(VOWEL_SOUND) & ~lower.re_search(CONSONANT_SOUND),
    )
    return vowel.ifelse("an", "a")


def lowered(words: ir.StringValue) -> ir.StringValue:
    """In lower case, except words of capitals only: `QA Engineer` is `QA engineer`."""
    word_by_word = words.re_split(r"\s+")
    return word_by_word.map(lambda word: ibis.ifelse(word == word.upper(), word, word.lower())).join(" ")
