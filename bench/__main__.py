"""All comparisons as one table, printed and written as JSON.

    python -m bench --users 10000 200000 --runs 3
    python -m bench --quick

`--quick` takes a small sample and one run, and installs nothing: rivals that are not there are told so.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from bench import embedding, ingestion, joining, nightly, profiles, reading, searching, skewed
from bench.harness import ROOT, WayFailed
from bench.suite import Bench, Suite
from bench.table import Row, show, write

SUITES: dict[str, Suite] = {
    "profiles": profiles.rows,
    "joining": joining.rows,
    "ingestion": ingestion.rows,
    "reading": reading.rows,
    "skewed": skewed.rows,
    "nightly": nightly.rows,
    "embedding": embedding.rows,
    "searching": searching.rows,
}
SIZES = [10_000, 200_000]
QUICK_SIZE = 500
"""Few enough for all rows within two minutes."""


def main(arguments: list[str] | None = None) -> None:
    """Run what is asked for; exit with 1 if a way failed or differs from the pipeline."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, nargs="+", help=f"sizes of the sample (default: {SIZES}, or {QUICK_SIZE})")
    parser.add_argument("--runs", type=int, default=3, help="how many runs the medians are of")
    parser.add_argument("--only", nargs="+", choices=SUITES, default=[*SUITES], help="which comparisons")
    parser.add_argument("--quick", action="store_true", help="a small sample, one run, nothing installed")
    parser.add_argument("--folder", type=Path, default=ROOT / "data" / "bench", help="samples and environments")
    parser.add_argument("--out", type=Path, help="the table as JSON (default: results.json in the folder)")
    given = parser.parse_args(arguments)
    sizes = sorted(given.users or ([QUICK_SIZE] if given.quick else SIZES))
    runs = 1 if given.quick else given.runs
    console = Console(stderr=True, width=200)
    rows: list[Row] = []
    failed = False
    for users in sizes:
        bench = Bench(users, runs, given.folder.resolve(), installs=not given.quick)
        bench.clear()
        for name in given.only:
            console.print(f"{name}, {users:,} users", style="dim")
            try:
                for row in SUITES[name](bench):
                    rows.append(row)  # noqa: PERF402  # those before a failure count
            except WayFailed as failure:
                failed = True
                rows.append(Row(name, users, met=False, note=f"failed: {failure}"))
    rows.extend(profiles.growth(rows))
    show(rows, console)
    results = given.out or given.folder / "results.json"
    write(rows, results)
    console.print(f"written to {results}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
