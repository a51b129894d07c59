"""How a system writes a record: where in its documents the fields are, and in which clothes.

What belongs here: names that only differ by source. What does not: what a field means (`models.py`) and how
documents are fetched (`sources/`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str, ...]
"""Names from the outside in, such as `("fields", "Member ID")`."""


@dataclass(frozen=True)
class Dialect:
    """Where the fields of a record are in a system's documents.

    `paths` has those that are not simply where their name says; `root` is where all others are looked for.
    `system_time` leads to the time at which the system itself says that the record was made, which counts when
    the record has no other, as the one inside an ObjectId does, and when its business date is earlier. With
    `has_links`, a list of one value stands for the value, as linked records and lookups are written.
    """

    paths: Mapping[str, Path] = field(default_factory=dict)
    root: Path = ()
    system_time: Path | None = None
    has_links: bool = False

    def path(self, name: str) -> Path:
        """Where a field is."""
        return self.paths.get(name, (*self.root, name))


PLAIN = Dialect()
"""Documents in the field names of `models.py`."""


def value_at(document: Any, path: Path) -> Any:
    """The value at a path; None where something on the way is missing or no object."""
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document
