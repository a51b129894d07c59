"""The form in which files hand over documents.

What belongs here: a stream of documents that DuckDB scans. What does not: any one source.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from profile_pipeline.errors import PipelineError

DOCUMENT_SCHEMA = pa.schema([("document", pa.large_string()), ("source", pa.large_string()), ("position", pa.int64())])
"""The document as JSON text, where it was read, such as `users.jsonl:17`, and its order of arrival."""


@dataclass
class Documents:
    """A stream of documents that can be read once, in batches of bounded size.

    `is_missing` says that the source has nothing under that kind's name, which differs from an empty file.
    What goes wrong while streaming surfaces inside the engine that reads, with its words; `error` keeps the
    cause.
    """

    batches: Iterator[pa.RecordBatch]
    is_missing: bool = False
    error: PipelineError | None = field(default=None, init=False)

    def reader(self) -> pa.RecordBatchReader:
        """The stream as DuckDB scans it."""
        return pa.RecordBatchReader.from_batches(DOCUMENT_SCHEMA, self._remembering())

    def _remembering(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self.batches
        except PipelineError as error:
            self.error = error
            raise
