"""Where records come from, behind one protocol: read a window of days; tell which changed since a cursor.

No features here, and no Dagster: a source hands out documents as they are and knows nothing of what follows.
"""

from profile_pipeline.errors import PipelineError
from profile_pipeline.settings import Settings
from profile_pipeline.sources.base import Documents, Source
from profile_pipeline.sources.files import FileSource


def source_for(kind: str, settings: Settings) -> Source:
    """The source that the settings name for a kind of record.

    Raises:
        PipelineError: they name one that this version does not have; files are never read in its stead.
    """
    if kind == "messages":
        variable, is_set = "AIRTABLE_API_KEY", settings.airtable_api_key is not None
    else:
        variable, is_set = "MONGODB_URI", settings.mongodb_uri is not None
    if is_set:
        raise PipelineError(
            f"{variable} is set, but this version reads {kind} from files only; unset it to use the files in "
            f"{settings.source_dir}"
        )
    return FileSource.from_settings(settings)


__all__ = ["Documents", "FileSource", "Source", "source_for"]
