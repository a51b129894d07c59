"""The file source: a folder of JSON lines, plain or compressed, and Parquet files.

What belongs here: finding the files, whether they changed, and cutting them into a stream of documents that DuckDB
scans. What does not: what a document means (`records/`), and what of it is new (`ingestion.py`, `discovery.py`).
"""

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.records.dialect import PLAIN
from profile_pipeline.records.models import MODELS
from profile_pipeline.sources.description import SAMPLE_DOCUMENTS, Description, filled_fields

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
BLOCK_BYTES = 4 << 20
"""Enough lines for a batch to keep a core busy, small enough that all cores get some."""
PARQUET_BATCH_ROWS = 10_000
WRITTEN_SECONDS = 600
"""A file that nobody wrote to for so long is not being written any more."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
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


@dataclass(frozen=True)
class FileSource:
    """A folder with any of users, orders, events and messages, each as .jsonl, .jsonl.gz or .parquet.

    A kind that has no file is an empty source. One that has several is read from all of them, in that order.
    """

    folder: Path

    def read(self, kind: str) -> Documents:
        """All documents of a kind, since a file has no index of days.

        A line that is not UTF-8 comes as text that no reader takes for JSON.

        Raises:
            PipelineError: the folder is missing or holds no file of any kind.
        """
        files = self.files()[kind]
        return Documents(_documents(files), is_missing=not files)

    def files(self) -> dict[str, list[Path]]:
        """The files of each kind.

        Raises:
            PipelineError: the folder is missing, may not be entered, or holds no file of any kind.
        """
        with _reading(self.folder):
            is_there = self.folder.is_dir()
        if not is_there:
            raise PipelineError(
                f"the source folder {self.folder} does not exist; set PROFILE_PIPELINE_SOURCE_DIR to one "
                f"with {', '.join(MODELS)} as {', '.join(SUFFIXES)}"
            )
        with _reading(self.folder):
            files = {
                kind: [path for suffix in SUFFIXES if (path := self.folder / f"{kind}{suffix}").is_file()]
                for kind in MODELS
            }
        if not any(files.values()):
            raise PipelineError(
                f"the source folder {self.folder} has none of {', '.join(MODELS)} as {', '.join(SUFFIXES)}; "
                "put at least one there"
            )
        return files

    def describe(self, kind: str) -> Description:
        """What the files of a kind hold; the newest change is that of a file.

        Raises:
            PipelineError: the folder is missing or holds no file of any kind, or a file is damaged.
        """
        files = self.files()[kind]
        count, sample = 0, []  # type: int, list[Any]
        for batch in _documents(files):
            sample += batch.column("document").slice(0, SAMPLE_DOCUMENTS - len(sample)).to_pylist()
            count += batch.num_rows
        changed = max((path.stat().st_mtime for path in files), default=None)
        return Description(
            name=f"files:{', '.join(path.name for path in files) or self.folder}",
            is_there=bool(files),
            count=count,
            newest=None if changed is None else datetime.fromtimestamp(changed, UTC).replace(tzinfo=None),
            sampled=len(sample),
            filled=filled_fields(kind, [fields for text in sample if (fields := _fields(text))], PLAIN),
        )

    def stamps(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Time of change, in nanoseconds, and size of each kind's files, by name: while these stay, so do the files.

        Raises:
            PipelineError: the folder is missing or holds no file of any kind.
        """
        return {kind: {path.name: _stamp(path) for path in files} for kind, files in self.files().items()}


def _fields(text: str) -> dict[str, Any] | None:
    """A line's fields; None for one that the ingestion will reject."""
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _stamp(path: Path) -> tuple[int, int]:
    with _reading(path):
        status = path.stat()
    return status.st_mtime_ns, status.st_size


def _documents(files: list[Path]) -> Iterator[pa.RecordBatch]:
    arrived = 0
    for path in files:
        for lines, texts in _texts(path):
            count = len(texts)
            origin = pc.binary_join_element_wise(
                pa.scalar(path.name, pa.large_string()),
                lines.cast(pa.large_string()),
                pa.scalar(":", pa.large_string()),
            )
            positions = pa.arange(arrived, arrived + count)
            yield pa.RecordBatch.from_arrays([texts, origin, positions], schema=DOCUMENT_SCHEMA)
            arrived += count


def _texts(path: Path) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Line or row numbers, from 1, and texts, in batches.

    Raises:
        TransientError: the file went away, or ends in the middle as one that is still being written does.
        PipelineError: it is damaged.
    """
    with _reading(path):
        if path.suffix == ".parquet":
            yield from _rows(path)
        else:
            with _opened(path) as stream:
                yield from _lines(stream)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Errors of a file or folder as sentences.

    Raises:
        TransientError: the file went away, or ends in the middle as one that is still being written does.
        PipelineError: it is damaged, or may not be read.
    """
    try:
        yield
    except FileNotFoundError:
        raise TransientError(f"{path} went away; it may be being written anew") from None
    except EOFError:
        if time.time() - path.stat().st_mtime > WRITTEN_SECONDS:
            raise PipelineError(
                f"{path} ends too early, and nobody writes it any more; put a whole one there"
            ) from None
        raise TransientError(f"{path} ends too early; it may still be being written") from None
    except (OSError, zlib.error, duckdb.Error) as error:
        raise PipelineError(f"{path} cannot be read: {error}") from None


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _lines(stream: IO[bytes]) -> Iterator[tuple[pa.Array, pa.Array]]:
    line, rest = 1, b""
    is_start = True
    while block := stream.read(BLOCK_BYTES):
        if is_start:
            block, is_start = block.removeprefix(BYTE_ORDER_MARK), False
        cut = block.rfind(b"\n") + 1
        if not cut:
            rest += block
            continue
        yield _split(rest + block[:cut], line)
        line += block.count(b"\n", 0, cut)
        rest = block[cut:]
    if rest:
        yield _split(rest + b"\n", line)


def _split(block: bytes, first_line: int) -> tuple[pa.Array, pa.Array]:
    """The lines of a block that are not blank, with their numbers; the texts share the block's memory."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n")).astype(np.int64)
    # The line end belongs to the text here, as offsets leave no gaps; it is trimmed below.
    offsets = np.concatenate(([0], ends + 1))
    raw = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    )
    try:
        texts = raw.cast(pa.large_string())
    except pa.ArrowInvalid:
        # A backslash and an x is no escape in JSON, so that such a line is sure to be rejected, and readable.
        decoded = [text.decode(errors="backslashreplace") for text in raw.to_pylist()]
        texts = pa.array(decoded, pa.large_string())
    texts = pc.utf8_trim_whitespace(texts)
    is_filled = pc.not_equal(texts, "")
    lines = pa.arange(first_line, first_line + len(ends))
    return lines.filter(is_filled), texts.filter(is_filled)


def _rows(path: Path) -> Iterator[tuple[pa.Array, pa.Array]]:
    row = 1
    with duckdb.connect() as connection:
        # Timestamps with a zone are written out in the session's.
        connection.execute("SET TimeZone = 'UTC'")
        query = "SELECT to_json(row)::VARCHAR FROM read_parquet(?) AS row"
        for batch in connection.sql(query, params=[str(path)]).to_arrow_reader(PARQUET_BATCH_ROWS):
            yield pa.arange(row, row + batch.num_rows), batch.column(0).cast(pa.large_string())
            row += batch.num_rows
