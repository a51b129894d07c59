"""Loading JSON Lines into DuckDB with dlt: by its rows, and by its Arrow tables.

Neither checks a record: types are inferred. By rows a nested list becomes a table of its own, as dlt has it.
"""

import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.json
from dlt.sources.filesystem import filesystem, read_jsonl

BLOCK_BYTES = 16 << 20
"""Lines enough for a table that is worth its overhead; its schema is inferred from the first block."""


def rows(source: str, out: str) -> Generator[None, None, dict[str, Any]]:
    """Load each file by dlt's own reader of JSON Lines."""
    files = sorted(Path(source).glob("*.jsonl"))
    readers = [
        (filesystem(bucket_url=file.parent.as_uri(), file_glob=file.name) | read_jsonl(chunksize=10_000)).with_name(
            file.stem
        )
        for file in files
    ]
    Path(out).unlink(missing_ok=True)
    yield
    return load(readers, out)


def arrow(source: str, out: str) -> Generator[None, None, dict[str, Any]]:
    """Load each file as Arrow tables, which dlt hands on as they are."""
    files = sorted(Path(source).glob("*.jsonl"))
    readers = [dlt.resource(tables(file), name=file.stem) for file in files]
    Path(out).unlink(missing_ok=True)
    yield
    return load(readers, out)


def tables(file: Path) -> Generator[pa.Table, None, None]:
    """A file in blocks."""
    with pa.json.open_json(file, read_options=pa.json.ReadOptions(block_size=BLOCK_BYTES)) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def load(readers: list[Any], out: str) -> dict[str, Any]:
    """Run a pipeline over all readers into an empty database; how many records there are then."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "bench",
            pipelines_dir=folder,
            destination=dlt.destinations.duckdb(out),
            dataset_name="bench",
        )
        # Its default for DuckDB, INSERT statements, takes many times as long and gigabytes.
        pipeline.run(readers, loader_file_format="parquet")
        with pipeline.sql_client() as client:
            counts = [client.execute_sql(f"SELECT count(*) FROM {reader.name}")[0][0] for reader in readers]
    return {"records": sum(counts)}
