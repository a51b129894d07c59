"""The command line as a person meets it: what it prints, where, and the exit code."""

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from profile_pipeline import build
from profile_pipeline.cli import demonstration, main, reading
from profile_pipeline.index.embedding import SentenceTransformerEmbedder
from profile_pipeline.indexing import profile_index
from profile_pipeline.sample.golden import RECORDS
from profile_pipeline.settings import Settings
from profile_pipeline.tables import CLOCK_FIELDS, USER_PROFILES
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline_tests.indexing import BagOfWords
from profile_pipeline_tests.reference_data import WORKED_EXAMPLE

COMMAND = str(Path(sys.executable).with_name("profile-pipeline"))
LAST_DAY = "2024-02-10"

HALF_A_LINE = '{"id": "order_x", "amount": 1'
WITHOUT_EMAIL = {"id": "user_x", "created_at": "2024-01-02"}
WITHOUT_DETAILS = {"id": "user_002", "email": "rené@email.com", "name": "René, the 2nd", "created_at": "2024-01-20"}
LEAVES_ON_THE_FIRST_OF_FEBRUARY = {"id": "user_003", "email": "gone@email.com", "deleted_at": "2024-02-01"}
SOURCE: dict[str, list[Any]] = RECORDS | {
    "users": [*RECORDS["users"], WITHOUT_DETAILS, LEAVES_ON_THE_FIRST_OF_FEBRUARY, WITHOUT_EMAIL],
    "orders": [*RECORDS["orders"], HALF_A_LINE],
}
"""The worked example among a user without details, one who left, and two records that are rejected."""


@dataclass(frozen=True)
class Told:
    """What a command said."""

    code: int
    out: str
    err: str


class Terminal:
    """A shell with a home and a source of its own; `run` is a process, `call` the same within this one."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str] | None = None
    ) -> None:
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        # Where no `.env` of a developer is found.
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        self.set("PROFILE_PIPELINE_HOME", folder / "home")
        self.set("PROFILE_PIPELINE_SOURCE_DIR", folder / "source")
        # Two of the records are meant to be rejected.
        self.set("PROFILE_PIPELINE_POLICY__MAX_REJECTED_SHARE", 0.5)

    def set(self, variable: str, value: object) -> None:
        self.monkeypatch.setenv(variable, str(value))

    def run(self, *arguments: str) -> Told:
        done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False)
        return Told(done.returncode, done.stdout, done.stderr)

    def call(self, *arguments: str) -> Told:
        assert self.capsys
        self.capsys.readouterr()
        code = main(list(arguments))
        return Told(code, *self.capsys.readouterr())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source, and a home built from it: the warehouse by the command, the index without a model."""
    folder = tmp_path_factory.mktemp("cli")
    write_source(folder / "source")
    with pytest.MonkeyPatch.context() as monkeypatch:
        told = Terminal(folder, monkeypatch).run("build", "--to", LAST_DAY, "--skip-index", "--format", "json")
    assert told.code == 0, told.err
    (folder / "told.json").write_text(json.dumps(vars(told)))
    settings = Settings(home=folder / "home")
    profile_index(partial(open_warehouse, settings), settings, BagOfWords(model_identity()))
    return folder


def model_identity() -> str:
    """What an index is sealed with that the default model built."""
    return SentenceTransformerEmbedder(str(Settings.model_fields["embedding_model"].default)).model


def write_source(folder: Path) -> None:
    folder.mkdir()
    for kind, records in SOURCE.items():
        lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
        (folder / f"{kind}.jsonl").write_text("\n".join(lines))


