"""Erases a person in processes that kill themselves, each one stage later than the one before, as a power cut would.

Usage: `python -m profile_pipeline_tests.integration.eraser HOME USER`

It prints each stage with the signal that ended its process. A stage is killed before it is noted as finished, so that
the next process does it again. The processes are forked, before anything is opened, because importing takes longer.
"""

import os
import signal
import sys
from datetime import date
from pathlib import Path

from profile_pipeline.forgetting.erasure import Stage, forget
from profile_pipeline.settings import Settings
from profile_pipeline_tests.indexing import BagOfWords


def erase(home: Path, user: str, killed_after: Stage) -> None:
    def on_stage(stage: Stage) -> None:
        if stage == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = Settings(home=home, source_dir=home.parent / "source", start_date=date(2024, 1, 1))
    forget(settings, user, BagOfWords(), on_stage=on_stage)


def main() -> None:
    home, user = sys.argv[1:]
    for stage in Stage:
        if (process := os.fork()) == 0:
            erase(Path(home), user, stage)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        print(stage, os.WTERMSIG(status), flush=True)


if __name__ == "__main__":
    main()
