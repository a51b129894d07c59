"""The same histories from files, and over the protocols of MongoDB and Airtable, give the same logs and profiles.

Files are given what the systems hold: documents as they are exported from MongoDB, messages by the fields of their
model. What Airtable knows beyond that, when a record was made there, is of no account, as each message has a date.
"""

import copy
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bson import Decimal128, ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from profile_pipeline.build import STEPS, build
from profile_pipeline.ingestion import ingest, ingest_changes
from profile_pipeline.policy import Policy
from profile_pipeline.settings import Settings
from profile_pipeline.sources import FileSource, live_source
from profile_pipeline.sources.airtable import AirtableSource
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import Warehouse, open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.histories import FIRST_DAY, LAST_DAY, USERS, Document, Documents, Step, histories
from profile_pipeline_tests.memory_warehouse import fresh_warehouse
from profile_pipeline_tests.oracle_log import moment
from profile_pipeline_tests.reference_data import WORKED_EXAMPLE
from profile_pipeline_tests.servers.airtable import AirtableServer, airtable_server
from profile_pipeline_tests.servers.mongodb import Server, mongodb_server

POLICY = Policy(cooldown_days=2, team_domains=("team.org",), max_rejected_share=1.0)
RESULTS = ("user_profiles", "user_summaries", "messaging_decisions")
OWN = ("document", "content_hash", "source", "sequence")
"""Columns of a log that tell where and how a version was read."""
NUMBERS = count()

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]
logs_only = settings(max_examples=4, deadline=None, suppress_health_check=QUIET)
# Computing takes seconds, most of it compiling expressions, and happens twice.
with_profiles = settings(max_examples=1, deadline=None, suppress_health_check=QUIET)

# ---------------------------------------------------------------- how systems write

CREATED = {"users": "created_at", "orders": "created_at", "events": "created_at", "messages": "created_date"}
TIMES = ("created_at", "updated_at", "deleted_at", "created_date", "sent_date", "date")
ELSEWHERE = {
    "users": {"email": "contact.mail", "updated_at": "meta.changed", "interests": "likes"},
    "orders": {"user_id": "customer", "amount": "total.net", "date": "placed"},
    "events": {"participants": "guests", "created_at": "meta.made", "id": "number"},
}
COLLECTIONS = {"users": "members", "orders": "sales", "events": "evenings"}
COLUMNS = {
    "user_id": "Member",
    "content": "Text",
    "status": "State",
    "sent_date": "Sent on",
    "created_date": "Written",
    "updated_at": "Edited",
    "deleted_at": "Withdrawn",
}
TYPES = {
    "Member": "multipleRecordLinks",
    "Text": "multilineText",
    "State": "singleSelect",
    "Sent on": "date",
    "Written": "dateTime",
    "Edited": "dateTime",
    "Withdrawn": "dateTime",
    "No": "singleLineText",
}


class Style(NamedTuple):
    """How an application writes to MongoDB: with ObjectIds, BSON dates and decimals, or fields of other names."""

    has_object_ids: bool
    has_bson_types: bool
    is_mapped: bool


styles = st.builds(Style, st.booleans(), st.booleans(), st.booleans())


def object_id(key: str) -> ObjectId:
    """An ObjectId for a key, made on the day before the first one."""
    made = int(datetime.combine(FIRST_DAY, time(), UTC).timestamp()) - 3600
    return ObjectId(f"{made:08x}{key.encode().hex():0>16}")


def identified(document: Document, style: Style) -> Document:
    """A document as it is in a file: with the keys that the systems have."""
    if not style.has_object_ids:
        return document
    references = {name: str(object_id(document[name])) for name in ("user_id",) if document.get(name) in USERS}
    if "content" in document:
        return document | references
    key = {"_id": {"$oid": str(object_id(document["id"]))}}
    return key | {name: value for name, value in document.items() if name != "id"} | references


