"""`profile-pipeline index`: the versions that can be served, serving one again, what is wrong with the served one."""

import json
from datetime import date
from functools import partial
from pathlib import Path

import pytest

from profile_pipeline import build
from profile_pipeline.cli import indexing, main
from profile_pipeline.indexing import profile_index
from profile_pipeline.settings import Settings
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.indexing import BagOfWords
from profile_pipeline_tests.unit.test_project_files import variables

USERS = [
    {"id": "u1", "email": "ann@x.org", "interests": ["chess"]},
    {"id": "u2", "email": "bob@x.org", "interests": ["jazz"], "created_at": "2024-01-02"},
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose index was built twice, with one user and with two, and a model that needs no weights."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "users.jsonl").write_text("\n".join(map(json.dumps, USERS)))
    for variable in variables():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PROFILE_PIPELINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PROFILE_PIPELINE_SOURCE_DIR", str(source))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(indexing, "SentenceTransformerEmbedder", lambda name: BagOfWords())
    settings = Settings(_env_file=None)
    for day in (date(2024, 1, 1), date(2024, 1, 2)):
        with open_warehouse(settings) as warehouse:
            build.build(warehouse, settings, Window(day, day))
        profile_index(partial(open_warehouse, settings), settings, BagOfWords())
    return settings.home


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["index", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.mark.usefixtures("home")
def test_the_history_lists_what_each_version_was_built_from(capsys):
    code, out, _ = told(capsys, "history", "--format", "json")
    newest, before = json.loads(out)
    assert code == 0
    assert (newest["is_served"], newest["rows"], newest["as_of"], newest["upserted"]) == (True, 2, "2024-01-02", 1)
    assert (before["is_served"], before["rows"], before["as_of"], before["model"]) == (
        *(False, 1, "2024-01-01"),
        "bag-of-words@1",
    )


@pytest.mark.usefixtures("home")
def test_rolling_back_says_what_is_served_and_what_the_next_build_does(capsys):
    code, out, err = told(capsys, "rollback", "--format", "json")
    assert code == 0
    assert [each["is_served"] for each in json.loads(out)] == [False, True]
    assert "is served again, with 1 profiles as of 2024-01-01; the next build brings it up to date" in err
    code, _, err = told(capsys, "rollback", "--to", "99")
    assert (code, err.count("\n")) == (1, 1)
    assert "has no version 99 to roll back to; kept versions: " in err


def test_verifying_prints_the_golden_queries_and_fails_when_a_profile_is_missing(capsys, home):
    question = {"query": "jazz", "users": ["u2", "nobody"], "mode": "text"}
    (home.parent / "source" / "golden_queries.jsonl").write_text(json.dumps(question))
    code, out, err = told(capsys, "verify", "--format", "json")
    assert (code, "with 2 profiles, built as of 2024-01-02, compared with the profiles as of 2024-01-02" in err) == (
        0,
        True,
    )
    answer = {"query": "jazz", "mode": "text", "recall": 1, "found": ["u2"], "missed": [], "unknown": ["nobody"]}
    assert json.loads(out) == [answer]
    assert told(capsys, "rollback")[0] == 0
    code, _, err = told(capsys, "verify")
    assert code == 1
    assert "the index is not as it should be: 1 profiles are missing, such as u2; 1 of 2 sampled texts" in err
    assert err.endswith("`profile-pipeline build` brings it up to date\n")


def test_before_the_first_build_each_command_says_to_build(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PROFILE_PIPELINE_HOME", str(tmp_path))
    for command in ("history", "rollback", "verify"):
        code, out, err = told(capsys, command)
        assert (code, out, err.count("\n")) == (1, "", 1)
