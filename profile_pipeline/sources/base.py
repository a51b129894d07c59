"""What every source can do.

What belongs here: the protocol and the form in which documents are handed over. What does not: any one
source.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

import pyarrow as pa

from profile_pipeline.errors import PipelineError
from profile_pipeline.window import Window

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


class Source(Protocol):
    """A place that records come from."""

    def read(self, kind: str, window: Window) -> Documents:
        """The documents of a kind that may concern the window: all that do, and others where that is cheaper.

        Raises:
            PipelineError: the source cannot be read at all.
        """
        ...

    def changed_days(self, cursor: str | None) -> tuple[list[date], str]:
        """The days, sorted, whose records differ from those at the cursor, and the cursor of now.

        A day is concerned by records that came, changed or went. Without a cursor, every day with records is.

        Raises:
            PipelineError: the source cannot be read at all, or the cursor is no cursor of this source.
        """
        ...
