"""Real processes: builds that are killed, and readers while the served version changes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from profile_pipeline.index.build import Stage, build
from profile_pipeline.index.health import verify
from profile_pipeline.index.search import match
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.vectors import PIECE
from profile_pipeline.index.versions import served_version
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, people, profiles

OLD = profiles(*people(60, age=30))
NEW = profiles(*people(50, age=31))
"""Rows to write and rows to delete."""


def run_builder(store: IndexStore, count: int, age: int, *killed_at: str) -> int:
    command = [sys.executable, "-m", "profile_pipeline_tests.integration.index_builder"]
    return subprocess.run(
        [*command, str(store.path), str(count), str(age), *killed_at], check=False, timeout=120
    ).returncode


@pytest.fixture
def store(tmp_path: Path) -> IndexStore:
    return IndexStore(tmp_path / "lancedb")


def served_problems(store: IndexStore, wanted) -> list[str]:
    return verify(store, wanted, BagOfWords()).problems


@pytest.mark.parametrize(
    ("stage", "served"),
    [
        (Stage.EMBEDDED, OLD),
        (Stage.UPSERTED, OLD),
        (Stage.ACCELERATED, OLD),
        (Stage.STAGED, OLD),
        (Stage.CHECKED, OLD),
        (Stage.PROMOTED, NEW),
    ],
)
def test_a_build_killed_at_a_stage_leaves_a_whole_version_and_the_next_ends_right(store, stage, served):
    build(store, OLD, BagOfWords(), as_of=AS_OF)
    assert run_builder(store, 50, 31, stage) == -signal.SIGKILL
    assert served_problems(store, served) == []
    report = build(store, NEW, BagOfWords(), as_of=AS_OF)
    assert (report.promoted, report.embedded) == (served is OLD, 0)
    assert served_problems(store, NEW) == []


def test_what_a_killed_build_staged_is_not_in_the_next_version(store):
    build(store, OLD, BagOfWords(), as_of=AS_OF)
    assert run_builder(store, 80, 99, Stage.CHECKED) == -signal.SIGKILL
    wanted = profiles(*people(61, age=30))
    assert build(store, wanted, BagOfWords(), as_of=AS_OF).upserted == 1
    assert served_problems(store, wanted) == []


def test_a_build_killed_while_it_embeds_goes_on_from_the_last_whole_piece(store):
    assert run_builder(store, PIECE + 50, 31, "embedding") == -signal.SIGKILL
    wanted, embedder = profiles(*people(PIECE + 50, age=31)), BagOfWords()
    assert build(store, wanted, embedder, as_of=AS_OF).embedded == 50
    assert served_problems(store, wanted) == []
    assert not (store.path / "embedded").exists()


@pytest.mark.parametrize("delay", ["0.002", "0.01", "0.03"])
def test_a_build_killed_in_the_middle_of_a_write_leaves_a_whole_version(store, delay):
    build(store, OLD, BagOfWords(), as_of=AS_OF)
    assert run_builder(store, 50, 31, Stage.EMBEDDED, delay) in {-signal.SIGKILL, 0}
    assert [] in (served_problems(store, OLD), served_problems(store, NEW))
    build(store, NEW, BagOfWords(), as_of=AS_OF)
    assert served_problems(store, NEW) == []


@pytest.mark.parametrize("stage", [Stage.UPSERTED, Stage.CHECKED])
def test_a_first_build_that_is_killed_serves_nothing_and_the_next_ends_right(store, stage):
    assert run_builder(store, 50, 31, stage) == -signal.SIGKILL
    assert served_version(store) is None
    build(store, NEW, BagOfWords(), as_of=AS_OF)
    assert served_problems(store, NEW) == []


def test_a_first_build_killed_before_its_first_commit_is_no_obstacle(store):
    # What is left then: files without a version that names them.
    (store.path / "profiles.lance" / "data").mkdir(parents=True)
    (store.path / "profiles.lance" / "data" / "orphan.lance").write_bytes(b"half a file")
    assert served_version(store) is None
    build(store, NEW, BagOfWords(), as_of=AS_OF)
    assert served_problems(store, NEW) == []


def test_readers_find_one_whole_version_while_another_process_promotes(store):
    build(store, OLD, BagOfWords(), as_of=AS_OF)
    builder = subprocess.Popen(
        [
            *(sys.executable, "-m", "profile_pipeline_tests.integration.index_builder"),
            *(str(store.path), "50", "31"),
        ]
    )
    seen: set[tuple[int, frozenset[int]]] = set()
    deadline = time.monotonic() + 60
    while builder.poll() is None and time.monotonic() < deadline:
        result = match(store, "person", BagOfWords(), None, 1000)
        seen.add((result.num_rows, frozenset(result["age"].to_pylist())))
    assert builder.wait(10) == 0
    result = match(store, "person", BagOfWords(), None, 1000)
    seen.add((result.num_rows, frozenset(result["age"].to_pylist())))
    assert seen == {(60, frozenset({30})), (50, frozenset({31}))}


def test_a_reader_always_finds_the_tag_while_another_process_moves_it(store):
    first = build(store, OLD, BagOfWords(), as_of=AS_OF).served.version
    second = build(store, NEW, BagOfWords(), as_of=AS_OF).served.version
    mover = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from profile_pipeline.index.store import IndexStore;"
            "from profile_pipeline.index.versions import promote;"
            "store = IndexStore(pathlib.Path(sys.argv[1]));"
            f"[promote(store, version) for _ in range(100) for version in ({first}, {second})]",
            str(store.path),
        ]
    )
    seen: list[int] = []
    deadline = time.monotonic() + 60
    while mover.poll() is None and time.monotonic() < deadline:
        served = served_version(store)
        assert served is not None
        assert served.rows == {first: 60, second: 50}[served.version]
        seen.append(served.version)
    assert mover.wait(10) == 0
    assert set(seen) == {first, second}
