"""Made-up records: writing them, and showing what the pipeline makes of them.

What belongs here: the commands `sample` and `demo`. What does not: making records up (`sample/`).
"""

import sys
from datetime import date
from pathlib import Path

from ibis import _

from profile_pipeline import sample
from profile_pipeline.cli import output
from profile_pipeline.cli.building import run
from profile_pipeline.cli.reading import MATCH_COLUMNS, matches
from profile_pipeline.errors import PipelineError
from profile_pipeline.profiles import decisions_as_of, profiles_as_of
from profile_pipeline.settings import Settings
from profile_pipeline.warehouse import Warehouse, open_warehouse
from profile_pipeline.window import Window

COMMITTED_SAMPLE = Path(__file__).parents[2] / "data" / "sample"
SAMPLE_DAYS = Window(date(2024, 1, 1), date(2024, 6, 30))
"""The half-year that the committed sample tells of."""

SHOWN_USER, SHOWN_DAY = "user_001", date(2024, 2, 10)
"""The worked example of the specification, which opens the sample."""

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
    """Build the committed sample and print a profile, the decisions and the answer to a question.

    Raises:
        PipelineError: the sample is not there, or a step failed.
    """
    if not COMMITTED_SAMPLE.is_dir():
        raise PipelineError(
            f"the committed sample is not at {COMMITTED_SAMPLE}; run the demo from a clone of the repository"
        )
    settings = demo_settings(settings)
    run(settings, SAMPLE_DAYS)
    with open_warehouse(settings.warehouse_path, read_only=True) as warehouse:
        _show_profile(warehouse, settings)
        _show_decisions(warehouse)
    print(f'\nWho is nearest to "{QUESTION}":\n')
    output.write(matches(settings, QUESTION, None, 5).to_reader(), "table", MATCH_COLUMNS)
    print("\nMore: .venv/bin/profile-pipeline profiles, and .venv/bin/profile-pipeline --help")


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
