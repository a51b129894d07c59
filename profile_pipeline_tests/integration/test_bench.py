"""The benchmarks: their rivals compute what the pipeline does, and a run tells its rows."""

import importlib
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from bench.harness import WayFailed
from bench.profiles import PROFILE_STEPS, agreement, export_log, settings_of
from profile_pipeline import build as pipeline
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window

ROOT = Path(__file__).parents[2]
DAYS = (date(2024, 3, 15), date(2024, 6, 30))
RIVALS = {
    "duckdb_script": "duckdb",
    "naive_loops": "pyarrow",
    "pandas_frames": "pandas",
    "polars_lazy": "polars",
}
"""Rival to the package that it needs."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profiles of the committed sample: records of several versions, deletions, new addresses, late events."""
    home = tmp_path_factory.mktemp("bench")
    settings = settings_of(home, ROOT / "data" / "sample")
    window = Window(settings.start_date, DAYS[-1])
    with open_warehouse(settings) as warehouse:
        for kind in RAW_TABLES:
            pipeline.raw(warehouse, settings, window, kind)
        for name in PROFILE_STEPS:
            pipeline.STEPS[name](warehouse, settings, window)
    export_log(home)
    return home


@pytest.mark.parametrize("day", DAYS, ids=str)
@pytest.mark.parametrize("rival", RIVALS)
def test_a_rival_computes_every_column_as_the_pipeline_does(home: Path, tmp_path: Path, rival: str, day: date) -> None:
    pytest.importorskip(RIVALS[rival], reason=f"{rival} needs a package that only the benchmarks install")
    out = tmp_path / f"{rival}.parquet"
    importlib.import_module(f"bench.rivals.{rival}").profiles(home / "log", day, out)
    assert agreement(home, out, day=day).startswith("equal in all")


def test_a_rival_with_a_wrong_answer_is_told(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "naive_loops.parquet"
    importlib.import_module("bench.rivals.naive_loops").profiles(home / "log", DAYS[0], out)
    with pytest.raises(WayFailed, match="naive_loops differs from the pipeline in"):
        agreement(home, out, day=DAYS[1])


def test_a_quick_run_measures_and_names_the_rivals_that_are_not_there(tmp_path: Path) -> None:
    arguments = ["--quick", "--users", "40", "--only", "ingestion", "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert row["what"] == "ingestion of JSON Lines"
    assert row["seconds"] > 0
    assert row["peak_mb"] > 50
    assert "`make bench` installs it" in row["note"]
