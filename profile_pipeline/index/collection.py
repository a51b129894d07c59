"""A test collection: documents, queries, and judgments of which documents answer which query.

What belongs here: reading a folder in the layout of BEIR (Thakur et al., NeurIPS Datasets and Benchmarks 2021), and
saying what is wrong with it. What does not: searching it and measuring (`evaluation.py`).

A collection is held in memory, so it should not have more than some millions of documents.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profile_pipeline.errors import PipelineError

CORPUS = "corpus.jsonl"
QUERIES = "queries.jsonl"
JUDGMENTS = ("qrels.tsv", "qrels/test.tsv")
"""Where judgments are; collections of several parts have the last."""

HEADER = ["query-id", "corpus-id", "score"]


@dataclass(frozen=True)
class Collection:
    """A test collection.

    Attributes:
        documents: text by id, the title in front of it.
        queries: text by id, of those with a judgment.
        judgments: for each query, how well documents answer it, by id: 0 not at all, more is better.
    """

    documents: dict[str, str]
    queries: dict[str, str]
    judgments: dict[str, dict[str, int]]

    @property
    def unknown_documents(self) -> int:
        """How many judgments are of documents that are not there; no search finds those."""
        return sum(document not in self.documents for judged in self.judgments.values() for document in judged)


def read_collection(folder: Path) -> Collection:
    """Read `corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`) and the judgments.

    The judgments are `qrels.tsv` or `qrels/test.tsv`: a header and `query-id`, `corpus-id` and `score`, split by tabs.

    Raises:
        PipelineError: a file is missing or empty, or a line of it is wrong; the message names both.
    """
    if not folder.is_dir():
        raise PipelineError(f"there is no folder {folder}; name one with {CORPUS}, {QUERIES} and {JUDGMENTS[0]}")
    judged = _judgments_file(folder)
    documents = dict(_texts(folder / CORPUS, with_title=True))
    queries = dict(_texts(folder / QUERIES, with_title=False))
    judgments: dict[str, dict[str, int]] = {}
    for place, query, document, score in _judged(judged):
        if query not in queries:
            raise PipelineError(f"{place}: there is no query {query!r} in {QUERIES}")
        if document in judgments.setdefault(query, {}):
            raise PipelineError(f"{place}: the document {document!r} is judged twice for the query {query!r}")
        judgments[query][document] = score
    if not judgments:
        raise PipelineError(f"{judged} holds no judgment")
    return Collection(documents, {query: queries[query] for query in judgments}, judgments)


def _judgments_file(folder: Path) -> Path:
    found = [folder / name for name in JUDGMENTS if (folder / name).is_file()]
    if not found:
        raise PipelineError(f"there are no judgments in {folder}: neither {' nor '.join(JUDGMENTS)}")
    return found[0]


def _texts(file: Path, *, with_title: bool) -> Iterator[tuple[str, str]]:
    """Id and text of each record; a title goes in front of its text, as BEIR puts it."""
    seen: set[str] = set()
    for place, line in _lines(file):
        record = _record(place, line)
        key = record["_id"]
        title = record.get("title") or "" if with_title else ""
        text = f"{title} {record['text']}".strip()
        if key in seen:
            raise PipelineError(f"{place}: the _id {key!r} comes a second time")
        if not text and not with_title:
            raise PipelineError(f"{place}: the query {key!r} is blank")
        seen.add(key)
        yield key, text


def _record(place: str, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise PipelineError(f"{place}: is no JSON: {error}") from None
    if not isinstance(record, dict):
        raise PipelineError(f"{place}: is no JSON object")
    for name in ("_id", "text"):
        if not isinstance(record.get(name), str):
            raise PipelineError(f"{place}: has no text {name!r}; it has {', '.join(record) or 'nothing'}")
    if not isinstance(record.get("title"), str | None):
        raise PipelineError(f"{place}: its title is no text")
    return record


def _judged(file: Path) -> Iterator[tuple[str, str, str, int]]:
    """Where each judgment is, its query, its document and its score."""
    for number, (place, line) in enumerate(_lines(file)):
        fields = line.split("\t")
        if number == 0:
            if fields != HEADER:
                raise PipelineError(f"{place}: has to be the header {' '.join(HEADER)}, split by tabs, not {line!r}")
            continue
        try:
            query, document, score = fields
            yield place, query, document, int(score)
        except ValueError:
            raise PipelineError(
                f"{place}: has to be a query's id, a document's id and a whole number, split by tabs, not {line!r}"
            ) from None


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """Where each line is, and the line; blank ones are passed over."""
    if not file.is_file():
        raise PipelineError(f"there is no file {file}")
    number = 0
    try:
        with file.open(encoding="utf-8-sig") as opened:
            for number, line in enumerate(opened, 1):
                if line.strip():
                    yield f"{file} line {number}", line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise PipelineError(f"{file} after line {number}: is no UTF-8: {error.reason}") from None
    if not number:
        raise PipelineError(f"{file} is empty")
