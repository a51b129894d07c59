"""What `forget` does with the pipeline's functions, and what it prints.

What belongs here: asking whether it is meant, and the receipt as a table. What does not: erasing
(`profile_pipeline/forgetting/`).
"""

import sys
import time

import pyarrow as pa

from profile_pipeline.cli import Format, output
from profile_pipeline.errors import PipelineError
from profile_pipeline.forgetting.erasure import Stage, forget, receipt_path
from profile_pipeline.index.embedding import SentenceTransformerEmbedder
from profile_pipeline.settings import Settings

COUNTS = ("removed", "redacted", "rewritten")
COLUMNS = {name: name for name in ("place", *COUNTS)}
SCHEMA = pa.schema([("place", pa.string()), *((name, pa.int64()) for name in COUNTS)])


def forget_user(settings: Settings, user: str, format: Format, *, is_confirmed: bool, is_unseen: bool) -> None:
    """Erase a person, and print what was done in each place.

    Raises:
        PipelineError: it was not meant; or as `forgetting.erasure.forget`; or something is left.
    """
    if not is_confirmed:
        _confirm(settings, user)
    started = time.monotonic()

    def told(stage: Stage) -> None:
        print(f"{stage:<12} {time.monotonic() - started:>7.2f} s", file=sys.stderr, flush=True)

    embedder = SentenceTransformerEmbedder(settings.embedding_model)
    receipt = forget(settings, user, embedder, is_unseen=is_unseen, on_stage=told)
    rows = [{"place": place, **dict.fromkeys(COUNTS, 0), **counts} for place, counts in receipt.places.items()]
    output.write(pa.Table.from_pylist(rows, schema=SCHEMA).to_reader(), format, COLUMNS)
    for each in receipt.remarks:
        output.note(f"not looked for: {each}")
    for each in receipt.out_of_reach:
        output.note(f"out of reach: {each}")
    print(f"receipt: {receipt_path(settings, receipt)}", file=sys.stderr)
    if receipt.problem:
        raise PipelineError(receipt.problem)


def _confirm(settings: Settings, user: str) -> None:
    """Ask on the terminal; a program has to say --yes."""
    if not sys.stdin.isatty():
        raise PipelineError("nothing is erased unasked; say --yes if it is meant")
    print(
        f"This erases {user} from everything below {settings.home}, for good. Type yes to go on: ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    if sys.stdin.readline().strip().lower() != "yes":
        raise PipelineError("nothing was erased")