def in_bson(kind: str, document: Document, style: Style) -> Document:
    """A document of a file as the application writes it to MongoDB."""
    written: Document = {"_id": ObjectId(document["_id"]["$oid"]) if "_id" in document else document["id"]}
    names = [name for name in document if name != "_id" and (name != "id" or (style.is_mapped and kind == "events"))]
    for name in names:
        outer, _, inner = (ELSEWHERE[kind].get(name, name) if style.is_mapped else name).rpartition(".")
        level = written.setdefault(outer, {}) if outer else written
        level[inner] = in_type(name, document[name]) if style.has_bson_types else document[name]
    return written


def in_type(name: str, value: Any) -> Any:
    """A value in MongoDB's own type for it."""
    if name in TIMES and value is not None:
        return moment(value)
    if name == "amount":
        return Decimal128(str(value))
    if name == "user_id" and ObjectId.is_valid(value):
        return ObjectId(value)
    return value


def in_columns(message: Document, columns: dict[str, str]) -> Document:
    """A message as Airtable has it: who it goes to as a link, times as texts, and nothing for what is not filled."""
    row: Document = {}
    for name, value in message.items():
        if name not in columns or value in (None, "", []):
            continue
        row[columns[name]] = value
        if name == "user_id":
            row[columns[name]] = [value]
        elif isinstance(value, int):
            row[columns[name]] = f"{moment(value):%Y-%m-%dT%H:%M:%S}.000Z"
    return row


# ---------------------------------------------------------------- histories


def kept(steps: list[Step]) -> list[Documents]:
    """What a source holds at each step, in the order of its keys, of which it loses none.

    A live source notices the loss of a record, files do not. Nor does any user claim an address that another ever
    had: files hand over who was rejected for that again with each run, live sources only when the record changes.
    """
    states: list[Documents] = []
    owners: dict[str, str] = {}
    held: dict[str, dict[str, Document]] = {kind: {} for kind in RAW_TABLES}
    for step in steps:
        for kind, documents in copy.deepcopy(step.documents).items():
            held[kind] |= {document["id"]: document for document in documents}
        for user in held["users"].values():
            if owners.setdefault(str(user.get("email")).strip().casefold(), user["id"]) != user["id"]:
                user["email"] = f"{user['id']}@alone.org"
        for message in held["messages"].values():
            message.setdefault("created_date", FIRST_DAY.isoformat())
        states.append({kind: [known[key] for key in sorted(known)] for kind, known in held.items()})
    return copy.deepcopy(states)


def days_of(steps: list[Step]) -> list[date]:
    """A day for each step, none before the one before."""
    days: list[date] = []
    for step in steps:
        days.append(max([step.window.end, *days[-1:]]))
    return days


def honest(states: list[Documents], days: list[date]) -> list[Documents]:
    """The same states with times that say when they were first there, as an application keeps them.

    Others can only be found by reading everything; see the range below.
    """
    before: dict[tuple[str, str], tuple[Document, Document]] = {}
    for state, day in zip(states, days, strict=True):
        for kind, documents in state.items():
            for document in documents:
                content = {name: value for name, value in document.items() if name not in (CREATED[kind], "updated_at")}
                old_content, old = before.get((kind, document["id"]), ({}, {}))
                if content == old_content:
                    times = {name: old[name] for name in (CREATED[kind], "updated_at", "deleted_at") if name in old}
                else:
                    now = f"{day}T10:00:00Z"
                    times = {CREATED[kind]: old.get(CREATED[kind], now), "updated_at": now}
                    times |= {"deleted_at": now} if document.get("deleted_at") else {}
                document.update(times)
                before[kind, document["id"]] = content, document
    return states


# ---------------------------------------------------------------- places


class Files:
    """A warehouse that follows a folder."""

    def __init__(self, warehouse: Warehouse, folder: Path) -> None:
        self.warehouse = warehouse
        self.settings = Settings(
            _env_file=None, home=folder / "files", source_dir=folder, start_date=FIRST_DAY, policy=POLICY
        )

    def run(self, documents: Documents, window: Window) -> None:
        for kind, records in documents.items():
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (self.settings.source_dir / f"{kind}.jsonl").write_text(lines)
        for kind in RAW_TABLES:
            ingest(self.warehouse, FileSource(self.settings.source_dir), kind, window, self.settings)


