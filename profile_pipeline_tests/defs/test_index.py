"""The index in Dagster: what its asset shows, what its check finds, and serving an earlier version again."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from profile_pipeline.index.embedding import Progress
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.versions import promote, served_version
from profile_pipeline_tests.deployment import Deployment, Run
from profile_pipeline_tests.indexing import BagOfWords

ANN = {"id": "u1", "email": "ann@x.org", "interests": ["chess"], "age": 30, "occupation": "Cook"}
BOB = {"id": "u2", "email": "bob@x.org", "interests": ["jazz"], "created_at": "2024-01-02"}


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    made = Deployment(tmp_path / "home", tmp_path / "source")
    made.write("users", ANN, BOB)
    return made


def ask(deployment: Deployment, *questions: dict[str, Any]) -> None:
    lines = (json.dumps(question) for question in questions)
    (deployment.settings.source_dir / "golden_queries.jsonl").write_text("\n".join(lines))


def check(deployment: Deployment) -> dg.AssetCheckEvaluation:
    job = deployment.definitions.resolve_job_def("nightly_profiles")
    key = dg.AssetCheckKey(dg.AssetKey("profile_index"), "profile_index_matches_profiles")
    alone = job.get_subset(asset_selection=set(), asset_check_selection={key})
    (evaluated,) = alone.execute_in_process(instance=deployment.instance).get_asset_check_evaluations()
    return evaluated


def roll_back(deployment: Deployment, version: int | None = None) -> dg.ExecuteInProcessResult:
    config = {"ops": {"serve_an_earlier_version": {"config": {"version": version}}}}
    job = deployment.definitions.resolve_job_def("index_rollback")
    return job.execute_in_process(run_config=config, instance=deployment.instance, raise_on_error=False)


def test_the_asset_shows_what_the_served_version_was_built_from(deployment: Deployment) -> None:
    ask(deployment, {"query": "chess", "users": ["u1", "u9"]}, {"query": "jazz", "users": ["u2"]})
    run = deployment.run("2024-01-01", "2024-01-02")
    shown = run.metadata("profile_index")
    assert run.success
    assert (shown["dagster/row_count"], shown["model"], shown["source_partition"]) == (
        2,
        "bag-of-words@1",
        "2024-01-02",
    )
    assert (shown["text_recipe"], shown["weights_sha256"], shown["golden_recall"]) == (1, "no weights", 1)
    assert "| chess | 1.0 | u1 |  | u9 |" in shown["golden_queries"]
    assert f"| {shown['version']} | yes |" in shown["history"]


def test_others_may_write_the_warehouse_while_texts_are_embedded(deployment: Deployment) -> None:
    class Watching(BagOfWords):
        """Opens the warehouse for writing from another process, as often as it embeds."""

        def embed(self, texts: Sequence[str], on_progress: Progress | None = None) -> np.ndarray:
            code = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('CREATE TABLE IF NOT EXISTS mine (a INT)')"
            done = subprocess.run([sys.executable, "-c", code, str(deployment.settings.warehouse_path)], check=False)
            written.append(done.returncode)
            return super().embed(texts, on_progress)

    written: list[int] = []
    watched = Deployment(deployment.settings.home, deployment.settings.source_dir, Watching())
    assert watched.run("2024-01-01").success
    assert set(written) == {0}
    written.clear()
    assert check(watched).passed
    assert set(written) == {0}


def test_a_version_that_answers_badly_fails_the_run_and_is_not_served(deployment: Deployment) -> None:
    assert deployment.run("2024-01-01").success
    before = served_version(IndexStore(deployment.settings.index_path))
    ask(deployment, {"query": "jazz", "users": ["u1"], "mode": "text"})
    run = deployment.run("2024-01-02")
    assert run.failures().keys() == {"profile_index"}
    assert "golden queries find 0.0 of the users expected, less than 0.8: 'jazz' misses u1" in str(run.failures())
    assert served_version(IndexStore(deployment.settings.index_path)) == before


def test_the_check_names_who_is_missing_and_what_is_not_found(deployment: Deployment, tmp_path: Path) -> None:
    assert deployment.run("2024-01-01", "2024-01-02").success
    assert check(deployment).passed
    store = IndexStore(deployment.settings.index_path)
    table = store.open_latest()
    table.delete("user_id = 'u1'")
    promote(store, table.version)
    ask(deployment, {"query": "jazz", "users": ["u2"]}, {"query": "blues", "users": ["u2"], "mode": "text"})
    found = check(deployment)
    assert not found.passed
    assert found.description == (
        "1 profiles are missing, such as u1; 1 of 2 sampled texts do not find themselves first; "
        "golden queries find 0.5 of the users expected, less than 0.8: 'blues' misses u2"
    )
    assert (found.metadata["missing"].value, found.metadata["extra"].value) == (1, 0)
    found = check(deployment.copy(tmp_path / "other", BagOfWords("other@1")))
    assert found.description.startswith("its model is bag-of-words@1, and EMBEDDING_MODEL is other@1; 1 profiles")


def test_an_earlier_version_is_served_again_and_the_next_night_brings_it_up_to_date(deployment: Deployment) -> None:
    assert deployment.run("2024-01-01").success
    assert deployment.run("2024-01-02").success
    store = IndexStore(deployment.settings.index_path)
    newest = served_version(store)
    assert roll_back(deployment).success
    assert [served_version(store).rows, newest.rows] == [1, 2]
    refused = Run(roll_back(deployment))
    assert "has no earlier version to roll back to; kept versions: " in str(refused.failures())
    assert roll_back(deployment, newest.version).success
    assert served_version(store) == newest
    assert roll_back(deployment).success
    assert deployment.run("2024-01-02").metadata("profile_index")["upserted"] == 1
    assert served_version(store).rows == 2


def test_texts_that_an_earlier_release_made_are_made_anew_for_the_index(deployment: Deployment) -> None:
    assert deployment.run("2024-01-01", "2024-01-02").success
    deployment.rows("UPDATE user_summaries SET text_recipe = NULL, text = 'of old' WHERE user_id = 'u1'")
    run = deployment.run("2024-01-02", assets=["profile_index"])
    assert (run.success, run.metadata("profile_index")["promoted"]) == (True, False)
    assert check(deployment).passed
