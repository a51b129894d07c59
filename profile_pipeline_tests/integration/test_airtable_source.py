"""The Airtable source against a server that speaks Airtable's protocol, with its limits and its faults."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import hypothesis
import pyairtable
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.records.dialect import value_at
from profile_pipeline.records.moments import read_moment
from profile_pipeline.settings import Settings
from profile_pipeline.sources.airtable import AirtableSource
from profile_pipeline.sources.airtable.client import (
    RATE,
    RATE_ATTEMPTS,
    RATE_SECONDS,
    REFUSAL_SECONDS,
    RESTARTS,
    poll_interval,
    reading_interval,
)
from profile_pipeline.sources.airtable.formula import changed_since
from profile_pipeline.sources.live import Batch, Span
from profile_pipeline_tests.servers.airtable import AirtableServer, airtable_server
from profile_pipeline_tests.servers.airtable_formula import read

NOON = datetime(2024, 2, 10, 12)
EVERYTHING = Span(None, NOON)
SCHEMA = {
    "Member": "multipleRecordLinks",
    "Text": "multilineText",
    "State": "singleSelect",
    "No. {1}": "number",
    "Is urgent": "checkbox",
    "Files": "multipleAttachments",
    "Sent": "date",
    "Created": "dateTime",
    "Note": "singleLineText",
    "Last modified": "lastModifiedTime",
}
FIELDS = {"user_id": "Member", "content": "Text", "status": "State", "updated_at": "Last modified"}
MANY = 250
ALL_IDS = {f"rec{number:014}" for number in range(MANY)}


class Waits(list[float]):
    """Waits that take no time, noted."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def server() -> Iterator[AirtableServer]:
    """A table of messages at noon, which answers as fast as it is asked."""
    with airtable_server(tables={"messages": SCHEMA}, rate=None) as server:
        server.set_clock(NOON)
        yield server


@pytest.fixture
def full(server: AirtableServer) -> AirtableServer:
    """The same with three pages of records, made the day before."""
    server.set_clock(NOON - timedelta(days=1))
    for record_id in sorted(ALL_IDS):
        server.put("messages", record_id, {"Text": record_id, "State": "sent"})
    server.set_clock(NOON)
    return server


def source_of(
    server: AirtableServer, fields: dict[str, str] | None = None, table: str = "messages", **options: Any
) -> AirtableSource:
    given: dict[str, Any] = {"pause": Waits(), "timeout": (1, 1), "url": server.url, "key": SecretStr(server.token)}
    return AirtableSource(base=server.base, table=table, fields=FIELDS if fields is None else fields, **given | options)


def ids(batches: Iterator[Batch] | list[Batch]) -> list[str]:
    return [json.loads(document)["id"] for batch in batches for document in batch.documents]


def changed(server: AirtableServer, fields: dict[str, str] | None = None, since: datetime = NOON) -> set[str]:
    found = ids(source_of(server, fields).changes("messages", Span(since, NOON)))
    assert len(found) == len(set(found))
    return set(found)


# ---------------------------------------------------------------- settings


def settings(**values: Any) -> Settings:
    given = {"airtable_api_key": "patTEST.1", "airtable_base_id": "appTEST"} | values
    return Settings(_env_file=None, **given)


