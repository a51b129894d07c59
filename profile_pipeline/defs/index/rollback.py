"""Serving an earlier version of the index again.

What belongs here: the job. What does not: how a version is served (`index/versions.py`).
"""

import dagster as dg
from pydantic import Field

from profile_pipeline.defs.daily import failing_well
from profile_pipeline.defs.reporting import index_history_metadata, index_version_metadata
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.versions import history, roll_back
from profile_pipeline.settings import Settings


class RollbackConfig(dg.Config):
    """What a run of the job may choose."""

    version: int | None = Field(
        None,
        description="The version to serve, as the history of profile_index lists them; the one before unless given.",
    )


@dg.op
def serve_an_earlier_version(
    context: dg.OpExecutionContext, config: RollbackConfig, settings: dg.ResourceParam[Settings]
) -> None:
    """Serve a version again that was served before; the next build brings it up to date with the profiles."""
    store = IndexStore(settings.index_path)
    with failing_well(context):
        now = roll_back(store, config.version)
    context.add_output_metadata(
        {**index_version_metadata(now), "history": index_history_metadata(history(store), now.version)}
    )


@dg.job(description="Serve an earlier version of the index again, at once; the version served now is kept.")
def index_rollback() -> None:
    """What `profile-pipeline index rollback` does."""
    serve_an_earlier_version()
