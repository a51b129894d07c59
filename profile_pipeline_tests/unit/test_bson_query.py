"""What filters, sorts and projections of the MongoDB server for tests mean.

`CASES` also go through a server (`integration/test_mongodb_server.py`), and so through a real one where there is one.
"""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import bson
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from profile_pipeline_tests.servers import bson_query
from profile_pipeline_tests.servers.bson_query import CommandError, Document

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
FAR = DatetimeMS(300_000_000_000_000)
OID = ObjectId("65929c400000000000000000")

DOCUMENTS: dict[str, Document] = {
    "missing": {},
    "null": {"a": None},
    "int": {"a": 4},
    "long": {"a": Int64(5)},
    "double": {"a": 4.5},
    "decimal": {"a": Decimal128("6")},
    "nan": {"a": float("nan")},
    "text": {"a": "hi"},
    "blank": {"a": " \n"},
    "date": {"a": NOON},
    "far": {"a": FAR},
    "object_id": {"a": OID},
    "true": {"a": True},
    "bytes": {"a": b"hi"},
    "uuid": {"a": Binary(bytes(16), 4)},
    "regex": {"a": Regex("hi")},
    "code": {"a": Code("hi")},
    "timestamp": {"a": Timestamp(1, 2)},
    "lowest": {"a": MinKey()},
    "highest": {"a": MaxKey()},
    "empty": {"a": {}},
    "b_null": {"a": {"b": None}},
    "b_text": {"a": {"b": "hi"}},
    "no_elements": {"a": []},
    "nested_empty": {"a": [[]]},
    "numbers": {"a": [1, 9]},
    "null_and_text": {"a": [None, "hi"]},
    "dates": {"a": [NOON, FAR]},
    "bs": {"a": [{"b": 1}, {"b": 3}]},
    "b_and_none": {"a": [{"b": 3}, {}]},
}
SCALARS = [name for name in DOCUMENTS if name not in ("missing", "null")]