@pytest.fixture
def terminal(built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """In the folder that is built; only for commands that read."""
    return Terminal(built, monkeypatch, capsys)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """In an empty folder."""
    return Terminal(tmp_path, monkeypatch, capsys)


def assert_one_line_of_error(told: Told, code: int, *words: str) -> None:
    assert told.code == code
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    for word in words:
        assert word in told.err


def test_no_arguments_print_help_with_examples() -> None:
    told = subprocess.run([COMMAND], capture_output=True, text=True, check=False)
    assert told.returncode == 0
    assert "profile-pipeline build --from 2024-01-01" in told.stdout
    assert told.stderr == ""


@pytest.mark.parametrize(
    "command",
    [
        "build",
        "profiles",
        "decisions",
        "match",
        "similar",
        "evaluate",
        "quarantine",
        "quarantine replay",
        "sample",
        "demo",
    ],
)
def test_each_command_shows_an_example_of_itself(fresh: Terminal, command: str) -> None:
    assert f"profile-pipeline {command}" in fresh.call(*command.split(), "--help").out.split("Example", 1)[1]


def test_help_loads_none_of_the_heavy_libraries() -> None:
    code = "import sys; from profile_pipeline.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split()
    heavy = {
        "ibis",
        "duckdb",
        "pyarrow",
        "pandas",
        "numpy",
        "lancedb",
        "torch",
        "faker",
        "dagster",
        "pydantic_settings",
    }
    assert heavy & set(loaded) == set()


def test_the_profile_of_the_worked_example_comes_out_exactly(terminal: Terminal) -> None:
    told = terminal.run("profiles", "--as-of", LAST_DAY, "--format", "json")
    assert (told.code, told.err) == (0, "")
    expected = json.loads((WORKED_EXAMPLE / "expected.json").read_text())["profiles"][0]
    profile = next(profile for profile in json.loads(told.out) if profile["id"] == "user_001")
    assert {name: profile[name] for name in expected} == expected


def test_build_tells_what_each_step_did(built: Path) -> None:
    told = Told(**json.loads((built / "told.json").read_text()))
    steps = {step["step"]: step for step in json.loads(told.out)}
    assert list(steps) == [*build.RAW_STEPS, *build.STEPS]
    assert (steps["raw_users"]["rows_in"], steps["raw_users"]["rejected"]) == (4, 1)
    assert steps["user_profiles"]["rejected"] is None
    assert [line.split()[0] for line in told.err.splitlines()] == [*steps, "built"]


def test_json_has_every_field_of_every_user_with_null_kept(terminal: Terminal) -> None:
    profiles = json.loads(terminal.call("profiles", "--format", "json").out)
    assert [profile["id"] for profile in profiles] == ["user_001", "user_002"]
    assert [set(profile) for profile in profiles] == [USER_PROFILES.columns.keys() | CLOCK_FIELDS.keys()] * 2
    assert profiles[1]["occupation"] is None
    assert profiles[1]["average_order_value"] is None
    assert profiles[1]["email"] == "rené@email.com"


def test_the_days_after_the_last_computed_one_can_be_read(terminal: Terminal) -> None:
    later = (date.fromisoformat(LAST_DAY) + timedelta(days=3)).isoformat()
    told = terminal.call("profiles", "--as-of", later, "--user", "user_001", "--format", "json")
    assert json.loads(told.out)[0]["days_since_last_event"] == 8


def test_one_user_is_shown_in_detail(terminal: Terminal) -> None:
    out = terminal.call("profiles", "--user", "user_001").out
    assert out.startswith("id ")
    assert "decision_reasons" in out
    assert "160.00" in out
    assert "Sarah is a 32-year-old software engineer" in out


def test_a_table_shows_a_line_for_each_user(terminal: Terminal) -> None:
    lines = terminal.call("profiles").out.splitlines()
    assert len(lines) == 4
    assert "Sarah Chen" in lines[2]
    assert "send_personalized_message" in lines[2]


def test_csv_has_lists_and_structs_as_json(terminal: Terminal) -> None:
    rows = list(csv.DictReader(io.StringIO(terminal.call("profiles", "--format", "csv").out)))
    assert json.loads(rows[0]["event_history"])[0]["date"] == "2024-01-15"
    assert (rows[0]["total_spent"], rows[0]["is_on_team"]) == ("160.00", "false")
    assert (rows[1]["name"], rows[1]["occupation"]) == ("René, the 2nd", "")


@pytest.mark.usefixtures("terminal")
def test_parquet_goes_to_stdout_with_its_types() -> None:
    out = subprocess.run([COMMAND, "profiles", "--format", "parquet"], capture_output=True, check=True).stdout
    table = pq.read_table(io.BytesIO(out))
    assert table.num_rows == 2
    assert str(table.schema.field("total_spent").type) == "decimal128(18, 2)"


def test_decisions_are_everybodys_with_their_reasons(terminal: Terminal) -> None:
    rows = json.loads(terminal.call("decisions", "--format", "json").out)
    assert [(row["user_id"], row["decision"]) for row in rows] == [
        ("user_001", "send_personalized_message"),
        ("user_002", "request_more_details"),
    ]
    assert rows[0]["decision_reasons"] == ["cooldown over since 2024-02-01", "all key fields filled"]


def test_decisions_of_one_kind_can_be_asked_for(terminal: Terminal) -> None:
    out = terminal.call("decisions", "--decision", "request_more_details", "--format", "json").out
    assert [row["user_id"] for row in json.loads(out)] == ["user_002"]


def test_a_record_that_cannot_be_read_is_in_quarantine_with_its_line(terminal: Terminal) -> None:
    rows = json.loads(terminal.call("quarantine", "--format", "json").out)
    assert [(row["kind"], row["source"]) for row in rows] == [("orders", "orders.jsonl:3"), ("users", "users.jsonl:4")]
    assert rows[0]["document"] == HALF_A_LINE
    assert "JSON" in rows[0]["reason"]
    assert rows[1]["partition_date"] == "2024-01-02"


def test_quarantine_can_be_narrowed(terminal: Terminal) -> None:
    assert len(json.loads(terminal.call("quarantine", "--limit", "1", "--format", "json").out)) == 1
    out = terminal.call("quarantine", "--kind", "users", "--format", "json").out
    assert [row["record_id"] for row in json.loads(out)] == ["user_x"]


def test_nothing_to_show_is_an_empty_array_and_a_remark(terminal: Terminal) -> None:
    assert terminal.call("quarantine", "--kind", "events", "--format", "json").out == "[]\n"
    assert terminal.call("quarantine", "--kind", "events").err == "there are no rows to show\n"


@pytest.fixture
def mended(built: Path, fresh: Terminal) -> Terminal:
    """Beside a copy of what is built, with an order in quarantine that is valid by now."""
    shutil.copytree(built / "home", fresh.folder / "home")
    order = json.dumps({"id": "order_y", "user_id": "user_001", "amount": 7, "date": "2024-02-01"})
    with open_warehouse(Settings(_env_file=None, home=fresh.folder / "home")) as warehouse:
        warehouse.connection.execute(
            "INSERT INTO quarantine BY NAME SELECT DATE '2024-02-01' AS partition_date, 'orders' AS kind, "
            "'order_y' AS record_id, 'it was' AS reason, ? AS document, md5(document) AS content_hash, "
            "'orders.jsonl:9' AS source",
            [order],
        ).fetchall()
    return fresh


def test_a_replay_tells_what_became_of_the_records_of_each_kind(mended: Terminal) -> None:
    told = mended.run("quarantine", "replay", "--day", "2024-02-11", "--format", "json")
    assert told.code == 0, told.err
    kinds = {done.pop("kind"): done for done in json.loads(told.out)}
    assert list(kinds) == ["users", "orders", "events", "messages"]
    assert {name: kinds["orders"][name] for name in ("waiting", "replayed", "superseded", "still_waiting")} == {
        **{"waiting": 2, "replayed": 1},
        **{"superseded": 0, "still_waiting": 1},
    }
    assert kinds["users"]["reasons"] == [{"reason": "email is missing", "records": 1}]
    assert told.err == (
        "note: profiles follow with the nightly run of 2024-02-11, or with "
        "`profile-pipeline build --from 2024-02-11 --to 2024-02-11`\n"
    )


def test_the_quarantine_shows_what_still_waits_with_its_attempts_and_all_of_it_when_asked(mended: Terminal) -> None:
    waiting = json.loads(mended.call("quarantine", "--format", "json").out)
    assert [(row["record_id"], row["attempts"]) for row in waiting] == [(None, 0), ("user_x", 0), ("order_y", 0)]
    mended.call("quarantine", "replay", "--day", LAST_DAY)
    waiting = json.loads(mended.call("quarantine", "--format", "json").out)
    assert [(row["record_id"], row["attempts"]) for row in waiting] == [(None, 1), ("user_x", 1)]
    everything = json.loads(mended.call("quarantine", "--all", "--kind", "orders", "--format", "json").out)
    assert [(row["record_id"], row["resolution"], row["resolution_date"]) for row in everything] == [
        (None, None, None),
        ("order_y", "replayed", LAST_DAY),
    ]
    heading, *_ = mended.call("quarantine").out.splitlines()
    assert heading.split() == ["day", "kind", "record", "reason", "attempts", "source", "document"]
    heading, *_ = mended.call("quarantine", "--all").out.splitlines()
    assert heading.split()[4:7] == ["attempts", "resolution", "resolved"]


def test_a_replay_on_a_computed_day_names_the_days_it_owes(mended: Terminal) -> None:
    told = mended.call("quarantine", "replay", "--day", "2024-02-09", "--kind", "orders")
    assert told.out.splitlines()[2].split() == ["orders", "2", "1", "0", "1"]
    assert f"`profile-pipeline build --from 2024-02-09 --to {LAST_DAY}`" in told.err


def test_a_replay_without_a_day_is_of_today_and_silent_when_nothing_entered(mended: Terminal) -> None:
    told = mended.call("quarantine", "replay", "--kind", "users", "--format", "csv")
    assert told.out.splitlines()[0] == "kind,waiting,replayed,superseded,still_waiting,reasons"
    assert told.err == ""


def test_a_warehouse_of_an_earlier_release_is_read_once_something_was_written(mended: Terminal) -> None:
    with duckdb.connect(str(mended.folder / "home" / "warehouse.duckdb")) as client:
        client.execute("ALTER TABLE quarantine DROP COLUMN attempts")
        client.execute("ALTER TABLE user_profiles DROP COLUMN top_host_event_count")
    told = mended.call("profiles")
    assert told.code == 1
    assert told.err.startswith("error: an earlier release made this warehouse, whose ")
    assert told.err.endswith("lack what this one reads; run `profile-pipeline build`, which adds it\n")
    mended.call("build", "--from", LAST_DAY, "--to", LAST_DAY, "--skip-index")
    rows = json.loads(mended.call("quarantine", "--format", "json").out)
    assert [row["attempts"] for row in rows] == [0] * 3


def test_match_prints_the_nearest_profiles(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SentenceTransformerEmbedder", lambda name: BagOfWords(model_identity()))
    told = terminal.call("match", "hiking and cooking", "--where", "age < 40", "--format", "json")
    assert [row["user_id"] for row in json.loads(told.out)] == ["user_001"]
    assert 0 < json.loads(told.out)[0]["score"] <= 1


def test_a_hit_has_the_decision_of_the_day_without_the_warehouse(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SentenceTransformerEmbedder", lambda name: BagOfWords(model_identity()))
    day = "2024-06-30"
    decided = {
        row["user_id"]: row for row in json.loads(terminal.call("decisions", "--as-of", day, "--format", "json").out)
    }
    # Locked as by a run that writes.
    with duckdb.connect(str(terminal.folder / "home" / "warehouse.duckdb")):
        hits = json.loads(terminal.call("match", "hiking", "--as-of", day, "--format", "json").out)
        table = terminal.call("similar", hits[0]["user_id"])
        plain = terminal.call("match", "hiking", "--no-parts")
    assert hits
    for hit in hits:
        shown = {name: hit[name] for name in ("as_of", "decision", "decision_reasons", "can_send_new_message")}
        assert shown == {name: decided[hit["user_id"]][name] for name in shown}
    assert "decisions as of" in table.err or "no rows" in table.err
    assert "parts" in hits[0]
    assert ("what matches" in plain.out, "decision" in plain.out) == (False, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("profiles", "--user", "nobody"), ("'nobody'", f"profile-pipeline profiles --as-of {LAST_DAY}")),
        (("profiles", "--user", "user_003"), ("'user_003'",)),
        (("profiles", "--as-of", "2023-12-31"), ("2023-12-31", "begin on 2024-01-01", f"end on {LAST_DAY}")),
        (("match", "wine", "--where", "colour = 'red'"), ("colour = 'red'", "columns: user_id", "DATE '")),
        (("match", "wine", "--as-of", "2024-01-01"), ("as of", "a later day", "profiles --as-of 2024-01-01")),
        (("match", " "), ("blank",)),
        (("match", "wine", "--rerank"), ("PROFILE_PIPELINE_RERANKER", "module:function")),
        (("similar", "nobody"), ("'nobody'", "profile-pipeline profiles --user nobody")),
        (("build", "--from", "2023-12-31"), ("2023-12-31", "2024-01-01", "PROFILE_PIPELINE_START_DATE")),
        (("build", "--from", "2024-02-02", "--to", "2024-02-01"), ("ends before it starts",)),
        (("quarantine", "replay", "--day", "2023-12-31"), ("2023-12-31", "2024-01-01", "PROFILE_PIPELINE_START_DATE")),
        (("quarantine", "replay", "--day", "9999-01-01"), ("9999-01-01", "has not come yet in UTC")),
    ],
    ids=" ".join,
)
def test_an_error_is_one_line_that_says_what_to_do(
    terminal: Terminal, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_one_line_of_error(terminal.call(*arguments), 1, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("profiles", "--as-of", "2024-02-30"), ("--as-of", "2024-02-30", "YYYY-MM-DD", "profiles --help")),
        (("quarantine", "--kind", "tickets"), ("'tickets'", "'messages'")),
        (("quarantine", "--kind", "users", "replay"), ("quarantine replay --kind users",)),
        (("quarantine", "replay", "--day", "soon"), ("'soon'", "YYYY-MM-DD", "quarantine replay --help")),
        (("quarantine", "reply"), ("'replay'", "quarantine --help")),
        (("decisions", "--format", "xml"), ("'xml'", "'parquet'")),
        (("match",), ("TEXT",)),
        (("match", "wine", "--limit", "0"), ("--limit",)),
        (("profile",), ("'profile'", "'profiles'", "profile-pipeline --help")),
    ],
    ids=" ".join,
)
def test_a_command_line_that_is_not_understood_ends_with_2(
    fresh: Terminal, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_one_line_of_error(fresh.call(*arguments), 2, *words)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PROFILE_PIPELINE_TIMEZONE", "Mars"), ("PROFILE_PIPELINE_START_DATE", "soon")],
)
def test_a_wrong_environment_value_is_named(fresh: Terminal, variable: str, value: str) -> None:
    fresh.set(variable, value)
    assert_one_line_of_error(fresh.run("profiles"), 1, variable, repr(value))


