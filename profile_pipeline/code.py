"""Which code a process runs.

What belongs here: telling it from other code, to know whether what was made by it is still right. What does not:
numbers of versions (`pyproject.toml`).
"""

import hashlib
from importlib.metadata import version
from pathlib import Path


def _digest(*libraries: str) -> str:
    digest = hashlib.sha256("".join(map(version, libraries)).encode())
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


CODE = _digest("ibis-framework", "sqlglot")
"""A digest of this package and of what compiles its expressions, as they were when this module was imported.

Not as they are when it is asked for: files may be exchanged under a process that runs for hours.
"""
