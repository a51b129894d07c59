"""What MongoDB filters, sorts and projections mean for decoded documents.

What belongs here: which documents a filter selects, in which order a sort puts them, what a projection leaves.
What does not: where documents are kept and how commands reach them (`mongodb/`). An operator that is not known
here is refused, because a test that relies on a guess proves nothing.

Dates are expected as `DatetimeMS`, as `decode` gives them, so that every BSON date has its place. A filter compares
within the type of its operand only; sorting and `$expr` compare across types in BSON's own order.
"""

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any

import bson
from bson import (
    Binary,
    Code,
    CodecOptions,
    DatetimeMS,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from bson.binary import UuidRepresentation
from bson.codec_options import DatetimeConversion

Document = dict[str, Any]
Key = tuple[Any, ...]
"""A value's place in BSON's order: equal keys are equal values, keys of all types compare with each other."""
Test = Callable[[Any], bool]

CODEC: CodecOptions[Document] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    unicode_decode_error_handler="replace",
)

BAD_VALUE, TYPE_MISMATCH, INVALID_PIPELINE_OPERATOR = 2, 14, 168


class CommandError(Exception):
    """What the server answers instead of a result: MongoDB's number of the error, its text and labels."""

    def __init__(self, code: int, message: str, labels: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.labels = list(labels)


class _Missing:
    """No value where a path leads; lower than all others in `$expr`, equal to null in filters and sorts."""


MISSING = _Missing()


def decode(raw: bytes) -> Document:
    """A document with its values as this module wants them."""
    return bson.decode(raw, CODEC)


# Order of types, as in MongoDB's `canonicalizeBSONType`.
NULL, NUMBER, STRING, OBJECT, ARRAY, OBJECT_ID = 5, 10, 15, 20, 25, 35


def _number_key(value: Any) -> Key:
    number = value.to_decimal() if isinstance(value, Decimal128) else value
    is_nan = number.is_nan() if isinstance(number, Decimal) else number != number  # noqa: PLR0124
    return (NUMBER, 0, 0) if is_nan else (NUMBER, 1, number)


def _object_key(value: Document) -> Key:
    fields = ((name, key(inner)) for name, inner in value.items())
    return (OBJECT, tuple((inner[0], name, inner) for name, inner in fields))


def _binary_key(value: bytes) -> Key:
    return (30, len(value), value.subtype if isinstance(value, Binary) else 0, bytes(value))


_KEYS: dict[type, Callable[[Any], Key]] = {
    MinKey: lambda value: (-1,),
    _Missing: lambda value: (0,),
    type(None): lambda value: (NULL,),
    int: lambda value: (NUMBER, 1, value),
    Int64: lambda value: (NUMBER, 1, value),
    float: _number_key,
    Decimal128: _number_key,
    str: lambda value: (STRING, value),
    dict: _object_key,
    DBRef: lambda value: _object_key(value.as_doc()),
    list: lambda value: (ARRAY, tuple(key(inner) for inner in value)),
    bytes: _binary_key,
    Binary: _binary_key,
    ObjectId: lambda value: (OBJECT_ID, value.binary),
    bool: lambda value: (40, value),
    DatetimeMS: lambda value: (45, int(value)),
    Timestamp: lambda value: (47, value.time, value.inc),
    Regex: lambda value: (50, value.pattern, value.flags),
    Code: lambda value: (60, str(value)),
    MaxKey: lambda value: (127,),
}


def key(value: Any) -> Key:
    """The place of a value in BSON's order."""
    return _KEYS[type(value)](value)


def candidates(value: Any, path: tuple[str, ...]) -> list[Any]:
    """The values that a condition on a path is held against: an array stands for itself and for its elements."""
    if not path:
        return [*value, value] if isinstance(value, list) else [value]
    if isinstance(value, list):
        found = [one for element in value if isinstance(element, dict) for one in candidates(element, path)]
        if path[0].isdigit() and int(path[0]) < len(value):
            found += candidates(value[int(path[0])], path[1:])
        return found
    inner = value.get(path[0], MISSING) if isinstance(value, dict) else MISSING
    return [MISSING] if inner is MISSING else candidates(inner, path[1:])


_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
_KINDS: list[set[type]] = [{int, Int64, float, Decimal128}, {bytes, Binary}, {dict, DBRef}]
"""Types that compare with each other; all others compare with themselves only."""
_ORDERINGS = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}
_TYPES: dict[str, tuple[int, Callable[[Any], bool]]] = {
    "double": (1, lambda value: type(value) is float),
    "string": (2, lambda value: type(value) is str),
    "object": (3, lambda value: isinstance(value, dict | DBRef)),
    "array": (4, lambda value: isinstance(value, list)),
    "binData": (5, lambda value: isinstance(value, bytes)),
    "objectId": (7, lambda value: isinstance(value, ObjectId)),
    "bool": (8, lambda value: isinstance(value, bool)),
    "date": (9, lambda value: isinstance(value, DatetimeMS)),
    "null": (10, lambda value: value is None),
    "regex": (11, lambda value: isinstance(value, Regex)),
    "javascript": (13, lambda value: isinstance(value, Code) and value.scope is None),
    "javascriptWithScope": (15, lambda value: isinstance(value, Code) and value.scope is not None),
    "int": (16, lambda value: type(value) is int),
    "timestamp": (17, lambda value: isinstance(value, Timestamp)),
    "long": (18, lambda value: type(value) is Int64),
    "decimal": (19, lambda value: isinstance(value, Decimal128)),
    "minKey": (-1, lambda value: isinstance(value, MinKey)),
    "maxKey": (127, lambda value: isinstance(value, MaxKey)),
}
_TYPE_NAMES = {code: name for name, (code, _) in _TYPES.items()}


