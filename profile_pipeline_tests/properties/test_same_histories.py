"""The same history gives the same profiles whether it is read from files or from MongoDB and Airtable.

Each evening the records are put into files, into collections over MongoDB's wire protocol, and into a table of
Airtable. One home reads all days so far from the files. The other reads each day alone from the live systems, which
have to tell what changed. After every day both logs say the same, and in the end so does every table that follows.

The histories keep to what both can know. Live systems are asked for what changed, so that each change after the first
day has an honest `updated_at`; creation and deletion may be late, early or unknown. Messages always have one, because
Airtable knows when a record was made, which counts where nothing else does, and a file does not. Times inside ObjectIds
would be the same case. Nobody takes an address that another user has, and no user was created earlier than anyone knew:
whoever is rejected for that is tried again with each reading of the files, but only after changes in a live system.
And nothing is lost without a trace, which files cannot tell.
"""

import copy
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
import stamina
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from profile_pipeline.build import RAW_STEPS, STEPS, build, raw
from profile_pipeline.policy import Policy
from profile_pipeline.records.moments import read_moment
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.window import Window
from profile_pipeline_tests.histories import (
    CHANGES,
    FIRST_DAY,
    Document,
    Source,
    community,
    forget_record,
    nothing,
    timestamps,
)
from profile_pipeline_tests.properties.test_laws import QUIET, Pipeline, pipeline
from profile_pipeline_tests.servers.airtable import AirtableServer, airtable_server
from profile_pipeline_tests.servers.mongodb import Server, mongodb_server

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
UTC_ZONE = ZoneInfo("UTC")
MONGO_KINDS = ("users", "orders", "events")
DAYS = (4, 5)
"""On the second day all keys are compared for the first time, which reads all messages; only then come days on which
both systems are asked for changes alone."""
RARELY = 100_000
"""Hours between comparisons of keys: longer than any history."""

TIMES = ("created_at", "updated_at", "deleted_at", "date")
COLLECTIONS = {"users": "people", "orders": "purchases", "events": "gatherings"}
FIELDS = {
    "users": {"email": "contact.address", "created_at": "meta.created", "updated_at": "meta.changed"},
    "orders": {"user_id": "buyer", "amount": "paid.total", "date": "paid.on", "updated_at": "meta.changed"},
    "events": {"participants": "guests", "date": "on", "deleted_at": "gone", "updated_at": "meta.changed"},
}

COLUMNS = {
    "id": ("Number", "singleLineText"),
    "user_id": ("Member", "multipleRecordLinks"),
    "content": ("Text", "multilineText"),
    "status": ("State", "singleSelect"),
    "sent_date": ("Sent", "date"),
    "created_date": ("Written", "dateTime"),
    "deleted_at": ("Gone", "dateTime"),
}
TABLES = {"noted by Airtable": "lastModifiedTime", "noted by people": "dateTime"}
"""Tables by who keeps the time of change, with the type of its field."""


class Form(NamedTuple):
    """How the live systems write the same records."""

    has_dates: bool
    """Whether MongoDB's times are BSON dates, else as they are in the history."""
    is_renamed: bool
    """Whether MongoDB's collections and some of its fields are called otherwise."""
    table: str


FORMS = st.builds(Form, st.booleans(), st.booleans(), st.sampled_from(sorted(TABLES)))

# ---------------------------------------------------------------- histories


@st.composite
def evenings(draw: st.DrawFn) -> list[Source]:
    """The records as they are at the end of each day, from the first on."""
    source = draw(st.sampled_from((community, community, nothing)))()
    changes = [change for change in CHANGES if change is not forget_record]
    states: list[Source] = []
    for offset in range(draw(st.integers(*DAYS))):
        today, before = FIRST_DAY + timedelta(days=offset), copy.deepcopy(source)
        for change in draw(st.lists(st.sampled_from(changes), min_size=1, max_size=6)):
            change(draw, source, today)
        keep_addresses_apart(source, before)
        for kind, records in source.items():
            for key, record in records.items():
                old = states[-1][kind].get(key) if states else None
                records[key] = honest(draw, kind, record, old, today)
        states.append(copy.deepcopy(source))
    return states