CASES: list[tuple[Document, str]] = [
    # Equality: numbers of all types, null and missing, elements of arrays.
    ({"a": 4.0}, "int"),
    ({"a": Decimal128("5.0")}, "long"),
    ({"a": float("nan")}, "nan"),
    ({"a": "hi"}, "text null_and_text"),
    ({"a": None}, "missing null null_and_text"),
    ({"a": []}, "no_elements nested_empty"),
    ({"a": [1, 9]}, "numbers"),
    ({"a": {"b": "hi"}}, "b_text"),
    ({"a": {"b": 3.0}}, "bs b_and_none"),
    ({"a": {"$in": ["hi", 9, None]}}, "missing null text numbers null_and_text"),
    ({"a": {"$in": [Regex("^h"), []]}}, "text null_and_text no_elements nested_empty"),
    ({"a": {"$nin": [None, *([4, 5, 4.5, 6, float("nan")])], "$type": "number"}}, "numbers"),
    # Comparison stays within the type.
    ({"a": {"$gt": 4}}, "long double decimal numbers"),
    ({"a": {"$gte": 4, "$lt": 5}}, "int double numbers"),
    ({"a": {"$lt": 2}}, "numbers"),
    ({"a": {"$gte": float("nan")}}, "nan"),
    ({"a": {"$lt": float("inf")}}, "int long double decimal numbers"),
    ({"a": {"$gt": datetime(1970, 1, 1, tzinfo=UTC)}}, "date far dates"),
    ({"a": {"$gt": NOON}}, "far dates"),
    ({"a": {"$lte": ""}}, ""),
    ({"a": {"$gte": ""}}, "text blank null_and_text"),
    ({"a": {"$gte": OID}}, "object_id"),
    ({"a": {"$lt": True}}, ""),
    ({"a": {"$gte": None}}, "missing null null_and_text"),
    ({"a": {"$gt": None}}, ""),
    ({"a": {"$gt": [1]}}, "nested_empty numbers dates bs b_and_none"),
    # Paths.
    ({"a.b": None}, "missing null " + " ".join(SCALARS[:18]) + " empty b_null b_and_none"),
    ({"a.b": {"$gt": 1}}, "bs b_and_none"),
    ({"a.b": {"$exists": True}}, "b_null b_text bs b_and_none"),
    ({"a.b": {"$not": {"$exists": False}}}, "b_null b_text bs b_and_none"),
    ({"a.0": 1}, "numbers"),
    ({"a.1.b": 3}, "bs"),
    # Existence and types.
    ({"a": {"$exists": False}}, "missing"),
    ({"a": {"$exists": True, "$type": "null"}}, "null null_and_text"),
    ({"a": {"$type": "int"}}, "int numbers"),
    ({"a": {"$type": ["long", 1]}}, "long double nan"),
    ({"a": {"$type": "number"}}, "int long double decimal nan numbers"),
    ({"a": {"$type": "array"}}, "no_elements nested_empty numbers null_and_text dates bs b_and_none"),
    ({"a": {"$type": ["object", 5]}}, "bytes uuid empty b_null b_text bs b_and_none"),
    ({"a": {"$type": [7, 8, 11, 13, 17, -1, 127]}}, "object_id true regex code timestamp lowest highest"),
    ({"a": {"$type": ["date", "string"]}}, "text blank date far null_and_text dates"),
    # Patterns.
    ({"a": {"$regex": "^H", "$options": "i"}}, "text null_and_text"),
    ({"a": Regex(r"^[ \t\n\r\f\v]*$")}, "blank"),
    ({"a": Regex("hi")}, "text regex null_and_text"),
    # Logic.
    ({"$or": [{"a": 4}, {"a": "hi", "$nor": [{"a": None}]}]}, "int text"),
    ({"$and": [{"a": {"$gt": 0}}, {"a": {"$lt": 5}}]}, "int double numbers"),
    ({"$nor": [{"a": {"$exists": True}}]}, "missing"),
    ({"a": {"$ne": None, "$not": {"$type": ["number", "object", "array", "date", "string"]}}},
     "object_id true bytes uuid regex code timestamp lowest highest"),
    ({"a": {"$not": Regex("h"), "$type": "string"}}, "blank"),
    # Aggregation's comparison, across types: missing is below null.
    ({"$expr": {"$lt": ["$a", None]}}, "missing lowest"),
    ({"$expr": {"$gt": ["$a", NOON]}}, "far regex code timestamp highest"),
    ({"$expr": {"$eq": ["$a.b", "hi"]}}, "b_text"),
    ({"$expr": {"$gte": ["$_id", {"$literal": "true"}]}}, "true uuid"),
    ({"$expr": {"$gt": ["$_id", 5]}, "a": {"$in": [4, True]}}, "int true"),
    # The order of `_id`, read off its index.
    ({"_id": {"$gt": "t", "$lte": "true"}}, "text timestamp true"),
    ({"_id": {"$in": ["int", "null", "none"]}, "a": 4}, "int"),
    ({"_id": {"$gt": 0}}, ""),
    ({"_id": "int"}, "int"),
    ({"$and": [{"_id": {"$gte": "text"}}, {"a": True}]}, "true"),
]  # fmt: skip

REFUSED: list[tuple[Document, int]] = [
    ({"a": {"$elemMatch": {"b": 1}}}, 2),
    ({"$where": "true"}, 2),
    ({"$or": []}, 2),
    ({"a": {"$in": 4}}, 2),
    ({"a": {"$gt": Regex("a")}}, 2),
    ({"a": {"$type": "colour"}}, 2),
    ({"a": {"$not": 4}}, 2),
    ({"$or": [{"a": 1}, {"_id": {"$near": 1}}]}, 2),
    ({"a": {"$regex": "("}}, 51091),
    ({"$expr": {"$rand": {}}}, 168),
    ({"$expr": {"$eq": ["$$USER", 1]}}, 17276),
]
"""Filters that cannot be answered, with MongoDB's number of the error; not all are wrong on a real server."""

IN_ORDER: list[Any] = [
    MinKey(), [], None, float("nan"), float("-inf"), -1, 0.5, Int64(2), Decimal128("2.5"), 2**60, "", "B", "a", "é",
    "\U0001f600", {}, {"a": 1}, {"a": 2}, {"b": 1}, {"a": "x"}, Binary(b"z"), Binary(b"ab"), Binary(b"aa", 4),
    OID, False, True, DatetimeMS(-1), NOON, FAR, Timestamp(1, 2), Timestamp(2, 1), Regex("a"), MaxKey(),
]  # fmt: skip
"""Values in the order of an ascending sort."""


def decoded(document: Document) -> Document:
    return bson_query.decode(bson.encode(document))


def test_no_document_is_without_a_case() -> None:
    assert {name for _, names in CASES for name in names.split()} == set(DOCUMENTS)