def _regex(pattern: str | Regex[str], options: str = "") -> Test:
    if isinstance(pattern, Regex):
        flags, pattern = pattern.flags, pattern.pattern
    else:
        flags = 0
    if not set(options) <= set(_FLAGS):
        raise CommandError(51108, f"invalid flag in regex options: {options}")
    for letter in options:
        flags |= _FLAGS[letter]
    try:
        compiled = re.compile(pattern, flags)
    except re.error as error:
        raise CommandError(51091, f"Regular expression is invalid: {error}") from None
    return lambda value: (
        compiled.search(value) is not None
        if type(value) is str
        else isinstance(value, Regex) and (value.pattern, value.flags) == (pattern, flags)
    )


def _equals(operand: Any) -> Test:
    if isinstance(operand, Regex):
        return _regex(operand)
    if operand is None:
        return lambda value: value is None or value is MISSING
    wanted = key(operand)
    return lambda value: key(value) == wanted


def _ordering(name: str, operand: Any) -> Test:
    if isinstance(operand, Regex):
        raise CommandError(BAD_VALUE, f"Can't have RegEx as arg to predicate over field with {name}")
    if operand is None:
        return _equals(None) if name in ("$gte", "$lte") else lambda value: False
    holds, wanted = _ORDERINGS[name], key(operand)
    if isinstance(operand, MinKey | MaxKey):
        return lambda value: holds(key(value), wanted)
    kinds = next((kinds for kinds in _KINDS if type(operand) in kinds), {type(operand)})
    if wanted[0] == NUMBER:
        # NaN equals itself and is neither above nor below any other number.
        return lambda value: type(value) in kinds and key(value)[1] == wanted[1] and holds(key(value), wanted)
    return lambda value: type(value) in kinds and holds(key(value), wanted)


def _among(operands: Any) -> Test:
    if not isinstance(operands, list):
        raise CommandError(BAD_VALUE, "$in needs an array")
    if any(isinstance(one, dict) and next(iter(one), "").startswith("$") for one in operands):
        raise CommandError(BAD_VALUE, "cannot nest $ under $in")
    patterns = [_regex(one) for one in operands if isinstance(one, Regex)]
    wanted = {key(one) for one in operands if not isinstance(one, Regex)}
    if (NULL,) in wanted:
        wanted.add(key(MISSING))
    return _either([lambda value: key(value) in wanted, *patterns])