def test_settings_lead_to_the_table() -> None:
    source = AirtableSource.from_settings(settings(airtable_messages_table="Outbox"))
    assert source.name("messages") == "airtable:appTEST/Outbox"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"airtable_api_key": None}, ["AIRTABLE_API_KEY"]),
        ({"airtable_api_key": "patTEST\n"}, ["AIRTABLE_API_KEY", "copy the token again"]),
        ({"airtable_base_id": None}, ["AIRTABLE_BASE_ID"]),
        ({"airtable_base_id": "https://airtable.com/appTEST"}, ["AIRTABLE_BASE_ID", "app…"]),
        ({"airtable_fields": {"Member": "user_id"}}, ["AIRTABLE_FIELDS", "Member", "user_id, content, status"]),
        ({"airtable_fields": {"user_id": " "}}, ["AIRTABLE_FIELDS", "user_id", "nothing"]),
        (
            {"airtable_fields": {"user_id": "fld0123456789abcd", "status": "State"}},
            ["AIRTABLE_FIELDS", "user_id to an id", "status to a name"],
        ),
        ({"airtable_fields": {"user_id": "fld0123456789abcd"}}, ["AIRTABLE_FIELDS", "content and status"]),
    ],
)
def test_settings_that_cannot_be_used_are_named(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(PipelineError) as error:
        AirtableSource.from_settings(settings(**values))
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "patTEST" not in str(error.value)


def test_a_name_that_only_begins_like_an_id_is_a_name() -> None:
    AirtableSource.from_settings(settings(airtable_fields={"user_id": "fld of the member", "status": "State"}))


@pytest.mark.parametrize(
    "ask",
    [
        lambda source: source.name("users"),
        lambda source: source.dialect("users"),
        lambda source: source.is_incremental("users"),
        lambda source: source.total("users", EVERYTHING),
        lambda source: source.changes("users", EVERYTHING),
        lambda source: source.keys("users"),
        lambda source: source.fetch("users", []),
    ],
)
def test_other_kinds_are_refused_before_anything_is_read(ask: Callable[[AirtableSource], object]) -> None:
    with pytest.raises(ValueError, match="no users"):
        ask(AirtableSource(SecretStr("patTEST.1"), "appTEST", "messages"))


# ---------------------------------------------------------------- documents


def test_a_document_is_the_same_for_the_same_content_and_verbatim_but_for_addresses_that_expire(
    server: AirtableServer,
) -> None:
    fields = {
        "Member": ["rec00000000000009"],
        "Text": "Dînèr at “Zoë's”\n\t{x} \\ 🍜 \x00",
        "No. {1}": 12.5,
        "Is urgent": True,
        "Files": [{"id": "att00000000000001", "filename": "menu.pdf", "size": 3}],
    }
    server.put("messages", "rec00000000000001", fields | {"Note": "", "State": None})
    server.put("messages", "rec00000000000002", {"Is urgent": False})
    source = source_of(server)
    first, second = (next(source.changes("messages", EVERYTHING)).documents for _ in range(2))
    assert sorted(first) == sorted(second)
    document, empty = sorted(map(json.loads, first), key=lambda document: document["id"])
    assert document == {
        "id": "rec00000000000001",
        "createdTime": "2024-02-10T12:00:00.000Z",
        "fields": fields | {"Last modified": "2024-02-10T12:00:00.000Z"},
    }
    assert empty["fields"] == {"Last modified": "2024-02-10T12:00:00.000Z"}
    assert "Dînèr" in "".join(first)
    assert all(text == json.dumps(json.loads(text), **WRITTEN) for text in first)


WRITTEN: dict[str, Any] = {"sort_keys": True, "ensure_ascii": False, "separators": (",", ":")}


def test_half_of_an_emoji_stays_an_escape_that_can_be_stored(server: AirtableServer) -> None:
    server.put("messages", "rec00000000000001", {"Text": "cut \ud83c"})
    (document,) = next(source_of(server).changes("messages", EVERYTHING)).documents
    assert "\\ud83c" in document
    document.encode()


@pytest.mark.parametrize("is_by_id", [False, True])
def test_the_dialect_leads_to_the_mapped_fields(server: AirtableServer, is_by_id: bool) -> None:
    names = {"user_id": "Member", "content": "No. {1}", "status": "State"}
    server.put("messages", "rec00000000000001", {"Member": ["rec2"], "No. {1}": 5, "State": "sent"})
    fields = {name: server.field_id("messages", field) for name, field in names.items()} if is_by_id else names
    source = source_of(server, fields)
    (text,) = next(source.changes("messages", EVERYTHING)).documents
    dialect = source.dialect("messages")
    found = {name: value_at(json.loads(text), dialect.path(name)) for name in ("id", *names, "sent_date")}
    assert found == {
        "id": "rec00000000000001",
        "user_id": ["rec2"],
        "content": 5,
        "status": "sent",
        "sent_date": None,
    }
    assert dialect.has_links
    assert dialect.system_time is not None
    assert value_at(json.loads(text), dialect.system_time) == "2024-02-10T12:00:00.000Z"
    assert ("returnFieldsByFieldId" in server.requests[-1].query) is is_by_id


def test_an_id_field_takes_the_place_of_the_records_own_id() -> None:
    source = AirtableSource(SecretStr("patTEST.1"), "appTEST", "messages", {"id": "Number"})
    assert source.dialect("messages").path("id") == ("fields", "Number")
    assert source.dialect("messages").path("sent_date") == ("fields", "sent_date")


# ---------------------------------------------------------------- pages


def test_every_record_comes_once_in_pages_and_reading_goes_on_from_each_place(full: AirtableServer) -> None:
    source = source_of(full)
    batches = list(source.changes("messages", EVERYTHING))
    assert [len(batch.documents) for batch in batches] == [100, 100, 50]
    assert sorted(ids(batches)) == sorted(ALL_IDS)
    for number, batch in enumerate(batches, 1):
        assert ids(source.changes("messages", EVERYTHING, batch.place)) == ids(batches[number:])


def test_after_the_last_place_nothing_is_asked(full: AirtableServer) -> None:
    source = source_of(full)
    last = list(source.changes("messages", EVERYTHING))[-1].place
    asked = len(full.requests)
    assert list(source.changes("messages", EVERYTHING, last)) == []
    assert len(full.requests) == asked


def test_an_empty_table_is_one_empty_batch(server: AirtableServer) -> None:
    assert list(source_of(server).changes("messages", EVERYTHING)) == [Batch([], "")]


def test_a_table_is_found_by_its_id_and_by_a_name_with_signs() -> None:
    name = "Messages / 2024: käse?#&%2F"
    with airtable_server(tables={name: SCHEMA}, rate=None) as server:
        server.put(name, "rec00000000000001", {"State": "sent"})
        for table in (name, server.table_id(name)):
            assert ids(source_of(server, table=table).changes("messages", EVERYTHING)) == ["rec00000000000001"]


def test_reading_begins_anew_where_airtable_lost_the_place(
    full: AirtableServer, caplog: pytest.LogCaptureFixture
) -> None:
    full.on_request(3, full.expire_offsets)
    with caplog.at_level(logging.WARNING):
        batches = list(source_of(full).changes("messages", EVERYTHING))
    assert [len(batch.documents) for batch in batches] == [100, 100, 100, 100, 50]
    assert ids(batches[:2]) == ids(batches[2:4])
    assert sorted(ids(batches[2:])) == sorted(ALL_IDS)
    assert "airtable:appTEST/messages; it is read again from the beginning (1 of 3)" in caplog.text


@pytest.mark.parametrize("place", ["itr00000000000001/rec00000000000001", "of another time"])
def test_an_earlier_readings_place_that_expired_means_the_beginning(full: AirtableServer, place: str) -> None:
    assert sorted(ids(source_of(full).changes("messages", EVERYTHING, place))) == sorted(ALL_IDS)


def test_a_place_that_always_expires_ends_in_an_error_and_not_in_calls_without_end() -> None:
    with airtable_server(tables={"messages": [{"status": "sent"}] * MANY}, rate=None, offset_uses=1) as server:
        with pytest.raises(PipelineError, match=f"more than {RESTARTS} times") as error:
            list(source_of(server, {}).changes("messages", EVERYTHING))
        assert not isinstance(error.value, TransientError)
        assert len(server.requests) == 3 * (RESTARTS + 1)


def test_records_that_change_while_one_reads_come_and_no_other_is_lost(full: AirtableServer) -> None:
    source = source_of(full)
    batches = source.changes("messages", EVERYTHING)
    found = ids([next(batches)])
    later = sorted(ALL_IDS - set(found))
    full.on_request(1, lambda: full.put("messages", later[0], {"Text": "changed"}))
    full.on_request(1, lambda: full.delete("messages", found[-1]))
    full.on_request(2, lambda: full.delete("messages", found[0]))
    rest = list(batches)
    assert set(ids(rest)) == set(later)
    texts = [json.loads(document)["fields"].get("Text") for batch in rest for document in batch.documents]
    assert texts.count("changed") == 1


# ---------------------------------------------------------------- what changed


def test_only_records_that_changed_are_asked_for(full: AirtableServer) -> None:
    full.put("messages", "rec00000000000007", {"Text": "edited", "State": "sent"})
    full.put("messages", "rec00000000000999", {"Text": "new"})
    assert changed(full) == {"rec00000000000007", "rec00000000000999"}
    assert len(full.requests) == 1


@pytest.mark.parametrize(("fields", "since"), [(FIELDS, None), ({"status": "State"}, NOON)])
def test_all_are_read_without_a_beginning_or_a_mapped_time_of_change(
    full: AirtableServer, fields: dict[str, str], since: datetime | None
) -> None:
    source = source_of(full, fields)
    assert source.is_incremental("messages") is ("updated_at" in fields)
    assert set(ids(source.changes("messages", Span(since, NOON)))) == ALL_IDS
    assert "filterByFormula" not in full.requests[0].query


def test_a_change_within_the_second_in_which_reading_began_is_found(server: AirtableServer) -> None:
    server.set_clock(NOON.replace(microsecond=900_000))
    server.put("messages", "rec00000000000001", {"State": "sent"})
    assert changed(server, since=NOON.replace(microsecond=500_000)) == {"rec00000000000001"}


def test_records_that_airtable_has_no_time_of_change_for_are_found_when_they_are_new_or_undated() -> None:
    fields = FIELDS | {"created_date": "Created"}
    with airtable_server(tables={"messages": SCHEMA}, rate=None, is_blank_until_edited=True) as server:
        server.set_clock(NOON - timedelta(days=9))
        server.put("messages", "recDATED000000001", {"Created": "2024-01-02T00:00:00.000Z"})
        server.put("messages", "recUNDATED0000001", {"State": "sent"})
        server.put("messages", "recEDITED00000001", {"State": "queued"})
        server.set_clock(NOON)
        server.put("messages", "recNEW00000000001", {"Created": "2024-01-02T00:00:00.000Z"})
        server.put("messages", "recEDITED00000001", {"State": "sent"})
        assert changed(server, fields) == {"recUNDATED0000001", "recNEW00000000001", "recEDITED00000001"}
        assert "recUNDATED0000001" not in changed(server, fields | {"sent_date": "Sent"})


def test_a_change_is_found_even_where_the_mapped_time_is_kept_by_hand(full: AirtableServer) -> None:
    full.set_clock(NOON - timedelta(days=1))
    full.put("messages", "rec00000000000007", {"Created": "2024-01-02T00:00:00.000Z"})
    full.put("messages", "rec00000000000008", {"Created": "2024-01-02T00:00:00.000Z"})
    full.set_clock(NOON)
    full.put("messages", "rec00000000000007", {"Created": "2024-01-02T00:00:00.000Z", "State": "sent"})
    found = changed(full, {"updated_at": "Created"})
    assert "rec00000000000007" in found
    assert "rec00000000000008" not in found


def test_a_day_is_found_although_it_begins_later_in_the_business_time_zone(server: AirtableServer) -> None:
    fields = FIELDS | {"deleted_at": "Sent"}
    server.set_clock(NOON - timedelta(days=9))
    for day in ("2024-02-09", "2024-02-10", "2024-02-11"):
        server.put("messages", f"rec0000{day}", {"Sent": day})
    in_los_angeles = datetime(2024, 2, 10, tzinfo=ZoneInfo("America/Los_Angeles"))
    since = in_los_angeles.astimezone(UTC).replace(tzinfo=None)
    assert changed(server, fields, since) == {"rec00002024-02-10", "rec00002024-02-11"}


@pytest.mark.parametrize("name", ["a } b", "it's", '"quoted"', "back\\slash", "a.b", "{curly", "ünï 🍜", "AND(1)"])
def test_a_formula_finds_fields_of_any_name(name: str) -> None:
    types = {"State": "singleSelect", "Changed": "lastModifiedTime", name: "dateTime"}
    with airtable_server(tables={"messages": types}, rate=None) as server:
        server.set_clock(NOON - timedelta(days=9))
        server.put("messages", "rec00000000000001", {name: "2024-02-10T12:00:00.000Z"})
        server.put("messages", "rec00000000000002", {name: "2024-02-01T12:00:00.000Z"})
        assert changed(server, {"updated_at": "Changed", "deleted_at": name}) == {"rec00000000000001"}
        assert set(ids(source_of(server, {"id": name}).fetch("messages", ["2024"]))) == set()


def test_a_change_is_found_by_the_ids_of_fields(full: AirtableServer) -> None:
    full.put("messages", "rec00000000000007", {"State": "queued"})
    fields = {name: full.field_id("messages", field) for name, field in FIELDS.items()}
    assert changed(full, fields) == {"rec00000000000007"}


def test_a_plain_comparison_would_lose_blank_times_in_silence(server: AirtableServer) -> None:
    # Why the formula is longer than one would write it: this holds the server to what hurts.
    formula = read("OR({x}=BLANK(), NOT(IS_BEFORE({x}, DATETIME_PARSE('2024-02-10T12:00:00.000Z'))))")
    assert not formula.selects(lambda _: None)
    assert formula.selects(lambda _: NOON)


TIMES = st.sampled_from(
    [
        None,
        "soon",
        "2024-02-08",
        "2024-02-09",
        "2024-02-10",
        "2024-02-11",
        "2024-02-08T00:00:00.000Z",
        "2024-02-09T23:59:59.000Z",
        "2024-02-10T00:00:00.000Z",
        "2024-02-10T10:00:00.000Z",
        "2024-02-10T14:00:00.000Z",
    ]
)
ZONES = st.sampled_from([ZoneInfo(name) for name in ("UTC", "Etc/GMT+12", "Pacific/Kiritimati", "Europe/Berlin")])
STARTS = st.sampled_from([datetime(2024, 2, 10, hour, minute) for hour in (0, 8, 10, 13) for minute in (0, 1)])
NAMES = ("updated_at", "created_date", "deleted_at", "sent_date")


@given(values=st.fixed_dictionaries(dict.fromkeys(NAMES, TIMES)), are_dates=st.booleans(), zone=ZONES, since=STARTS)
def test_the_formula_selects_at_least_what_a_span_concerns(
    values: dict[str, str | None], are_dates: bool, zone: ZoneInfo, since: datetime
) -> None:
    old = datetime(2024, 1, 1)
    system = {"LAST_MODIFIED_TIME()": None, "CREATED_TIME()": old}

    def value_of(name: str) -> Any:
        value = system.get(name, values.get(name))
        if are_dates and isinstance(value, str) and value != "soon":
            return datetime.fromisoformat(value.removesuffix("Z"))
        return value

    is_selected = read(changed_since({name: name for name in NAMES}, since)).selects(value_of)
    dated = [value for name in NAMES[:3] if (value := values[name])]
    times = dated or [value for value in [values["sent_date"]] if value]
    concerns = any(value == "soon" or read_moment(value, zone).at >= since for value in times)
    is_old = all(value != "soon" and read_moment(value, ZoneInfo("UTC")).at < datetime(2024, 2, 9) for value in times)
    assert is_selected or not concerns
    assert not (is_selected and is_old)


# ---------------------------------------------------------------- keys


def test_keys_are_the_records_ids_and_only_one_field_is_asked_for(full: AirtableServer) -> None:
    source = source_of(full)
    batches = list(source.keys("messages"))
    assert sorted(key for batch in batches for key in batch) == sorted(ALL_IDS)
    assert [len(batch) for batch in batches] == [100, 100, 50]
    assert all(request.query["fields[]"] == ["State"] for request in full.requests)
    assert not source.is_listing_keys


def test_keys_are_written_as_in_the_log_where_a_field_has_them() -> None:
    keys: list[Any] = ["m-1", " m-2 ", 3, ["m-4"], "", ["a", "b"], 5.5, "it's \\ }", True]
    records = [{"Key": key, "status": "sent"} for key in keys]
    with airtable_server(tables={"messages": records}, rate=None) as server:
        source = source_of(server, {"id": "Key"})
        found = [key for batch in source.keys("messages") for key in batch]
        assert sorted(found) == ["3", "it's \\ }", "m-1", "m-2", "m-4"]
        documents = [text for batch in source.fetch("messages", [*found, "gone"]) for text in batch.documents]
        fetched = [json.loads(text)["fields"]["Key"] for text in documents]
        assert sorted(map(str, fetched)) == sorted(map(str, ["m-1", " m-2 ", 3, ["m-4"], "it's \\ }"]))


def test_fetching_takes_a_call_for_a_hundred_keys_and_leaves_out_what_is_gone(full: AirtableServer) -> None:
    wanted = sorted(ALL_IDS)[:150]
    for record_id in wanted[:10]:
        full.delete("messages", record_id)
    found = ids(source_of(full).fetch("messages", wanted))
    assert sorted(found) == wanted[10:]
    assert len(full.requests) == 2
    assert list(source_of(full).fetch("messages", [])) == []


def test_a_formula_that_is_too_long_for_an_address_goes_in_the_body() -> None:
    keys = [f"{number} " + "ü" * 60 for number in range(100)]
    with airtable_server(tables={"messages": [{"Key": key} for key in keys]}, rate=None) as server:
        fields = {name: server.field_id("messages", "Key") for name in ("id", "user_id", "content", "status")}
        assert len(ids(source_of(server, fields).fetch("messages", keys))) == 100
        assert [request.method for request in server.requests] == ["POST"]


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("fault", [500, 502, 503, 504, 408, "reset", "cut", "html"])
def test_what_may_pass_is_transient_and_reading_goes_on_from_the_last_place(
    full: AirtableServer, fault: int | str
) -> None:
    source = source_of(full)
    reading = source.changes("messages", EVERYTHING)
    batches = [next(reading)]
    full.fail(fault)
    with pytest.raises(TransientError) as error:
        next(reading)
    assert_no_secret(error.value, full)
    batches += source.changes("messages", EVERYTHING, batches[-1].place)
    assert sorted(ids(batches)) == sorted(ALL_IDS)


FAULTS = st.sampled_from([429, 500, 503, "reset", "cut", "html"])


@hypothesis.settings(max_examples=25)
@given(
    faults=st.dictionaries(st.integers(0, 12), FAULTS, max_size=8),
    expiries=st.sets(st.integers(1, 12), max_size=RESTARTS),
)
def test_whatever_breaks_a_reader_who_goes_on_gets_every_record(
    faults: dict[int, int | str], expiries: set[int]
) -> None:
    with airtable_server(tables={"messages": [{"status": "sent"}] * MANY}, rate=None) as server:
        for after, fault in sorted(faults.items()):
            server.fail(fault, after=after)
        for number in expiries:
            server.on_request(number, server.expire_offsets)
        source, found, place = source_of(server, {}), set[str](), None
        while place != "":
            with suppress(TransientError):
                for batch in source.changes("messages", EVERYTHING, place):
                    found |= set(ids([batch]))
                    place = batch.place
        assert found == ALL_IDS
        # A fault may cost the request and the one that meets the broken connection.
        assert len(server.requests) <= 3 * (len(expiries) + 1) + 2 * len(faults) + len(expiries)


def test_an_answer_that_does_not_come_is_transient_after_the_time_allowed(server: AirtableServer) -> None:
    server.fail("hang")
    with pytest.raises(TransientError, match="in time"):
        list(source_of(server).changes("messages", EVERYTHING))


def test_a_server_that_is_not_there_is_transient(server: AirtableServer) -> None:
    server.close()
    with pytest.raises(TransientError, match="connection"):
        list(source_of(server).changes("messages", EVERYTHING))


def test_a_refusal_for_too_many_requests_is_waited_out(full: AirtableServer) -> None:
    waits = Waits()
    full.fail(429, times=RATE_ATTEMPTS - 1, after=1)
    batches = list(source_of(full, pause=waits).changes("messages", EVERYTHING))
    assert sorted(ids(batches)) == sorted(ALL_IDS)
    assert waits.count(REFUSAL_SECONDS) == RATE_ATTEMPTS - 1


def test_refusals_without_end_are_transient(full: AirtableServer) -> None:
    waits = Waits()
    full.fail(429, times=RATE_ATTEMPTS)
    with pytest.raises(TransientError, match="too many requests"):
        list(source_of(full, pause=waits).changes("messages", EVERYTHING))
    assert waits.count(REFUSAL_SECONDS) == RATE_ATTEMPTS - 1


def test_a_reader_of_many_pages_waits_so_that_it_is_never_refused() -> None:
    with airtable_server(tables={"messages": [{"status": "sent"}] * 650}) as server:
        source = AirtableSource(SecretStr(server.token), server.base, "messages", url=server.url)
        assert sum(len(batch.documents) for batch in source.changes("messages", EVERYTHING)) == 650
        assert len(server.requests) == 7


def test_the_server_refuses_who_does_not_wait() -> None:
    with airtable_server(tables={"messages": [{"status": "sent"}] * 650}, window=60, penalty=60) as server:
        with pytest.raises(TransientError, match="too many requests"):
            list(source_of(server, {}).changes("messages", EVERYTHING))
        assert len(server.requests) == 5 + RATE_ATTEMPTS


def test_the_rate_is_kept_from_one_reading_to_the_next(server: AirtableServer) -> None:
    waits = Waits()
    source = source_of(server, pause=waits)
    for _ in range(RATE):
        list(source.changes("messages", EVERYTHING))
    assert waits == []
    list(source.changes("messages", EVERYTHING))
    assert len(waits) == 1
    assert 0 < waits[0] <= RATE_SECONDS


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (401, ["AIRTABLE_API_KEY", "data.records:read", "appTEST"]),
        (403, ["AIRTABLE_API_KEY", "data.records:read", "AIRTABLE_BASE_ID", "AIRTABLE_MESSAGES_TABLE"]),
        (404, ["AIRTABLE_BASE_ID", "appTEST", "AIRTABLE_MESSAGES_TABLE", "messages"]),
        ("billing", ["AIRTABLE_MONTHLY_CALLS", "used up"]),
        (413, ["413", "messages"]),
    ],
)
def test_what_will_not_pass_says_what_to_do_at_once(server: AirtableServer, fault: int | str, words: list[str]) -> None:
    server.fail(fault, times=9)
    with pytest.raises(PipelineError) as error:
        list(source_of(server).changes("messages", EVERYTHING))
    assert not isinstance(error.value, TransientError)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert len(server.requests) == 1
    assert_no_secret(error.value, server)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key": SecretStr("patWRONG.9")}, ["AIRTABLE_API_KEY", "401"]),
        ({"table": "nowhere"}, ["AIRTABLE_MESSAGES_TABLE", "nowhere", "403"]),
        ({"fields": {"status": "Stat"}}, ["Stat", "AIRTABLE_FIELDS"]),
        ({"url": "no address"}, ["AIRTABLE_API_URL"]),
        ({"url": "ftp://127.0.0.1"}, ["AIRTABLE_API_URL"]),
        ({"key": SecretStr("patWRONG\n9")}, []),
    ],
)
def test_settings_that_airtable_does_not_know_are_named(
    server: AirtableServer, options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(PipelineError) as error:
        list(source_of(server, **options).keys("messages"))
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "patWRONG" not in str(error.value)
    assert_no_secret(error.value, server)


def test_a_field_that_only_the_formula_names_is_named_in_the_error(server: AirtableServer) -> None:
    with pytest.raises(PipelineError, match=r"no field Changed; .* AIRTABLE_FIELDS"):
        changed(server, {"updated_at": "Changed"})


def test_ids_that_formulas_do_not_take_are_an_error_and_not_an_empty_list() -> None:
    with airtable_server(tables={"messages": SCHEMA}, rate=None, has_formula_ids=False) as server:
        fields = {name: server.field_id("messages", field) for name, field in FIELDS.items()}
        with pytest.raises(PipelineError, match=fields["updated_at"]):
            changed(server, fields)


def test_a_token_without_the_scope_to_read_is_told_so() -> None:
    with (
        airtable_server(tables={"messages": SCHEMA}, scopes=("schema.bases:read",)) as server,
        pytest.raises(PipelineError, match=r"scope data\.records:read"),
    ):
        list(source_of(server).changes("messages", EVERYTHING))


def test_no_text_shows_the_token(full: AirtableServer, caplog: pytest.LogCaptureFixture) -> None:
    source = source_of(full)
    full.fail(429)
    full.on_request(3, full.expire_offsets)
    with caplog.at_level(logging.DEBUG):
        list(source.changes("messages", EVERYTHING))
        source.clock()
    assert "wait" in caplog.text
    assert full.token not in caplog.text + repr(source) + str(source)


def test_a_token_that_was_put_where_a_name_belongs_is_not_shown(server: AirtableServer) -> None:
    with pytest.raises(PipelineError, match="AIRTABLE_FIELDS") as error:
        list(source_of(server, {"status": server.token}).keys("messages"))
    assert_no_secret(error.value, server)


def assert_no_secret(error: BaseException | None, server: AirtableServer) -> None:
    """Neither an error nor what it came from holds the token or a request."""
    while error is not None:
        assert server.token not in f"{error!s}{error!r}{vars(error)}"
        assert not hasattr(error, "request")
        error = error.__cause__ or error.__context__


# ---------------------------------------------------------------- the server itself


def test_the_server_gives_single_records_and_shows_its_schema_to_who_may_see_it(server: AirtableServer) -> None:
    server.put("messages", "rec00000000000001", {"State": "sent"})
    api = pyairtable.Api(server.token, endpoint_url=server.url, retry_strategy=None)
    assert api.table(server.base, "messages").get("rec00000000000001")["fields"]["State"] == "sent"
    with pytest.raises(requests.HTTPError, match="403"):
        api.base(server.base).schema()
    server.scopes = ("schema.bases:read",)
    table = api.base(server.base).schema().table("messages")
    assert {field.name: field.id for field in table.fields} == {
        name: server.field_id("messages", name) for name in SCHEMA
    }


@pytest.mark.parametrize("parameters", [{"pageSize": 101}, {"view": "Grid"}, {"filterByFormula": "{State"}])
def test_the_server_refuses_parameters_that_it_does_not_know(
    server: AirtableServer, parameters: dict[str, Any]
) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    url = f"{server.url}/v0/{server.base}/messages"
    assert requests.get(url, parameters, headers=headers, timeout=5).status_code == 422


def test_the_servers_offsets_expire_with_time_and_belong_to_their_list(full: AirtableServer) -> None:
    full.offset_age = timedelta(minutes=5)
    table = pyairtable.Api(full.token, endpoint_url=full.url, retry_strategy=None).table(full.base, "messages")
    pages = table.iterate()
    next(pages)
    full.set_clock(NOON + timedelta(minutes=5))
    next(pages)
    offset = full.requests[-1].query["offset"][0]
    with pytest.raises(requests.HTTPError, match="INVALID_OFFSET_VALUE"):
        table.api.request("get", table.urls.records, options={"offset": offset, "page_size": 9})
    full.set_clock(NOON + timedelta(minutes=11))
    with pytest.raises(requests.HTTPError, match="LIST_RECORDS_ITERATOR_NOT_AVAILABLE"):
        next(pages)


# ---------------------------------------------------------------- clock


def test_the_clock_is_airtables_and_costs_one_request_only_without_an_answer_before(server: AirtableServer) -> None:
    source = source_of(server)
    server.set_clock(NOON.replace(microsecond=999_999))
    assert source.clock() == NOON
    assert [request.path for request in server.requests] == ["/v0/meta/whoami"]
    server.set_clock(NOON + timedelta(hours=1))
    list(source.changes("messages", EVERYTHING))
    assert source.clock() == NOON + timedelta(hours=1)
    assert len(server.requests) == 2


def test_an_answer_that_is_old_does_not_tell_the_time(server: AirtableServer, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(server)
    source.clock()
    server.set_clock(NOON + timedelta(hours=1))
    assert source.clock() == NOON
    monkeypatch.setattr("profile_pipeline.sources.airtable.client.CLOCK_SECONDS", 0)
    assert source.clock() == NOON + timedelta(hours=1)


def test_connections_that_were_let_go_are_made_again(server: AirtableServer) -> None:
    source = source_of(server)
    source.close()
    for _ in range(2):
        assert source.clock() == NOON
        source.close()


def test_the_total_is_not_known(full: AirtableServer) -> None:
    assert source_of(full).total("messages", EVERYTHING) is None
    assert full.requests == []


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    ("pages", "monthly_calls", "days"),
    [
        (1, 1000, 30 / 500),
        (0, 1000, 30 / 500),
        (10, 1000, 30 / 50),
        (300, 1000, 30),
        (500, 1000, 30),
        (501, 1000, 30 * 1.002),
        (5000, 1000, 300),
        (500, 100_000, 30 / 100),
        (1, 1, 60),
    ],
)
def test_intervals_between_scans(pages: int, monthly_calls: int, days: float) -> None:
    assert abs(reading_interval(pages, monthly_calls) - timedelta(days=days)) <= timedelta(seconds=1)


@given(pages=st.integers(0, 10_000), monthly_calls=st.integers(1, 200_000))
def test_scans_take_at_most_half_of_the_calls_of_any_30_days(pages: int, monthly_calls: int) -> None:
    apart = reading_interval(pages, monthly_calls)
    scans = -(-timedelta(days=30) // apart)
    if scans > 1:
        assert 2 * scans * max(pages, 1) <= monthly_calls
    assert 2 * max(pages, 1) * timedelta(days=30) <= monthly_calls * apart
    assert reading_interval(pages + 1, monthly_calls) >= apart


def test_the_free_plan_is_looked_at_about_every_hour_and_a_half() -> None:
    assert poll_interval(1000) == timedelta(hours=1, minutes=26, seconds=24)


def test_a_scan_costs_a_call_for_each_hundred_records() -> None:
    source = AirtableSource(SecretStr("patTEST.1"), "appTEST", "messages", monthly_calls=1000)
    assert source.scan_interval(0) == source.scan_interval(100) == reading_interval(1, 1000)
    assert source.scan_interval(101) == reading_interval(2, 1000)
