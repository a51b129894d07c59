"""Holds the pure parts of the MongoDB source: filters, documents as text, keys, and what errors say."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import bson
import pytest
from bson import (
    Binary,
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    json_util,
)
from hypothesis import example, given
from hypothesis import strategies as st
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    CursorNotFound,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.records.dialect import PLAIN, Dialect
from profile_pipeline.records.models import Reading, Rejected, parse
from profile_pipeline.records.moments import Moment, read_moment
from profile_pipeline.settings import Settings
from profile_pipeline.sources.live import Span
from profile_pipeline.sources.mongodb import MongoSource
from profile_pipeline.sources.mongodb.documents import (
    CODEC,
    after,
    as_json,
    batches,
    key_of,
    place_of,
    plain,
    values_of,
)
from profile_pipeline.sources.mongodb.faults import redacted, secrets_in, translated
from profile_pipeline.sources.mongodb.selection import _unreadable_text, span_filter
from profile_pipeline.sources.mongodb.source import CONNECT_MS, SERVER_SELECTION_MS, SOCKET_MS
from profile_pipeline_tests.servers.bson_query import compile_filter, decode

UTC_ZONE = ZoneInfo("UTC")
ZONES = [UTC_ZONE, ZoneInfo("America/Los_Angeles"), ZoneInfo("Pacific/Kiritimati")]
SPAN = Span(datetime(2024, 3, 1, 6), datetime(2024, 3, 2, 18))
BEFORE, INSIDE, BEHIND = datetime(2024, 2, 1), datetime(2024, 3, 2), datetime(2024, 4, 1)


def made(at: datetime, rest: str = "11") -> ObjectId:
    return ObjectId(f"{int(at.replace(tzinfo=UTC).timestamp()):08x}{rest * 8}")


OLD_ID = made(BEFORE)


def to_milliseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1)) // timedelta(milliseconds=1)


def through_bson(document: dict[str, Any]) -> dict[str, Any]:
    """The document as the driver hands it over."""
    return bson.decode(bson.encode(document), CODEC)


def is_selected(document: dict[str, Any], kind: str = "orders", span: Span = SPAN, **how: Any) -> bool:
    query = span_filter(kind, how.get("dialect", PLAIN), span, how.get("zone", UTC_ZONE))
    return compile_filter(decode(bson.encode(query)))(decode(bson.encode(document)))


# ---------------------------------------------------------------- which documents a span concerns


def test_without_a_beginning_every_document_is_asked_for() -> None:
    assert span_filter("users", PLAIN, Span(None, BEHIND), UTC_ZONE) == {}


@pytest.mark.parametrize("field", ["created_at", "updated_at", "deleted_at"])
@pytest.mark.parametrize(
    "write", [lambda at: at, datetime.isoformat, lambda at: int(at.replace(tzinfo=UTC).timestamp() * 1000)]
)
def test_a_time_of_change_decides_in_each_of_its_types(field: str, write: Any) -> None:
    def document(at: datetime) -> dict[str, Any]:
        return {"_id": OLD_ID, "date": "2023-01-01", "created_at": BEFORE, field: write(at)}

    assert not is_selected(document(BEFORE))
    assert is_selected(document(SPAN.since))
    assert is_selected(document(INSIDE))
    assert not is_selected(document(BEHIND))


def test_bson_dates_are_cut_to_the_millisecond() -> None:
    span = Span(datetime(2024, 3, 1), datetime(2024, 3, 1, 0, 0, 1, 500))

    def is_in(milliseconds: int) -> bool:
        at = datetime(2024, 3, 1) + timedelta(milliseconds=milliseconds)
        return is_selected({"_id": OLD_ID, "updated_at": at, "date": BEFORE}, span=span)

    assert [is_in(-1), is_in(0), is_in(1000), is_in(1001)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2024-03-01T20:00:00+14:00", datetime(2024, 3, 1, 6)),
        ("2024-03-03T09:00:00+23:30", datetime(2024, 3, 2, 9, 30)),
        ("2024-02-29T07:00:00-23:30", datetime(2024, 3, 1, 6, 30)),
        ("2024-03-01 09:00", datetime(2024, 3, 1, 9)),
        ("2024-03-02 ", datetime(2024, 3, 2)),
        (" 2024-03-02", datetime(2024, 3, 2)),
    ],
)
def test_a_text_is_found_whatever_its_offset(text: str, at: datetime) -> None:
    assert read_moment(text, UTC_ZONE).at == at
    assert SPAN.since <= at < SPAN.until
    assert is_selected({"_id": OLD_ID, "updated_at": text, "date": BEFORE})


def test_the_business_date_counts_only_without_times_of_change() -> None:
    assert is_selected({"_id": OLD_ID, "date": INSIDE})
    assert is_selected({"_id": OLD_ID, "date": "2024-03-02", "created_at": None, "updated_at": "  "})
    assert not is_selected({"_id": OLD_ID, "date": INSIDE, "created_at": BEFORE})
    assert not is_selected({"_id": OLD_ID, "date": BEFORE})
    assert not is_selected({"_id": OLD_ID, "date": INSIDE}, kind="users")


def test_a_late_insert_is_found_by_its_object_id() -> None:
    document = {"created_at": BEFORE, "updated_at": BEFORE, "date": BEFORE}
    assert is_selected({"_id": made(INSIDE), **document})
    assert is_selected({"_id": made(SPAN.since, "00"), **document})
    assert is_selected({"_id": made(SPAN.until - timedelta(seconds=1), "ff"), **document})
    assert not is_selected({"_id": made(SPAN.until, "00"), **document})
    assert not is_selected({"_id": made(SPAN.since - timedelta(seconds=1), "ff"), **document})


def test_an_object_id_of_a_second_that_a_span_cuts_is_in_it() -> None:
    second = datetime(2024, 3, 1, 12)
    cut = [second + timedelta(milliseconds=400), second + timedelta(milliseconds=600)]
    assert is_selected({"_id": made(second), "created_at": BEFORE}, span=Span(*cut))


@pytest.mark.parametrize(
    ("since", "until", "inside", "outside"),
    [
        (datetime(1960, 1, 1), datetime(1970, 1, 2), "00000000" + "0" * 16, "f" * 24),
        (datetime(2100, 1, 1), datetime(2200, 1, 1), "f" * 24, "0" * 24),
        (datetime(2300, 1, 1), datetime(2400, 1, 1), None, "0" * 24),
        (datetime.min, datetime(1960, 1, 1), None, "f" * 24),
        (datetime.min, datetime.max, "f" * 24, None),
    ],
)
def test_spans_beyond_what_an_object_id_can_hold(since: datetime, until: datetime, inside: Any, outside: Any) -> None:
    # Two days from any span, as texts are found a day around it.
    other = {"created_at": "2024-01-01"} if until.year < 9999 else {}
    span = Span(since, until)
    if inside:
        assert is_selected({"_id": ObjectId(inside), **other}, span=span)
    if outside:
        assert not is_selected({"_id": ObjectId(outside), **other}, span=span)


def test_a_record_without_any_time_is_always_asked_for() -> None:
    assert is_selected({"_id": "a"})
    assert is_selected({"_id": 5}, kind="users")
    assert is_selected({"_id": OLD_ID, "id": made(INSIDE)}), "the ObjectId in id counts before the one in _id"
    assert not is_selected({"_id": OLD_ID, "id": "a"})
    assert not is_selected({"_id": "a", "created_at": BEFORE})


UNREADABLE = [
    *("soon", "31/12/2024", "20240131", "2024-1-5", "2024-02-30", "2023-02-29", "1900-02-29", "0000-01-01", "24-01-01"),
    *(
        "2024-01-01T",
        "2024-01-01T24:00",
        "2024-01-01T10",
        "2024-01-01T10:60",
        "2024-01-01T10:00:60",
        "2024-01-01banana",
    ),
    *("2024-01-01T10:00+25:00", "2024-W05-1", "\u00a02024-01-01x", "2024-01-01\n2024-01-02", "\uff12024-01-01"),
    *(
        True,
        False,
        {},
        {"at": BEFORE},
        [],
        b"2024",
        OLD_ID,
        Regex("a"),
        Code("now()"),
        Timestamp(5, 1),
        MinKey(),
        MaxKey(),
    ),
    *(float("nan"), float("inf"), float("-inf"), 10**15, -(10**15), DatetimeMS(10**15), DatetimeMS(-(10**15))),
    ["soon"],
    [True],
]


@pytest.mark.parametrize("value", UNREADABLE, ids=repr)
@pytest.mark.parametrize("field", ["created_at", "updated_at", "deleted_at", "date"])
def test_a_time_that_cannot_be_read_is_always_asked_for(field: str, value: Any) -> None:
    assert is_selected({"_id": OLD_ID, "created_at": BEFORE, "date": BEFORE, field: value})


@pytest.mark.parametrize("value", [[BEFORE], 1700000000000.5, Decimal128("1700000000000")], ids=repr)
def test_unreadable_times_that_only_a_full_scan_could_find_are_not_searched_for(value: Any) -> None:
    """They are found when they are new: inside the span, as the times that they are nearly."""
    assert not is_selected({"_id": OLD_ID, "updated_at": value, "date": BEFORE})


@pytest.mark.parametrize("value", [[INSIDE], 1709337600000.5, Decimal128("1709337600000")], ids=repr)
def test_unreadable_times_that_hold_a_time_in_the_span_are_asked_for(value: Any) -> None:
    assert is_selected({"_id": OLD_ID, "updated_at": value, "date": BEFORE})


@pytest.mark.parametrize(("zone", "end"), [(ZONES[1], datetime.min), (ZONES[2], datetime.max)])
@pytest.mark.parametrize("write", [lambda at: at, to_milliseconds])
def test_the_calendar_ends_where_it_ends_in_the_business_zone(zone: ZoneInfo, end: datetime, write: Any) -> None:
    document = {"_id": OLD_ID, "created_at": BEFORE, "updated_at": write(end)}
    assert is_selected(document, "users", zone=zone)
    assert not is_selected(document, "users", zone=UTC_ZONE)


def test_an_empty_text_is_no_time_and_not_unreadable() -> None:
    assert not is_selected({"_id": OLD_ID, "created_at": BEFORE, "updated_at": "", "date": BEFORE})
    assert is_selected({"_id": OLD_ID, "created_at": "", "updated_at": "", "date": INSIDE})
    assert is_selected({"_id": "a", "created_at": "", "date": ""})


readable_texts = st.builds(
    "{}{}{}{}".format,
    st.one_of(st.dates(), st.dates(date(2023, 12, 1), date(2024, 3, 20))).map(date.isoformat),
    st.sampled_from(["T", "t", " "]),
    st.one_of(
        st.times().map(lambda at: at.isoformat()),
        st.times().map(lambda at: f"{at.hour:02}:{at.minute:02}"),
    ),
    st.sampled_from(["", "Z", " z", "+05:30", "-0800", "+14", "-12:00", "+23:59", " +01:00"]),
) | st.dates().map(date.isoformat)
odd_texts = st.text("0123456789-:TZ+. \n", max_size=22) | st.from_regex(
    r"\A\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:?\d\d)?)?\Z"
)


@given(readable_texts | odd_texts, st.sampled_from(ZONES))
@example("9999-12-31T23:00:00-05:00", UTC_ZONE)
@example("9999-12-31T23:00:00", ZONES[1])
@example("0001-01-01", ZONES[2])
@example("0001-01-01T00:00:00Z", ZONES[1])
@example("2000-02-29", UTC_ZONE)
def test_every_text_that_is_no_time_matches_the_pattern_for_such(text: str, zone: ZoneInfo) -> None:
    pattern = _unreadable_text(zone).pattern
    try:
        read_moment(text, zone)
    except ValueError:
        assert re.search(pattern, text) or not text


@given(
    st.dates(date(1, 1, 2), date(9999, 12, 30)),
    st.times(),
    st.sampled_from(["", "Z", "+05:30", "-23:59"]),
    st.sampled_from(ZONES),
)
def test_no_ordinary_time_matches_the_pattern_for_texts_that_are_none(
    day: date, at: Any, offset: str, zone: ZoneInfo
) -> None:
    """What matches is read each time, so that a pattern that matches too much would make every reading a full one."""
    pattern = _unreadable_text(zone).pattern
    assert not re.search(pattern, day.isoformat())
    assert not re.search(pattern, f"{day}T{at.isoformat()}{offset}")


moments = st.datetimes(datetime(2024, 2, 26), datetime(2024, 3, 6)) | st.datetimes()
times = st.one_of(
    st.none(),
    moments,
    moments.map(to_milliseconds),
    moments.map(to_milliseconds).map(float),
    moments.map(lambda at: f"{at.isoformat()}Z"),
    st.builds(lambda at, offset: at.isoformat() + offset, moments, st.sampled_from(["", "+05:30", "-08:00", " Z"])),
    moments.map(lambda at: at.date().isoformat()),
    odd_texts,
    st.sampled_from([value for value in UNREADABLE if not isinstance(value, list)]),
    st.integers(-(2**63), 2**63 - 1),
)
ids = st.one_of(
    st.sampled_from(["a", 5, 2.5, Decimal128("3")]), moments.filter(lambda at: 1970 <= at.year < 2106).map(made)
)
documents = st.fixed_dictionaries(
    {"_id": ids},
    optional={"id": st.none() | ids, "created_at": times, "updated_at": times, "deleted_at": times, "date": times},
)


@given(documents, st.sampled_from(["users", "orders", "events"]), st.sampled_from(ZONES))
def test_every_document_that_concerns_the_span_is_selected(document: dict[str, Any], kind: str, zone: ZoneInfo) -> None:
    if concerns(kind, json.loads(as_json(through_bson(document))), SPAN, zone):
        assert is_selected(document, kind, zone=zone)


def concerns(kind: str, fields: dict[str, Any], span: Span, zone: ZoneInfo) -> bool:
    """What `LiveSource.changes` promises, for a document as the models see it."""
    moments: dict[str, Moment] = {}
    for name in ("created_at", "updated_at", "deleted_at", *(["date"] if kind != "users" else [])):
        value = plain(fields.get(name))
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        try:
            moments[name] = read_moment(value, zone)
        except ValueError:
            return True
    day = moments.pop("date", None)
    made_at = [
        ObjectId(one["$oid"]).generation_time.replace(tzinfo=None) if isinstance(one, dict) and "$oid" in one else None
        for one in (fields.get("id"), fields["_id"])
    ]
    # Without any time a record concerns every span.
    counting = [moment.at for moment in moments.values()] or (
        [day.at] if day else [made_at[0] or made_at[1] or span.since]
    )
    return any(span.since <= at < span.until for at in [*counting, made_at[1]] if at)


def test_fields_are_looked_for_where_the_dialect_says() -> None:
    dialect = Dialect({"updated_at": ("meta", "changed"), "date": ("when",), "id": ("number",)})
    assert is_selected({"_id": OLD_ID, "meta": {"changed": INSIDE}, "when": BEFORE}, dialect=dialect)
    assert is_selected({"_id": OLD_ID, "when": INSIDE}, dialect=dialect)
    assert is_selected({"_id": OLD_ID, "meta": {"changed": "soon"}, "when": BEFORE}, dialect=dialect)
    assert not is_selected({"_id": OLD_ID, "updated_at": INSIDE, "when": BEFORE}, dialect=dialect)


def test_every_branch_of_the_filter_can_be_answered_from_an_index() -> None:
    """Or every look for changes would scan the collection, whatever its indexes."""
    for branch in span_filter("orders", PLAIN, SPAN, UTC_ZONE)["$or"]:
        assert {"created_at", "updated_at", "deleted_at", "date", "_id"} & set(branch)
        text = str(branch)
        # MongoDB fetches every document for these; a pattern beside other values in `$in` does the same to it.
        assert not any(word in text for word in ("$expr", "$where", "'array'", "'decimal'", "'double'", "$mod"))
        assert "Regex" not in text or list(map(type, branch.values())) == [Regex]


def test_a_key_that_is_mapped_to_the_id_itself_is_not_taken_for_another_object_id() -> None:
    assert not is_selected({"_id": OLD_ID}, dialect=Dialect({"id": ("_id",)}))


# ---------------------------------------------------------------- places


IDS_IN_ORDER = [
    *(MinKey(), None, float("nan"), float("-inf"), -5, 2.5, Int64(2**40), Decimal128("1E+20"), "", "a", "é"),
    *({"a": 1}, {"a": 1, "b": "x"}, b"\x00", Binary(bytes(16), 4), OLD_ID, False, True, DatetimeMS(-(10**15)), BEFORE),
    *(DatetimeMS(10**15), Timestamp(5, 1), MaxKey()),
]


@pytest.mark.parametrize("position", range(len(IDS_IN_ORDER)))
def test_reading_goes_on_behind_a_place_across_all_types_of_id(position: int) -> None:
    place = place_of(through_bson({"_id": IDS_IN_ORDER[position]}))
    test = compile_filter(decode(bson.encode(after({}, place))))
    selected = [test(decode(bson.encode({"_id": one}))) for one in IDS_IN_ORDER]
    assert selected == [other > position for other in range(len(IDS_IN_ORDER))]


def test_a_place_narrows_the_filter_of_a_span() -> None:
    query = after(span_filter("orders", PLAIN, SPAN, UTC_ZONE), place_of({"_id": "b"}))
    test = compile_filter(decode(bson.encode(query)))
    assert test({"_id": "c"})
    assert not test({"_id": "a"})
    assert not test({"_id": "c", "created_at": DatetimeMS(0)})


@pytest.mark.parametrize(
    "place", ["", "{", "{'a': 1}", '{"$oid": "x"}', '{"$numberLong": "x"}', '{"$numberDecimal": "x"}']
)
def test_a_place_of_another_source_is_refused(place: str) -> None:
    with pytest.raises(PipelineError, match="start from the beginning"):
        after({}, place)


def test_batches_are_bounded_by_documents_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profile_pipeline.sources.mongodb.documents.BATCH_DOCUMENTS", 3)
    monkeypatch.setattr("profile_pipeline.sources.mongodb.documents.BATCH_BYTES", 1000)
    small, large = [{"_id": number} for number in range(5)], [{"_id": "x", "text": "y" * 2000}]
    sizes = [[json.loads(text)["_id"] for text in batch.documents] for batch in batches([*small, *large, *small])]
    assert sizes == [[0, 1, 2], [3, 4, "x"], [0, 1, 2], [3, 4]]
    assert [batch.place for batch in batches(small)] == ['{"$numberInt": "2"}', '{"$numberInt": "4"}']
    assert list(batches([])) == []


# ---------------------------------------------------------------- documents as text


EVERY_TYPE = {
    "_id": OLD_ID,
    "z first": 'Zoë \u2028 \x00 "quoted" \\ \ud7ff',
    "a later": 1,
    "long": Int64(2**60),
    "double": 32.0,
    "tiny": 5e-324,
    "flag": True,
    "nothing": None,
    "list": [1, [2, {"deep": "x"}], []],
    "decimal": Decimal128("12.30"),
    "dates": [
        BEFORE,
        datetime(2024, 1, 1, 1, 2, 3, 45000),
        datetime(1970, 1, 1),
        datetime(1969, 12, 31),
        datetime(9999, 12, 31),
    ],
    "outside": [DatetimeMS(10**15), DatetimeMS(-(10**15))],
    "uuid": Binary(UUID(int=5).bytes, 4),
    "bytes": b"\x00\xff",
    "regex": Regex("^a", "i"),
    "stamp": Timestamp(5, 1),
    "ends": [MinKey(), MaxKey()],
    "reference": DBRef("users", OLD_ID),
    "$date": "not ours",
    "dotted.name": {"$oid": 5},
}


def test_text_is_relaxed_extended_json_as_the_driver_writes_it() -> None:
    document = through_bson(EVERY_TYPE)
    expected = json_util.dumps(
        document, json_options=json_util.RELAXED_JSON_OPTIONS, ensure_ascii=False, separators=(",", ":")
    )
    assert as_json(document) == expected
    assert list(json.loads(as_json(document))) == list(EVERY_TYPE)


def test_a_text_reads_back_as_the_same_document() -> None:
    document = through_bson(EVERY_TYPE)
    options = json_util.RELAXED_JSON_OPTIONS.with_options(datetime_conversion=CODEC.datetime_conversion, tz_aware=False)
    again = json_util.loads(
        as_json(document).replace('"$date":"not ours"', '"date":"not ours"').replace('{"$oid":5}', "1"),
        json_options=options,
    )
    assert bson.encode(again) == bson.encode(
        {
            ("date" if name == "$date" else name): (1 if name == "dotted.name" else value)
            for name, value in document.items()
        }
        | {"long": 2**60}
    )


def test_numbers_that_json_has_not_keep_their_document() -> None:
    document = through_bson({"_id": 1, "scores": [float("nan"), float("inf"), {"x": float("-inf")}], "at": BEFORE})
    assert json.loads(as_json(document), parse_constant=pytest.fail) == {
        "_id": 1,
        "scores": [{"$numberDouble": "NaN"}, {"$numberDouble": "Infinity"}, {"x": {"$numberDouble": "-Infinity"}}],
        "at": {"$date": "2024-02-01T00:00:00Z"},
    }


def test_text_that_is_not_utf_8_does_not_stop_the_document() -> None:
    raw = bson.encode({"_id": 1, "name": "caf??"}).replace(b"??", b"\xe9\xff")
    assert json.loads(as_json(bson.decode(raw, CODEC))) == {"_id": 1, "name": "caf��"}


def test_the_models_read_every_time_as_it_was_stored() -> None:
    for at in (datetime(2024, 1, 1, 1, 2, 3, 45000), datetime(1969, 12, 31, 23, 59, 59, 999000), datetime(1, 1, 1)):
        document = through_bson({"_id": OLD_ID, "email": "a@example.com", "created_at": at})
        assert parse("users", as_json(document), Reading(UTC_ZONE)).row["created_at"] == at


# ---------------------------------------------------------------- keys


KEYS = [
    *(OLD_ID, "a", "  spaced out ", 5, Int64(2**40), -7, BEFORE, datetime(1960, 1, 1), DatetimeMS(10**15)),
    *(Decimal128("12.30"), Binary(UUID(int=5).bytes, 4), Binary(b"12345678901234567", 0)),
    *(
        {"$numberInt": "5"},
        {"$oid": "x"},
        {"a": 1},
        {"a": 1, "b": 2},
        True,
        2.5,
        5.0,
        "",
        "   ",
        [1],
        float("nan"),
        b"x",
        Regex("a"),
    ),
]


@pytest.mark.parametrize("value", KEYS, ids=repr)
@pytest.mark.parametrize("others", [{}, {"id": None}, {"_id": "other"}])
def test_the_key_is_the_one_that_the_models_read(value: Any, others: dict[str, Any]) -> None:
    """A key that is not listed would let its record seem deleted."""
    name = "id" if "_id" in others else "_id"
    document = through_bson({**others, name: value})
    try:
        expected = parse("users", as_json(document | {"email": "a@example.com"}), Reading(UTC_ZONE)).record.id
    except Rejected:
        expected = None
    assert key_of(document, ("id",)) == expected


def test_a_key_may_stand_for_values_of_several_types() -> None:
    assert values_of(str(OLD_ID)) == [str(OLD_ID), OLD_ID]
    assert values_of("5") == ["5", 5]
    assert values_of("-5") == ["-5", -5]
    assert values_of("05") == ["05"]
    assert values_of(str(2**64)) == [str(2**64)]
    assert values_of(str(UUID(int=5))) == [str(UUID(int=5)), Binary(UUID(int=5).bytes, 4)]
    assert values_of("9" * 5000) == ["9" * 5000]
    bson.encode({"values": values_of("5")})


# ---------------------------------------------------------------- what went wrong

URI = "mongodb://ann:p%40ss%3Aword@db.example.com:27017/club?authMechanismProperties=TOKEN:abc&proxyPassword=hush"
PLACE = "mongodb:club.users"


@pytest.mark.parametrize(
    "secret", [URI, "ann:p%40ss%3Aword", "p%40ss%3Aword", "p@ss:word", "ann:p@ss:word", "TOKEN:abc", "hush"]
)
def test_nothing_of_the_connection_string_that_is_secret_is_shown(secret: str) -> None:
    assert redacted(f"failed: {secret}!", secrets_in(URI)) == "failed: ***!"
    shown = str(translated(PyMongoError(f"failed: {secret}!"), PLACE, secrets_in(URI)))
    assert "***" in shown
    assert secret not in shown


def test_without_a_user_there_is_only_the_string_itself() -> None:
    assert secrets_in("mongodb://db.example.com/club") == ["mongodb://db.example.com/club"]


def failure(code: int, text: str = "it failed", *labels: str) -> OperationFailure:
    return OperationFailure(text, code, {"ok": 0, "errmsg": text, "code": code, "errorLabels": list(labels)})


TRANSIENT = [
    AutoReconnect("127.0.0.1:1: connection closed"),
    NetworkTimeout("127.0.0.1:1: timed out"),
    ServerSelectionTimeoutError(
        "127.0.0.1:1: refused (configured timeouts: x), Timeout: 20s, Topology Description: <...>"
    ),
    ExecutionTimeout("operation exceeded time limit", 50, {"errmsg": "operation exceeded time limit"}),
    CursorNotFound("cursor id 5 not found", 43, {"errmsg": "cursor id 5 not found"}),
    *map(failure, [91, 189, 262, 10107, 11600, 11602, 13435, 13436, 16500, 237, 175]),
    failure(1, "busy", "SystemOverloadedError"),
    failure(1, "busy", "RetryableWriteError"),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: f"{type(error).__name__}-{getattr(error, 'code', '')}")
def test_what_may_pass_by_itself_is_transient(error: PyMongoError) -> None:
    found = translated(error, PLACE, [])
    assert isinstance(found, TransientError)
    assert PLACE in str(found)
    assert "MONGODB_URI" in str(found)
    assert "Topology" not in str(found)
    assert "Timeout:" not in str(found)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (failure(18, "Authentication failed."), "refuses the user of MONGODB_URI.*password.*authSource"),
        (failure(8000, "bad auth : authentication failed"), "refuses the user of MONGODB_URI"),
        (failure(8000, "user is not allowed to do action [find] on [club.users]"), "role `read` on that database"),
        (failure(13, "not authorized on club to execute command { find: 1 }"), "role `read` on that database"),
        (failure(13, "Command find requires authentication"), "wants a user .*MONGODB_URI"),
        (failure(2, "unknown operator: $foo"), r"unknown operator: \$foo \(error 2\)"),
        (
            ConfigurationError("Server at h:1 reports wire version 5, but needs 9"),
            "MONGODB_URI as it is: Server at h:1",
        ),
        (bson.errors.InvalidBSON("bad document"), "cannot be read: bad document"),
    ],
)
def test_what_will_not_pass_says_what_to_do(error: Exception, words: str) -> None:
    found = translated(error, PLACE, [])  # type: ignore[arg-type]
    assert not isinstance(found, TransientError)
    assert str(found).startswith(PLACE)
    assert re.search(words, str(found))


def test_a_name_server_that_is_silent_is_no_wrong_setting() -> None:
    class LifetimeTimeout(Exception):  # noqa: N818
        """What dnspython raises."""

    error = ConfigurationError("The resolution lifetime expired")
    error.__cause__ = LifetimeTimeout()
    assert isinstance(translated(error, PLACE, []), TransientError)


def test_a_long_text_of_the_server_is_cut() -> None:
    assert len(str(translated(failure(2, "x\n" * 5000), PLACE, []))) < 500


# ---------------------------------------------------------------- settings


def settings(uri: str = "mongodb://ann:secret@db.example.com/club", **others: Any) -> Settings:
    return Settings(_env_file=None, mongodb_uri=uri, **others)


def source(*arguments: Any, **others: Any) -> MongoSource:
    with MongoSource.from_settings(settings(*arguments, **others)) as made_source:
        return made_source


def test_the_database_is_the_one_that_is_set_else_the_one_of_the_uri() -> None:
    assert source().name("users") == "mongodb:club.users"
    assert source(mongodb_database="other").name("orders") == "mongodb:other.orders"
    assert source(mongodb_collections={"users": "members"}).name("users") == "mongodb:club.members"
    with pytest.raises(PipelineError, match="MONGODB_DATABASE"):
        source("mongodb://db.example.com")


def test_a_name_from_a_service_record_is_not_looked_up_before_it_is_needed() -> None:
    assert source("mongodb+srv://ann:secret@db.example.com/club").name("users") == "mongodb:club.users"


@pytest.mark.parametrize(
    "uri",
    [
        *("ann:t0psecret@db.example.com", "http://ann:t0psecret@db.example.com/club", "mongodb://", "t0psecret"),
        *("mongodb://ann:t0p:secret@db.example.com/club", "mongodb://ann:t0p@secret@db.example.com/club"),
        *("mongodb://ann:t0p/secret@db.example.com/club", "mongodb://ann:1/t0psecret@db.example.com/club"),
        *("mongodb://ann:t0p?secret@db.example.com/club", "mongodb://ann:1?t0p=secret@db.example.com/club"),
        *("mongodb://ann:t0p%secret@db.example.com/club", "mongodb://ann:t0psecret@db.example.com:t0psecret/club"),
        *("mongodb://ann:t0psecret@db.example.com/club?t0psecret", "mongodb://ann:t0psecret@[::1/club"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_of_a_uri_that_cannot_be_parsed_no_part_is_shown(uri: str) -> None:
    with pytest.raises(PipelineError, match=r"^MONGODB_URI is no connection string") as caught:
        source(uri, mongodb_database="club")
    assert not any(part in str(caught.value) for part in ("t0p", "secret", "ann", "example"))
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_options_that_cannot_be_used_are_told_apart_from_a_uri_that_cannot_be_parsed() -> None:
    with pytest.raises(PipelineError, match=r"MONGODB_URI has options that cannot be used: .*no/such/file") as caught:
        source("mongodb://ann:secret@db.example.com/club?tls=true&tlsCAFile=/no/such/file")
    assert "secret" not in str(caught.value)


def test_without_a_uri_there_is_no_source() -> None:
    with pytest.raises(PipelineError, match="MONGODB_URI is not set"):
        MongoSource.from_settings(Settings(_env_file=None))


def test_a_field_that_no_model_has_is_refused_with_those_that_exist() -> None:
    with pytest.raises(PipelineError, match=r"MONGODB_FIELDS has 'e_mail', which is no field of users.*email"):
        source(mongodb_fields={"users": {"e_mail": "mail"}})


@pytest.mark.parametrize("path", ["", "a..b", ".a", "a.", "$where", "a.$b"])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(PipelineError, match=r"MONGODB_FIELDS .* email of users"):
        source(mongodb_fields={"users": {"email": path}})


@pytest.mark.parametrize(
    ("setting", "value"), [("mongodb_database", "my club"), ("mongodb_collections", {"users": "$members"})]
)
def test_a_name_that_mongodb_does_not_allow_names_its_setting(setting: str, value: Any) -> None:
    with pytest.raises(PipelineError, match=setting.upper()):
        source(**{setting: value})


def test_fields_are_mapped_by_dotted_paths() -> None:
    dialect = source(mongodb_fields={"users": {"email": "contact.mail"}}).dialect("users")
    assert dialect.path("email") == ("contact", "mail")
    assert dialect.path("name") == ("name",)
    assert source().dialect("orders") == PLAIN


def test_options_are_ours_only_where_the_uri_has_none() -> None:
    options = source().database.client.options
    assert options.pool_options.appname == "profile_pipeline"
    assert options.pool_options.socket_timeout == SOCKET_MS / 1000
    assert options.pool_options.connect_timeout == CONNECT_MS / 1000
    assert options.server_selection_timeout == SERVER_SELECTION_MS / 1000
    given = "appname=mine&sockettimeoutms=5000&CONNECTTIMEOUTMS=6000&serverSelectionTimeoutMS=7000"
    options = source(f"mongodb://db.example.com/club?{given}").database.client.options
    assert options.pool_options.appname == "mine"
    assert options.pool_options.socket_timeout == 5
    assert options.pool_options.connect_timeout == 6
    assert options.server_selection_timeout == 7


def test_a_secondary_is_read_only_while_its_lag_is_within_what_is_read_again() -> None:
    def preference(*arguments: Any, **others: Any) -> tuple[str, int]:
        chosen = source(*arguments, **others).database.client.read_preference
        return chosen.mongos_mode, chosen.max_staleness

    assert preference() == ("secondaryPreferred", 90)
    assert preference(overlap_minutes=0) == ("primary", -1)
    assert preference("mongodb://db.example.com/club?readPreference=secondary") == ("secondary", -1)
    assert preference("mongodb://db.example.com/club?maxStalenessSeconds=120") == ("secondaryPreferred", 120)


def test_neither_the_source_nor_its_settings_show_a_secret() -> None:
    uri = "mongodb://ann:secret@db.example.com/club?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:secret"
    assert "secret" not in repr(source(uri))
    assert "secret" not in repr(settings(uri))