def _of_type(operand: Any) -> Test:
    names = operand if isinstance(operand, list) else [operand]
    tests = []
    for name in names:
        if name == "number":
            tests.append(lambda value: key(value)[0] == NUMBER)
            continue
        known = name if isinstance(name, str) else _TYPE_NAMES.get(name, "")
        if known not in _TYPES:
            raise CommandError(BAD_VALUE, f"Unknown type name alias or invalid numerical type code: {name}")
        tests.append(_TYPES[known][1])
    return _either(tests)


def _either(tests: list[Test]) -> Test:
    """Whether one of the tests holds; a loop, because it is twice as fast as `any`."""

    def test(value: Any) -> bool:
        for one in tests:  # noqa: SIM110
            if one(value):
                return True
        return False

    return tests[0] if len(tests) == 1 else test


def _both(tests: list[Test]) -> Test:
    def test(value: Any) -> bool:
        for one in tests:  # noqa: SIM110
            if not one(value):
                return False
        return True

    return tests[0] if len(tests) == 1 else test


def _of_any(test: Test) -> Callable[[Sequence[Any]], bool]:
    def of_any(values: Sequence[Any]) -> bool:
        for value in values:  # noqa: SIM110
            if test(value):
                return True
        return False

    return of_any


def _condition(name: str, operand: Any, siblings: Document) -> Callable[[Sequence[Any]], bool]:
    """One operator on a field, as a test of the candidates of its path."""
    if name in ("$ne", "$nin"):
        unwanted = _of_any(_equals(operand) if name == "$ne" else _among(operand))
        return lambda values: not unwanted(values)
    if name == "$not":
        if isinstance(operand, dict) and operand:
            conditions = [_condition(inner, value, operand) for inner, value in operand.items()]
        elif isinstance(operand, Regex):
            conditions = [_condition("$eq", operand, {})]
        else:
            raise CommandError(BAD_VALUE, "$not needs a regex or a document")
        unwanted = _both(conditions)
        return lambda values: not unwanted(values)
    if name == "$exists":
        exists = _of_any(lambda value: value is not MISSING)
        return lambda values: exists(values) is bool(operand)
    if name == "$options":
        return lambda values: True
    if name in ("$eq", "$in", "$type"):
        test = {"$eq": _equals, "$in": _among, "$type": _of_type}[name](operand)
    elif name in _ORDERINGS:
        test = _ordering(name, operand)
    elif name == "$regex":
        test = _regex(operand, siblings.get("$options", ""))
    else:
        raise CommandError(BAD_VALUE, f"unknown operator: {name}")
    return _of_any(test)


def is_operators(value: Any) -> bool:
    """Whether a field's condition is made of operators, rather than a value to equal."""
    return isinstance(value, dict) and next(iter(value), "").startswith("$")


def _field(name: str, wanted: Any) -> Test:
    path = tuple(name.split("."))
    operators = wanted if is_operators(wanted) else {"$eq": wanted}
    conditions = [_condition(inner, operand, operators) for inner, operand in operators.items()]
    condition = _both(conditions)
    if len(path) > 1:
        return lambda document: condition(candidates(document, path))

    def test(document: Document) -> bool:
        value = document.get(name, MISSING)
        return condition([*value, value] if type(value) is list else (value,))

    return test


def _clause(name: str, operand: Any) -> Test:
    if name in ("$and", "$or", "$nor"):
        if not isinstance(operand, list) or not operand:
            raise CommandError(BAD_VALUE, f"{name} must be a nonempty array")
        tests = [compile_filter(one) for one in operand]
        if name == "$and":
            return _both(tests)
        either = _either(tests)
        return either if name == "$or" else lambda document: not either(document)
    if name == "$expr":
        value = compile_expression(operand)
        return lambda document: _is_true(value(document))
    if name == "$comment":
        return lambda document: True
    if name.startswith("$"):
        raise CommandError(BAD_VALUE, f"unknown top level operator: {name}")
    return _field(name, operand)


def compile_filter(query: Any) -> Test:
    """Whether a decoded document is selected by a filter.

    Raises:
        CommandError: what MongoDB would answer; also for an operator that is not known here.
    """
    if not isinstance(query, dict):
        raise CommandError(TYPE_MISMATCH, "Expected field filter to be of type object")
    return _both([_clause(name, operand) for name, operand in query.items()])


