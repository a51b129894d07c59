"""No secret leaves the settings: real processes meet servers that work and servers that refuse, and all is searched.

Searched are what the processes print, with tracebacks, and every file that they leave: the warehouse, Dagster's events,
runs and logs.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, quote_plus

import pytest

from profile_pipeline.settings import Settings
from profile_pipeline_tests.servers.airtable import airtable_server
from profile_pipeline_tests.servers.mongodb import mongodb_server

ROOT = Path(__file__).parents[2]
USER, PASSWORD = "reader", "c0rrect:h@rse/b?ttery &%staple"
TOKEN = "patSECRET00000000.5a1eb0a7"
SECRETS = {form for text in (PASSWORD, TOKEN) for form in (text, quote(text, safe=""), quote_plus(text))}
WITHOUT_WAITS = """
import stamina, sys
from profile_pipeline.cli import main
stamina.set_testing(True, attempts=5)
sys.exit(main())
"""
PROFILE_PIPELINE = (sys.executable, "-c", WITHOUT_WAITS)
"""The command, as often as it tries again, without half a minute of waits in between."""
QUICKLY = "serverSelectionTimeoutMS=300&socketTimeoutMS=300&connectTimeoutMS=300"


class Systems(NamedTuple):
    """Both systems, and the settings that lead there."""

    environment: dict[str, str]
    fail_mongodb: Callable[..., None]
    fail_airtable: Callable[..., None]


@pytest.fixture(scope="module")
def systems() -> Iterator[Systems]:
    table = {"user_id": "singleLineText", "content": "singleLineText", "status": "singleLineText"}
    with (
        mongodb_server(user=USER, password=PASSWORD) as mongodb,
        airtable_server(tables={"messages": table}, token=TOKEN, rate=None) as airtable,
    ):
        with mongodb.client() as client:
            user = {"_id": "u1", "email": "a@x.y", "created_at": datetime(2024, 1, 2)}
            client[mongodb.database]["users"].insert_one(user)
        airtable.put("messages", "rec00000000000001", {"user_id": "u1", "content": "Hi", "status": "queued"})
        environment = {
            "MONGODB_URI": f"{mongodb.uri}/?{QUICKLY}",
            "MONGODB_DATABASE": mongodb.database,
            "AIRTABLE_API_KEY": TOKEN,
            "AIRTABLE_BASE_ID": airtable.base,
            "AIRTABLE_API_URL": airtable.url,
        }
        assert quote_plus(PASSWORD) in environment["MONGODB_URI"]
        yield Systems(environment, mongodb.fail_command, airtable.fail)


def run(home: Path, systems: Systems, *words: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run a program with its arguments in a home of its own, with the repository's instance of Dagster."""
    environment = {
        **os.environ,
        **systems.environment,
        "DAGSTER_HOME": str(ROOT),
        "PROFILE_PIPELINE_HOME": str(home / "home"),
        "PROFILE_PIPELINE_START_DATE": "2024-01-01",
        **changed,
    }
    return subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)


def assert_kept(home: Path, *printed: str) -> None:
    """No secret is printed or in any file."""
    files = [path for path in home.rglob("*") if path.is_file()]
    places = {"what was printed": "\n".join(printed).encode()} | {str(path): path.read_bytes() for path in files}
    assert [(place, secret) for place, data in places.items() for secret in SECRETS if secret.encode() in data] == []


def wrong(systems: Systems) -> dict[str, str]:
    return {"MONGODB_URI": systems.environment["MONGODB_URI"].replace(USER, "nobody")}


CASES: dict[str, Callable[[Systems], dict[str, str]]] = {
    "nothing is wrong": lambda systems: {},
    "the user is refused": wrong,
    "the token is refused": lambda systems: {"AIRTABLE_API_KEY": TOKEN + "x", "MONGODB_URI": ""},
    "no server is there": lambda systems: {
        "MONGODB_URI": f"mongodb://{USER}:{quote_plus(PASSWORD)}@127.0.0.1:1/?{QUICKLY}"
    },
    "the connection string cannot be parsed": lambda systems: {"MONGODB_URI": f"mongodb://{USER}:{PASSWORD}@h/"},
    "an option is unknown to the driver": lambda systems: {
        "MONGODB_URI": systems.environment["MONGODB_URI"] + "&authMechanism=" + quote_plus(PASSWORD)
    },
    "the token has blanks": lambda systems: {"AIRTABLE_API_KEY": f"{TOKEN} {TOKEN}", "MONGODB_URI": ""},
    "a field is unknown to the table": lambda systems: {
        "AIRTABLE_FIELDS": '{"user_id": "nowhere", "updated_at": "nowhere"}',
        "MONGODB_URI": "",
    },
    "another setting is wrong": lambda systems: {"MONGODB_FIELDS": "{", "AIRTABLE_MONTHLY_CALLS": "many"},
}


@pytest.mark.parametrize("case", CASES)
def test_the_command_line_shows_none_even_with_tracebacks(case: str, systems: Systems, tmp_path: Path) -> None:
    changed = CASES[case](systems)
    commands = [
        ("build", "--from", "2024-01-01", "--to", "2024-01-03", "--skip-index", "--debug"),
        ("check", "--debug"),
    ]
    done = [run(tmp_path, systems, *PROFILE_PIPELINE, *command, **changed) for command in commands]
    if case == "nothing is wrong":
        assert [each.returncode for each in done] == [0, 0], done[0].stderr
    assert_kept(tmp_path, *(text for each in done for text in (each.stdout, each.stderr)))


def test_a_fault_in_the_middle_of_reading_shows_none(systems: Systems, tmp_path: Path) -> None:
    systems.fail_mongodb("find", mode={"times": 1}, errorCode=8000, closeConnection=False)
    done = run(tmp_path, systems, *PROFILE_PIPELINE, "build", "--to", "2024-01-03", "--skip-index", "--debug")
    assert done.returncode == 1
    assert "error 8000" in done.stderr or "MONGODB_URI" in done.stderr
    systems.fail_airtable("reset", 3)
    again = run(tmp_path, systems, *PROFILE_PIPELINE, "build", "--to", "2024-01-03", "--skip-index", "--debug")
    assert_kept(tmp_path, done.stdout, done.stderr, again.stdout, again.stderr)


@pytest.mark.parametrize("case", ["nothing is wrong", "the user is refused", "the token is refused"])
def test_dagster_keeps_none_in_its_events_and_logs(case: str, systems: Systems, tmp_path: Path) -> None:
    changed = CASES[case](systems)
    (tmp_path / "home").mkdir()
    dg = str(Path(sys.executable).with_name("dg"))
    launch = (dg, "launch", "--assets", "raw_users,raw_messages", "--partition", "2024-01-02")
    done = run(tmp_path, systems, *launch, **changed)
    assert (done.returncode == 0) == (case == "nothing is wrong"), done.stderr
    # What is searched is there: Dagster kept the events of this run below the home.
    stored = b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*.db"))
    assert b"raw_messages" in stored
    assert_kept(tmp_path, done.stdout, done.stderr)


def test_settings_do_not_show_them() -> None:
    settings = Settings.model_validate({"mongodb_uri": f"mongodb://{USER}:{PASSWORD}@h/", "airtable_api_key": TOKEN})
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert [secret for secret in SECRETS if secret in shown] == []