class Live:
    """A warehouse that follows MongoDB and Airtable."""

    def __init__(
        self, warehouse: Warehouse, folder: Path, mongodb: "Mongo", airtable: AirtableServer, style: Style
    ) -> None:
        self.warehouse, self.mongodb, self.airtable, self.style = warehouse, mongodb, airtable, style
        number = next(NUMBERS)
        names = COLLECTIONS if style.is_mapped else dict.fromkeys(COLLECTIONS, "")
        self.collections = {kind: f"{name or kind}_{number}" for kind, name in names.items()}
        self.settings = Settings(
            _env_file=None,
            home=folder / "live",
            start_date=FIRST_DAY,
            policy=POLICY,
            mongodb_uri=mongodb.server.uri,
            mongodb_database=mongodb.server.database,
            mongodb_collections=self.collections,
            mongodb_fields=ELSEWHERE if style.is_mapped else {},
            airtable_api_key=airtable.token,
            airtable_base_id=airtable.base,
            airtable_fields=COLUMNS | {"id": "No"},
            airtable_api_url=airtable.url,
        )

    def run(self, documents: Documents, window: Window) -> None:
        """Bring the systems to a state at noon of the window's last day, and ingest in the night after it."""
        self.set_clock(datetime.combine(window.end, time(12)))
        self.write(documents)
        self.set_clock(datetime.combine(window.end, time(2)) + timedelta(days=1))
        for kind in RAW_TABLES:
            with closing(self.source(kind)) as source:
                ingest_changes(self.warehouse, source, kind, window, self.settings)

    def source(self, kind: str) -> Any:
        if kind == "messages":
            return AirtableSource.from_settings(self.settings, pause=lambda seconds: None)
        return live_source(kind, self.settings)

    def set_clock(self, at: datetime) -> None:
        self.mongodb.client.admin.command({"setClock": at, "running": False})
        self.airtable.set_clock(at)

    def write(self, documents: Documents) -> None:
        for kind, name in self.collections.items():
            collection = self.mongodb.client[self.mongodb.server.database][name]
            collection.delete_many({})
            if documents[kind]:
                collection.insert_many([in_bson(kind, document, self.style) for document in documents[kind]])
        for message in documents["messages"]:
            row = in_columns(message, COLUMNS) | {"No": message["id"]}
            self.airtable.put("messages", f"rec{message['id']:0>14}", row)


class Mongo(NamedTuple):
    """A server and a client of the tests."""

    server: Server
    client: MongoClient[Document]


@pytest.fixture(scope="module")
def mongodb() -> Iterator[Mongo]:
    with mongodb_server(replica_set="rs0") as server:
        if not server.supports("setClock"):
            pytest.skip("the server's clock cannot be set")
        yield Mongo(server, server.client())


@contextmanager
def both(mongodb: Mongo, style: Style) -> Iterator[tuple[Files, Live]]:
    """Two places that are to come to the same."""
    with (
        tempfile.TemporaryDirectory() as name,
        fresh_warehouse() as of_files,
        fresh_warehouse() as of_systems,
        airtable_server(tables={"messages": TYPES}, rate=None) as airtable,
    ):
        live = Live(of_systems, Path(name), mongodb, airtable, style)
        yield Files(of_files, Path(name)), live
        for collection in live.collections.values():
            mongodb.client[mongodb.server.database].drop_collection(collection)


def log(warehouse: Warehouse, kind: str) -> list[dict[str, Any]]:
    """The accepted versions of a kind, by record in the order of their arrival."""
    name = RAW_TABLES[kind].name
    return warehouse.records(f"SELECT * EXCLUDE ({', '.join(OWN)}) FROM {name} ORDER BY id, partition_date, sequence")


