"""The request to erase somebody: a file that is there from before the first change until after the last.

What belongs here: its content, and keeping two erasures apart. What does not: carrying it out (`erasure.py`).

It has to name the person, because whoever goes on after a kill has to know whom to look for; nobody but its owner may
read it, and it is deleted last. Where the scan finds something that has to be removed by hand, what to look for is kept
beside it, until another erasure of the same person finds nothing. Builds need not wait for that.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path

from profile_pipeline.errors import TransientError
from profile_pipeline.forgetting.needles import Needles
from profile_pipeline.settings import Settings
from profile_pipeline.suppression_list import write_private


@dataclass
class ErasureRequest:
    """Whom to erase, and what was done so far.

    Attributes:
        person: the keyed hash that stands for them.
        began: when it was asked for, ISO 8601, UTC.
        ids, addresses, names: what they are known by; names are full ones that nobody else has.
        remarks: what is also somebody else's or too common, in words, without saying what it is.
        first_day: the first day whose tables may change; None: none does.
        forms: how they were written in documents.
        done: place to counts of what was done there.
        finished: the stages that need not be done again.
    """

    person: str
    began: str
    ids: list[str]
    addresses: list[str]
    names: list[str]
    remarks: list[str] = field(default_factory=list)
    first_day: str | None = None
    forms: list[str] = field(default_factory=list)
    done: dict[str, dict[str, int]] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)

    @property
    def needles(self) -> Needles:
        """What to look for in texts."""
        return Needles([*self.ids, *self.addresses, *self.forms], self.names)

    @property
    def start(self) -> date | None:
        """The first day whose tables may change."""
        return date.fromisoformat(self.first_day) if self.first_day else None

    def concerns(self, user: str) -> bool:
        """Whether it is about the user of an id or address."""
        return user in self.ids or user.strip().lower() in self.addresses

    def note(self, place: str, **counts: int) -> None:
        """Count what is done in a place; what was counted before a kill stands."""
        before = self.done.setdefault(place, {})
        self.done[place] = before | {name: max(count, before.get(name, 0)) for name, count in counts.items()}

    def save(self, settings: Settings) -> None:
        """Write it, lasting when this returns."""
        write_private(request_path(settings), self._written)

    def keep_waiting(self, settings: Settings) -> None:
        """Write what to look for where builds do not see it, lasting when this returns."""
        write_private(waiting_path(settings, self.person), self._written)

    @property
    def _written(self) -> str:
        return json.dumps(asdict(self), indent=1)


def request_path(settings: Settings) -> Path:
    """Where the request is while there is one; a home may have one of an earlier version, so the name stays."""
    return settings.erasure_path / "order.json"


def open_request(settings: Settings) -> ErasureRequest | None:
    """The erasure that has not been finished; None if there is none."""
    path = request_path(settings)
    return ErasureRequest(**json.loads(path.read_text())) if path.exists() else None


def waiting_path(settings: Settings, person: str) -> Path:
    """Where the request is kept while something of a person is left that has to be removed by hand."""
    return settings.erasure_path / "waiting" / f"{person}.json"


def resumed(settings: Settings, request: ErasureRequest) -> ErasureRequest:
    """A request that also looks for all that the last one for the same person looked for, if that found some of it."""
    path = waiting_path(settings, request.person)
    if not path.exists():
        return request
    before = ErasureRequest(**json.loads(path.read_text()))
    return replace(
        request,
        ids=_merged(before.ids, request.ids),
        addresses=_merged(before.addresses, request.addresses),
        names=_merged(before.names, request.names),
        forms=_merged(before.forms, request.forms),
        remarks=_merged(before.remarks, request.remarks),
    )


def _merged(one: list[str], other: list[str]) -> list[str]:
    return sorted({*one, *other})


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """Keep other erasures, and builds that would finish one, out; the lock ends with the process.

    Raises:
        TransientError: another process is at it.
    """
    settings.erasure_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (settings.erasure_path / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TransientError("somebody is being erased by another process; try again when it has ended") from None
        yield
