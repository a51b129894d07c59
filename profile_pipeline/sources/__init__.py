"""Where records come from: folders of files, and live systems that are asked for what changed.

No features here, and no Dagster: a source hands out documents as they are and knows nothing of what follows.
"""
# ruff: noqa: PLC0415  # a driver is loaded where its system is in use

from profile_pipeline.settings import Settings
from profile_pipeline.sources.files import FileSource
from profile_pipeline.sources.live import LiveSource
from profile_pipeline.tables import RAW_TABLES


def source_for(kind: str, settings: Settings) -> FileSource | LiveSource:
    """The source that the settings name for a kind of record. Nothing is connected before it is read.

    Raises:
        PipelineError: a live source's settings are incomplete.
    """
    if kind in kinds_from_files(settings):
        return FileSource(settings.source_dir)
    return live_source(kind, settings)


def kinds_from_files(settings: Settings) -> tuple[str, ...]:
    """The kinds of record for which no live source is set."""
    return tuple(
        kind
        for kind in RAW_TABLES
        if (settings.airtable_api_key if kind == "messages" else settings.mongodb_uri) is None
    )


def live_source(kind: str, settings: Settings) -> LiveSource:
    """The live system for a kind of record, whether it is in use or not. Nothing is connected before it is read.

    Raises:
        PipelineError: its settings are incomplete.
    """
    if kind == "messages":
        from profile_pipeline.sources.airtable import AirtableSource

        return AirtableSource.from_settings(settings)
    from profile_pipeline.sources.mongodb import MongoSource

    return MongoSource.from_settings(settings)


__all__ = ["FileSource", "LiveSource", "kinds_from_files", "live_source", "source_for"]
