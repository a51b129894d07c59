"""Measuring one way of doing something in a process of its own.

What belongs here: starting the process, in this environment or another one, and what is measured about it. What does
not: what is done, which the modules of the suites say. Other environments lack the pipeline's packages, so nothing but
the standard library is imported here.

A way is a function that yields once: what comes before is preparation, what comes after is measured, and what it
returns is told beside. So `import` of a library and the opening of a file count or not, as each comparison says.
"""

import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Way = Callable[..., Generator[None, None, Any]]

ROOT = Path(__file__).parents[1]
KILOBYTES_PER_MB = 1024


class WayFailed(Exception):  # noqa: N818  # it says what happened
    """A way ended with an error; the message is the last line that it wrote."""


@dataclass(frozen=True)
class Measured:
    """What was measured of one way: medians of seconds, the highest peak of memory, and what it told the last time.

    Attributes:
        seconds: by the clock on the wall.
        cpu_seconds: of all threads, user and system; it says more than the wall where other processes run.
        peak_mb: the largest resident set of the process, preparation included.
        told: what the way returned.
        runs: how many were measured.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    told: dict[str, Any]
    runs: int


def measured(way: Way | str, arguments: dict[str, Any], *, runs: int = 1, python: Path | None = None) -> Measured:
    """Run a way in processes of its own, one after the other.

    Args:
        way: the function, or `module:function` for one that only the other environment can import.
        arguments: by name; whatever JSON can hold, and paths and dates as text.
        runs: how many times.
        python: the interpreter of the environment; by default this one.

    Raises:
        WayFailed: it ended with an error.
    """
    name = way if isinstance(way, str) else f"{_module_of(way)}:{way.__name__}"
    command = [str(python or sys.executable), "-m", "bench.harness", name, json.dumps(arguments, default=str)]
    found = [_once(command) for _ in range(runs)]
    return Measured(
        seconds=statistics.median(each["seconds"] for each in found),
        cpu_seconds=statistics.median(each["cpu_seconds"] for each in found),
        peak_mb=max(each["peak_mb"] for each in found),
        told=found[-1]["told"],
        runs=runs,
    )


def _module_of(way: Way) -> str:
    """The module to import the way from, also where it is the program that runs."""
    spec = sys.modules[way.__module__].__spec__
    return spec.name if spec else way.__module__


def _once(command: list[str]) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    # Where imports are measured, they are to be compiled already, as a user's are from the second run on.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WayFailed((done.stderr.strip() or f"ended with {done.returncode}").splitlines()[-1])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a way in this process and measure it."""
    module, function = name.split(":")
    way = getattr(importlib.import_module(module), function)(**arguments)
    next(way)
    cpu_before, started = _cpu_seconds(), time.perf_counter()
    told: dict[str, Any] = {}
    try:
        next(way)
    except StopIteration as end:
        told = end.value or {}
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "cpu_seconds": _cpu_seconds() - cpu_before,
        "peak_mb": _peak_mb(),
        "told": told,
    }


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_mb() -> float:
    """The largest resident set of this process.

    Of Linux from the kernel's own page: what `getrusage` tells there of a new process begins with that of the one that
    started it. macOS counts in bytes.
    """
    if not sys.platform.startswith("linux"):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KILOBYTES_PER_MB**2
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / KILOBYTES_PER_MB


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], json.loads(sys.argv[2])), default=str))
    sys.stdout.flush()
    # All is told. Some libraries print a page about their own types when the interpreter ends.
    os._exit(0)
