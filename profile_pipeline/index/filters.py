"""Who may be found at all: a condition in SQL, and options for what is asked most.

What belongs here: turning options into SQL, and saying what is wrong with a condition and what exists. What
does not: the search (`search.py`).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.clock import CLOCK_WORDS, TEXT_OR_NAME, engine, expand_clock_words
from profile_pipeline.index.store import FILTER_COLUMNS, is_one_of
from profile_pipeline.sql import quoted
from profile_pipeline.tables import DECISIONS

FILTERABLE = ("user_id", *FILTER_COLUMNS, "text")

SHOWN = 20
"""Values that a message lists: as many as one reads."""


LABELS = (
    *("tags", "interests", "cuisine_preference", "dietary_restrictions", "gender", "occupation"),
    *("home_neighborhood", "work_neighborhood", "relationship_status"),
)
"""Columns whose values repeat, so that one that nobody has is told together with those that there are."""

COMPARED = re.compile(
    r"(\w+)(?:\s*=|\s+IN\s*\()\s*'((?:[^']|'')+)'|array_has\w*\(\s*(\w+)\s*,\s*\[?\s*'((?:[^']|'')+)'", re.IGNORECASE
)
"""A column and the first text that it is compared with."""

BRACKETS = re.compile(rf"{TEXT_OR_NAME}|[()]|--|/\*")
"""What may end a condition too early, and what is passed over on the way: texts and quoted names."""


@dataclass(frozen=True)
class Filters:
    """What must hold for a profile to be found; all that is given must.

    Attributes:
        where: a condition in SQL on the columns of the index and the words of `CLOCK_WORDS`.
        can_send: a new message must be allowed.
        neighborhoods: where the person lives or works, any of them.
        tags: labels of the profile, all of them.
        min_score: the least personalization score.
        attended_since: the last event was on this day or later.
    """

    where: str | None = None
    can_send: bool = False
    neighborhoods: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    min_score: int | None = None
    attended_since: date | None = None

    def condition(self, day: date) -> str | None:
        """The condition in LanceDB's SQL as of a day; nothing when everybody may be found.

        Raises:
            PipelineError: `where` closes a bracket that it did not open, leaves one open, or has a comment.
        """
        parts = [] if self.where is None else [f"({_expanded(self.where, day)})"]
        if self.can_send:
            parts.append(expand_clock_words("can_send_new_message", day))
        if self.neighborhoods:
            places = ("home_neighborhood", "work_neighborhood")
            parts.append(f"({' OR '.join(is_one_of(place, self.neighborhoods) for place in places)})")
        parts += [f"array_has_any(tags, [{quoted(_as_tag(tag))}])" for tag in self.tags]
        if self.min_score is not None:
            parts.append(f"personalization_score >= {self.min_score}")
        if self.attended_since is not None:
            parts.append(f"last_event_date >= DATE '{self.attended_since}'")
        return " AND ".join(parts) or None

    def check(self, table: Any, day: date) -> None:
        """Make sure that the condition can be put to a version, and names what exists there.

        Raises:
            PipelineError: the SQL is wrong, or a neighbourhood or tag is nobody's; or the SQL holds for nobody and
                compares with a label that is nobody's.
        """
        if self.where is not None:
            with self.reporting_errors():
                holds_for = table.count_rows(_expanded(self.where, day))
            if not holds_for:
                _refuse_unknown_labels(self.where, table)
        for name in self.neighborhoods:
            if not table.count_rows(Filters(neighborhoods=(name,)).condition(day)):
                exist = _values(table, "home_neighborhood", "work_neighborhood")
                raise PipelineError(f"nobody lives or works in the neighborhood {name!r}; there are {exist}")
        for tag in self.tags:
            if not table.count_rows(Filters(tags=(tag,)).condition(day)):
                raise PipelineError(f"nobody has the tag {_as_tag(tag)!r}; there are {_values(table, 'tags')}")

    @contextmanager
    def reporting_errors(self) -> Iterator[None]:
        """Tell what LanceDB says against a query as said against `where`; some of it shows in the query alone.

        Raises:
            PipelineError: LanceDB said something, and there is a `where`.
        """
        try:
            yield
        except (ValueError, RuntimeError) as error:
            if self.where is None or isinstance(error, PipelineError):
                raise
            raise PipelineError(wrong_filter(self.where, str(error))) from error


def _expanded(where: str, day: date) -> str:
    """A condition that stays one when it stands in brackets, with the words of the clock written out.

    LanceDB reads up to a bracket that closes too much and passes over the rest in silence, other filters included.
    """
    depth = 0
    for found in BRACKETS.finditer(where):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if found[0] in ("--", "/*"):
            raise PipelineError(wrong_filter(where, "it has a comment"))
        if depth < 0:
            break
    if depth:
        raise PipelineError(wrong_filter(where, "its brackets do not match"))
    return expand_clock_words(where, day)


def _as_tag(text: str) -> str:
    """A tag as it is stored: in DuckDB's lower case, which is not Python's for every letter."""
    if text.isascii():
        return text.lower()
    with engine().cursor() as cursor:
        ((lowered,),) = cursor.execute("SELECT lower(?)", [text]).fetchall()
    tag: str = lowered
    return tag


def wrong_filter(where: str, message: str) -> str:
    """Say what is wrong with a filter, without the parts of LanceDB's message that help nobody."""
    reason = re.sub(r"(Invalid input|Invalid user input|Schema error|Error during planning)[:,] ", "", message)
    noise = r" Valid fields are .*|This issue was likely caused .*|, /\S+\.rs:\d+:\d+"
    reason = re.sub(noise, "", " ".join(reason.split())).strip().rstrip(".")
    return (
        f"the filter {where!r} cannot be used: {reason}; "
        f"columns: {', '.join(FILTERABLE)}, and as of the day {', '.join(CLOCK_WORDS)}; "
        "write a day as DATE '2024-01-31' and a list as array_has(tags, 'vegan')"
    )


def _refuse_unknown_labels(where: str, table: Any) -> None:
    """Raise an error if a condition compares with a label that nobody has: it is more likely mistyped than meant."""
    for found in COMPARED.finditer(where):
        column, label = (found[1] or found[3]).lower(), (found[2] or found[4]).replace("''", "'")
        if column == "decision":
            exist = "" if label in DECISIONS else ", ".join(DECISIONS)
        elif column in LABELS:
            has = (
                f"array_has_any({column}, [{quoted(label)}])" if _is_list(table, column) else is_one_of(column, [label])
            )
            exist = "" if table.count_rows(has) else _values(table, column)
        else:
            continue
        if exist:
            raise PipelineError(f"the filter {where!r} holds for nobody: no {column} is {label!r}; there are {exist}")


def _is_list(table: Any, column: str) -> bool:
    return bool(pa.types.is_list(table.schema.field(column).type))


def _values(table: Any, *columns: str) -> str:
    """What the columns hold, most frequent first."""
    counts: dict[str, int] = {}
    rows = table.search().select(list(columns)).to_arrow()
    for column in columns:
        values = pc.list_flatten(rows[column]) if _is_list(table, column) else rows[column]
        for item in values.drop_null().value_counts().to_pylist():
            counts[item["values"]] = counts.get(item["values"], 0) + item["counts"]
    ordered = sorted(counts, key=lambda value: (-counts[value], value))
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(ordered[:SHOWN]) + more