@pytest.mark.parametrize(
    "arguments",
    [("profiles",), ("decisions",), ("quarantine",), ("quarantine", "replay"), ("match", "wine"), ("similar", "u")],
    ids=" ".join,
)
def test_reading_before_the_first_build_says_to_build(fresh: Terminal, arguments: tuple[str, ...]) -> None:
    assert_one_line_of_error(fresh.call(*arguments), 1, "there is no", "profile-pipeline build")


def test_a_missing_source_folder_is_named(fresh: Terminal) -> None:
    assert_one_line_of_error(fresh.call("build", "--to", LAST_DAY), 1, str(fresh.folder / "source"), "does not exist")


def test_an_empty_source_folder_is_named(fresh: Terminal) -> None:
    (fresh.folder / "source").mkdir()
    told = fresh.call("build", "--to", LAST_DAY)
    assert_one_line_of_error(told, 1, str(fresh.folder / "source"), "users, orders, events, messages")


def test_a_home_that_cannot_be_made_is_named(fresh: Terminal) -> None:
    (fresh.folder / "file").touch()
    fresh.set("PROFILE_PIPELINE_HOME", fresh.folder / "file" / "home")
    assert_one_line_of_error(fresh.call("build", "--to", LAST_DAY), 1, str(fresh.folder / "file"))


