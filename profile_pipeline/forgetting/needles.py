"""What an erased person is called, as texts to look for.

What belongs here: recognising these texts in others, and putting the mark in their place. What does not: documents,
in which the suppression list decides (`records/suppressions.py`), and where to look (`dagster_state.py`, `scan.py`).
"""

import json
import re
from collections.abc import Iterable
from functools import cached_property
from urllib.parse import quote

from profile_pipeline.records.suppressions import MARK, SHORTEST_ID


class Needles:
    """Texts to look for, in any case, as they are and as JSON and URLs write them; too short ones are left out."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Take ids, addresses and names."""
        self.texts = sorted({text for text in texts if len(text) >= SHORTEST_ID})

    @cached_property
    def variants(self) -> list[str]:
        """Each text in all ways in which it may be written, longest first."""
        written = {
            variant for text in self.texts for variant in (text, json.dumps(text)[1:-1], quote(text), text.lower())
        }
        return sorted(written, key=lambda variant: (-len(variant), variant))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds any of them that is no part of a longer word; a letter may be that of an escape such as `\\n`."""
        return re.compile(
            "|".join(
                rf"(?:(?<=\\[nrt])|(?<![{_before(text)}])){re.escape(text)}{_behind(text)}" for text in self.variants
            )
            or r"(?!)",
            re.IGNORECASE,
        )

    @property
    def expression(self) -> str:
        """The same for DuckDB, which cannot look around; of texts in lower case."""
        texts = sorted({variant.lower() for variant in self.variants})
        return "|".join(
            rf"(?:^|\\[nrt]|[^{_before(text)}]){re.escape(text)}(?:$|[^\w@-]|[-.](?:$|\W))"
            if "@" in text
            else rf"(?:^|\\[nrt]|[^{_before(text)}]){re.escape(text)}(?:$|\W)"
            for text in texts
        )

    def redact(self, text: str) -> str:
        """The text with the mark in place of each of them."""
        return self.pattern.sub(MARK, text)

    def are_in(self, text: str) -> bool:
        """Whether any of them is."""
        return self.pattern.search(text) is not None


def _before(text: str) -> str:
    """What, right before it, makes a text part of a longer one."""
    return r"\w.+-" if "@" in text else r"\w"


def _behind(text: str) -> str:
    return r"(?![\w@]|[-.]\w)" if "@" in text else r"(?!\w)"
