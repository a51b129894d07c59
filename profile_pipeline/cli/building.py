"""What `build` does with the pipeline's functions, and what it says while they run.

What belongs here: which days are meant, the order of warehouse and index, remarks on what a person may have
overlooked. What does not: the steps (`profile_pipeline/build.py`) and how progress looks (`steps.py`).
"""

import sys
from datetime import date, datetime, timedelta
from functools import partial

from profile_pipeline import build as pipeline
from profile_pipeline.cli import Format, output
from profile_pipeline.cli.reading import remark_on_owed_days
from profile_pipeline.cli.steps import Steps
from profile_pipeline.computed_days import days_left_out, last_computed_day
from profile_pipeline.errors import PipelineError
from profile_pipeline.forgetting.erasure import finish
from profile_pipeline.index.embedding import Embedder, SentenceTransformerEmbedder
from profile_pipeline.indexing import profile_index
from profile_pipeline.ingestion import Ingested
from profile_pipeline.settings import Settings
from profile_pipeline.warehouse import Warehouse, open_warehouse
from profile_pipeline.window import Window

STEP_COLUMNS = {
    "step": "step",
    "rows in": "rows_in",
    "rows written": "rows_written",
    "rejected": "rejected",
    "embedded": "embedded",
    "seconds": "seconds",
}


def window_to_build(settings: Settings, start: date | None, end: date | None) -> Window:
    """The days asked for; by default from the first partition to the last day that is over.

    Raises:
        PipelineError: the range begins before the first partition, ends before it begins, or has not come yet.
    """
    last = last_full_day(settings)
    if start is not None and start < settings.start_date:
        raise PipelineError(
            f"the range begins on {start}, before the first partition {settings.start_date}; begin there, or set "
            "PROFILE_PIPELINE_START_DATE"
        )
    today = last + timedelta(days=1)
    if end is not None and end > today:
        raise PipelineError(f"the range ends on {end}, which has not come yet in {settings.timezone}; end it on {last}")
    if start is None and settings.start_date > (end or last):
        raise PipelineError(
            f"the first partition, {settings.start_date}, comes after {end or last}; set PROFILE_PIPELINE_START_DATE "
            "to an earlier day"
        )
    window = Window(start or settings.start_date, end or last)
    if window.end == today:
        output.note(f"{today} is not over yet in {settings.timezone}; build it again when it is")
    return window


def last_full_day(settings: Settings) -> date:
    """Yesterday in the business time zone."""
    return datetime.now(settings.zone).date() - timedelta(days=1)


def build(settings: Settings, window: Window, format: Format, *, skip_index: bool) -> None:
    """Bring the warehouse up to date for a window, then the index, and print what each step did.

    Raises:
        PipelineError: a step failed; those before it are kept.
    """
    steps = run(settings, window, skip_index=skip_index)
    output.write(steps.table().to_reader(), format, STEP_COLUMNS)


def run(settings: Settings, window: Window, *, skip_index: bool = False) -> Steps:
    """Do what `build` does, without printing the result."""
    embedder = SentenceTransformerEmbedder(settings.embedding_model)
    if finish(settings, embedder):
        output.note("an erasure that was broken off is finished")
    with Steps() as steps:
        with open_warehouse(settings) as warehouse:
            missing, withheld = _fill(warehouse, settings, window, steps)
        if not skip_index:
            _index(settings, embedder, steps)
    print(f"built {window} took {steps.seconds:.1f} s", file=sys.stderr)
    for kind in missing:
        output.note(f"there is no file of {kind} in {settings.source_dir}; none were read")
    if withheld:
        output.note(f"{withheld:,} records of people who were erased were kept out")
    with open_warehouse(settings, read_only=True) as warehouse:
        _remark_on_gaps(warehouse)
    return steps


def _fill(warehouse: Warehouse, settings: Settings, window: Window, steps: Steps) -> tuple[list[str], int]:
    """Run the steps of the warehouse; the kinds of record that have no file, and how many records were kept out."""
    following = [*pipeline.RAW_STEPS, *pipeline.STEPS]
    missing: list[str] = []
    withheld: list[int] = []

    def finished(name: str, done: Ingested | pipeline.Computed) -> None:
        following.remove(name)
        if isinstance(done, Ingested):
            steps.finish(name, done.rows_in, done.versions_added, rejected=done.rejected)
            withheld.append(done.withheld)
            if done.is_source_missing:
                missing.append(pipeline.RAW_STEPS[name])
        else:
            steps.finish(name, done.rows_in, done.written.rows_written)
        if following:
            steps.start(following[0])

    steps.start(following[0])
    pipeline.build(warehouse, settings, window, finished, steps.reading)
    return missing, sum(withheld)


def _index(settings: Settings, embedder: Embedder, steps: Steps) -> None:
    steps.start("profile_index")
    opening = partial(open_warehouse, settings, read_only=True)
    report = profile_index(opening, settings, embedder, on_progress=steps.embedding)
    steps.finish("profile_index", report.served.rows, report.upserted + report.deleted, embedded=report.embedded)


def _remark_on_gaps(warehouse: Warehouse) -> None:
    left_out = days_left_out(warehouse)
    if left_out:
        output.note(
            f"{left_out} were never built, so whoever was touched on these days only has no profile; begin with "
            f"`profile-pipeline build --from {left_out.start}`"
        )
    remark_on_owed_days(warehouse, last_computed_day(warehouse))