def run_both(files: Files, live: Live, states: Sequence[Documents], windows: Sequence[Window]) -> None:
    """Bring both through the same states, and compare their logs after each."""
    for state, window in zip(states, windows, strict=True):
        documents = {kind: [identified(document, live.style) for document in known] for kind, known in state.items()}
        files.run(documents, window)
        live.run(documents, window)
        for kind in RAW_TABLES:
            assert log(live.warehouse, kind) == log(files.warehouse, kind)


def assert_equal_results(files: Files, live: Live, window: Window) -> None:
    """Compute both, and compare profiles, summaries and decisions."""
    for place in (files, live):
        for step in STEPS.values():
            step(place.warehouse, place.settings, window)
    for table in (*RESULTS, f"profiles_as_of(DATE '{window.end}')"):
        wanted, found = (place.warehouse.records(f"FROM {table} ORDER BY ALL") for place in (files, live))
        assert found == wanted


# ---------------------------------------------------------------- tests


@logs_only
@given(steps=histories(), style=styles)
def test_day_by_day_the_logs_of_files_and_of_systems_are_the_same(
    mongodb: Mongo, steps: list[Step], style: Style
) -> None:
    days = days_of(steps)
    with both(mongodb, style) as (files, live):
        run_both(files, live, honest(kept(steps), days), [Window(day, day) for day in days])


@logs_only
@given(steps=histories(), style=styles)
def test_as_a_range_the_logs_are_the_same_whatever_times_records_have(
    mongodb: Mongo, steps: list[Step], style: Style
) -> None:
    with both(mongodb, style) as (files, live):
        run_both(files, live, kept(steps), [Window(FIRST_DAY, day) for day in days_of(steps)])


@with_profiles
@given(steps=histories(), style=styles)
def test_day_by_day_the_profiles_are_the_same(mongodb: Mongo, steps: list[Step], style: Style) -> None:
    days = days_of(steps)
    with both(mongodb, style) as (files, live):
        run_both(files, live, honest(kept(steps), days), [Window(day, day) for day in days])
        assert_equal_results(files, live, Window(FIRST_DAY, LAST_DAY))


@with_profiles
@given(steps=histories(), style=styles)
def test_as_a_range_the_profiles_are_the_same(mongodb: Mongo, steps: list[Step], style: Style) -> None:
    with both(mongodb, style) as (files, live):
        run_both(files, live, kept(steps), [Window(FIRST_DAY, day) for day in days_of(steps)])
        assert_equal_results(files, live, Window(FIRST_DAY, LAST_DAY))


@pytest.mark.parametrize("style", [Style(False, False, False), Style(False, True, True)], ids=["plain", "mapped"])
def test_the_worked_example_comes_out_exactly_through_mongodb_and_airtable(
    mongodb: Mongo, tmp_path: Path, style: Style
) -> None:
    expected = json.loads((WORKED_EXAMPLE / "expected.json").read_text())
    as_of = date.fromisoformat(expected["as_of"])
    documents = {
        kind: [json.loads(line) for line in (WORKED_EXAMPLE / f"{kind}.jsonl").read_text().splitlines()]
        for kind in RAW_TABLES
    }
    with (
        airtable_server(tables={"messages": TYPES}, rate=None) as airtable,
        open_warehouse(Settings(_env_file=None, home=tmp_path)) as warehouse,
    ):
        live = Live(warehouse, tmp_path, mongodb, airtable, style)
        live.set_clock(datetime(2024, 1, 20, 12))
        live.write(documents)
        live.set_clock(datetime.combine(as_of, time(2)) + timedelta(days=1))
        build(warehouse, live.settings, Window(FIRST_DAY, as_of))
        found = warehouse.records(f"FROM profiles_as_of(DATE '{as_of}')")
    told = {row["id"]: json.loads(json.dumps(row, default=str)) for row in found}
    for profile in expected["profiles"]:
        assert {name: told[profile["id"]][name] for name in profile} == profile
