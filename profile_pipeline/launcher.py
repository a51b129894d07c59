"""Launching runs, and noticing that a run is gone with its code server.

Outside `defs/`, because loading definitions should not load a launcher.

What belongs here: asking whether a run's server is still there. What does not: when that is asked, and what follows
(`dagster.yaml`: the run fails, and is started once more).
"""

import json
import socket

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

PATIENCE_SECONDS = 5
"""How long a server on another host may take to answer; it is not taken for gone unless it refuses."""


class WatchedRunLauncher(DefaultRunLauncher):
    """Dagster's own launcher, which can also tell that the server which runs a run is gone.

    A server that lives reports itself that a run's process died. After a power failure nobody does: the run would stay
    "started", and those behind it in the queue.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Failed when nothing listens where the run was started; a run without a server counts as running."""
        place = run.tags.get(GRPC_INFO_TAG)
        if place is None or _is_listening(json.loads(place)):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "the code server that ran it is gone")


def _is_listening(place: dict[str, str | int]) -> bool:
    try:
        if path := place.get("socket"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE_SECONDS)
                connection.connect(str(path))
        else:
            address = (str(place["host"]), int(place["port"]))
            socket.create_connection(address, timeout=PATIENCE_SECONDS).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:
        # Too busy, or out of reach for now: that is no proof.
        return True
    return True
