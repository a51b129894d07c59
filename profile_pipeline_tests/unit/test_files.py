"""Cutting files into documents, and telling which days changed."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

from profile_pipeline.errors import PipelineError, TransientError
from profile_pipeline.settings import Settings
from profile_pipeline.sources import FileSource, source_for


def source(folder: Path) -> FileSource:
    return FileSource(folder)


def read(folder: Path, kind: str = "users") -> list[tuple[str, str, int]]:
    documents = source(folder).read(kind)
    return [tuple(row.values()) for row in documents.reader().read_all().to_pylist()]


def write(path: Path, *records: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    # Two writes may fall on one tick of the file system's clock.
    stamp = os.stat(path).st_mtime_ns + sum(map(len, map(str, records))) * 1_000_000
    os.utime(path, ns=(stamp, stamp))


def test_lines_are_numbered_as_an_editor_does_and_blank_ones_are_no_documents(tmp_path: Path) -> None:
    (tmp_path / "users.jsonl").write_bytes(b'\xef\xbb\xbf{"id": 1}\r\n\r\n  \n{"id": 2}\n{"id": 3}')
    assert read(tmp_path) == [
        ('{"id": 1}', "users.jsonl:1", 0),
        ('{"id": 2}', "users.jsonl:4", 1),
        ('{"id": 3}', "users.jsonl:5", 2),
    ]


def test_all_forms_of_a_kind_are_read(tmp_path: Path) -> None:
    (tmp_path / "users.jsonl").write_text('{"id": "a"}\n')
    (tmp_path / "users.jsonl.gz").write_bytes(gzip.compress(b'{"id": "b"}\n'))
    duckdb.sql(
        "SELECT 'c' AS id, TIMESTAMPTZ '2024-01-05 10:00:00+00' AS created_at, ['x'] AS interests"
    ).write_parquet(str(tmp_path / "users.parquet"))
    assert read(tmp_path) == [
        ('{"id": "a"}', "users.jsonl:1", 0),
        ('{"id": "b"}', "users.jsonl.gz:1", 1),
        ('{"id":"c","created_at":"2024-01-05 10:00:00+00","interests":["x"]}', "users.parquet:1", 2),
    ]


def test_a_line_of_sixteen_megabytes_is_one_document(tmp_path: Path) -> None:
    line = json.dumps({"id": "x" * (16 << 20)})
    (tmp_path / "users.jsonl").write_text(f'{{"id": 1}}\n{line}\n{{"id": 2}}\n')
    assert [(len(document), origin) for document, origin, _ in read(tmp_path)] == [
        (9, "users.jsonl:1"),
        (len(line), "users.jsonl:2"),
        (9, "users.jsonl:3"),
    ]


def test_a_line_that_is_not_utf8_stays_readable_and_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "users.jsonl").write_bytes('{"id": "é"}\n'.encode() + b'{"id": "\xe9"}\n')
    assert [document for document, _, _ in read(tmp_path)] == ['{"id": "é"}', '{"id": "\\xe9"}']


def test_a_missing_file_is_an_empty_source_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "users.jsonl").touch()
    assert not source(tmp_path).read("users").is_missing
    assert source(tmp_path).read("orders").is_missing
    assert read(tmp_path, "orders") == []


@pytest.mark.parametrize(("folder", "said"), [("nowhere", "does not exist"), (".", "has none of users, orders")])
def test_a_folder_without_files_is_an_error_that_names_it(tmp_path: Path, folder: str, said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        source(tmp_path / folder).read("users")


def test_a_compressed_file_that_ends_too_early_may_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "users.jsonl.gz").write_bytes(gzip.compress(b'{"id": 1}\n' * 1000)[:-20])
    with pytest.raises(TransientError, match=r"users\.jsonl\.gz ends too early"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["users.jsonl.gz", "users.parquet"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"neither this nor that")
    with pytest.raises(PipelineError, match=rf"{name} cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("setting", "kind", "variable"),
    [("mongodb_uri", "orders", "MONGODB_URI"), ("airtable_api_key", "messages", "AIRTABLE_BASE_ID")],
)
def test_a_live_source_that_is_half_set_up_is_never_replaced_by_files(setting: str, kind: str, variable: str) -> None:
    with pytest.raises(PipelineError, match=f"^{variable} is ") as caught:
        source_for(kind, Settings.model_validate({setting: "s3cret"}))
    assert "s3cret" not in str(caught.value)


def test_stamps_tell_files_that_came_changed_and_went(tmp_path: Path) -> None:
    users = tmp_path / "users.jsonl"
    write(users, {"id": "u1", "email": "a@x.y"})
    first = source(tmp_path).stamps()
    assert source(tmp_path).stamps() == first
    assert [*first["users"]] == ["users.jsonl"]
    write(users, {"id": "u1", "email": "b@x.y", "age": 30})
    write(tmp_path / "orders.jsonl")
    changed = source(tmp_path).stamps()
    assert {kind for kind, stamps in changed.items() if stamps != first[kind]} == {"users", "orders"}
    users.unlink()
    assert source(tmp_path).stamps()["users"] == {}
