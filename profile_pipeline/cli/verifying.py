"""What `verify` prints.

What belongs here: progress, the counts, and some of what differs. What does not: finding it
(`profile_pipeline/verification.py`).
"""

import sys
from datetime import date

import pyarrow as pa
from rich.console import Console

from profile_pipeline.cli import Format, output
from profile_pipeline.cli.reading import tell_owed
from profile_pipeline.errors import PipelineError
from profile_pipeline.settings import Settings
from profile_pipeline.verification import SAMPLE_USERS, Verification, excerpts, verify

SCHEMA = pa.schema(
    [
        ("table", pa.string()),
        ("partition_date", pa.date32()),
        ("as_of", pa.date32()),
        *((name, pa.string()) for name in ("user_id", "problem", "column", "stored", "rebuilt")),
    ]
)
SHOWN = {
    "day": "partition_date",
    "as of": "as_of",
    "user": "user_id",
    "table": "table",
    "problem": "problem",
    "column": "column",
    "stored": "stored",
    "rebuilt": "rebuilt",
}


def show_verification(settings: Settings, day: date | None, sample: int | None, format: Format, *, whole: bool) -> None:
    """Compare the warehouse with what its logs say, and print some of what differs.

    Raises:
        PipelineError: as `verification.verify`, or something differs; what, and what to do.
    """
    with Console(stderr=True).status("reading the warehouse") as status:

        def tell(step: str) -> None:
            status.update(step)
            if not status.console.is_terminal:
                print(step, file=sys.stderr, flush=True)

        found = verify(settings, day=day, sample=None if whole else sample or SAMPLE_USERS, on_progress=tell)
    _tell_counts(found)
    if found.differences or format != "table":
        rows = [vars(each) for each in found.differences]
        if format == "table":
            rows = [row | excerpts(row["stored"], row["rebuilt"]) for row in rows]
        output.write(pa.Table.from_pylist(rows, schema=SCHEMA).to_reader(), format, SHOWN)
    if found.problem:
        raise PipelineError(found.problem)


def _tell_counts(found: Verification) -> None:
    for each in found.compared:
        print(f"{each.table:<22} {each.rows:>12,} rows  {each.differing:,} differ", file=sys.stderr)
    print(f"looked at {found.users:,} of {found.known_users:,} users, {found.window}", file=sys.stderr)
    tell_owed(found.owed)
