"""Erases a person in a process of its own, which can kill itself after a stage, as a power cut would.

Usage: `python -m profile_pipeline_tests.integration.eraser HOME USER STAGE`
"""

import os
import signal
import sys
from pathlib import Path

from profile_pipeline.forgetting.erasure import Stage, forget
from profile_pipeline_tests.deployment import Deployment
from profile_pipeline_tests.indexing import BagOfWords


def main() -> None:
    home, user, killed_after = sys.argv[1:]

    def on_stage(stage: Stage) -> None:
        if stage == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = Deployment(Path(home), Path(home).parent / "source", max_rejected_share=1.0).settings
    forget(settings, user, BagOfWords(), on_stage=on_stage)


if __name__ == "__main__":
    main()
