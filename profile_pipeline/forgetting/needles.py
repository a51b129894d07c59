"""What an erased person is called, as texts to look for.

What belongs here: recognising these texts in others, and putting the mark in their place. What does not: documents,
in which the suppression list decides (`records/suppressions.py`), and where to look (`dagster_state.py`, `scan.py`).
"""

import json
import re
from collections.abc import Collection, Iterable
from functools import cached_property
from urllib.parse import quote

from profile_pipeline.records.suppressions import MARK, full_name, is_distinctive

BETWEEN = r"""(?:\\["\\/bfnrt]|_|[^\w"])+"""
"""What lies between the words of a name, also as JSON writes it; neighbours in a list of texts are no name."""

BETWEEN_IN_DUCKDB = r"""(?:\\["\\/bfnrt]|[^\pL\pN"])+"""
"""The same: there, `\\w` is ASCII."""


class Needles:
    """Texts to look for, in any case, as they are and as JSON and URLs write them; as for the suppression list.

    Ids that are words or short numbers, too, are left out. Full names are looked for by their words.
    """

    def __init__(self, texts: Iterable[str], names: Iterable[str] = ()) -> None:
        """Take ids and addresses, and full names."""
        texts, given = [*texts], [*names]
        self.given = {text.strip().lower() for text in texts}
        self.names = sorted({words for name in given if (words := full_name(name))})
        self.texts = sorted(
            {text for text in (*texts, *given) if is_distinctive(text) or full_name(text) in self.names}
        )

    def without(self, called: Collection[str]) -> "Needles":
        """The others: none of these texts, and none of the names that they are."""
        names = {full_name(text) for text in called}
        return Needles(set(self.texts) - {*called}, set(self.names) - names)

    @cached_property
    def variants(self) -> list[str]:
        """Each text in all ways in which it may be written, longest first."""
        written = {
            variant for text in self.texts for variant in (text, json.dumps(text)[1:-1], quote(text), text.lower())
        }
        return sorted(written, key=lambda variant: (-len(variant), variant))

    @cached_property
    def signs(self) -> list[list[str]]:
        """Lists of texts in lower case: what names the person has all of one of them, unless an escape hides it."""
        return [*([text] for text in sorted({each.lower() for each in self.variants})), *map(str.split, self.names)]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds any of them that is no part of a longer word; a letter may be that of an escape such as `\\n`.

        The words of a name count, unless they are part of an address.
        """
        texts = [rf"(?:(?<=\\[nrt])|(?<![{_before(text)}])){re.escape(text)}{_behind(text)}" for text in self.variants]
        names = [rf"(?:(?<=\\[nrt])|(?<![^\W_])(?<!@)){_words(name)}(?![^\W_]|[\w.+-]*@)" for name in self.names]
        return re.compile("|".join(texts + names) or r"(?!)", re.IGNORECASE)

    @property
    def expression(self) -> str:
        """The same for DuckDB, which cannot look around; of texts in lower case."""
        texts = sorted({variant.lower() for variant in self.variants})
        return "|".join(
            [
                rf"(?:^|\\[nrt]|[^{_before(text)}]){re.escape(text)}(?:$|[^\w@-]|[-.](?:$|\W))"
                if "@" in text
                else rf"(?:^|\\[nrt]|[^{_before(text)}]){re.escape(text)}(?:$|\W)"
                for text in texts
            ]
            + [
                rf"(?:^|\\[nrt]|[^\pL\pN@]){_words(name, BETWEEN_IN_DUCKDB)}"
                r"(?:$|[^\pL\pN@.+_-]|[.+_-][\pL\pN.+_-]*(?:$|[^\pL\pN@.+_-]))"
                for name in self.names
            ]
        )

    def redact(self, text: str) -> str:
        """The text with the mark in place of each of them."""
        return self.pattern.sub(MARK, text) if self.may_be_in(text) else text

    def are_in(self, text: str) -> bool:
        """Whether any of them is."""
        return self.may_be_in(text) and self.pattern.search(text) is not None

    def may_be_in(self, text: str) -> bool:
        """Whether a search is worth its time."""
        lowered = text.lower()
        return any(all(part in lowered for part in parts) for parts in self.signs)


def _words(name: str, between: str = BETWEEN) -> str:
    return between.join(re.escape(word) for word in name.split(" "))


def _before(text: str) -> str:
    """What, right before it, makes a text part of a longer one."""
    return r"\w.+-" if "@" in text else r"\w"


def _behind(text: str) -> str:
    return r"(?![\w@]|[-.]\w)" if "@" in text else r"(?!\w)"
