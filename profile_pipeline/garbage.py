"""How often Python looks for garbage.

What belongs here: the one setting, which the command line and Dagster's code location make when they start. What does
not: a library's import must not make it.
"""

import gc

THRESHOLDS = (50_000, 50, 50)
"""New objects after which Python looks, and how much rarer among those that stayed. Expressions are many small objects
that all stay for a while: with Python's own 700 and 10, a sixth of a night on the sample is spent on looking."""


def collect_rarely() -> None:
    """Have this process look for garbage less often."""
    gc.set_threshold(*THRESHOLDS)
