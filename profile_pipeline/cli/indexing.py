"""What `index` and its commands print.

What belongs here: versions, what is wrong with the one served, and the golden queries. What does not: finding it
(`profile_pipeline/indexing.py`, `index/`).
"""

import sys
from functools import partial

import pyarrow as pa
from rich.console import Console

from profile_pipeline.cli import Format, output
from profile_pipeline.errors import PipelineError
from profile_pipeline.index.embedding import SentenceTransformerEmbedder
from profile_pipeline.index.store import IndexStore
from profile_pipeline.index.versions import history, roll_back, served_or_error
from profile_pipeline.indexing import verify_index
from profile_pipeline.settings import Settings
from profile_pipeline.warehouse import open_warehouse

HISTORY_COLUMNS = {
    "version": "version",
    "served": "is_served",
    "built at": "built_at",
    "as of": "as_of",
    "profiles": "rows",
    "written": "upserted",
    "deleted": "deleted",
    "embedded": "embedded",
    "golden recall": "golden_recall",
    "texts": "text_recipe",
    "took the place of": "previous",
    "model": "model",
}
HISTORY_SCHEMA = pa.schema(
    [
        ("version", pa.int64()),
        ("previous", pa.int64()),
        ("is_served", pa.bool_()),
        ("built_at", pa.timestamp("s", "UTC")),
        ("as_of", pa.date32()),
        *((name, pa.int64()) for name in ("rows", "upserted", "deleted", "embedded", "probes", "golden_queries")),
        ("golden_recall", pa.float64()),
        ("text_recipe", pa.int64()),
        *((name, pa.string()) for name in ("model", "revision", "weights_sha256")),
    ]
)
ANSWER_COLUMNS = {"query": "query", "recall": "recall", "missed": "missed", "not indexed": "unknown"}
ANSWER_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("query", "mode")),
        ("recall", pa.float64()),
        *((name, pa.list_(pa.string())) for name in ("found", "missed", "unknown")),
    ]
)


def show_history(settings: Settings, format: Format) -> None:
    """Print the versions that can be served, newest first.

    Raises:
        PipelineError: there is no index yet.
    """
    store = IndexStore(settings.index_path)
    now = served_or_error(store)
    rows = [
        each.model_dump() | {"is_served": each.version == now.version, "built_at": each.built_at.replace(microsecond=0)}
        for each in history(store)
    ]
    output.write(pa.Table.from_pylist(rows, schema=HISTORY_SCHEMA).to_reader(), format, HISTORY_COLUMNS)


def roll_back_index(settings: Settings, version: int | None, format: Format) -> None:
    """Serve an earlier version again, and print the history.

    Raises:
        PipelineError: as `index.versions.roll_back`.
    """
    now = roll_back(IndexStore(settings.index_path), version)
    print(
        f"version {now.version} is served again, with {now.rows:,} profiles as of {now.as_of}; the next build brings "
        "it up to date with the profiles as they are then",
        file=sys.stderr,
    )
    show_history(settings, format)


def show_state(settings: Settings, format: Format) -> None:
    """Print what the golden queries find in the served version.

    Raises:
        PipelineError: something is wrong with the version, or it is not there.
    """
    embedder = SentenceTransformerEmbedder(settings.embedding_model)
    with Console(stderr=True).status("loading the model and comparing"):
        state = verify_index(partial(open_warehouse, settings, read_only=True), settings, embedder)
    print(
        f"version {state.served.version} with {state.health.rows:,} profiles, built as of {state.served.as_of}, "
        f"compared with the profiles as of {state.as_of}",
        file=sys.stderr,
    )
    rows = [
        {"query": each.query.query, "mode": each.query.mode, "recall": each.recall}
        | {name: list(getattr(each, name)) for name in ("found", "missed", "unknown")}
        for each in state.answers
    ]
    if rows or format != "table":
        output.write(pa.Table.from_pylist(rows, schema=ANSWER_SCHEMA).to_reader(), format, ANSWER_COLUMNS)
    if state.problems:
        mend = "; `profile-pipeline build` brings it up to date" if state.health.problems else ""
        raise PipelineError(f"the index is not as it should be: {'; '.join(state.problems)}{mend}")