def test_a_day_whose_list_of_decisions_could_not_be_written_is_not_complete(fresh: Terminal) -> None:
    home = fresh.folder / "home"
    write_source(fresh.folder / "source")
    (home / "exports").mkdir(parents=True)
    (home / "exports" / f"decisions_{LAST_DAY}.csv").mkdir()
    days = ("build", "--to", LAST_DAY, "--skip-index")
    told = fresh.call(*days)
    assert told.code == 1
    assert f"decisions_{LAST_DAY}.csv" in told.err.splitlines()[-1]
    is_complete = "SELECT DISTINCT is_complete FROM computed_days"
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as client:
        assert client.execute(is_complete).fetchall() == [(False,)]
    (home / "exports" / f"decisions_{LAST_DAY}.csv").rmdir()
    assert fresh.call(*days).code == 0
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as client:
        assert client.execute(is_complete).fetchall() == [(True,)]


def test_a_home_may_have_an_apostrophe_in_its_path(fresh: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    write_source(fresh.folder / "source")
    home = fresh.folder / "o'neil"
    monkeypatch.setenv("PROFILE_PIPELINE_HOME", str(home))
    told = fresh.call("build", "--to", LAST_DAY, "--skip-index")
    assert told.code == 0, told.err
    assert (home / "exports" / f"decisions_{LAST_DAY}.csv").is_file()


def test_debug_shows_the_traceback_wherever_it_stands(fresh: Terminal) -> None:
    told = fresh.run("profiles", "--debug")
    assert told.code == 1
    assert "Traceback" in told.err


def test_a_day_that_owes_a_recompute_is_remarked_on(terminal: Terminal, fresh: Terminal) -> None:
    shutil.copytree(terminal.folder / "home", fresh.folder / "home")
    with open_warehouse(Settings(_env_file=None, home=fresh.folder / "home")) as warehouse:
        warehouse.connection.execute(
            "UPDATE computed_days SET is_complete = false WHERE partition_date = '2024-01-05'"
        ).fetchall()
    told = fresh.call("profiles", "--format", "json")
    assert "profile-pipeline build --from 2024-01-05 --to 2024-01-05" in told.err
    assert json.loads(told.out)
    assert fresh.call("profiles", "--as-of", "2024-01-04").err == ""


def test_days_never_built_are_remarked_on(fresh: Terminal) -> None:
    write_source(fresh.folder / "source")
    (fresh.folder / "source" / "orders.jsonl").unlink()
    told = fresh.call("build", "--from", "2024-02-01", "--to", LAST_DAY, "--skip-index")
    assert told.code == 0
    assert "2024-01-01 to 2024-01-31 were never built" in told.err
    assert "no file of orders" in told.err


def test_a_reader_that_goes_away_is_no_error(terminal: Terminal) -> None:
    with subprocess.Popen(
        [COMMAND, "profiles", "--format", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_days_that_have_not_come_are_not_built(fresh: Terminal) -> None:
    write_source(fresh.folder / "source")
    told = fresh.run("build", "--from", "2999-01-01", "--to", "2999-01-02", "--skip-index")
    assert (told.code, told.out) == (1, "")
    assert told.err.startswith("error: the range ends on 2999-01-02, which has not come yet in UTC; end it on 20")


def test_an_interrupt_ends_a_build_in_one_line(fresh: Terminal) -> None:
    write_source(fresh.folder / "source")
    with subprocess.Popen(
        [COMMAND, "build", "--to", LAST_DAY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        assert process.stderr.readline().startswith("raw_users")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted; the steps that were done are kept"
    assert "Traceback" not in err
    assert "error" not in err


def test_sample_writes_a_source(fresh: Terminal) -> None:
    told = fresh.call("sample", "--users", "20", "--out", str(fresh.folder / "source"))
    assert told.code == 0
    assert "users" in told.out
    assert len((fresh.folder / "source" / "users.jsonl").read_text().splitlines()) == 20
    again = fresh.call("sample", "--users", "20", "--out", str(fresh.folder / "source"), "--format", "parquet")
    assert_one_line_of_error(again, 1, "already holds")


def test_the_demo_shows_what_comes_out_and_records_its_run_for_the_ui(fresh: Terminal) -> None:
    fresh.set("PROFILE_PIPELINE_SOURCE_DIR", demonstration.COMMITTED_SAMPLE)
    fresh.set("PROFILE_PIPELINE_POLICY__MAX_REJECTED_SHARE", 0.1)
    told = fresh.run("demo")
    assert told.code == 0, told.err
    for words in ("Sarah is a 32-year-old", "request_more_details", demonstration.QUESTION, "user_"):
        assert words in told.out
    done = [line.split()[0] for line in told.err.splitlines() if " s  " in line]
    assert {*done} == {*build.RAW_STEPS, *build.STEPS, "profile_index"}
    assert list((fresh.folder / "home" / "dagster").rglob("runs.db"))


def test_the_demo_stays_away_from_a_home_with_another_source(tmp_path: Path) -> None:
    own = Settings(home=tmp_path, source_dir=tmp_path / "mine")
    assert demonstration.demo_settings(own).home == tmp_path / "demo"
    assert demonstration.demo_settings(own).source_dir == demonstration.COMMITTED_SAMPLE
    assert demonstration.demo_settings(Settings(home=tmp_path, mongodb_uri="mongodb://db")).mongodb_uri is None
    sample = Settings(home=tmp_path, source_dir=demonstration.COMMITTED_SAMPLE)
    assert demonstration.demo_settings(sample).home == tmp_path
