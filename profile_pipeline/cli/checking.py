"""Whether the configured sources can be read, and what they show.

What belongs here: asking each source and printing what it says. What does not: asking (`sources/`). Nothing is
written, not even a home.
"""

from contextlib import ExitStack, closing
from typing import Any

import pyarrow as pa
from rich.console import Console

from profile_pipeline.cli import Format, output
from profile_pipeline.errors import PipelineError
from profile_pipeline.records.models import MODELS
from profile_pipeline.settings import Settings
from profile_pipeline.sources import FileSource, source_for

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("source", pa.string()),
        ("state", pa.string()),
        ("records", pa.int64()),
        ("newest_change", pa.timestamp("us")),
        ("sampled", pa.int64()),
        ("fields_found", pa.list_(pa.string())),
        ("fields_not_found", pa.list_(pa.string())),
        ("problem", pa.string()),
    ]
)
SHOWN = {
    "kind": "kind",
    "source": "source",
    "state": "state",
    "records": "records",
    "newest change (UTC)": "newest_change",
}


def check(settings: Settings, format: Format) -> None:
    """Print for each kind of record where it comes from, whether it can be read, and what is there.

    Raises:
        PipelineError: some cannot be read; which, and why.
    """
    with Console(stderr=True).status("asking the sources"):
        rows = [_looked_at(kind, settings) for kind in MODELS]
    output.write(pa.Table.from_pylist(rows, schema=SCHEMA).to_reader(), format, SHOWN)
    for row in rows:
        if row["state"] == "reachable" and row["fields_not_found"]:
            missing = ", ".join(row["fields_not_found"])
            output.note(f"{row['kind']}: in none of {row['sampled']} documents: {missing}")
    problems: dict[str, list[str]] = {}
    for row in rows:
        problems.setdefault(row.get("problem", ""), []).append(row["kind"])
    problems.pop("", None)
    if problems:
        raise PipelineError("; ".join(f"{', '.join(kinds)}: {problem}" for problem, kinds in problems.items()))


def _looked_at(kind: str, settings: Settings) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": kind, "state": "unreachable"}
    try:
        with ExitStack() as stack:
            source = source_for(kind, settings)
            if isinstance(source, FileSource):
                row["source"] = f"files:{source.folder}"
            else:
                stack.enter_context(closing(source))
                row["source"] = source.name(kind)
            seen = source.describe(kind)
    except PipelineError as error:
        return row | {"problem": str(error)}
    return row | {
        "source": seen.name,
        "state": "reachable" if seen.is_there else "nothing there",
        "records": seen.count,
        "newest_change": seen.newest,
        "sampled": seen.sampled,
        "fields_found": [name for name, count in seen.filled.items() if count],
        "fields_not_found": [name for name, count in seen.filled.items() if not count],
    }
