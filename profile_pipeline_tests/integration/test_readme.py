"""The README and the pages that it leads to are true: their commands run and print what they show, their queries and
files are there, nothing is left out.

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
LIVE_SOURCES = (ROOT / "docs" / "live-sources.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
GUIDE = "\n".join([README, LIVE_SOURCES, SETTINGS])
"""Whose commands are run here; what `docs/spark.md` shows needs Java, and `docs/benchmarks.md` hours."""
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "data" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *DECISIONS,
]

DIMENSION = 384
"""That of the default model."""


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, without the indentation of a list around them."""
    return [
        re.sub(f"^{indent}", "", block, flags=re.MULTILINE)
        for indent, block in re.findall(rf"^( *)```{language}\n(.*?)^ *```$", GUIDE, re.MULTILINE | re.DOTALL)
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
    # The pages leave out lines, as `…`, and columns on the right.
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
    named = set(re.findall(r"`(\w+_(?:sensor|schedule))`", GUIDE))
    assert named == {each.name for each in [*(definitions.sensors or []), *(definitions.schedules or [])]}


def test_the_table_of_settings_names_each_variable_with_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in variables():
        monkeypatch.delenv(variable, raising=False)
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `?([^|`]*?)`? ?\|", SETTINGS, re.MULTILINE))
    assert rows.keys() == variables()
    shown = tmp_path / ".env"
    shown.write_text("".join(f"{name}={default}\n" for name, default in rows.items()))
    assert Settings(_env_file=shown) == Settings(_env_file=None)


def heading_links(page: Path) -> set[str]:
    """What the headings of a page are called in links to them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_file_and_heading_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    paths = set(re.findall(r"`((?:profile_pipeline(?:_tests)?|docs|bench|\.ci)/[\w./-]*)`", text))
    links = {tuple(link.partition("#")[::2]) for link in re.findall(r"\]\((?!http)([^)]+)\)", text)}
    missing = {path for path in paths if not (ROOT / path).exists()}
    missing |= {link for link, _ in links if not (page.parent / link).exists()}
    missing |= {
        f"{link}#{heading}"
        for link, heading in links
        if heading and link not in missing and heading not in heading_links(page.parent / link if link else page)
    }
    assert missing == set()


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
