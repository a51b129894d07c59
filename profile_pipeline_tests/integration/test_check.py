"""`profile-pipeline check` against servers over sockets: what it says, and what it never does."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from profile_pipeline.cli import main
from profile_pipeline_tests.servers.airtable import airtable_server
from profile_pipeline_tests.servers.mongodb import mongodb_server

PASSWORD = "s3:cr@t/"  # of a server that lives for a test
QUICKLY = "serverSelectionTimeoutMS=500"


class Checked(NamedTuple):
    """What a run of the command left behind."""

    code: int
    rows: dict[str, dict[str, Any]]
    told: str


class Systems(NamedTuple):
    """Both systems, with a few records, and the settings that lead there."""

    environment: dict[str, str]
    commands: Any


class Check(Protocol):
    """Run the command in a folder, with some variables of the environment set."""

    def __call__(self, home: Path, **environment: str) -> Checked: ...


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    def run(home: Path, **environment: str) -> Checked:
        monkeypatch.chdir(home)
        for name, value in {"PROFILE_PIPELINE_HOME": str(home / "home"), **environment}.items():
            monkeypatch.setenv(name, value)
        code = main(["check", "--format", "json"])
        out, err = capsys.readouterr()
        return Checked(code, {row["kind"]: row for row in json.loads(out)}, err)

    return run


@pytest.fixture(scope="module")
def systems() -> Iterator[Systems]:
    table = {"Member": "singleLineText", "Text": "multilineText", "Status": "singleSelect"}
    with (
        mongodb_server(user="reader", password=PASSWORD) as mongodb,
        airtable_server(tables={"log": table}) as airtable,
    ):
        with mongodb.client() as client:
            client[mongodb.database]["members"].insert_many(
                [
                    {"_id": "u1", "email": "a@x.y", "updated_at": datetime(2024, 3, 4, 5, 6, 7)},
                    {"_id": "u2", "email": "b@x.y", "profile": {"age": 31}},
                ]
            )
        airtable.put("log", "rec00000000000001", {"Member": "u1", "Text": "Hi", "Status": "sent"})
        mongodb.commands()
        environment = {
            "MONGODB_URI": mongodb.uri,
            "MONGODB_DATABASE": mongodb.database,
            "MONGODB_COLLECTIONS": '{"users": "members"}',
            "MONGODB_FIELDS": '{"users": {"age": "profile.age"}}',
            "AIRTABLE_API_KEY": airtable.token,
            "AIRTABLE_BASE_ID": airtable.base,
            "AIRTABLE_API_URL": airtable.url,
            "AIRTABLE_MESSAGES_TABLE": "log",
            "AIRTABLE_FIELDS": '{"user_id": "Member", "content": "Text", "status": "Status"}',
        }
        yield Systems(environment, mongodb.commands)


def test_it_tells_what_is_there_and_which_fields_are_found(check: Check, systems: Systems, tmp_path: Path) -> None:
    code, rows, told = check(tmp_path, **systems.environment)
    assert code == 0
    assert (rows["users"]["state"], rows["users"]["records"]) == ("reachable", 2)
    assert rows["users"]["source"].endswith(".members")
    assert rows["users"]["newest_change"] == "2024-03-04T05:06:07"
    assert set(rows["users"]["fields_found"]) == {"id", "email", "age", "updated_at"}
    assert rows["orders"]["state"] == "nothing there"
    assert set(rows["messages"]["fields_found"]) == {"id", "user_id", "content", "status"}
    assert "users: in none of 2 documents: " in told


def test_it_writes_nothing(check: Check, systems: Systems, tmp_path: Path) -> None:
    systems.commands()
    check(tmp_path, **systems.environment)
    assert list(tmp_path.iterdir()) == []
    written = {"insert", "update", "delete", "drop", "createIndexes", "findAndModify"}
    assert {name for command in systems.commands() for name in command} & written == set()


def test_files_are_looked_at_where_nothing_else_is_set(check: Check, tmp_path: Path) -> None:
    (tmp_path / "users.jsonl").write_text('{"id": "u1", "email": "a@x.y"}\nno record\n')
    checked = check(tmp_path, PROFILE_PIPELINE_SOURCE_DIR=str(tmp_path))
    assert checked.code == 0
    assert (checked.rows["users"]["source"], checked.rows["users"]["records"]) == ("files:users.jsonl", 2)
    assert checked.rows["users"]["fields_found"] == ["id", "email"]
    assert checked.rows["orders"]["state"] == "nothing there"


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"MONGODB_URI": f"mongodb://127.0.0.1:1/?{QUICKLY}"}, "users", "check MONGODB_URI"),
        ({"MONGODB_URI": f"mongodb://reader:{PASSWORD}@127.0.0.1/"}, "users", "MONGODB_URI is no connection string"),
        ({"MONGODB_DATABASE": ""}, "users", "MONGODB_DATABASE"),
        ({"AIRTABLE_API_KEY": "patWrong.secret"}, "messages", "AIRTABLE_API_KEY"),
        ({"AIRTABLE_MESSAGES_TABLE": "nowhere"}, "messages", "AIRTABLE_MESSAGES_TABLE"),
        ({"AIRTABLE_BASE_ID": ""}, "messages", "AIRTABLE_BASE_ID"),
        ({"MONGODB_FIELDS": '{"users": {"agee": "x"}}'}, "users", "agee"),
        ({"PROFILE_PIPELINE_SOURCE_DIR": "nowhere", "AIRTABLE_API_KEY": ""}, "messages", "nowhere"),
    ],
)
def test_a_source_that_cannot_be_read_is_named_with_the_reason_and_without_a_secret(
    check: Check, systems: Systems, tmp_path: Path, *, changed: dict[str, str], kind: str, said: str
) -> None:
    code, rows, told = check(tmp_path, **systems.environment | changed)
    assert code == 1
    assert rows[kind]["state"] == "unreachable"
    assert said in rows[kind]["problem"]
    assert told.splitlines()[-1].startswith("error: ")
    assert said in told
    for secret in (PASSWORD, "s3", "cr@t", "cr%40t", "patWrong", systems.environment["AIRTABLE_API_KEY"]):
        assert secret not in told + json.dumps(rows)
