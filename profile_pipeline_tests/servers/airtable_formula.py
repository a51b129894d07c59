"""Airtable's formulas, as far as filters of a list of records use them.

What belongs here: reading a formula and evaluating it for a record. What does not: records and HTTP
(`airtable.py`).

Where Airtable's behaviour is not documented or reports of it differ, the answer here is the one that hurts a
careless filter most: a date function on a blank or unreadable date is an error, an error spreads through every
function except `ISERROR` and the untaken branch of `IF`, and a record whose formula is an error is not selected.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
        | \{(?P<braced>(?:\\\}|[^}])*)\}
        | (?P<number>\d+(?:\.\d+)?)
        | (?P<word>[^\W\d]\w*)
        | (?P<sign>!=|<=|>=|[=<>&(),])
    )""",
    re.VERBOSE | re.DOTALL,
)
COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
UNITS = {"minute": 60, "second": 1, "hour": 3600, "day": 86400}


class InvalidFormula(Exception):  # noqa: N818  # Airtable's own word
    """The formula cannot be read, or names fields or functions that are not there."""


class _Error:
    """`#ERROR!`."""

    def __repr__(self) -> str:
        return "#ERROR!"


ERROR = _Error()

Row = Callable[[str], Any]
"""The value of a field, by name or id; `RECORD_ID()` and its like by these texts."""
Node = Callable[[Row], Any]


@dataclass(frozen=True)
class Formula:
    """A formula that has been read, and the fields that it names."""

    node: Node
    fields: frozenset[str]

    def selects(self, row: Row) -> bool:
        """Whether a record is in the list that the formula filters."""
        value = self.node(row)
        return value is not ERROR and _is_true(value)


def read(text: str) -> Formula:
    """Read a formula.

    Raises:
        InvalidFormula: it is none.
    """
    reader = _Reader(text)
    node = reader.comparison()
    if reader.token is not None:
        raise InvalidFormula("Invalid formula. Please check your formula text.")
    return Formula(node, frozenset(reader.fields))


class _Reader:
    def __init__(self, text: str) -> None:
        self.tokens = iter(_tokens(text))
        self.token: tuple[str, str] | None = next(self.tokens, None)
        self.fields: set[str] = set()

    def take(self, kind: str, value: str | None = None) -> str:
        if self.token is None or self.token[0] != kind or (value is not None and self.token[1] != value):
            raise InvalidFormula("Invalid formula. Please check your formula text.")
        taken = self.token[1]
        self.token = next(self.tokens, None)
        return taken

    def is_next(self, *signs: str) -> bool:
        return self.token is not None and self.token[0] == "sign" and self.token[1] in signs

    def comparison(self) -> Node:
        left = self.joined()
        while self.is_next(*COMPARISONS):
            left = _eager(_compare(self.take("sign")), [left, self.joined()])
        return left

    def joined(self) -> Node:
        left = self.primary()
        while self.is_next("&"):
            self.take("sign")
            left = _eager(lambda a, b: _text(a) + _text(b), [left, self.primary()])
        return left

    def primary(self) -> Node:
        if self.token is None:
            raise InvalidFormula("Invalid formula. Please check your formula text.")
        kind, value = self.token
        if kind == "sign":
            self.take("sign", "(")
            inner = self.comparison()
            self.take("sign", ")")
            return inner
        self.take(kind)
        if kind == "text":
            return lambda row: value
        if kind == "number":
            return lambda row: float(value)
        if kind == "word" and self.is_next("("):
            return self.call(value.upper())
        self.fields.add(value)
        return lambda row: row(value)

    def call(self, name: str) -> Node:
        self.take("sign", "(")
        arguments: list[Node] = []
        while not self.is_next(")"):
            if arguments:
                self.take("sign", ",")
            arguments.append(self.comparison())
        self.take("sign", ")")
        return _function(name, arguments)


def _tokens(text: str) -> Iterable[tuple[str, str]]:
    position = 0
    while text[position:].strip():
        match = TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise InvalidFormula("Invalid formula. Please check your formula text.")
        position = match.end()
        kind, value = match.lastgroup, match[match.lastgroup]
        if kind == "text":
            value = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
        elif kind == "braced":
            value = value.replace(r"\}", "}")
        yield kind, value


def _function(name: str, arguments: list[Node]) -> Node:
    if name == "IF" and len(arguments) in (2, 3):
        return lambda row: _branch(row, arguments)
    if name == "ISERROR" and len(arguments) == 1:
        return lambda row: arguments[0](row) is ERROR
    if name in ("RECORD_ID", "CREATED_TIME", "LAST_MODIFIED_TIME") and not arguments:
        return lambda row: row(f"{name}()")
    known = FUNCTIONS.get(name)
    if known is None:
        raise InvalidFormula(f"Unknown function: {name}")
    counts, function = known
    if len(arguments) not in counts:
        raise InvalidFormula(f"Invalid arguments to {name}")
    return _eager(function, arguments)


def _branch(row: Row, arguments: list[Node]) -> Any:
    condition = arguments[0](row)
    if condition is ERROR:
        return ERROR
    if _is_true(condition):
        return arguments[1](row)
    return arguments[2](row) if len(arguments) == 3 else None


def _eager(function: Callable[..., Any], arguments: list[Node]) -> Node:
    def evaluate(row: Row) -> Any:
        values = [argument(row) for argument in arguments]
        return ERROR if any(value is ERROR for value in values) else function(*values)

    return evaluate


def _is_true(value: Any) -> bool:
    return value not in (None, False, 0, "", []) and not (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds") + "Z"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _moment(value: Any) -> datetime | None:
    """A date, UTC without a zone; None for what is none."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _on_dates(function: Callable[..., bool]) -> Callable[..., Any]:
    def evaluate(first: Any, second: Any, *rest: Any) -> Any:
        moments = _moment(first), _moment(second)
        return ERROR if None in moments else function(*moments, *rest)

    return evaluate


def _is_same(first: datetime, second: datetime, unit: str = "") -> Any:
    if not unit:
        return first == second
    if unit not in UNITS:
        return ERROR
    epoch = datetime(1970, 1, 1)
    return (first - epoch).total_seconds() // UNITS[unit] == (second - epoch).total_seconds() // UNITS[unit]


def _compare(sign: str) -> Callable[[Any, Any], Any]:
    def evaluate(left: Any, right: Any) -> Any:
        left, right = ("" if value in (None, []) else value for value in (left, right))
        if sign in ("=", "!="):
            # A text is never equal to a number, as Airtable has it.
            return (left == right) is (sign == "=")
        if type(left) is not type(right):
            return ERROR
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[sign]

    return evaluate


MANY = range(1, 1_000_000)
FUNCTIONS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "AND": (MANY, lambda *values: all(map(_is_true, values))),
    "OR": (MANY, lambda *values: any(map(_is_true, values))),
    "NOT": ([1], lambda value: not _is_true(value)),
    "TRUE": ([0], lambda: True),
    "FALSE": ([0], lambda: False),
    "BLANK": ([0], lambda: None),
    "TRIM": ([1], lambda value: _text(value).strip()),
    "DATETIME_PARSE": ([1], lambda value: _moment(value) or ERROR),
    "IS_BEFORE": ([2], _on_dates(lambda first, second: first < second)),
    "IS_AFTER": ([2], _on_dates(lambda first, second: first > second)),
    "IS_SAME": ([2, 3], _on_dates(_is_same)),
}
