"""The suppression list: who was erased, as keyed hashes in a file of the home.

What belongs here: the files, and writing them so that a kill leaves the old or the new. What does not: what a hash is
taken of and what follows from it (`records/suppressions.py`), and the erasure (`forgetting/`).

It is not in the warehouse, which one may remove and build again from the sources: that must not bring anybody back.
"""

import hmac
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from profile_pipeline.errors import PipelineError
from profile_pipeline.records.suppressions import Suppressions, hashed
from profile_pipeline.settings import Settings

KEY_BYTES = 32
"""As many as SHA-256 gives: a longer key adds nothing (RFC 2104)."""

KEY_CHECK = "the key of this list"
"""Hashed into the list, so that another key is noticed instead of blocking nobody."""


@dataclass(frozen=True)
class Person:
    """Somebody who was erased. `person` stands for them in receipts; `name_lengths` counts the words of their names."""

    person: str
    erased_on: date
    hashes: tuple[str, ...]
    name_lengths: tuple[int, ...]


def load_suppressions(settings: Settings) -> Suppressions | None:
    """What keeps erased people out; None, at the cost of a look, where nobody was erased.

    Raises:
        PipelineError: there is a list, and the key is gone or another one.
    """
    people = erased_people(settings)
    if not people:
        return None
    return Suppressions(
        list_key(settings),
        frozenset(each for person in people for each in person.hashes),
        tuple(sorted({length for person in people for length in person.name_lengths})),
        settings.policy.fold_email_aliases,
    )


def erased_people(settings: Settings) -> list[Person]:
    """Everybody on the list."""
    path = _list_path(settings)
    if not path.exists():
        return []
    return [
        Person(
            each["person"],
            date.fromisoformat(each["erased_on"]),
            tuple(each["hashes"]),
            tuple(each["name_lengths"]),
        )
        for each in json.loads(path.read_text())["people"]
    ]


def list_key(settings: Settings) -> bytes:
    """The key of the list's hashes, made when there is no list yet.

    Raises:
        PipelineError: there is a list, and the key is gone or another one.
    """
    path, list_path = settings.erasure_path / "key", _list_path(settings)
    if not path.exists() and not list_path.exists():
        write_private(path, secrets.token_hex(KEY_BYTES))
    key = bytes.fromhex(path.read_text()) if path.exists() else b""
    if list_path.exists() and not hmac.compare_digest(json.loads(list_path.read_text())["check"], _check(key)):
        raise PipelineError(
            f"{path} is not the key of {list_path}, so nobody knows whom to keep out; put the right one back, from a "
            "backup of the home"
        )
    return key


def add_person(settings: Settings, person: Person) -> None:
    """Put somebody on the list; what it has of them already stays on it."""
    people = {each.person: each for each in erased_people(settings)}
    if (before := people.get(person.person)) is not None:
        person = Person(
            person.person,
            before.erased_on,
            tuple(sorted({*before.hashes, *person.hashes})),
            tuple(sorted({*before.name_lengths, *person.name_lengths})),
        )
    _write(settings, (people | {person.person: person}).values())


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all, and lasting when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(settings: Settings, people: Iterable[Person]) -> None:
    entries: list[dict[str, Any]] = [asdict(each) | {"erased_on": each.erased_on.isoformat()} for each in people]
    content = {"check": _check(list_key(settings)), "people": entries}
    write_private(_list_path(settings), json.dumps(content, indent=1))


def _check(key: bytes) -> str:
    return hashed(key, KEY_CHECK)


def _list_path(settings: Settings) -> Path:
    return settings.erasure_path / "suppressions.json"
