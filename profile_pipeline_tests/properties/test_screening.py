"""The law of the two lanes: what SQL types in bulk is what the models make of each document."""

import json
from datetime import date
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profile_pipeline.records.dialect import PLAIN, Dialect
from profile_pipeline.records.models import MODELS, Reading, Rejected, known_days, parse
from profile_pipeline.records.screening import Rules, screen, typed_columns
from profile_pipeline.window import Window

FIRST = date(2024, 1, 1)
# Half-hour changes, a day left out, a change at midnight, seconds in the offset until 1972.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Monrovia",
    "Asia/Kathmandu",
)

CONNECTION = duckdb.connect(config={"threads": 1})
"""One for all: to open another takes as long as to screen a few documents."""

unicode_texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=6)
edge_texts = st.sampled_from(
    [
        "",
        " ",
        "\u00a0",
        "\t x\n",
        "a\u2003",
        'q"uote',
        "back\\slash",
        "é",
        "İ",
        "ß",
        "null",
        "true",
        "1",
        "\x00",
    ]
)
texts = st.one_of(st.text("ab -_.@+'\"\\", max_size=8), unicode_texts, edge_texts)
numbers = st.sampled_from(
    [
        "0",
        "-0",
        "1",
        "32",
        "32.0",
        "32.5",
        "129",
        "130",
        "200",
        "-5",
        "1e2",
        "1E+2",
        "29.33",
        "29.330",
        "0.1",
        "30.000000000000004",
        "29.333",
        "9999999999999.99",
        "1e10",
        "9999999999.99",
        "1e16",
        "1e400",
        "123456789012345678901234567890",
        "1704067200000",
        "170406720000",
        "99999999999",
        "2000000000000",
        "1729990800123",
        "NaN",
        "-Infinity",
        "inf",
    ]
)
days = st.dates(date(1969, 12, 1), date(2040, 1, 1)).map(str)
clocks = st.times().map(lambda time: time.isoformat())
offsets = st.sampled_from(["", "Z", "z", "+00:00", "+02:00", "-09:30", "+14:00", "+0200", "+02", " +00", "+25:00"])
stamps = st.builds(
    "{}{}{}{}".format,
    days,
    st.sampled_from(["T", " "]),
    clocks | st.sampled_from(["24:00:00", "10:30"]),
    offsets,
)
changes_of_clocks = st.sampled_from(
    [
        "2024-03-31T02:30:00",
        "2024-10-27T02:30:00",
        "2024-11-03T00:30:00",
        "2024-04-07T01:45:00",
        "2011-12-30T10:00:00",
        "1972-01-07T00:10:00",
        "1971-06-01",
        "2011-12-30",
        "2024-11-03",
        "2024-02-30",
        "0000-01-01",
        "2024-1-3",
        "x",
    ]
)
times = days | stamps | changes_of_clocks
object_ids = st.sampled_from(
    [
        "65a1b2c3d4e5f60718293a4b",
        "65A1B2C3D4E5F60718293A4B",
        "000000000000000000000000",
        "7bffffff0000000000000000",
        "ffffffffffffffffffffffff",
        "65a1b2c3",
    ]
).map(lambda key: json.dumps({"$oid": key}, separators=(",", ":")))
wrapped_times = (times | st.sampled_from(["2024-01-05T00:00:00Z", "2024-02-10T22:30:00.123Z"])).map(
    lambda time: json.dumps({"$date": time})
) | st.sampled_from(
    [
        '{"$date": {"$numberLong": "1704412800000"}}',
        '{"$date": {"$numberLong": "-62135596800000"}}',
        '{"$date": 1704412800000}',
        '{"$date": "2024-01-05", "of": 1}',
    ]
)
mongo = st.one_of(
    object_ids,
    wrapped_times,
    numbers.map(lambda number: json.dumps({"$numberDecimal": number})),
    st.sampled_from(
        [
            '{"$numberLong": "5"}',
            '{"$uuid": "0b1e1a0c-8b7d-4f5e-9a3c-2d1e0f9a8b7c"}',
            '{"$binary": {"base64": "Cx4aDIt9T16aPC0eD5qLfA==", "subType": "04"}}',
            '{"$binary": {"base64": "AA==", "subType": "00"}}',
            "{}",
        ]
    ),
)
emails = st.sampled_from(
    [
        "a@b.c",
        " A@B.c ",
        "a.b+tag@gmail.com",
        "é@x.y",
        "no-at",
        "a@",
        "@b",
        "a@b@c",
        "a b@c",
        "İ@x.y",
        "+@gmail.com",
    ]
) | st.text("ab.@+G", max_size=8)
statuses = st.sampled_from(["sent", "Sent ", "queued", "CANCELLED", "É", " ", "paid"])


@st.composite
def json_text(draw: st.DrawFn, value: st.SearchStrategy[str]) -> str:
    return json.dumps(draw(value), ensure_ascii=draw(st.booleans()))


