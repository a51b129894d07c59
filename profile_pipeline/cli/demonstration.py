"""Made-up records: writing them, and showing what the pipeline makes of them.

What belongs here: the commands `sample` and `demo`. What does not: making records up (`sample/`).
"""

import os
import sys
import uuid
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from ibis import _

from profile_pipeline import sample
from profile_pipeline.build import RAW_STEPS, STEPS
from profile_pipeline.cli import output
from profile_pipeline.cli.reading import HIT_COLUMNS, Asked, matches
from profile_pipeline.cli.steps import Steps
from profile_pipeline.errors import PipelineError
from profile_pipeline.profiles import decisions_as_of, profiles_as_of
from profile_pipeline.settings import Settings
from profile_pipeline.warehouse import Warehouse, open_warehouse
from profile_pipeline.window import Window

REPOSITORY = Path(__file__).parents[2]
COMMITTED_SAMPLE = REPOSITORY / "data" / "sample"
SAMPLE_DAYS = Window(date(2024, 1, 1), date(2024, 6, 30))
"""The half-year that the committed sample tells of."""

SHOWN_USER, SHOWN_DAY = "user_001", date(2024, 2, 10)
"""The worked example, which opens the sample."""

SHOWN_FIELDS = ("name", "email", "summary", "decision", "decision_reasons")
QUESTION = "vegetarians who love wine tastings"


def write_sample(out: Path, users: int, seed: int | None, format: sample.Format | None) -> None:
    """Write a sample and print how many records of each kind it has.

    Raises:
        PipelineError: the folder holds a sample in the other format.
    """
    report = sample.write_sample(out, users, seed=sample.DEFAULT_SEED if seed is None else seed, format=format)
    rows = [
        {"kind": kind, "records": count, "rejected": sum(report.dirty.get(kind, {}).values())}
        for kind, count in report.records.items()
    ]
    output.write_table(rows, {"kind": "kind", "valid": "records", "to be rejected": "rejected"})
    print(
        f"written to {out}; PROFILE_PIPELINE_SOURCE_DIR={out} profile-pipeline build reads it",
        file=sys.stderr,
    )


def demo(settings: Settings) -> None:
    """Run the nightly job on the committed sample; print a profile, the decisions and the answer to a question.

    The run is recorded in Dagster, whose UI then shows it.

    Raises:
        PipelineError: the sample is not there, or a step failed.
    """
    if not COMMITTED_SAMPLE.is_dir():
        raise PipelineError(
            f"the committed sample is not at {COMMITTED_SAMPLE}; run the demo from a clone of the repository"
        )
    settings = demo_settings(settings)
    _materialize(settings, SAMPLE_DAYS)
    with open_warehouse(settings, read_only=True) as warehouse:
        _show_profile(warehouse, settings)
        _show_decisions(warehouse)
    print(f'\nWho is nearest to "{QUESTION}":\n')
    output.write(matches(settings, QUESTION, Asked(limit=5)).to_reader(), "table", HIT_COLUMNS)
    print("\nMore: .venv/bin/profile-pipeline profiles, and .venv/bin/profile-pipeline --help")
    # All is written. With Dagster, the model and LanceDB in one process, DuckDB's bindings find types alive when the
    # interpreter ends and print a page about them below the result.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def demo_settings(settings: Settings) -> Settings:
    """The settings with the committed sample as the source.

    Where they name another source, the demo has a home of its own below theirs, so that made-up people never
    get among real ones.
    """
    wanted = {"start_date": SAMPLE_DAYS.start, "mongodb_uri": None, "airtable_api_key": None}
    is_the_same = settings.source_dir.resolve() == COMMITTED_SAMPLE.resolve() and all(
        getattr(settings, name) == value for name, value in wanted.items()
    )
    home = settings.home if is_the_same else settings.home / "demo"
    return settings.model_copy(update=wanted | {"source_dir": COMMITTED_SAMPLE, "home": home})


def _materialize(settings: Settings, window: Window) -> None:
    """Run `nightly_profiles` over a window in this process, recorded in the Dagster instance of the home.

    Raises:
        PipelineError: a step failed.
    """
    # Definitions and instance read the environment when they load, which is not before now.
    os.environ |= {
        "PROFILE_PIPELINE_HOME": str(settings.home.absolute()),
        "PROFILE_PIPELINE_SOURCE_DIR": str(settings.source_dir),
        "PROFILE_PIPELINE_START_DATE": settings.start_date.isoformat(),
    }
    os.environ.setdefault("DAGSTER_HOME", str(REPOSITORY))
    from profile_pipeline.definitions import defs  # noqa: PLC0415

    job = defs().get_repository_def().get_job("nightly_profiles")
    run_id = str(uuid.uuid4())
    with dg.DagsterInstance.get() as instance, Steps() as steps:
        instance.add_event_listener(run_id, lambda entry: _follow(steps, entry))
        result = job.execute_in_process(
            instance=instance,
            run_id=run_id,
            tags={
                "dagster/asset_partition_range_start": window.start.isoformat(),
                "dagster/asset_partition_range_end": window.end.isoformat(),
            },
            resources={"settings": settings},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
    for failed in result.get_step_failure_events():
        error = failed.step_failure_data.error
        reason = failed.step_failure_data.user_failure_data
        raise PipelineError((reason and reason.description) or (error and error.message) or str(failed.message))


def _follow(steps: Steps, entry: dg.EventLogEntry) -> None:
    """Show the progress that an event of the run tells of."""
    event = entry.dagster_event
    if event is None or event.step_key not in {*RAW_STEPS, *STEPS, "profile_index"}:
        return
    if event.is_step_start:
        steps.start(event.step_key)
    if event.is_step_materialization:
        told = event.step_materialization_data.materialization.metadata
        figures: dict[str, Any] = {name: value.value for name, value in told.items()}
        if "rows_in" in figures:
            written = figures["versions_added" if "versions_added" in figures else "rows_written"]
            steps.finish(event.step_key, figures["rows_in"], written, rejected=figures.get("rejected"))
        elif "embedded" in figures and not any(step.step == event.step_key for step in steps.done):
            steps.finish(
                event.step_key, figures["dagster/row_count"], figures["upserted"], embedded=figures["embedded"]
            )


def _show_profile(warehouse: Warehouse, settings: Settings) -> None:
    stored = warehouse.table("user_profiles").filter(_.id == SHOWN_USER)
    rows = output.stream(warehouse, profiles_as_of(stored, SHOWN_DAY, settings.policy)).read_all().to_pylist()
    print(f"One profile, as of {SHOWN_DAY}:\n")
    output.write_fields({name: rows[0][name] for name in SHOWN_FIELDS})


def _show_decisions(warehouse: Warehouse) -> None:
    decisions = decisions_as_of(warehouse.table("user_profiles"), SAMPLE_DAYS.end)
    counts = decisions.group_by("decision").agg(users=_.count()).order_by(_.users.desc())
    print(f"\nWhom to write to, as of {SAMPLE_DAYS.end}:\n")
    output.write(output.stream(warehouse, counts), "table", {"decision": "decision", "users": "users"})
