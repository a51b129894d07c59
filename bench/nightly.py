"""The night's job on the committed sample, beside the same steps without Dagster.

What belongs here: the row. What does not: the ways (`starting.py`), which import nothing before they are measured.
"""

from collections.abc import Iterator

from bench.harness import measured
from bench.suite import Bench
from bench.table import Row, compared
from profile_pipeline.cli.demonstration import COMMITTED_SAMPLE, REPOSITORY, SAMPLE_DAYS

MOST_SECONDS = 8.0
SAMPLE_USERS = 200
"""Of the committed sample, whatever the size of the others."""


def rows(bench: Bench) -> Iterator[Row]:
    """The row, the same for every size."""
    days = {"source": COMMITTED_SAMPLE, "start": SAMPLE_DAYS.start, "end": SAMPLE_DAYS.end}
    ways = {}
    for name, more in (("job", {"repository": REPOSITORY}), ("functions", {})):
        found = [
            measured(f"bench.starting:{name}", {"home": bench.empty(name), **days, **more}) for _ in range(bench.runs)
        ]
        ways[name] = sorted(found, key=lambda each: each.seconds)[len(found) // 2]
    row = compared(
        "nightly_profiles on the sample",
        SAMPLE_USERS,
        ways["job"],
        "the same steps without Dagster",
        ways["functions"],
        target=f"under {MOST_SECONDS:.0f} s",
        note="imports included, without the index",
    )
    yield row.judged(ways["job"].seconds < MOST_SECONDS)
