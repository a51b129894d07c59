"""The file source: a folder of JSON lines, plain or compressed, and Parquet files.

What belongs here: finding the files, cutting them into documents, and telling which days changed. What does
not: what a document means, apart from its days, which `records/` reads.
"""

import gzip
import json
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.records.dialect import PLAIN
from profile_pipeline.records.models import MODELS, Reading
from profile_pipeline.records.screening import Rules, screen
from profile_pipeline.scratch import scratch_database
from profile_pipeline.settings import Settings
from profile_pipeline.sources.base import DOCUMENT_SCHEMA, Documents
from profile_pipeline.sources.description import SAMPLE_DOCUMENTS, Description, filled_fields
from profile_pipeline.tables import RAW_TABLES
from profile_pipeline.window import Window

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
BLOCK_BYTES = 4 << 20
"""Enough lines for a batch to keep a core busy, small enough that all cores get some."""
PARQUET_BATCH_ROWS = 10_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class FileSource:
    """A folder with any of users, orders, events and messages, each as .jsonl, .jsonl.gz or .parquet.

    A kind that has no file is an empty source. One that has several is read from all of them, in that order.
    """

    folder: Path
    rules: Rules

    @classmethod
    def from_settings(cls, settings: Settings) -> "FileSource":
        """The folder and the rules for reading days that the settings name."""
        reading = Reading(settings.zone, settings.policy.fold_email_aliases)
        return cls(settings.source_dir, Rules(reading, settings.start_date))

    def read(self, kind: str, window: Window) -> Documents:
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
            PipelineError: the folder is missing or holds no file of any kind.
        """
        if not self.folder.is_dir():
            raise PipelineError(
                f"the source folder {self.folder} does not exist; set PROFILE_PIPELINE_SOURCE_DIR to one "
                f"with {', '.join(MODELS)} as {', '.join(SUFFIXES)}"
            )
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

    def changed_days(self, cursor: str | None, kinds: Collection[str] = tuple(RAW_TABLES)) -> tuple[list[date], str]:
        """The days whose records of some kinds came, changed or went since the cursor, and the cursor of now.

        A record concerns the days it is known on and, when that lies after the first of them, its business
        day. Only files whose size or time of change differs from the cursor's are read. What has no readable
        day concerns the first partition.

        Raises:
            PipelineError: the folder or a file cannot be read, or the cursor is none of this source.
        """
        before = _read_cursor(cursor)
        after: dict[str, Any] = {}
        changed: set[str] = set()
        for kind, files in self.files().items():
            if kind not in kinds:
                continue
            stamps = {path.name: _stamp(path) for path in files}
            old = before.get(kind, {"files": {}, "days": {}})
            same = stamps == old["files"]
            days = old["days"] if same else self._digests(kind, files)
            after[kind] = {"files": stamps, "days": days}
            changed |= {day for day in days.keys() | old["days"].keys() if days.get(day) != old["days"].get(day)}
        return sorted(date.fromisoformat(day) for day in changed), json.dumps(after, separators=(",", ":"))

    def _digests(self, kind: str, files: list[Path]) -> dict[str, str]:
        """For each day that records of the kind concern: how many documents, and the sum of their hashes."""
        documents = Documents(_documents(files))
        business_date = MODELS[kind].business_date_field
        business = business_date or "NULL::DATE"
        first = f"DATE '{self.rules.first_partition}'"
        only = (business_date,) if business_date else ()
        with scratch_database() as connection:
            connection.register("documents", documents.reader())
            try:
                screen(connection, kind, "documents", "screened", self.rules, only=only)
            except duckdb.Error:
                raise documents.error or PipelineError(f"the {kind} in {self.folder} cannot be read") from None
            rows = connection.execute(
                f"""
                SELECT day, count(*), sum(('0x' || content_hash[:15])::HUGEINT)
                FROM (
                    SELECT content_hash, unnest(list_distinct(
                        CASE WHEN {business} > days[1] THEN list_append(days, {business})
                        ELSE coalesce(days, [{first}]) END
                    )) AS day
                    FROM screened
                )
                GROUP BY day
                """
            ).fetchall()
        return {day.isoformat(): f"{count}:{digest:x}" for day, count, digest in rows}


def _fields(text: str) -> dict[str, Any] | None:
    """A line's fields; None for one that the ingestion will reject."""
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _read_cursor(cursor: str | None) -> dict[str, Any]:
    try:
        state = json.loads(cursor) if cursor else {}
    except ValueError:
        state = None
    if not isinstance(state, dict) or not state.keys() <= RAW_TABLES.keys():
        raise PipelineError(f"the cursor {cursor!r:.60} is not one of the file source; reset the sensor's cursor")
    return state


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_mtime_ns, status.st_size]


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
    try:
        if path.suffix == ".parquet":
            yield from _rows(path)
        else:
            with _opened(path) as stream:
                yield from _lines(stream)
    except (EOFError, FileNotFoundError):
        raise TransientError(f"{path} ends too early or went away; it may still be being written") from None
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
