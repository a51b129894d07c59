"""Verifying a warehouse: faults that are planted are found and named, and nothing is written."""

import hashlib
import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from shutil import copytree
from typing import Any

import ibis.expr.types as ir
import pytest

from profile_pipeline import build, features
from profile_pipeline.cli import main
from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.settings import Settings
from profile_pipeline.tables import TABLES
from profile_pipeline.verification import Difference, Verification, excerpts, verify
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.histories import FIRST_DAY, community

LAST = FIRST_DAY + timedelta(days=5)
CHANGED = {
    "touched_users": "touched_by = ['order']",
    "event_features": "friends = ['Nobody']",
    "message_features": "total_messages_sent = 9",
    "order_features": "total_spent = 0.01",
    "personalization_flags": "personalization_score = 1",
    "user_profiles": "name = NULL",
    "user_summaries": "text_hash = 'another'",
    "messaging_decisions": "decision_reasons = ['a whim']",
}
"""Another value for one column of each table."""

RENAMED = {"id": "u4", "email": "dee-dee@team.org", "name": "Dana", "updated_at": f"{FIRST_DAY + timedelta(4)}"}


def day(offset: int) -> date:
    return FIRST_DAY + timedelta(days=offset)


def settings_of(folder: Path) -> Settings:
    return Settings(_env_file=None, home=folder / "home", source_dir=folder / "source", start_date=FIRST_DAY)


