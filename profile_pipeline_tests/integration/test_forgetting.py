"""Erasing a person from a home that has everything: what is left, what comes back, and what a kill leaves."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import pytest

from profile_pipeline import build
from profile_pipeline.cli import main
from profile_pipeline.discovery import Patience, pending_days
from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.forgetting.dagster_state import purge_dagster_state
from profile_pipeline.forgetting.erasure import Stage, finish, forget
from profile_pipeline.forgetting.identity import Identity
from profile_pipeline.forgetting.needles import Needles
from profile_pipeline.forgetting.request import exclusive, open_request
from profile_pipeline.index.embedding import Progress
from profile_pipeline.index.store import IndexStore
from profile_pipeline.indexing import profile_index
from profile_pipeline.ingestion import ingest_changes
from profile_pipeline.records.suppressions import MARK, hashed
from profile_pipeline.replay import replay
from profile_pipeline.settings import Settings
from profile_pipeline.sources.live import Span
from profile_pipeline.suppression_list import Person, add_person, list_key
from profile_pipeline.warehouse import Warehouse, open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.deployment import Deployment
from profile_pipeline_tests.indexing import BagOfWords
from profile_pipeline_tests.memory_source import MemorySource

USER, ADDRESS, FORMER, NAME = "member-7f3a", "zelda.quist@example.org", "z.quist@old.example.org", "Zelda Quist"
CALLED = (USER, ADDRESS, FORMER, NAME)

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 13)
WHOLE = Window(FIRST, LAST)

SHOWN = ["raw_users", "raw_orders", "raw_events", "raw_messages", "touched_users"]
"""Assets that Dagster runs: enough for previews and reasons that name the person."""


def person(key: str, name: str, **fields: Any) -> dict[str, Any]:
    liked = {"interests": ["wine", "chess"], "age": 40, "occupation": "Baker", "created_at": "2024-01-01"}
    return {"id": key, "email": f"{key}@example.org", "name": name} | liked | fields


RECORDS: dict[str, list[Any]] = {
    "users": [
        person(USER, NAME, email=FORMER),
        person(USER, NAME, email=ADDRESS, updated_at="2024-01-08", dietary_restrictions=["vegan"]),
        person("bob", "Bob Reed"),
        person("carla", "Carla Diaz", referred_by=USER),
        # Rejected: theirs, somebody else's on their address, and one that cannot be read.
        person(USER, NAME, email=ADDRESS, age=400, updated_at="2024-01-09"),
        person("rival", "Rita Val", email=ADDRESS, created_at="2024-01-12"),
        f'{{"id": "{USER}", "email": "{ADDRESS}", "note": "cut',
        person("dora", "Dora Fine", age="old", note=f"knows {NAME}"),
    ],
    "orders": [
        {"id": "o1", "user_id": USER, "amount": 20, "date": "2024-01-06"},
        {"id": "o2", "user_id": "bob", "amount": 30, "date": "2024-01-06", "gift_for": ADDRESS},
        {"id": "o3", "user_id": USER, "amount": -1, "date": "2024-01-07"},
    ],
    "events": [
        {
            "id": f"e{day}",
            "name": name,
            "date": f"2024-01-{day:02}",
            "created_at": "2024-01-02",
            "host": host,
            "venue": "Cellar",
            "participants": people,
        }
        for day, name, host, people in (
            (4, "Tasting", "Ann Host", [FORMER.upper(), "bob@example.org", "carla@example.org"]),
            (6, f"{NAME}'s birthday", NAME, [ADDRESS, "bob@example.org", "guest@example.net"]),
            (11, "Chess", "Ann Host", [f"{NAME} <{ADDRESS}>", "carla@example.org", "bob@example.org"]),
            (12, "Dinner", "Ann Host", ["carla@example.org", "bob@example.org", "guest@example.net"]),
        )
    ],
    "messages": [
        {"id": "m1", "user_id": USER, "content": "Hi Zelda", "status": "sent", "sent_date": "2024-01-09"},
        {"id": "m2", "user_id": "bob", "content": f"With {NAME}!", "status": "sent", "sent_date": "2024-01-09"},
        {"id": "m3", "user_id": "carla", "content": "Hi", "status": "queued", "created_date": "2024-01-09"},
    ],
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with Dagster's state in it, exports of two days and two versions of the index."""
    folder = tmp_path_factory.mktemp("forgetting")
    deployment = with_history(folder / "home", folder / "source")
    for kind, records in RECORDS.items():
        deployment.write(kind, *records)
    with deployment.instance:
        assert deployment.run("2024-01-08", "2024-01-09", assets=SHOWN).success
    for end in (date(2024, 1, 10), LAST):
        build_all(deployment.settings, Window(FIRST, end))
    return folder