def lists(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    item = json_text(items) | st.sampled_from(["null", "5", "[]", '""'])
    # Most lists hold texts only, so that they get as far as the rules for their items.
    return st.one_of(st.lists(json_text(items), max_size=4), st.lists(item, max_size=3)).map(
        lambda members: f"[{', '.join(members)}]"
    )


anything = st.one_of(
    json_text(texts),
    numbers,
    lists(texts),
    mongo,
    st.sampled_from(["null", "true", "false", '"\\ud800"', "[1,]"]),
)


def field(name: str) -> st.SearchStrategy[str]:
    usual: dict[str, st.SearchStrategy[str]] = {
        "email": json_text(emails),
        "participants": lists(emails),
        "amount": numbers | st.sampled_from(['"29.33"', '"1,000"', '" 5 "', '"-1"', '"1e2"']),
        "age": numbers,
        "status": json_text(statuses),
        "is_on_team": st.sampled_from(["true", "false"]),
        **dict.fromkeys(("interests", "cuisine_preference", "dietary_restrictions"), lists(texts)),
    }
    if "date" in name or name.endswith("_at") or name == "createdTime":
        expected = json_text(times) | numbers | wrapped_times
    elif name in ("_id", "id", "user_id", "event_id"):
        expected = json_text(texts) | object_ids | st.sampled_from(["7", '"u1"', "1.0", "true"])
    else:
        expected = usual.get(name, json_text(texts))
    return st.one_of(expected, expected, expected, expected, st.just("null"), anything)


VALID = {
    "users": {"id": '"u"', "email": '"a@b.c"'},
    "orders": {"id": '"o"', "user_id": '"u"', "amount": "5", "date": '"2024-01-05"'},
    "events": {"id": '"e"', "date": '"2024-01-05"'},
    "messages": {"id": '"m"', "user_id": '"u"', "status": '"queued"'},
}


@st.composite
def documents(draw: st.DrawFn, kind: str) -> str:
    """A valid document with up to four fields replaced or added, some of them twice, or no document at all."""
    names = [*MODELS[kind].model_fields, "_id", "unknown"]
    changed = draw(st.lists(st.sampled_from(names), max_size=4))
    pairs = [*VALID[kind].items()]
    pairs = [(name, value) for name, value in pairs if name not in changed or draw(st.integers(0, 9)) == 0]
    pairs += [(name, draw(field(name))) for name in changed]
    text = "{" + ", ".join(f'"{name}": {value}' for name, value in draw(st.permutations(pairs))) + "}"
    return draw(
        st.one_of(*[st.just(text)] * 20, st.sampled_from(["", "[]", "{", "5", "{,}", text[:-1] + ",}", text + "x"]))
    )


LINKED = Dialect({"id": ("id",), "user_id": ("fields", 'It\'s "who"')}, ("fields",), ("createdTime",), has_links=True)
"""Fields one level down, one of them under a name that needs quoting, as tables with links have them."""


@st.composite
def linked_documents(draw: st.DrawFn, kind: str) -> str:
    """A document in the dialect above, some of its values lists of one or of none."""
    names = [name for name in MODELS[kind].model_fields if name != "id"]
    changed = draw(st.lists(st.sampled_from(names), max_size=4, unique=True))
    values = {name: value for name, value in VALID[kind].items() if name != "id"}
    values |= {name: draw(field(name)) for name in changed}
    for name in draw(st.lists(st.sampled_from(sorted(values)), max_size=3)):
        values[name] = draw(st.sampled_from(["[]", f"[{values[name]}]", f"[{values[name]}, 5]"]))
    inner = ", ".join(f"{json.dumps(LINKED.path(name)[-1])}: {value}" for name, value in values.items())
    outer = f'"id": {draw(field("id"))}, "createdTime": {draw(field("createdTime"))}, "fields": {{{inner}}}'
    return draw(st.one_of(*[st.just("{" + outer + "}")] * 9, st.just('{"id": "rec", "fields": 5}')))


def screened(kind: str, texts: list[str], rules: Rules, window: Window | None) -> dict[int, dict[str, object]]:
    source_documents = pa.table({"document": texts, "source": ["f:1"] * len(texts), "position": range(len(texts))})
    CONNECTION.register("source_documents", source_documents)
    screen(CONNECTION, kind, "source_documents", "screened", rules, window=window)
    result = CONNECTION.sql("FROM screened")
    return {
        row["position"]: row
        for row in (dict(zip(result.columns, values, strict=False)) for values in result.fetchall())
    }


def modelled(kind: str, text: str, rules: Rules) -> dict[str, object]:
    try:
        parsed = parse(kind, text, rules.reading, rules.dialect)
    except Rejected as rejection:
        row = dict.fromkeys(typed_columns(kind))
        known = None if rejection.known_on is None else [max(rejection.known_on, FIRST)]
        return row | {"reason": rejection.reason, "record_id": rejection.record_id, "days": known}
    found = list(known_days(parsed, FIRST))
    return parsed.row | {"reason": None, "record_id": parsed.record.id, "days": found}


@pytest.mark.parametrize("kind", MODELS)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_both_lanes_make_the_same_of_every_document(kind: str, data: st.DataObject) -> None:
    dialect, drawn = data.draw(st.sampled_from([(PLAIN, documents), (LINKED, linked_documents)]))
    texts = data.draw(st.lists(drawn(kind), min_size=1, max_size=12))
    rules = Rules(Reading(ZoneInfo(data.draw(st.sampled_from(ZONES))), data.draw(st.booleans())), FIRST, dialect)
    rows = screened(kind, texts, rules, None)
    for position, text in enumerate(texts):
        expected = modelled(kind, text, rules)
        assert {name: rows[position][name] for name in expected} == expected, text


@pytest.mark.parametrize("kind", MODELS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_window_keeps_exactly_the_documents_that_concern_it(kind: str, data: st.DataObject) -> None:
    texts = data.draw(st.lists(documents(kind), min_size=1, max_size=12))
    rules = Rules(Reading(ZoneInfo(data.draw(st.sampled_from(ZONES)))), FIRST)
    everything = screened(kind, texts, rules, None)
    window = Window(*sorted(data.draw(st.tuples(*[st.dates(FIRST, date(2024, 3, 1))] * 2))))
    kept = {
        position: row
        for position, row in everything.items()
        if row["days"] is None or any(day in window for day in row["days"])
    }
    assert screened(kind, texts, rules, window) == kept
