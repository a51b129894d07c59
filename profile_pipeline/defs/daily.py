"""What all daily assets have in common.

What belongs here: the decorator that they share, and how an error of the pipeline becomes one of Dagster. What
does not: any one asset, and what is reported (`reporting.py`).
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from profile_pipeline.defs.partitions import DAILY, ONE_RUN
from profile_pipeline.defs.reporting import column_schema
from profile_pipeline.errors import PipelineError, TransientError

WAREHOUSE_POOL = "warehouse"
"""Held by each step that opens the warehouse; its limit of one keeps runs from meeting at DuckDB's lock."""

OWNERS = ["team:data-platform"]

MAX_RETRIES = 5
"""With waits that double from a second, what passes within half a minute is outlasted."""


def daily_asset(*, group: str, kinds: set[str], **options: Any) -> Callable[..., dg.AssetsDefinition]:
    """An asset by day whose partitions are computed in one run and whose docstring is its description.

    Args:
        group: the layer.
        kinds: what it is made with, for the UI.
        options: whatever else `dagster.asset` takes.
    """

    def decorate(compute: Callable[..., Any]) -> dg.AssetsDefinition:
        return dg.asset(
            compute,
            partitions_def=DAILY,
            backfill_policy=ONE_RUN,
            group_name=group,
            kinds=kinds,
            owners=OWNERS,
            pool=WAREHOUSE_POOL,
            metadata=column_schema(compute.__name__),
            **options,
        )

    return decorate


@contextmanager
def failing_well(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext | dg.OpExecutionContext,
) -> Iterator[None]:
    """Retry what can pass, with growing waits and jitter; fail at once, in one sentence, on what cannot."""
    try:
        yield
    except TransientError as error:
        context.log.warning(f"{error} (attempt {context.retry_number + 1} of {MAX_RETRIES + 1})")
        wait = 2**context.retry_number * random.uniform(0.5, 1.5)  # noqa: S311  # spreads retries, no secret
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=wait) from error
    except PipelineError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