# Aggregation expressions, as far as `$expr` and `$group` need them.


def _is_true(value: Any) -> bool:
    return not (value is None or value is MISSING or value is False or key(value) == (NUMBER, 1, 0))


def _value_at(value: Any, path: tuple[str, ...]) -> Any:
    if not path:
        return value
    if isinstance(value, list):
        return [one for element in value if (one := _value_at(element, path)) is not MISSING]
    return _value_at(value.get(path[0], MISSING), path[1:]) if isinstance(value, dict) else MISSING


def _type_name(value: Any) -> str:
    return next((name for name, (_, test) in _TYPES.items() if test(value)), "missing")


_COMPARISONS = {**_ORDERINGS, "$eq": operator.eq, "$ne": operator.ne}


def compile_expression(expression: Any) -> Callable[[Document], Any]:
    """The value of an aggregation expression for a document; comparisons are across types, missing is the lowest."""
    if isinstance(expression, str) and expression.startswith("$"):
        if expression.startswith("$$") and not expression.startswith("$$ROOT."):
            raise CommandError(17276, f"Use of undefined variable: {expression[2:]}")
        path = tuple(expression.removeprefix("$$ROOT.").removeprefix("$").split("."))
        return lambda document: _value_at(document, path)
    if not is_operators(expression):
        return lambda document: expression
    if len(expression) != 1:
        raise CommandError(15983, "an expression must have exactly one field")
    [(name, operand)] = expression.items()
    if name == "$literal":
        return lambda document: operand
    operands = [compile_expression(one) for one in (operand if isinstance(operand, list) else [operand])]
    if name in _COMPARISONS and len(operands) == 2:
        left, right = operands
        holds = _COMPARISONS[name]
        return lambda document: holds(key(left(document)), key(right(document)))
    if name in ("$and", "$or"):
        decide = all if name == "$and" else any
        return lambda document: decide(_is_true(value(document)) for value in operands)
    if name in ("$not", "$type") and len(operands) == 1:
        function = (lambda value: not _is_true(value)) if name == "$not" else _type_name
        return lambda document: function(operands[0](document))
    raise CommandError(INVALID_PIPELINE_OPERATOR, f"Unrecognized expression '{name}'")


# What can be read off the order of `_id`, without looking at documents.


@dataclass(frozen=True)
class IdRange:
    """Keys of `_id` from `lower` (included) to `upper` (not), and only those `among` if that is given."""

    lower: Key = (-2,)
    upper: Key = (128,)
    among: frozenset[Key] | None = None

    def __and__(self, other: "IdRange") -> "IdRange":
        """What is in both."""
        among = self.among if other.among is None else other.among if self.among is None else self.among & other.among
        return IdRange(max(self.lower, other.lower), min(self.upper, other.upper), among)


ALL_IDS = IdRange()
_PLAIN_IDS = (ObjectId, str, int, DatetimeMS)
"""Types whose values of `_id` lie together in the order, with nothing else between."""


def above(place: Key) -> Key:
    """The lowest key above another; two keys of one type never differ in length alone."""
    return (*place, 0)


def _half(name: str, place: Key) -> IdRange:
    if name in ("$gt", "$gte"):
        return replace(ALL_IDS, lower=above(place) if name == "$gt" else place)
    return replace(ALL_IDS, upper=above(place) if name == "$lte" else place)


def _id_condition(name: str, operand: Any) -> IdRange | None:
    """The range of one operator on `_id`; None where documents have to be looked at."""
    if name == "$in" and isinstance(operand, list) and all(type(one) in _KEYS for one in operand):
        is_plain = not any(isinstance(one, Regex | dict | list) or one is None for one in operand)
        return replace(ALL_IDS, among=frozenset(map(key, operand))) if is_plain else None
    if type(operand) is bool or not isinstance(operand, _PLAIN_IDS):
        return None
    if name == "$eq":
        return replace(ALL_IDS, among=frozenset([key(operand)]))
    if name not in _ORDERINGS:
        return None
    place = key(operand)
    return _half(name, place) & IdRange(place[:-1], (place[0] + 1,))


