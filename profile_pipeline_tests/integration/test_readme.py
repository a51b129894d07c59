"""The README is true: its commands run and print what it shows, its queries and files are there, nothing is left out.

Not run here: `make`, which continuous integration runs itself, `dg`, whose job and options are looked up, and the
demo, which has tests of its own.
"""

import os
import re
import shutil
import subprocess
import sys
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.main import get_command

from profile_pipeline import build
from profile_pipeline.cli import app
from profile_pipeline.definitions import defs
from profile_pipeline.index.embedding import SentenceTransformerEmbedder
from profile_pipeline.indexing import profile_index
from profile_pipeline.policy import Policy
from profile_pipeline.settings import Settings
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window
from profile_pipeline_tests.collection import write_collection
from profile_pipeline_tests.indexing import BagOfWords
from profile_pipeline_tests.unit.test_project_files import variables

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))

DIMENSION = 384
"""That of the default model."""


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, without the indentation of a list around them."""
    return [
        re.sub(f"^{indent}", "", block, flags=re.MULTILINE)
        for indent, block in re.findall(rf"^( *)```{language}\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
    ]


def transcripts() -> list[tuple[str, list[str]]]:
    """Each command of a console block with the lines that it is said to print."""
    told: list[tuple[str, list[str]]] = []
    for line in "".join(blocks("console")).splitlines():
        if line.startswith("$ "):
            told.append((line.removeprefix("$ "), []))
        else:
            told[-1][1].append(line)
    return told


COMMANDS = [
    (command, printed) for command, printed in transcripts() if re.search(r"(^| )profile-pipeline (?!demo)", command)
]
LAUNCHES = [command for command, _ in transcripts() if " dg launch " in command.replace(".venv/bin/", "")]
QUERIES = [query.strip() for block in blocks("sql") for query in block.split(";") if query.strip()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the sample built, its index as of the default model but with vectors that cost nothing."""
    settings = Settings(
        _env_file=None,
        home=tmp_path_factory.mktemp("home"),
        source_dir=ROOT / "data" / "sample",
        # Such vectors know no meaning.
        policy=Policy(min_golden_recall=0),
    )
    model = SentenceTransformerEmbedder(settings.embedding_model).model
    for window in (Window(date(2024, 1, 1), date(2024, 6, 29)), Window(date(2024, 6, 30), date(2024, 6, 30))):
        with open_warehouse(settings) as warehouse:
            build.build(warehouse, settings, window)
        profile_index(partial(open_warehouse, settings), settings, BagOfWords(model, DIMENSION))
    return settings.home


def words(line: str) -> str:
    """A line without the spaces that only align it."""
    return " ".join(line.split())


@pytest.mark.parametrize(("command", "printed"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_each_command_runs_and_prints_what_is_shown(
    command: str, printed: list[str], home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if " build " in command and "--skip-index" not in command:
        command += " --skip-index"
    if " forget " in command:
        # Its index has vectors of another model, which a new version would not get past the check with.
        home = Path(shutil.copytree(home, tmp_path_factory.mktemp("forget") / "home", ignore=lambda *_: {"lancedb"}))
    # One folder for all, because some commands read what others wrote; without anybody's `.env`.
    folder = tmp_path_factory.getbasetemp() / "reader"
    folder.mkdir(exist_ok=True)
    write_collection(folder / "scifact")
    environment = {name: value for name, value in os.environ.items() if name not in variables()} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PROFILE_PIPELINE_HOME": str(home),
        "PROFILE_PIPELINE_SOURCE_DIR": str(ROOT / "data" / "sample"),
    }
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    # The README leaves out lines, as `…`, and columns on the right.
    lines = [words(line) for line in done.stdout.splitlines()]
    shown = [words(line) for line in printed if line != "…"]
    assert [start for start in shown if not any(line.startswith(start) for line in lines)] == []


def test_there_are_commands_to_run() -> None:
    run = {name for command, _ in COMMANDS for name in re.findall(r"profile-pipeline (\w+)", command)}
    assert run | {"demo"} == set(get_command(app).commands)


@pytest.mark.parametrize("query", QUERIES)
def test_each_query_finds_something_with_a_plain_client(query: str, home: Path) -> None:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as client:
        assert client.execute(query).fetchall()


def test_the_search_in_python_prints_its_hits(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROFILE_PIPELINE_HOME", str(home))
    (example,) = blocks("python")
    names: dict[str, Any] = {}
    exec(example, names)
    assert len(capsys.readouterr().out.splitlines()) == names["hits"].num_rows == names["alike"].num_rows == 3


def test_what_is_launched_and_switched_on_exists() -> None:
    definitions = defs()
    jobs = {job.name for job in definitions.jobs or []}
    assert {name for command in LAUNCHES for name in re.findall(r"--job (\w+)", command)} <= jobs
    assert LAUNCHES
    named = set(re.findall(r"`(\w+_(?:sensor|schedule))`", README))
    assert named == {each.name for each in [*(definitions.sensors or []), *(definitions.schedules or [])]}


def test_the_table_of_settings_names_each_variable_with_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in variables():
        monkeypatch.delenv(variable, raising=False)
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `?([^|`]*?)`? ?\|", README, re.MULTILINE))
    assert rows.keys() == variables()
    shown = tmp_path / ".env"
    shown.write_text("".join(f"{name}={default}\n" for name, default in rows.items()))
    assert Settings(_env_file=shown) == Settings(_env_file=None)


@pytest.mark.parametrize("page", [ROOT / "README.md", *DECISIONS], ids=lambda page: page.name)
def test_each_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    paths = set(re.findall(r"`((?:profile_pipeline(?:_tests)?|docs|bench|\.ci)/[\w./-]*)`", text))
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")}
    missing = {path for path in paths if not (ROOT / path).exists()}
    assert missing | {link for link in links if not (page.parent / link).exists()} == set()


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
