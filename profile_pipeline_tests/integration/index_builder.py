"""Builds an index in a process of its own, which can kill itself at a stage, as a power cut would.

Usage: `python -m profile_pipeline_tests.integration.index_builder FOLDER PEOPLE AGE [STAGE [DELAY_SECONDS]]`

The stage `embedding` is in the middle: after the first piece of the texts.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from profile_pipeline.index.build import Stage, build
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.vectors import PIECE
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, people, profiles


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    folder, count, age, *rest = sys.argv[1:]

    def on_stage(stage: Stage) -> None:
        if rest and stage == rest[0]:
            if len(rest) == 1:
                kill()
            threading.Timer(float(rest[1]), kill).start()

    def on_progress(done: int, total: int) -> None:
        if rest and rest[0] == "embedding" and done > PIECE:
            kill()

    wanted = profiles(*people(int(count), age=int(age)))
    build(IndexStore(Path(folder)), wanted, BagOfWords(), as_of=AS_OF, on_stage=on_stage, on_progress=on_progress)


if __name__ == "__main__":
    main()