def keep_addresses_apart(source: Source, before: Source) -> None:
    """Undo the changes of users by which several would have one address."""
    users = source["users"]

    def has_twin(key: str) -> bool:
        return sum(same(user["email"]) == same(users[key]["email"]) for user in users.values()) > 1

    while twins := [key for key in users if has_twin(key) and users[key] != before["users"].get(key)]:
        if twins[0] in before["users"]:
            users[twins[0]] = before["users"][twins[0]]
        else:
            del users[twins[0]]


def same(address: str) -> str:
    return address.strip().casefold()


def honest(draw: st.DrawFn, kind: str, record: Document, old: Document | None, today: date) -> Document:
    """A record with the time of its change; the old one, if nothing but that time would change."""
    if kind == "messages":
        # As a field of that type has it, so that the same time is never written in two ways.
        times = {name: record[name] for name in ("created_date", "deleted_at") if name in record}
        record = record | {name: instant(value).isoformat() + "Z" for name, value in times.items()}
    if old is not None and record | {"updated_at": None} == old | {"updated_at": None}:
        return old
    if kind != "messages" and today == FIRST_DAY:
        return record
    now = draw(timestamps(today))
    if kind == "messages":
        now = instant(now).isoformat() + "Z"
    if kind == "users":
        record = record | {"created_at": (old or {}).get("created_at", now)}
    return record | {"updated_at": now}


def instant(value: object) -> datetime:
    return read_moment(value, UTC_ZONE).at


# ---------------------------------------------------------------- the live systems


@pytest.fixture(scope="module")
def mongodb() -> Iterator[Server]:
    with mongodb_server() as server:
        if not server.supports("setClock"):
            pytest.skip("the server's clock cannot be set")
        yield server


@pytest.fixture(scope="module")
def airtable() -> Iterator[AirtableServer]:
    columns = dict(COLUMNS.values())
    tables = {name: columns | {"Changed": kept} for name, kept in TABLES.items()}
    with airtable_server(tables=tables, rate=None) as server:
        yield server


class Systems:
    """A database and a table of an example's own, and the homes that read them."""

    numbers = count()

    def __init__(self, mongodb: Server, airtable: AirtableServer, form: Form) -> None:
        self.mongodb, self.airtable, self.form = mongodb, airtable, form
        self.database = f"{mongodb.database}_{next(self.numbers)}"
        self.client = mongodb.client()
        self.collections = COLLECTIONS if form.is_renamed else {}
        self.fields = FIELDS if form.is_renamed else {}

    def close(self) -> None:
        self.client.drop_database(self.database)
        self.client.close()
        for record_id in self.airtable.record_ids(self.form.table):
            self.airtable.delete(self.form.table, record_id)

    def settings(self) -> dict[str, Any]:
        """What a home needs to read them."""
        return {
            "mongodb_uri": SecretStr(self.mongodb.uri),
            "mongodb_database": self.database,
            "mongodb_collections": self.collections,
            "mongodb_fields": self.fields,
            "airtable_api_key": SecretStr(self.airtable.token),
            "airtable_base_id": self.airtable.base,
            "airtable_messages_table": self.form.table,
            "airtable_fields": {name: column for name, (column, _) in COLUMNS.items()} | {"updated_at": "Changed"},
            "airtable_api_url": self.airtable.url,
            "reconcile_hours": RARELY,
        }

    def put(self, source: Source) -> None:
        """Make these the records, each as of its time of change."""
        for kind in MONGO_KINDS:
            collection = self.client[self.database][self.collections.get(kind, kind)]
            for key, record in source[kind].items():
                collection.replace_one({"_id": key}, self._document(kind, record), upsert=True)
        for key, message in source["messages"].items():
            if "updated_at" in message:
                self.airtable.set_clock(instant(message["updated_at"]))
            self.airtable.put(self.form.table, f"rec{key:0>14}".replace("_", "0"), self._row(message))

    def set_clock(self, moment: datetime) -> None:
        self.mongodb.set_clock(moment)
        self.airtable.set_clock(moment)

    def _document(self, kind: str, record: Document) -> Document:
        document: Document = {"_id": record["id"]}
        for name, value in record.items():
            outer, _, inner = self.fields.get(kind, {}).get(name, name).rpartition(".")
            level = document.setdefault(outer, {}) if outer else document
            if name != "id":
                is_date = self.form.has_dates and name in TIMES
                level[inner] = instant(value).replace(tzinfo=UTC) if is_date else value
        return document

    def _row(self, message: Document) -> Document:
        row = {column: message[name] for name, (column, _) in COLUMNS.items() if message.get(name)}
        row["Member"] = [row["Member"]]
        if TABLES[self.form.table] == "dateTime" and "updated_at" in message:
            row["Changed"] = message["updated_at"]
        return row


