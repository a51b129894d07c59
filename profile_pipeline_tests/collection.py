"""A small test collection, and folders with its files."""

import json
from pathlib import Path

DOCUMENTS = [
    {"_id": "wine", "title": "Red wine", "text": "tasting in the cellar"},
    {"_id": "chess", "title": "", "text": "chess in the park"},
    {"_id": "tea", "text": "tea and wine"},
    {"_id": "none", "title": None, "text": ""},
]
QUERIES = [
    {"_id": "q1", "text": "red wine", "metadata": {}},
    {"_id": "q2", "text": "chess"},
    {"_id": "unjudged", "text": "beer"},
]
JUDGMENTS = [("q1", "wine", 1), ("q1", "tea", 2), ("q1", "chess", 0), ("q2", "tea", 1)]


def judgments(rows: list[tuple[str, str, int]]) -> str:
    """The text of a file of judgments."""
    return "".join("\t".join(map(str, row)) + "\n" for row in [("query-id", "corpus-id", "score"), *rows])


def write_collection(folder: Path) -> Path:
    """Write the three files into a new folder."""
    folder.mkdir(exist_ok=True)
    for name, rows in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels.tsv").write_text(judgments(JUDGMENTS))
    return folder
