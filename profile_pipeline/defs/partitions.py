"""Days as partitions.

What belongs here: which partitions exist, and the window of days that a run works on. What does not: what a
partition holds, which each asset says.
"""

from datetime import timedelta

import dagster as dg

from profile_pipeline.settings import load_settings
from profile_pipeline.window import Window

SETTINGS = load_settings()
"""Read once, when the code location loads: partitions cannot change while it runs."""

DAILY = dg.DailyPartitionsDefinition(start_date=SETTINGS.start_date.isoformat(), timezone=SETTINGS.timezone)

ONE_RUN = dg.BackfillPolicy.single_run()
"""A range is one run and one pass. All assets share the policy: mixed, Dagster falls back to small runs."""


def window_of(context: dg.AssetExecutionContext) -> Window:
    """The days that a run covers, be it one partition or a range."""
    covered = context.partition_time_window
    return Window(covered.start.date(), covered.end.date() - timedelta(days=1))
