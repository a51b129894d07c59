"""The code location: everything that Dagster loads.

What belongs here: putting `defs/` together with the executor. What does not: any definition of its own.
"""

from pathlib import Path

import dagster as dg

from profile_pipeline.garbage import collect_rarely

collect_rarely()


@dg.definitions
def defs() -> dg.Definitions:
    """All assets, checks, jobs, schedules, sensors and resources.

    Steps run in one process: DuckDB has one writer and uses all cores within a step, and starting a process
    for each of a dozen small steps takes longer than the steps.
    """
    found = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    return dg.Definitions.merge(found, dg.Definitions(executor=dg.in_process_executor))
