"""The weekly job for real: what its check says of a sound warehouse, of a faulty one, and of none."""

from pathlib import Path
from typing import Any

import dagster as dg

from profile_pipeline.warehouse import open_warehouse
from profile_pipeline_tests.deployment import Deployment, Requested, Run


def weekly(deployment: Deployment, **config: Any) -> Run:
    job = deployment.definitions.resolve_job_def("weekly_verification")
    return Run(
        job.execute_in_process(
            instance=deployment.instance,
            run_config={"ops": {job.all_node_defs[0].name: {"config": config}}},
            raise_on_error=False,
        )
    )


def test_a_sound_warehouse_passes_and_a_faulty_one_is_told_with_its_differences(
    golden: Requested, tmp_path: Path
) -> None:
    copy = golden.deployment.copy(tmp_path / "copy")
    run = weekly(copy)
    (checked,) = run.checks().values()
    told = {name: value.value for name, value in checked.metadata.items()}
    assert (run.success, run.materialized(), checked.passed, checked.blocking) == (True, {}, True, False)
    assert (told["window"], told["users"], told["known_users"]) == ("2024-01-01 to 2024-02-10", 1, 1)
    assert (told["days_owed"], told["differences"]) == (0, "nothing differs")
    assert "| user_profiles |" in told["tables"]

    with open_warehouse(copy.settings) as warehouse:
        warehouse.connection.execute("UPDATE user_profiles SET age = 99 WHERE partition_date = '2024-02-05'").fetchall()
    run = weekly(copy, sample=None)
    (checked,) = run.checks().values()
    assert (run.success, checked.passed, checked.severity) == (True, False, dg.AssetCheckSeverity.ERROR)
    assert checked.description is not None
    assert checked.description.endswith(
        "`profile-pipeline build --from 2024-02-05 --to 2024-02-05` computes them again"
    )
    differences = checked.metadata["differences"].value
    assert "| user_profiles | 2024-02-05 | 2024-02-05 | user_001 | another value | age | 99 | 32 |" in str(differences)


def test_without_a_warehouse_the_run_fails_in_one_sentence(tmp_path: Path) -> None:
    run = weekly(Deployment(tmp_path / "home", tmp_path / "source"))
    (said,) = run.failures().values()
    assert not run.success
    assert said is not None
    assert said.startswith("there is no warehouse at ")
    assert run.count(dg.DagsterEventType.STEP_UP_FOR_RETRY) == 0
