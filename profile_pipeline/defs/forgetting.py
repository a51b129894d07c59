"""Erasing a person from the UI.

What belongs here: the job and what it reports. What does not: how (`forgetting/`).
"""

import dagster as dg
from pydantic import Field

from profile_pipeline.defs.daily import WAREHOUSE_POOL, failing_well
from profile_pipeline.defs.reporting import table_of
from profile_pipeline.errors import PipelineError
from profile_pipeline.forgetting.dagster_state import purge_dagster_state
from profile_pipeline.forgetting.erasure import Receipt, forget, receipt_path
from profile_pipeline.forgetting.needles import Needles
from profile_pipeline.index.embedding import Embedder
from profile_pipeline.settings import Settings


class ForgetConfig(dg.Config):
    """Whom to erase. What is written here is erased from the record of the run, too, once it is confirmed."""

    user: str = Field(description="An id, or an e-mail address.")
    confirmed: bool = Field(False, description="It cannot be undone: nothing is erased unless this is true.")
    unseen: bool = Field(False, description="Whether to keep somebody out of whom nothing is known here yet.")


@dg.op(pool=WAREHOUSE_POOL)
def erase_person(
    context: dg.OpExecutionContext,
    config: ForgetConfig,
    embedder: dg.ResourceParam[Embedder],
    settings: dg.ResourceParam[Settings],
) -> None:
    """Erase a person from everything below the home, and keep them out from now on.

    A second run finds nothing. One that is broken off is finished by the next build, or by another run.
    """
    with failing_well(context):
        if not config.confirmed:
            raise PipelineError("nothing is erased unless the run config says `confirmed: true`")
        try:
            receipt = forget(
                settings,
                config.user,
                embedder,
                is_unseen=config.unseen,
                on_stage=lambda stage: context.log.info(f"erasure: {stage}"),
            )
        finally:
            # The run's own config has it, also when the run fails.
            purge_dagster_state(settings, Needles([config.user]))
        context.add_output_metadata(receipt_metadata(settings, receipt))
        if receipt.problem:
            raise PipelineError(receipt.problem)


def receipt_metadata(settings: Settings, receipt: Receipt) -> dict[str, dg.MetadataValue]:
    """What was done in each place, and what is out of reach."""
    places = [
        {"place": place, **{name: counts.get(name, 0) for name in ("removed", "redacted", "rewritten")}}
        for place, counts in receipt.places.items()
    ]
    return {
        "places": table_of(places),
        "files_looked_through": dg.MetadataValue.int(receipt.files_looked_through),
        "remarks": dg.MetadataValue.json(receipt.remarks),
        "out_of_reach": dg.MetadataValue.json(receipt.out_of_reach),
        "receipt": dg.MetadataValue.path(receipt_path(settings, receipt)),
    }


@dg.job(description="Erase a person from everything below the home, for good, and keep them out from now on.")
def forget_user() -> None:
    """What `profile-pipeline forget` does."""
    erase_person()
