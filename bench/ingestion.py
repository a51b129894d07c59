"""From JSON Lines to the log, beside dlt on the same files.

What belongs here: reading the files of all kinds into an empty warehouse. What does not: live sources
(`mongodb_ingestion.py`).

The pipeline parses, normalises and checks each record, quarantines what breaks its model, looks for versions that it
holds already, and stores the document beside the columns; dlt infers types and stores columns.
"""

from collections.abc import Iterator

from bench.environments import RivalMissing
from bench.harness import WayFailed, measured
from bench.profiles import ingested, settings_of
from bench.suite import LAST_DAY, Bench
from bench.table import Row, compared
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.warehouse import open_warehouse

LIMIT = 1 / 2
"""Twice as fast as dlt's rows is half their time."""


def rows(bench: Bench) -> Iterator[Row]:
    """The rows of a size."""
    home = bench.empty("ingestion")
    source = bench.json_lines
    ours = measured(ingested, {"home": home, "source": source, "start": LAST_DAY}, runs=bench.runs)
    with open_warehouse(settings_of(home), read_only=True) as warehouse:
        records = sum(warehouse.scalar(f"SELECT count(*) FROM {table.name}") for table in RAW_TABLES.values())
    what = "ingestion of JSON Lines"
    rate = f"{records / ours.seconds:,.0f} records a second"
    try:
        python = bench.python("dlt")
    except RivalMissing as missing:
        yield Row(what, bench.users, ours.seconds, ours.cpu_seconds, ours.peak_mb, note=f"{rate}; {missing}")
        return
    for name, most, target in (
        ("rows", LIMIT, "at most half the time of dlt's rows"),
        ("arrow", None, "aims at dlt's Arrow tables, which check nothing"),
    ):
        arguments = {"source": source, "out": home / "dlt.duckdb"}
        theirs = measured(f"bench.rivals.dlt_load:{name}", arguments, runs=bench.runs, python=python)
        if theirs.told["records"] != records:
            raise WayFailed(f"dlt loaded {theirs.told['records']} of {records} records")
        note = f"{rate} against {records / theirs.seconds:,.0f}"
        yield compared(what, bench.users, ours, f"dlt, {name}", theirs, target=target, most=most, note=note)
