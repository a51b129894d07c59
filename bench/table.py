"""The table of a run: its rows, printed, as JSON, and as Markdown for the documentation.

    python -m bench.table data/bench/results.json

What belongs here: what a row says, and how rows look. What does not: how a figure comes about (the suites).
"""

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.harness import Measured

PACKAGES = ("duckdb", "ibis-framework", "lancedb", "sentence-transformers", "torch", "dagster")
"""What the pipeline's figures depend on most."""


@dataclass(frozen=True)
class Row:
    """One figure of the pipeline beside that of a rival on the same data.

    Attributes:
        what: what was done.
        users: the size of the sample.
        seconds, cpu_seconds, peak_mb: of the pipeline, medians and the highest peak; none if it was not run.
        rival: with what it is compared.
        rival_seconds, rival_cpu_seconds, rival_peak_mb: of the rival.
        ratio: the pipeline's time as a share of the rival's.
        target: what is asked for; blank where nothing is.
        met: whether it is; none where nothing is asked for at this size.
        runs: how many runs the medians are of.
        note: what else there is to know, such as why a row could not run.
    """

    what: str
    users: int
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_mb: float | None = None
    rival: str = ""
    rival_seconds: float | None = None
    rival_cpu_seconds: float | None = None
    rival_peak_mb: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None
    runs: int = 0
    note: str = ""

    def judged(self, met: bool) -> "Row":
        """The same row with a verdict."""
        return replace(self, met=met)


def compared(
    what: str,
    users: int,
    ours: Measured,
    rival: str,
    theirs: Measured,
    *,
    target: str = "",
    most: float | None = None,
    note: str = "",
) -> Row:
    """A row for two ways that were measured.

    Args:
        what: was done, as in `Row`.
        users: how many users the data has.
        ours: of the pipeline.
        rival: the other's name.
        theirs: of the other.
        target: in words.
        note: what else belongs to the figure.
        most: the largest ratio that meets the target; none where it is not met by a ratio, or not at this size.
    """
    ratio = ours.seconds / theirs.seconds
    return Row(
        what,
        users,
        ours.seconds,
        ours.cpu_seconds,
        ours.peak_mb,
        rival,
        theirs.seconds,
        theirs.cpu_seconds,
        theirs.peak_mb,
        ratio,
        target,
        None if most is None else ratio <= most,
        ours.runs,
        note,
    )


def show(rows: list[Row], console: Console) -> None:
    """Print the rows."""
    table = Table(
        "what", "users", "pipeline", "rival", "of the rival's time", "target", "met", "note", title="Benchmarks"
    )
    for row in rows:
        table.add_row(
            row.what,
            f"{row.users:,}",
            _figures(row.seconds, row.cpu_seconds, row.peak_mb),
            f"{row.rival}\n{_figures(row.rival_seconds, row.rival_cpu_seconds, row.rival_peak_mb)}".strip(),
            "" if row.ratio is None else f"{row.ratio:.3g}",
            row.target,
            {None: "", True: "yes", False: "[bold]no[/bold]"}[row.met],
            row.note,
        )
    console.print(table)
    missed = [f"{row.what}, {row.users:,} users" for row in rows if row.met is False]
    console.print(f"not met: {'; '.join(missed) or 'none'}")
    unrun = [f"{row.what}, {row.users:,} users" for row in rows if row.seconds is None and row.met is None]
    console.print(f"could not run: {'; '.join(unrun) or 'none'}")


def markdown(rows: list[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "| what | users | pipeline | rival | of the rival's time | target | met |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rival = f"{row.rival}: {_figures(row.rival_seconds, row.rival_cpu_seconds, row.rival_peak_mb)}".strip(": ")
        cells = (
            f"{row.what}{f' ({row.note})' * bool(row.note)}",
            f"{row.users:,}",
            _figures(row.seconds, row.cpu_seconds, row.peak_mb),
            rival,
            "" if row.ratio is None else f"{row.ratio:.3g}",
            row.target,
            {None: "", True: "yes", False: "**no**"}[row.met],
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _figures(seconds: float | None, cpu_seconds: float | None, peak_mb: float | None) -> str:
    parts = [
        None if seconds is None else _time(seconds),
        None if cpu_seconds is None else f"{_time(cpu_seconds)} of CPU",
        None if peak_mb is None else f"{peak_mb:,.0f} MB",
    ]
    return ", ".join(part for part in parts if part)


def _time(seconds: float) -> str:
    return f"{seconds:,.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.1f} ms"


def write(rows: list[Row], path: Path) -> None:
    """Write the rows as JSON, with the machine and the versions they were measured on."""
    machine = {
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "packages": {name: version(name) for name in PACKAGES},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")


if __name__ == "__main__":
    print(markdown([Row(**row) for path in sys.argv[1:] for row in json.loads(Path(path).read_text())["rows"]]))
