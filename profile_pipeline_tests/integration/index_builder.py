"""Builds an index in a process of its own, which can kill itself at a stage, as a power cut would, or wait there.

Usage: `python -m profile_pipeline_tests.integration.index_builder FOLDER PEOPLE AGE [OPTION …]`

    kill STAGE          kills itself when the stage is done; `embedding` is after the first piece of the texts
    kill STAGE SECONDS  kills itself so much later, in the middle of what comes next
    wait STAGE          writes a line when the stage is done, and goes on when it is given one
    forgetting          leaves no other version on disk

Each build compacts and cleans up, which otherwise only every few do.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from profile_pipeline.errors import PipelineError
from profile_pipeline.index import versions
from profile_pipeline.index.build import Stage, build
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.vectors import PIECE
from profile_pipeline_tests.indexing import AS_OF, BagOfWords, people, profiles


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    folder, count, age, *options = sys.argv[1:]
    forgetting = "forgetting" in options
    what, stage_wanted, *delay = [option for option in options if option != "forgetting"] or ["build", ""]
    versions.MAX_FRAGMENTS = 0

    def on_stage(stage: Stage) -> None:
        if stage != stage_wanted:
            return
        if what == "wait":
            print(stage, flush=True)
            sys.stdin.readline()
        elif delay:
            threading.Timer(float(delay[0]), kill).start()
        else:
            kill()

    def on_progress(done: int, total: int) -> None:
        if stage_wanted == "embedding" and done > PIECE:
            kill()

    wanted = profiles(*people(int(count), age=int(age)))
    try:
        build(
            IndexStore(Path(folder)),
            wanted,
            BagOfWords(),
            as_of=AS_OF,
            forgetting=forgetting,
            on_stage=on_stage,
            on_progress=on_progress,
        )
    except PipelineError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
