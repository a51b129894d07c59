"""Builds the tables of a home in a process of its own, which can kill itself after a step, as a power cut would.

Usage: `python -m profile_pipeline_tests.integration.warehouse_builder HOME FIRST_DAY LAST_DAY [STEP [DELAY_SECONDS]]`
"""

import os
import signal
import sys
import threading
from datetime import date
from pathlib import Path

from profile_pipeline.build import build
from profile_pipeline.settings import Settings
from profile_pipeline.warehouse import open_warehouse
from profile_pipeline.window import Window

START = date(2024, 1, 1)


def settings_of(home: Path) -> Settings:
    """A home with its source within it."""
    return Settings(
        home=home,
        source_dir=home / "source",
        start_date=START,
        timezone="UTC",
        mongodb_uri=None,
        airtable_api_key=None,
    )


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    home, first, last, *rest = sys.argv[1:]

    def on_progress(step: str, _: object) -> None:
        if rest and step == rest[0]:
            if len(rest) == 1:
                kill()
            # DuckDB lets other threads run while it works, so this strikes in the middle of a query.
            threading.Timer(float(rest[1]), kill).start()

    settings = settings_of(Path(home))
    with open_warehouse(settings) as warehouse:
        build(warehouse, settings, Window(date.fromisoformat(first), date.fromisoformat(last)), on_progress)


if __name__ == "__main__":
    main()
