"""Virtual environments of the rivals, each with its own packages.

What belongs here: making them on demand. What does not: `requirements.lock`, which no rival's package enters.
"""

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
NEEDS = {"rivals": "pandas, Polars and DuckDB", "dlt": "dlt", "feast": "Feast"}
"""Environment to what is in it."""


class RivalMissing(Exception):  # noqa: N818  # it says what is the matter
    """A rival is not installed; the message says why."""


def python_of(name: str, folder: Path, *, installs: bool) -> Path:
    """The interpreter of an environment.

    Args:
        name: `rivals`, `dlt` or `feast`.
        folder: where the environments are.
        installs: whether to make it when it is not there or has other packages.

    Raises:
        RivalMissing: it is not there, or could not be made.
    """
    wanted = (REQUIREMENTS / f"{name}.txt").read_text()
    home = folder / name
    python, stamp = home / "bin" / "python", home / "installed.txt"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    if not installs:
        raise RivalMissing(f"{NEEDS[name]} not installed; `make bench` installs it")
    commands = [
        [sys.executable, "-m", "venv", "--clear", str(home)],
        [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", f"{REQUIREMENTS / name}.txt"],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RivalMissing(f"{NEEDS[name]} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    # Last, so that an interrupted installation is taken up again.
    stamp.write_text(wanted)
    return python