def write(folder: Path, kind: str, records: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{kind}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def built_in(folder: Path, *windows: Window) -> Settings:
    """A few people who meet, one of whom is renamed late; built window by window."""
    subject = settings_of(folder)
    for kind, records in community().items():
        more = [RENAMED] if kind == "users" else []
        write(subject.source_dir, kind, [*records.values(), *more])
    with open_warehouse(subject) as warehouse:
        for window in windows:
            build.build(warehouse, subject, window)
    return subject


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("built")
    built_in(made, Window(FIRST_DAY, day(3)), Window(day(4), LAST))
    return made


@pytest.fixture
def subject(folder: Path, tmp_path: Path) -> Settings:
    """A copy to plant faults in."""
    copytree(folder, tmp_path / "copy")
    return settings_of(tmp_path / "copy")


def plant(subject: Settings, *statements: str) -> None:
    with open_warehouse(subject) as warehouse:
        for statement in statements:
            warehouse.connection.execute(statement).fetchall()


def user_of(name: str) -> str:
    return TABLES[name].key[1]


def differing(found: Verification) -> dict[str, int]:
    return {each.table: each.differing for each in found.compared if each.differing}


def test_nothing_differs_in_what_was_just_built(folder: Path) -> None:
    found = verify(settings_of(folder))
    assert (found.problem, found.differences, found.to_build, found.owed) == (None, [], None, [])
    assert (found.window, found.users, found.known_users) == (Window(FIRST_DAY, LAST), 4, 4)
    assert {each.table for each in found.compared} == {*build.STEPS}
    assert all(each.rows for each in found.compared)


def test_verifying_changes_no_byte(folder: Path) -> None:
    def content() -> dict[str, str]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = content()
    verify(settings_of(folder), sample=None)
    assert content() == before


def test_another_value_is_found_in_each_table_with_both_values(subject: Settings) -> None:
    wanted = {"day": FIRST_DAY, "user": "u1"}
    plant(
        subject,
        *(
            f"UPDATE {name} SET {change} WHERE partition_date = DATE '{wanted['day']}' AND {user_of(name)} = 'u1'"
            for name, change in CHANGED.items()
        ),
    )
    found = verify(subject, sample=None)
    assert differing(found) == dict.fromkeys(CHANGED, 1)
    assert {(each.table, each.column, each.problem) for each in found.differences} == {
        (name, change.split(" = ")[0], "another value") for name, change in CHANGED.items()
    }
    assert {(each.partition_date, each.as_of, each.user_id) for each in found.differences} == {
        (FIRST_DAY, FIRST_DAY, "u1")
    }
    spent = next(each for each in found.differences if each.table == "order_features")
    assert (spent.stored, spent.rebuilt) == ("0.01", "0.00")
    friends = next(each for each in found.differences if each.table == "event_features")
    assert (friends.stored, friends.rebuilt) == ('["Nobody"]', '["Bob Ray", "Cy"]')


def test_rows_that_are_missing_too_many_or_stored_twice_are_found_in_each_table(subject: Settings) -> None:
    for name in CHANGED:
        latest = f"SELECT max(partition_date) FROM {name} WHERE {user_of(name)} = 'u4'"
        plant(
            subject,
            f"DELETE FROM {name} WHERE {user_of(name)} = 'u4' AND partition_date = ({latest})",
            # The log does not know this user.
            f"INSERT INTO {name} (partition_date, {user_of(name)}) VALUES (DATE '{day(3)}', 'x')",
            f"INSERT INTO {name} FROM {name} WHERE {user_of(name)} = 'u1' AND partition_date = DATE '{FIRST_DAY}'",
        )
    found = verify(subject, sample=None)
    assert differing(found) == dict.fromkeys(CHANGED, 3)
    problems = {"u1": "row stored 2 times", "u4": "row missing", "x": "row too many"}
    assert {(each.table, each.user_id, each.problem) for each in found.differences} == {
        (name, user, problem) for name in CHANGED for user, problem in problems.items()
    }


def test_what_it_says_to_build_mends_what_it_found(subject: Settings) -> None:
    plant(
        subject,
        f"UPDATE user_profiles SET age = 99 WHERE id = 'u2' AND partition_date = DATE '{day(2)}'",
        f"DELETE FROM event_features WHERE user_id = 'u2' AND partition_date = DATE '{day(4)}'",
    )
    found = verify(subject)
    assert found.to_build == Window(day(2), day(4))
    assert found.problem == (
        "rows that do not follow from the logs: 1 of event_features, 1 of user_profiles; "
        f"`profile-pipeline build --from {day(2)} --to {day(4)}` computes them again"
    )
    with open_warehouse(subject) as warehouse:
        build.build(warehouse, subject, found.to_build)
    assert verify(subject).problem is None


def test_as_of_one_day_a_fault_of_an_earlier_one_is_found_where_it_still_holds(subject: Settings) -> None:
    plant(subject, f"UPDATE order_features SET total_orders = 7 WHERE user_id = 'u1' AND partition_date = '{day(1)}'")
    found = verify(subject, day=day(2))
    assert found.differences == [
        Difference("order_features", day(1), day(2), "u1", "another value", "total_orders", stored="7", rebuilt="1")
    ]
    assert found.to_build == Window(day(1), day(2))


def test_a_touch_that_is_missed_is_found_as_of_the_last_day_and_called_a_fault_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = features.touched_users

    def forgetful(*args: Any, **options: Any) -> ir.Table:
        """Nobody is touched by a friend's new name."""
        touched = right(*args, **options)
        return touched.filter(touched.touched_by != ["identity"])

    monkeypatch.setattr(features, "touched_users", forgetful)
    subject = built_in(tmp_path, Window(FIRST_DAY, day(4)))
    found = verify(subject, sample=None)
    assert {(each.problem, each.as_of) for each in found.differences} == {("another value", day(4))}
    assert {(each.table, each.column) for each in found.differences} >= {("user_profiles", "friends")}
    assert found.to_build is None
    assert found.problem is not None
    assert found.problem.endswith("this is a fault of profile-pipeline, please report it")


def test_a_sample_is_of_so_many_users_the_same_ones_each_time(subject: Settings) -> None:
    plant(subject, "UPDATE user_profiles SET name = 'Somebody Else'")
    first, second = verify(subject, sample=2), verify(subject, sample=2)
    named = {each.user_id for each in first.differences}
    assert (first.users, first.known_users, len(named)) == (2, 4, 2)
    assert first == second


def test_days_that_owe_a_recompute_are_named_and_not_looked_at(subject: Settings) -> None:
    late = {"id": "o9", "user_id": "u2", "amount": 3, "date": f"{day(3)}", "created_at": f"{day(3)}"}
    write(subject.source_dir, "orders", [late])
    with open_warehouse(subject) as warehouse:
        build.raw(warehouse, subject, Window(day(3), day(3)), "orders")
    found = verify(subject, sample=None)
    assert (found.window, found.owed, found.problem) == (Window(FIRST_DAY, day(2)), [day(3), day(4), LAST], None)
    assert verify(subject, day=day(2)).problem is None
    with pytest.raises(PipelineError, match=rf"{day(4)} cannot be verified, because {day(3)} to {LAST} is not up to"):
        verify(subject, day=day(4))
    with open_warehouse(subject) as warehouse:
        build.raw(warehouse, subject, Window(FIRST_DAY, FIRST_DAY), "users")
        warehouse.connection.execute("UPDATE computed_days SET log_sequence = 0").fetchall()
    with pytest.raises(PipelineError, match=rf"{FIRST_DAY} to {LAST} cannot be verified, because {FIRST_DAY}"):
        verify(subject)


def test_users_last_touched_before_the_first_computed_day_are_not_missed(tmp_path: Path) -> None:
    subject = built_in(tmp_path, Window(day(4), LAST))
    with open_warehouse(subject) as warehouse:
        for kind in build.RAW_STEPS.values():
            build.raw(warehouse, subject, Window(FIRST_DAY, day(3)), kind)
        build.build(warehouse, subject, Window(day(4), LAST))
    found = verify(subject, sample=None)
    assert (found.window, found.problem) == (Window(day(4), LAST), None)


def test_a_day_that_is_not_computed_is_refused(folder: Path) -> None:
    with pytest.raises(PipelineError, match=rf"{day(9)} is not computed; the computed days are {FIRST_DAY} to {LAST}"):
        verify(settings_of(folder), day=day(9))


def test_without_a_warehouse_or_profiles_it_says_what_to_do_first(tmp_path: Path) -> None:
    subject = settings_of(tmp_path)
    with pytest.raises(PipelineError, match="there is no warehouse at"):
        verify(subject)
    with open_warehouse(subject):
        pass
    with pytest.raises(PipelineError, match="holds no profiles yet"):
        verify(subject)


def test_a_warehouse_that_is_being_written_may_be_tried_again(subject: Settings) -> None:
    code = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(subject.warehouse_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        with pytest.raises(TransientError, match="is in use by another process"):
            verify(subject)
        writer.stdin.close()


@pytest.mark.parametrize(
    ("stored", "rebuilt", "shown"),
    [
        ("a", None, ("a", None)),
        ("same start " * 9 + "one", "same start " * 9 + "two", ("…ame start one", "…ame start two")),
        ("x" * 99, "y" * 99, ("x" * 40 + "…", "y" * 40 + "…")),
    ],
)
def test_long_values_are_cut_to_where_they_differ(stored: str, rebuilt: str | None, shown: tuple[str, str]) -> None:
    assert tuple(excerpts(stored, rebuilt).values()) == shown


@pytest.fixture
def told(subject: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command on the copy: exit code, stdout, stderr."""
    monkeypatch.chdir(subject.home)
    monkeypatch.setenv("PROFILE_PIPELINE_HOME", str(subject.home))

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return main(["verify", *arguments]), *capsys.readouterr()

    return call


def test_the_command_tells_on_stderr_what_it_looked_at(told: Any) -> None:
    code, out, err = told("--format", "json")
    assert (code, json.loads(out)) == (0, [])
    assert f"looked at 4 of 4 users, {FIRST_DAY} to {LAST}" in err
    assert "computing event_features" in err
    code, out, err = told("--day", f"{day(2)}", "--sample", "2")
    assert (code, out) == (0, "")
    assert f"looked at 2 of 4 users, {day(2)}\n" in err


def test_the_command_fails_in_one_line_when_something_differs(told: Any, subject: Settings) -> None:
    plant(subject, f"UPDATE user_profiles SET age = 99 WHERE id = 'u2' AND partition_date = DATE '{day(2)}'")
    code, out, err = told("--whole", "--format", "json")
    assert code == 1
    assert json.loads(out) == [
        {
            "table": "user_profiles",
            "partition_date": f"{day(2)}",
            "as_of": f"{day(2)}",
            "user_id": "u2",
            "problem": "another value",
            "column": "age",
            "stored": "99",
            "rebuilt": "32",
        }
    ]
    assert err.splitlines()[-1] == (
        "error: rows that do not follow from the logs: 1 of user_profiles; "
        f"`profile-pipeline build --from {day(2)} --to {day(2)}` computes them again"
    )
    code, out, err = told()
    assert code == 1
    assert [line.split() for line in out.splitlines()[2:]] == [
        [f"{day(2)}", f"{day(2)}", "u2", "user_profiles", "another", "value", "age", "99", "32"]
    ]


def test_a_sample_and_everyone_at_once_is_a_wrong_command(told: Any) -> None:
    code, _, err = told("--whole", "--sample", "5")
    assert (code, err) == (
        2,
        "error: Invalid value: --sample and --whole exclude each other; write one of them; "
        "see `profile-pipeline verify --help`\n",
    )