def _id_expression(expression: Any) -> IdRange | None:
    if isinstance(expression, dict) and len(expression) == 1:
        [(name, operands)] = expression.items()
        if name in _ORDERINGS and isinstance(operands, list) and len(operands) == 2 and operands[0] == "$_id":
            value = operands[1]
            if isinstance(value, dict) and list(value) == ["$literal"]:
                return _half(name, key(value["$literal"]))
            if not isinstance(value, dict) and not (isinstance(value, str) and value.startswith("$")):
                return _half(name, key(value))
    return None


def split_id_range(query: Document) -> tuple[IdRange, Document]:
    """The range of `_id` that a filter is confined to, and what of the filter has to be tested beside it."""
    found, rest = ALL_IDS, {}
    for name, operand in query.items():
        ranges: list[IdRange | None] = [None]
        if name == "_id":
            operators = operand if is_operators(operand) else {"$eq": operand}
            ranges = [_id_condition(inner, value) for inner, value in operators.items()]
        elif name == "$expr":
            ranges = [_id_expression(operand)]
        elif (
            (name == "$and" or (name == "$or" and len(operand) == 1))
            and isinstance(operand, list)
            and all(isinstance(one, dict) for one in operand)
        ):
            parts = [split_id_range(one) for one in operand]
            ranges = [part for part, _ in parts]
            if remaining := [other for _, other in parts if other]:
                rest[name] = remaining
        for one in ranges:
            if one is None:
                rest[name] = operand
            else:
                found &= one
    return found, rest


# Sorting and projection.


def sort_key(document: Document, path: tuple[str, ...], descending: bool) -> Key:
    """Where a sort puts a document: an array sorts by its lowest element, descending by its highest."""
    values = candidates(document, path)
    if len(values) > 1 and isinstance(values[-1], list):
        values = values[:-1]
    keys = [key(None) if value is MISSING else (0,) if value == [] else key(value) for value in values]
    return (max if descending else min)(keys, default=key(None))


def sort_rows(rows: list[Any], specification: Document, read: Callable[[Any], Document]) -> None:
    """Put rows, whose documents `read` gives, in the order of a sort; ties stay as they are."""
    for name, direction in reversed(specification.items()):
        if direction not in (1, -1):
            raise CommandError(15975, "$sort key ordering must be 1 (for ascending) or -1 (for descending)")
        place = partial(_row_key, tuple(name.split(".")), direction == -1, read)
        rows.sort(key=place, reverse=direction == -1)


def _row_key(path: tuple[str, ...], descending: bool, read: Callable[[Any], Document], row: Any) -> Key:
    return sort_key(read(row), path, descending)


def compile_projection(specification: Document) -> Callable[[Document], Document]:
    """What a projection by names leaves of a document."""
    if any(not isinstance(value, bool | int | float) for value in specification.values()):
        raise CommandError(BAD_VALUE, "only projections by inclusion and exclusion are known")
    kinds = {bool(value) for name, value in specification.items() if name != "_id"}
    if len(kinds) > 1:
        raise CommandError(31254, "Cannot do exclusion on a field in inclusion projection")
    including = kinds.pop() if kinds else bool(specification.get("_id", False))
    names = [name for name, value in specification.items() if bool(value) is including]
    if including and specification.get("_id", True):
        names.append("_id")
    tree: Document = {}
    for name in names:
        branch = tree
        *parents, leaf = name.split(".")
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = None
    return lambda document: _prune(document, tree, including)


def _prune(document: Document, tree: Document, including: bool) -> Document:
    left: Document = {}
    for name, value in document.items():
        branch = tree.get(name, MISSING)
        if branch is MISSING:
            kept = MISSING if including else value
        elif branch is None:
            kept = value if including else MISSING
        else:
            kept = _prune_value(value, branch, including)
        if kept is not MISSING:
            left[name] = kept
    return left


def _prune_value(value: Any, branch: Document, including: bool) -> Any:
    if isinstance(value, dict):
        return _prune(value, branch, including)
    if isinstance(value, list):
        pruned = (_prune_value(element, branch, including) for element in value)
        return [element for element in pruned if element is not MISSING]
    return MISSING if including else value