def build_all(settings: Settings, window: Window) -> None:
    with open_warehouse(settings) as warehouse:
        build.build(warehouse, settings, window)
    profile_index(partial(open_warehouse, settings), settings, BagOfWords())


def with_history(home: Path, source: Path) -> Deployment:
    deployment = Deployment(home, source, max_rejected_share=1.0)
    (home / "dagster").mkdir(exist_ok=True)
    deployment.instance = dg.DagsterInstance.local_temp(str(home / "dagster"))
    return deployment


@pytest.fixture
def home(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    return tmp_path / "home"


def settings_of(home: Path, **changed: Any) -> Settings:
    return Deployment(home, home.parent / "source", max_rejected_share=1.0).settings.model_copy(update=changed)


def naming(home: Path) -> set[str]:
    """Every file, table, version and packed value below a home that names the person."""
    called = [text.lower() for text in CALLED]

    def names(content: str) -> bool:
        return any(text in content.lower() for text in called)

    found = {str(path) for path in home.rglob("*") if path.is_file() and names(path.read_bytes().decode("latin-1"))}
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        for (table,) in connection.execute("SHOW TABLES").fetchall():
            found |= {table} if names(str(connection.execute(f"FROM {table}").fetchall())) else set()
    for path in home.rglob("*.db"):
        with closing(sqlite3.connect(path)) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for value in (value for row in database.execute(f"SELECT * FROM {table}") for value in row):
                    is_packed = isinstance(value, bytes) and value[:1] == b"\x78"
                    content = str(zlib.decompress(value) if is_packed else value)
                    found |= {f"{path.name}.{table}"} if names(content) else set()
    if (index := IndexStore(home / "lancedb").open_latest()) is not None:
        for version in [each["version"] for each in index.list_versions()]:
            index.checkout(version)
            found |= {f"version {version}"} if names(str(index.to_arrow().to_pylist())) else set()
    return found


def tables(home: Path) -> dict[str, list[dict[str, Any]]]:
    """Every table, without the numbers that say in which order versions came."""
    with open_warehouse(settings_of(home), read_only=True) as warehouse:
        names = [name for (name,) in warehouse.connection.execute("SHOW TABLES").fetchall()]
        return {
            name: warehouse.records(
                f"SELECT * EXCLUDE ({excluded}) FROM {name} ORDER BY ALL" if excluded else f"FROM {name} ORDER BY ALL"
            )
            for name in names
            for excluded in [{"computed_days": "log_sequence"}.get(name) or ("sequence" if name[:4] == "raw_" else "")]
        }


def indexed(home: Path) -> list[dict[str, Any]]:
    rows = IndexStore(home / "lancedb").open_served().to_arrow().to_pylist()
    return sorted(rows, key=lambda row: row["user_id"])


@pytest.fixture(scope="module")
def never_there(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the person was kept out from the beginning."""
    folder = tmp_path_factory.mktemp("never_there")
    shutil.copytree(built / "source", folder / "source")
    settings = settings_of(folder / "home")
    known_by = Identity((USER,), (ADDRESS, FORMER), (NAME,))
    hashes = tuple(hashed(list_key(settings), each) for each in known_by.hashed_as)
    add_person(settings, Person("p", LAST, hashes, known_by.name_lengths))
    build_all(settings, WHOLE)
    return settings.home


def assert_erased(home: Path, never_there: Path) -> None:
    assert naming(home) == set()
    assert tables(home) == tables(never_there)
    assert indexed(home) == indexed(never_there)
    assert open_request(settings_of(home)) is None


def test_the_home_names_the_person_in_every_place(built: Path) -> None:
    found = naming(built / "home")
    assert {"raw_users", "raw_orders", "raw_events", "raw_messages", "quarantine", "user_profiles"} <= found
    assert {"index.db.event_logs", "decisions_2024-01-10.csv"} <= {Path(each).name for each in found}
    assert len([each for each in found if each.startswith("version")]) > 1


def test_the_job_leaves_nothing_anywhere_and_all_as_if_they_had_never_been_there(home: Path, never_there: Path) -> None:
    deployment = with_history(home, home.parent / "source")
    with deployment.instance as instance:
        result = deployment.definitions.resolve_job_def("forget_user").execute_in_process(
            instance=instance,
            run_config={"ops": {"erase_person": {"config": {"user": ADDRESS.upper(), "confirmed": True}}}},
            raise_on_error=False,
        )
        assert result.success
    assert_erased(home, never_there)
    # The source has everything still.
    build_all(deployment.settings, WHOLE)
    assert naming(home) == set()
    assert tables(home) == tables(never_there)
    (receipt,) = (home / "erasure" / "receipts").glob("*.json")
    told = json.loads(receipt.read_text())
    assert {
        place: told["places"][place].get("removed")
        for place in ("raw_users", "raw_orders", "raw_messages", "quarantine", "exports")
    } == {"raw_users": 2, "raw_orders": 1, "raw_messages": 1, "quarantine": 4, "exports": 2}
    assert (told["places"]["raw_events"], told["left"]) == ({"redacted": 3}, [])
    assert any("source" in each for each in told["out_of_reach"])
    with open_warehouse(deployment.settings) as warehouse:
        assert {each.replayed for each in replay(warehouse, deployment.settings, LAST)} == {0}
    assert_a_second_time_finds_only_what_nobody_knew_of(home, told["person"])


def assert_a_second_time_finds_only_what_nobody_knew_of(home: Path, person: str) -> None:
    (home / "notes.txt").write_text(f"call {ADDRESS} on Monday")
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT '{ADDRESS}' AS email) TO '{home / 'exports' / 'old.parquet'}'")
    again = forget(settings_of(home), ADDRESS, BagOfWords())
    assert again.person == person
    assert {place: counts for place, counts in again.places.items() if counts.get("removed")} == {}
    assert again.left == [str(home / "exports" / "old.parquet"), str(home / "notes.txt")]
    assert again.problem is not None


def test_a_run_that_is_not_confirmed_erases_nothing_anywhere(home: Path) -> None:
    before = naming(home)
    deployment = with_history(home, home.parent / "source")
    with deployment.instance as instance:
        result = deployment.definitions.resolve_job_def("forget_user").execute_in_process(
            instance=instance,
            run_config={"ops": {"erase_person": {"config": {"user": ADDRESS}}}},
            raise_on_error=False,
        )
        assert not result.success
    assert before <= naming(home)


def test_an_erasure_that_is_killed_after_each_stage_is_finished_by_the_next(home: Path, never_there: Path) -> None:
    command = [sys.executable, "-m", "profile_pipeline_tests.integration.eraser", str(home), ADDRESS]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [f"{stage} {signal.SIGKILL:d}" for stage in Stage]
    # It names the person until all is done.
    assert open_request(settings_of(home)) is not None
    assert (home / "erasure" / "order.json").stat().st_mode & 0o777 == 0o600
    deployment = with_history(home, home.parent / "source")
    with deployment.instance:
        assert deployment.run("2024-01-13", assets=["raw_users"]).success
    assert_erased(home, never_there)


class Refusing(BagOfWords):
    """A model that refuses all texts, in words that name the person."""

    def embed(self, texts: Sequence[str], on_progress: Progress | None = None) -> np.ndarray:
        raise PipelineError(f"no vectors for friends of {NAME}")


def test_an_index_that_cannot_be_made_without_them_is_removed_and_made_by_the_next_build(home: Path) -> None:
    receipt = forget(settings_of(home), USER, Refusing())
    assert receipt.problem is None
    (why,) = (remark for remark in receipt.remarks if "index" in remark)
    assert why.endswith(f"because a new one was refused: no vectors for friends of {MARK}")
    assert IndexStore(home / "lancedb").open_latest() is None
    assert naming(home) == set()
    build_all(settings_of(home), WHOLE)
    assert {row["user_id"] for row in indexed(home)} == {"bob", "carla"}


def test_builds_and_other_erasures_are_kept_out_meanwhile(home: Path) -> None:
    settings = settings_of(home)

    def try_both(stage: Stage) -> None:
        with pytest.raises(TransientError, match="is being erased by another process"):
            finish(settings, BagOfWords())
        with pytest.raises(TransientError, match="is being erased by another process"):
            forget(settings, "bob", BagOfWords())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forget(settings, USER, BagOfWords(), on_stage=try_both)
    with open_warehouse(settings), exclusive(settings):
        pass


def test_with_the_last_person_the_index_goes(home: Path) -> None:
    for user in (USER, "bob", "carla"):
        receipt = forget(settings_of(home), user, BagOfWords())
        assert not any("index" in remark for remark in receipt.remarks)
    assert IndexStore(home / "lancedb").open_latest() is None


def test_a_build_of_the_index_that_has_read_who_is_there_keeps_erasures_out(home: Path) -> None:
    settings = settings_of(home)

    @contextmanager
    def opening() -> Iterator[Warehouse]:
        with open_warehouse(settings, read_only=True) as warehouse:
            yield warehouse
        with pytest.raises(TransientError, match="is being built by another process"):
            forget(settings, USER, BagOfWords())

    assert profile_index(opening, settings, BagOfWords()).served.rows == 3
    assert finish(settings, BagOfWords()) is not None
    assert {row["user_id"] for row in indexed(home)} == {"bob", "carla"}
    assert naming(home) == set()


def test_someone_unknown_is_an_error_that_says_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROFILE_PIPELINE_HOME", str(home))
    monkeypatch.setenv("PROFILE_PIPELINE_SOURCE_DIR", str(home.parent / "source"))
    assert main(["forget", "nobody@example.org", "--yes"]) == 1
    assert "`--unseen`" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", (home / "warehouse.duckdb").open())
    assert main(["forget", USER]) == 1
    assert "say --yes" in capsys.readouterr().err
    assert "raw_users" in naming(home)


def small_home(folder: Path, **records: list[dict[str, Any]]) -> Settings:
    """A home with tables only."""
    deployment = Deployment(folder / "home", folder / "source", max_rejected_share=1.0)
    for kind, documents in records.items():
        deployment.write(kind, *documents)
    with open_warehouse(deployment.settings) as warehouse:
        build.build(warehouse, deployment.settings, WHOLE)
    return deployment.settings


DIGITS = "100234567890"
"""An id that is the number of something else, too."""

OFFICE = "the.office.of.the.club@example.org"
"""Long enough that a reason that shows it is cut within."""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home of others who are mixed up with the person, whose erasure said that nothing is left."""
    names = ["MARY  JANE QUIST", "Mary\u2011Jane Quist, and Ann"]
    settings = small_home(
        tmp_path_factory.mktemp("mixed"),
        users=[
            person("bob", "Bob Reed", email=OFFICE),
            person("bob", "Bob Reed", updated_at="2024-01-05", age=41),
            person(DIGITS, "Mary-Jane Quist", email=OFFICE, created_at="2024-01-07"),
        ],
        events=[
            {"id": f"e{day}", "name": "Tasting", "date": f"2024-01-{day:02}", "created_at": "2024-01-02", "host": host}
            | {"participants": ["bob@example.org"]}
            for day, host in enumerate(names, 3)
        ]
        + [{"id": "e9", "date": "2024-01-09", "participants": f"bob@example.org, carla@example.org, {OFFICE}"}],
        messages=[{"id": "m1", "user_id": "bob", "content": "Hi", "status": "sent", "sent_date": "2024-01-02"}],
    )
    of_airtable = {"id": "m2", "fields": {"To": "bob", "Text": "Beside Mary-Jane Quist", "State": "sent"}}
    with open_warehouse(settings) as warehouse:
        warehouse.connection.execute(
            f"""
            INSERT INTO raw_messages BY NAME SELECT * REPLACE ('m2' AS id, 'Beside Mary-Jane Quist' AS content,
                DATE '2024-01-11' AS partition_date, DATE '2024-01-11' AS sent_date, 'airtable:app/messages' AS source,
                {DIGITS} AS sequence, ? AS document, md5(document) AS content_hash)
            FROM raw_messages
            """,
            [json.dumps(of_airtable)],
        ).fetchall()
    receipt = forget(settings, DIGITS, BagOfWords())
    assert (receipt.left, receipt.remarks) == ([], [])
    return settings


def rows_of(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with open_warehouse(settings, read_only=True) as warehouse:
        return warehouse.connection.execute(query).fetchall()


def test_who_had_the_address_before_the_person_keeps_the_days_of_then(mixed: Settings) -> None:
    assert rows_of(mixed, "SELECT partition_date, id, email FROM raw_users ORDER BY ALL") == [
        (FIRST, "bob", None),
        (date(2024, 1, 5), "bob", "bob@example.org"),
    ]
    assert rows_of(mixed, "SELECT DISTINCT id, min(partition_date) FROM user_profiles GROUP BY id") == [("bob", FIRST)]


def test_a_message_that_a_former_source_wrote_to_another_stays_without_the_name(mixed: Settings) -> None:
    sent = "SELECT content, status, sent_date, source, document FROM raw_messages WHERE id = 'm2'"
    (row,) = rows_of(mixed, sent)
    assert row[:4] == (f"Beside {MARK}", "sent", date(2024, 1, 11), "airtable:app/messages")
    assert json.loads(row[4])["fields"] == {"To": "bob", "Text": f"Beside {MARK}", "State": "sent"}
    assert rows_of(mixed, "SELECT total_messages_sent FROM profiles_as_of('2024-01-13')") == [(2,)]


def test_a_reason_shows_no_beginning_of_what_was_redacted(mixed: Settings) -> None:
    ((reason, document),) = rows_of(mixed, "SELECT reason, document FROM quarantine")
    assert reason == f'participants is "bob@example.org, carla@example.org, {MARK}"; it must be a list of texts'
    assert MARK in document
    assert OFFICE[:9].encode() not in mixed.warehouse_path.read_bytes()


def test_a_name_is_found_in_others_records_however_its_words_are_parted(mixed: Settings) -> None:
    assert rows_of(mixed, "SELECT host FROM raw_events ORDER BY id") == [(None,), (f"{MARK}, and Ann",)]


def test_numbers_of_the_log_are_nobodys_id(mixed: Settings) -> None:
    # The fixture's receipt has said that nothing is left.
    assert rows_of(mixed, f"SELECT count(*) FROM raw_messages WHERE sequence = {DIGITS}") == [(1,)]


def test_what_has_to_be_removed_by_hand_is_looked_for_until_it_is_gone(tmp_path: Path) -> None:
    settings = small_home(tmp_path, users=RECORDS["users"][:3])
    notes = settings.home / "notes.txt"
    notes.write_text(f"call {NAME} at {FORMER}")
    for _ in range(2):
        assert forget(settings, USER, BagOfWords()).left == [str(notes)]
        assert finish(settings, BagOfWords()) is None
    # Somebody else's erasure does not forget whom to look for.
    assert forget(settings, "bob", BagOfWords()).left == []
    assert forget(settings, ADDRESS, BagOfWords()).left == [str(notes)]
    notes.unlink()
    assert forget(settings, ADDRESS, BagOfWords()).left == []
    assert [path for path in settings.home.rglob("*") if path.is_file() and NAME.encode() in path.read_bytes()] == []


def test_dagster_reads_its_history_after_somebody_was_erased_who_is_called_as_its_events_are(home: Path) -> None:
    deployment = with_history(home, home.parent / "source")
    with deployment.instance as instance:
        (run,) = instance.get_runs()
        events = len(instance.all_logs(run.run_id))
    rows, _ = purge_dagster_state(settings_of(home), Needles([run.run_id], ["Asset Materialization", "Step Success"]))
    assert rows
    with with_history(home, home.parent / "source").instance as instance:
        assert [(each.run_id, each.status) for each in instance.get_runs()] == [
            (run.run_id, dg.DagsterRunStatus.SUCCESS)
        ]
        assert len(instance.all_logs(run.run_id)) == events
        assert instance.get_latest_materialization_event(dg.AssetKey("raw_users")) is not None


class Live:
    """A live source, and a warehouse that it is read into."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, source_dir=home / "source", start_date=FIRST)
        self.source = MemorySource("2024-01-11T02:00:00")
        self.source.put("users", **person(USER, NAME, email=ADDRESS))
        self.source.put("users", **person("bob", "Bob Reed"))
        self.source.put("events", **RECORDS["events"][2])

    def ingest(self, kind: str) -> Any:
        window = Window(FIRST, date(2024, 1, 10))
        with open_warehouse(self.settings) as warehouse:
            return ingest_changes(warehouse, self.source, kind, window, self.settings)

    def pending(self, kind: str) -> tuple[date, ...]:
        span = Span(None, datetime(2024, 1, 11))
        return pending_days(
            self.source, kind, span, self.settings, last_day=date(2024, 1, 10), patience=Patience()
        ).days


def test_a_live_source_brings_nobody_back_and_asks_for_no_run(tmp_path: Path) -> None:
    live = Live(tmp_path / "home")
    for kind in ("users", "events"):
        live.ingest(kind)
    forget(live.settings, USER, BagOfWords())
    for kind in ("users", "events"):
        assert live.pending(kind) == ()
        assert live.ingest(kind).versions_added == 0
    # A build reads everything anew, and compares keys.
    live.source.put("users", **person(USER, NAME, email=ADDRESS, updated_at="2024-01-10"))
    assert live.ingest("users").withheld == 1
    with open_warehouse(live.settings, read_only=True) as warehouse:
        assert warehouse.records("SELECT participants FROM raw_events") == [
            {"participants": ["bob@example.org", "carla@example.org"]}
        ]
    # Somebody who is only on lists.
    assert forget(live.settings, "bob@example.org", BagOfWords()).places["raw_users"] == {"removed": 1}
    assert forget(live.settings, "carla@example.org", BagOfWords()).places["raw_events"] == {"redacted": 1}
    content = (tmp_path / "home" / "warehouse.duckdb").read_bytes()
    assert [text for text in (*CALLED, "bob@", "carla@") if text.encode() in content] == []


def test_a_known_user_who_had_an_erased_address_is_not_taken_for_the_erased_one(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "home", tmp_path / "source", max_rejected_share=1.0)
    settings = deployment.settings
    hashes = tuple(hashed(list_key(settings), each) for each in Identity((USER,), (ADDRESS,), ()).hashed_as)
    add_person(settings, Person("p", LAST, hashes, ()))
    deployment.write(
        "users",
        person("bob", "Bob Reed", email=ADDRESS),
        person("bob", "Bob Reed", updated_at="2024-01-05"),
        person("again", "Zoe Quill", email=ADDRESS),
        person(USER, NAME),
    )
    for _ in range(2):
        with open_warehouse(settings) as warehouse:
            build.build(warehouse, settings, WHOLE)
            assert warehouse.records("SELECT DISTINCT id, email FROM raw_users") == [
                {"id": "bob", "email": "bob@example.org"}
            ]
            assert warehouse.records("SELECT record_id, reason FROM quarantine") == [
                {"record_id": "bob", "reason": "email is missing"}
            ]
    # One who is known from before only.
    deployment.write("users", person("bob", "Bob Reed", email=ADDRESS, updated_at="2024-01-12"))
    with open_warehouse(settings) as warehouse:
        build.build(warehouse, settings, WHOLE)
        assert warehouse.scalar("SELECT count(*) FROM quarantine") == 2
    assert ADDRESS.encode() not in settings.warehouse_path.read_bytes()
