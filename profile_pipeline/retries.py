"""Trying again what may pass by itself.

What belongs here: how often, and how long it waits in between. What does not: which faults may pass, which whoever
raises them knows (`errors.py`).
"""

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TypeVar

import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from profile_pipeline.errors import TransientError

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

ATTEMPTS = 5
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=2), timedelta(seconds=20)
"""About half a minute of waits in all, in which an election or a restart is over; a step in Dagster is then tried
again as a whole."""


def attempts() -> Iterable[stamina.Attempt]:
    """A few attempts at what may pass by itself, with growing waits and jitter between them."""
    return stamina.retry_context(
        on=TransientError, attempts=ATTEMPTS, wait_initial=FIRST_WAIT, wait_max=LONGEST_WAIT, timeout=None
    )


def retried(ask: Callable[[], Answer]) -> Answer:
    """The answer to a question, which is asked again while a fault that may pass comes instead."""
    for attempt in attempts():
        with attempt:
            return ask()
    raise AssertionError("the last attempt answers or raises")


def _note_retry(details: RetryDetails) -> None:
    logger.warning("%s; it is tried again in %.0f s", details.caused_by, details.wait_for)


# The library would note it through structlog where that is installed, on stdout, where data goes.
set_on_retry_hooks([_note_retry])
