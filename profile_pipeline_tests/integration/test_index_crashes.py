"""Real processes: builds that are killed or find no room, and readers while the served version changes."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from profile_pipeline.index.build import Stage, build
from profile_pipeline.index.health import verify
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.vectors import PIECE
from profile_pipeline.index.versions import history, roll_back, served_version
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, match, people, profiles

OLD = profiles(*people(60, age=30))
NEW = profiles(*people(50, age=31))
"""Rows to write and rows to delete."""

MODULES = "profile_pipeline_tests.integration"

AS_PERMISSIONS_SAY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Takes from root that permissions do not hold for it."""


def builder(store: IndexStore, count: int, age: int, *options: str) -> list[str]:
    return [sys.executable, "-m", f"{MODULES}.index_builder", str(store.path), str(count), str(age), *options]


def run_builder(store: IndexStore, count: int, age: int, *options: str) -> int:
    return subprocess.run(builder(store, count, age, *options), check=False, timeout=120).returncode


@contextmanager
def reading(store: IndexStore) -> Iterator[list[list]]:
    """What a reader in another process finds during the block; filled when the block ends."""
    seen: list[list] = []
    command = [sys.executable, "-m", f"{MODULES}.index_reader", str(store.path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as reader:
        try:
            first = reader.stdout.readline()
            yield seen
        finally:
            rest, errors = reader.communicate(timeout=60)
        assert reader.returncode == 0, errors
        seen.extend(json.loads(line) for line in (first + rest).splitlines())


@pytest.fixture
def store(tmp_path: Path) -> IndexStore:
    return IndexStore(tmp_path / "lancedb")


def served_problems(store: IndexStore, wanted) -> list[str]:
    return verify(store, wanted, BagOfWords()).problems


def test_builds_killed_at_every_stage_never_show_a_reader_anything_but_a_whole_version(store):
    build(store, OLD, BagOfWords(), as_of=AS_OF)
    served, whole = OLD, [[60, [30]]]
    with reading(store) as seen:
        for number, stage in enumerate(Stage, 1):
            count, age = 60 - number, 30 + number
            wanted = profiles(*people(count, age=age))
            whole.append([count, [age]])
            assert run_builder(store, count, age, "kill", stage) == -signal.SIGKILL
            is_promoted = stage in {Stage.PROMOTED, Stage.CLEANED}
            assert served_problems(store, wanted if is_promoted else served) == []
            report = build(store, wanted, BagOfWords(), as_of=AS_OF)
            assert (report.promoted, report.embedded) == (not is_promoted, 0)
            assert served_problems(store, wanted) == []
            served = wanted
    # Each once and in order: no version came back, and none was left out, as each was served for a while.
    assert seen == whole


@pytest.mark.parametrize("stage", [Stage.UPSERTED, Stage.CHECKED, Stage.PROMOTED, Stage.CLEANED])
def test_a_build_that_forgets_and_is_killed_leaves_a_whole_version_and_the_next_leaves_nothing_else(store, stage):
    build(store, OLD, BagOfWords(), as_of=AS_OF)
    build(store, NEW, BagOfWords(), as_of=AS_OF)
    assert run_builder(store, 40, 32, "kill", stage, "forgetting") == -signal.SIGKILL
    left = profiles(*people(40, age=32))
    assert [] in (served_problems(store, NEW), served_problems(store, left))
    build(store, left, BagOfWords(), as_of=AS_OF, forgetting=True)
    assert served_problems(store, left) == []
    assert [each.rows for each in history(store)] == [40]
    assert [file for file in store.path.rglob("*") if file.is_file() and b"likes thing45" in file.read_bytes()] == []


def test_a_reader_finds_a_whole_version_while_each_other_is_dropped_under_it(store):
    build(store, OLD, BagOfWords(), as_of=AS_OF)
    with reading(store) as seen:
        for number in range(1, 9):
            left = profiles(*people(60 - number, age=30 + number))
            build(store, left, BagOfWords(), as_of=AS_OF, forgetting=True)
    assert seen[0] == [60, [30]]
    assert seen[-1] == [52, [38]]
    assert all(answer in [[60 - number, [30 + number]] for number in range(9)] for answer in seen)


def test_a_version_rolled_back_to_is_found_whole_by_a_reader(store):
    build(store, OLD, BagOfWords(), as_of=AS_OF)
    build(store, NEW, BagOfWords(), as_of=AS_OF)
    with reading(store) as seen:
        assert roll_back(store).rows == 60
        assert match(store, "person", BagOfWords(), None, 1000).num_rows == 60
        assert run_builder(store, 50, 31) == 0
    assert seen[0] == [50, [31]]
    assert seen[-1] == [50, [31]]
    assert all(answer in ([50, [31]], [60, [30]]) for answer in seen)


def test_what_a_killed_build_staged_is_not_in_the_next_version(store):
    build(store, OLD, BagOfWords(), as_of=AS_OF)
    assert run_builder(store, 80, 99, "kill", Stage.CHECKED) == -signal.SIGKILL
    wanted = profiles(*people(61, age=30))
    assert build(store, wanted, BagOfWords(), as_of=AS_OF).upserted == 1
    assert served_problems(store, wanted) == []


def test_a_build_killed_while_it_embeds_goes_on_from_the_last_whole_piece(store):
    assert run_builder(store, PIECE + 50, 31, "kill", "embedding") == -signal.SIGKILL
    wanted, embedder = profiles(*people(PIECE + 50, age=31)), BagOfWords()
    assert build(store, wanted, embedder, as_of=AS_OF).embedded == 50
    assert served_problems(store, wanted) == []
    assert not (store.path / "embedded").exists()


@pytest.mark.parametrize("delay", ["0.002", "0.01", "0.03"])
def test_a_build_killed_in_the_middle_of_a_write_leaves_a_whole_version(store, delay):
    build(store, OLD, BagOfWords(), as_of=AS_OF)
    assert run_builder(store, 50, 31, "kill", Stage.EMBEDDED, delay) in {-signal.SIGKILL, 0}
    assert [] in (served_problems(store, OLD), served_problems(store, NEW))
    build(store, NEW, BagOfWords(), as_of=AS_OF)
    assert served_problems(store, NEW) == []


@pytest.mark.parametrize("stage", [Stage.UPSERTED, Stage.CHECKED])
def test_a_first_build_that_is_killed_serves_nothing_and_the_next_ends_right(store, stage):
    assert run_builder(store, 50, 31, "kill", stage) == -signal.SIGKILL
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


def test_of_two_builds_at_once_one_ends_with_an_error_and_the_other_with_a_whole_index(store):
    build(store, OLD, BagOfWords(), as_of=AS_OF)
    with subprocess.Popen(
        builder(store, 50, 31, "wait", Stage.UPSERTED), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == f"{Stage.UPSERTED}\n"
        second = subprocess.run(builder(store, 40, 32), check=False, capture_output=True, text=True, timeout=120)
        assert second.returncode == 1
        assert second.stderr.splitlines() == [
            f"the index {store.path} is being built by another process; try again when it has ended"
        ]
        assert served_problems(store, OLD) == []
        first.communicate("go on\n", timeout=60)
    assert first.returncode == 0
    assert served_problems(store, NEW) == []


@pytest.mark.parametrize(("count", "age"), [(3000, 30), (2000, 31)], ids=["its vectors", "its rows"])
def test_a_build_on_a_full_disk_leaves_the_served_version_serving(store, count, age):
    before = profiles(*people(2000, age=30))
    build(store, before, BagOfWords(), as_of=AS_OF)
    full = subprocess.run(
        builder(store, count, age),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert full.returncode == 1
    assert "cannot be written: " in full.stderr
    assert "File too large" in full.stderr
    assert "Traceback" not in full.stderr
    assert served_problems(store, before) == []
    assert match(store, "person 7", BagOfWords(), None, 1)["age"].to_pylist() == [30]
    build(store, profiles(*people(count, age=age)), BagOfWords(), as_of=AS_OF)
    assert served_problems(store, profiles(*people(count, age=age))) == []


def test_a_folder_that_cannot_be_written_goes_on_being_served_and_searched(store):
    build(store, OLD, BagOfWords(), as_of=AS_OF)
    places = [store.path, *(place for place in store.path.rglob("*"))]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        refused = subprocess.run(
            [*AS_PERMISSIONS_SAY, *builder(store, 50, 31)], check=False, capture_output=True, text=True, timeout=120
        )
        search = f"from {MODULES.rpartition('.')[0]}.indexing import BagOfWords, match; from pathlib import Path; " + (
            "from profile_pipeline.index.store import IndexStore; "
            f"print(match(IndexStore(Path({str(store.path)!r})), 'person', BagOfWords(), None, 100).num_rows)"
        )
        found = subprocess.run(
            [*AS_PERMISSIONS_SAY, sys.executable, "-c", search], check=True, capture_output=True, text=True, timeout=120
        )
    finally:
        for place in places:
            place.chmod(0o755 if place.is_dir() else 0o644)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"the index {store.path} cannot be written: Permission denied")
    assert found.stdout == "60\n"
    assert served_problems(store, OLD) == []