@contextmanager
def homes(systems: Systems, **changed: Any) -> Iterator[tuple[Pipeline, Pipeline]]:
    """Two empty homes: of the files, and of the live systems."""
    with stamina.set_testing(True, attempts=5), pipeline() as files, pipeline() as live, closing(systems):
        yield (
            replace(files, settings=files.settings.model_copy(update=changed)),
            replace(live, settings=live.settings.model_copy(update=changed | systems.settings())),
        )


def write_files(home: Pipeline, source: Source) -> None:
    for kind, records in source.items():
        lines = (json.dumps(records[key]) + "\n" for key in sorted(records))
        (home.settings.source_dir / f"{kind}.jsonl").write_text("".join(lines))


def ingest(home: Pipeline, window: Window) -> None:
    for kind in RAW_STEPS.values():
        raw(home.warehouse, home.settings, window, kind)


def logs(home: Pipeline) -> dict[str, list[Document]]:
    """What the logs say, wherever and in whatever form it was written."""
    written = "document, content_hash, source, sequence"
    return {
        table.name: home.warehouse.records(f"SELECT * EXCLUDE ({written}) FROM {table.name} ORDER BY ALL")
        for table in RAW_TABLES.values()
    }


# ---------------------------------------------------------------- the laws


@settings(max_examples=6, deadline=None, suppress_health_check=QUIET)
@given(states=evenings(), form=FORMS)
def test_profiles_are_the_same_from_files_and_from_live_systems(
    mongodb: Server, airtable: AirtableServer, states: list[Source], form: Form
) -> None:
    systems = Systems(mongodb, airtable, form)
    with homes(systems) as (files, live):
        for offset, state in enumerate(states):
            today = FIRST_DAY + timedelta(days=offset)
            write_files(files, state)
            systems.put(state)
            systems.set_clock(datetime.combine(today + timedelta(days=1), time(2)))
            ingest(files, Window(FIRST_DAY, today))
            ingest(live, Window(today, today))
            assert logs(live) == logs(files), today
        for home in (files, live):
            build(home.warehouse, home.settings, Window(FIRST_DAY, today))
            assert home.rows("quarantine") == []
        assert logs(live) == logs(files)
        for table in STEPS:
            query = f"SELECT * FROM {table} ORDER BY ALL"
            assert live.warehouse.records(query) == files.warehouse.records(query), table


def test_the_worked_example_comes_out_of_the_live_systems(mongodb: Server, airtable: AirtableServer) -> None:
    if not GOLDEN.is_dir():
        pytest.skip("the worked example is not beside the repository")
    source: Source = {}
    for kind in RAW_TABLES:
        records = map(json.loads, (GOLDEN / f"{kind}.jsonl").read_text().splitlines())
        source[kind] = {record["id"]: record for record in records}
    expected = json.loads((GOLDEN / "expected.json").read_text())
    day = date.fromisoformat(expected["as_of"])
    systems = Systems(mongodb, airtable, Form(has_dates=True, is_renamed=True, table="noted by people"))
    with homes(systems, policy=Policy()) as (_, live):
        systems.set_clock(datetime.combine(day + timedelta(days=1), time(2)))
        systems.put(source)
        build(live.warehouse, live.settings, Window(FIRST_DAY, day))
        found = {row["id"]: row for row in live.rows(f"profiles_as_of(DATE '{day}')")}
        for wanted in expected["profiles"]:
            profile = json.loads(json.dumps(found[wanted["id"]], default=str))
            assert {field: profile[field] for field in wanted} == wanted
