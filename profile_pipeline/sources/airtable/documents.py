"""Records as text, and their keys.

What belongs here: what of a record is kept, and how it is written. What does not: asking for records (`source.py`),
and what a document means (`records/`).
"""

import json
from typing import Any

from profile_pipeline.records.dialect import Path, value_at

Record = dict[str, Any]


def as_json(record: Record) -> str:
    """The record as JSON, the same for the same content.

    Keys are sorted, and the `url` and `thumbnails` of attachments left out; all else is verbatim.
    """
    fields = {name: _without_addresses(value) for name, value in record.get("fields", {}).items()}
    record = record | {"fields": fields}
    document = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    try:
        document.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, as a text that was cut within an emoji has, can only be written as an escape.
        return json.dumps(record, sort_keys=True, separators=(",", ":"))
    return document


def key_of(record: Record, id_path: Path) -> str | None:
    """The key of a record as the log has it; None where it has none."""
    value = value_at(record, id_path)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() or None if isinstance(value, str) else None


def _without_addresses(value: Any) -> Any:
    """Attachments without the addresses to load them from, any other value as it is."""
    if not isinstance(value, list) or not all(_is_attachment(item) for item in value):
        return value
    return [{name: part for name, part in item.items() if name not in ("url", "thumbnails")} for item in value]


def _is_attachment(value: Any) -> bool:
    return isinstance(value, dict) and "url" in value and str(value.get("id")).startswith("att")