@pytest.mark.parametrize(("query", "names"), CASES, ids=[str(query) for query, _ in CASES])
def test_a_filter_selects_as_mongodb_does(query: Document, names: str) -> None:
    test = bson_query.compile_filter(decoded(query))
    selected = [name for name, document in DOCUMENTS.items() if test(decoded({"_id": name, **document}))]
    assert selected == sorted(names.split(), key=list(DOCUMENTS).index)


@pytest.mark.parametrize(("query", "names"), CASES, ids=[str(query) for query, _ in CASES])
def test_the_range_of_ids_and_the_rest_of_a_filter_are_the_filter(query: Document, names: str) -> None:
    ids, rest = bson_query.split_id_range(decoded(query))
    test = bson_query.compile_filter(rest)

    def is_selected(name: str) -> bool:
        place = bson_query.key(name)
        is_inside = ids.lower <= place < ids.upper and (ids.among is None or place in ids.among)
        return is_inside and test(decoded({"_id": name, **DOCUMENTS[name]}))

    assert {name for name in DOCUMENTS if is_selected(name)} == set(names.split())


def test_a_filter_on_ids_alone_leaves_nothing_to_be_tested() -> None:
    query = {"$and": [{"_id": {"$gt": OID}}, {"$expr": {"$gt": ["$_id", {"$literal": "x"}]}}]}
    ids, rest = bson_query.split_id_range(query)
    assert rest == {}
    assert not ids.lower <= bson_query.key(OID) < ids.upper
    assert ids.lower <= bson_query.key(ObjectId("ff" * 12)) < ids.upper
    assert not ids.lower <= bson_query.key("y") < ids.upper
    assert not ids.lower <= bson_query.key(True) < ids.upper


@pytest.mark.parametrize(("query", "code"), REFUSED, ids=[str(query) for query, _ in REFUSED])
def test_what_is_not_known_is_refused(query: Document, code: int) -> None:
    with pytest.raises(CommandError) as caught:
        bson_query.compile_filter(decoded(query))
    assert caught.value.code == code


def test_values_of_all_types_have_their_place_in_a_sort() -> None:
    places = [bson_query.sort_key(decoded({"a": value}), ("a",), descending=False) for value in IN_ORDER]
    assert all(one < other for one, other in pairwise(places))


def test_an_array_sorts_by_its_lowest_element_and_descending_by_its_highest() -> None:
    rows = [decoded({"_id": 1, "a": [1, 9]}), decoded({"_id": 2, "a": 5}), decoded({"_id": 3, "a": [2, 3]})]
    bson_query.sort_rows(rows, {"a": 1}, dict)
    assert [row["_id"] for row in rows] == [1, 3, 2]
    bson_query.sort_rows(rows, {"a": -1}, dict)
    assert [row["_id"] for row in rows] == [1, 2, 3]


def test_ties_of_a_sort_are_in_the_order_of_its_next_field() -> None:
    rows: list[Document] = [{"a": 1, "b": 1}, {"a": 0, "b": 2}, {"b": 3}, {"a": None, "b": 4}, {"a": 1, "b": 5}]
    bson_query.sort_rows(rows, {"a": 1, "b": -1}, dict)
    assert [row["b"] for row in rows] == [4, 3, 2, 5, 1]


@pytest.mark.parametrize(
    ("specification", "expected"),
    [
        ({"a": 1}, {"_id": 1, "a": 2}),
        ({"_id": 0, "a": True}, {"a": 2}),
        ({"_id": 1}, {"_id": 1}),
        ({"_id": 0, "c": 0}, {"a": 2, "b": {"x": 3, "y": [{"z": 4, "w": 5}, 6]}}),
        ({"b.x": 0, "b.y.z": 0}, {"_id": 1, "a": 2, "b": {"y": [{"w": 5}, 6]}, "c": 7}),
        ({"b.y.z": 1, "a.q": 1}, {"_id": 1, "b": {"y": [{"z": 4}]}}),
    ],
)
def test_a_projection_leaves_what_it_names(specification: Document, expected: Document) -> None:
    document = {"_id": 1, "a": 2, "b": {"x": 3, "y": [{"z": 4, "w": 5}, 6]}, "c": 7}
    assert bson_query.compile_projection(specification)(document) == expected


def test_a_projection_that_includes_and_excludes_is_refused() -> None:
    with pytest.raises(CommandError, match="exclusion"):
        bson_query.compile_projection({"a": 1, "b": 0})
