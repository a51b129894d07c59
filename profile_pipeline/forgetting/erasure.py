"""The order in which a person is erased, so that a kill at any point loses nothing and leaves nobody half erased.

What belongs here: the stages, the receipt, and finishing what was broken off. What does not: any one place.

The request comes first, then the suppression list, so that nothing comes back while the rest is done. Each stage
may be done twice. The receipt is written before the request is deleted, which is last. What is still to be looked for
when something has to be removed by hand is put aside for the next erasure of the same person.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path

from profile_pipeline.errors import PipelineError
from profile_pipeline.forgetting.dagster_state import purge_dagster_state
from profile_pipeline.forgetting.files import compact, purge_engine_files, purge_exports, purge_index
from profile_pipeline.forgetting.identity import Identity, identify, unseen
from profile_pipeline.forgetting.purge import purge, recompute
from profile_pipeline.forgetting.request import (
    ErasureRequest,
    exclusive,
    open_request,
    request_path,
    resumed,
    waiting_path,
)
from profile_pipeline.forgetting.scan import scan
from profile_pipeline.index.embedding import Embedder
from profile_pipeline.records.suppressions import MARK, hashed
from profile_pipeline.settings import Settings
from profile_pipeline.suppression_list import (
    Person,
    add_person,
    erased_people,
    list_key,
    load_suppressions,
    write_private,
)
from profile_pipeline.warehouse import open_warehouse

HISTORY = (
    "the history of Dagster's runs, if it is in a database of yours: its events and configurations may name the person"
)
BACKUPS = "backups and copies made of this home, and what was taken out of it, such as lists and query results"


class Stage(StrEnum):
    """What an erasure has just finished, in order."""

    ORDERED = "ordered"
    BLOCKED = "blocked"
    EXPORTED = "exported"
    PURGED = "purged"
    RECOMPUTED = "recomputed"
    COMPACTED = "compacted"
    INDEXED = "indexed"
    UNLOGGED = "unlogged"
    SCANNED = "scanned"
    RECEIPTED = "receipted"


OnStage = Callable[[Stage], None]


@dataclass(frozen=True)
class Receipt:
    """What was done, without saying for whom but by keyed hash.

    Attributes:
        person: the keyed hash.
        asked_at, finished_at: ISO 8601, UTC.
        places: place to counts; an empty one was looked at and had nothing.
        files_looked_through: by the scan that ends the erasure.
        remarks: what is also somebody else's, or too short to tell.
        out_of_reach: what still may have the records, and why they do not come back.
        left: where the scan found something; empty when all is done.
    """

    person: str
    asked_at: str
    finished_at: str
    places: dict[str, dict[str, int]]
    files_looked_through: int
    remarks: list[str]
    out_of_reach: list[str]
    left: list[str]

    @property
    def problem(self) -> str | None:
        """What is left to do; None if nothing is."""
        if not self.left:
            return None
        return (
            f"the person is still named in {', '.join(self.left)}; remove or mend that by hand, then run "
            "`profile-pipeline forget` again"
        )


def forget(
    settings: Settings,
    user: str,
    embedder: Embedder,
    *,
    is_unseen: bool = False,
    on_stage: OnStage = lambda stage: None,
) -> Receipt:
    """Erase the user of an id or address, and keep them out from now on. Doing it again finds nothing.

    An erasure that was broken off is finished first.

    Args:
        settings: the home.
        user: an id, or an address that a user has or had, or that is on a list of participants.
        embedder: the model of the index, for texts that named them.
        is_unseen: whether to keep somebody out of whom nothing is known here.
        on_stage: called after each stage.

    Raises:
        PipelineError: nobody is known so, and nobody was erased who was; or the address does not tell who is meant.
        TransientError: another process has the warehouse, the index or an erasure.
    """
    with exclusive(settings):
        if (request := open_request(settings)) is not None:
            receipt = _carry_out(settings, request, embedder, on_stage)
            # The mark is what is left of the config of a Dagster run that is tried again.
            if request.concerns(user) or user == MARK:
                return receipt
        request = _file_request(settings, user, is_unseen=is_unseen)
        on_stage(Stage.ORDERED)
        return _carry_out(settings, request, embedder, on_stage)


def finish(settings: Settings, embedder: Embedder, on_stage: OnStage = lambda stage: None) -> Receipt | None:
    """Finish an erasure that was broken off; None if there is none, which costs a look.

    Raises:
        PipelineError: something is left that has to be removed by hand.
        TransientError: another process has the warehouse, the index or the erasure.
    """
    if not request_path(settings).exists():
        return None
    with exclusive(settings):
        request = open_request(settings)
        receipt = _carry_out(settings, request, embedder, on_stage) if request else None
    if receipt and receipt.problem:
        raise PipelineError(receipt.problem)
    return receipt


def _file_request(settings: Settings, user: str, *, is_unseen: bool) -> ErasureRequest:
    people, stranger, known = erased_people(settings), unseen(settings, user), None
    if settings.warehouse_path.exists():
        with open_warehouse(settings) as warehouse:
            known = identify(warehouse, settings, user)
    hashes = {hashed(list_key(settings), each) for each in stranger.hashed_as} if people else set()
    before = [each for each in people if hashes & set(each.hashes)]
    if known is None and not before and not is_unseen:
        raise PipelineError(
            "nobody here has that id or address; `profile-pipeline profiles` lists the ids, and `--unseen` (in Dagster "
            "`unseen: true`) keeps somebody out of whom nothing is known yet"
        )
    identity = known or stranger
    person = (
        before[0].person if before else hashed(list_key(settings), f"person:{[*identity.ids, *identity.addresses][0]}")
    )
    request = ErasureRequest(
        person,
        _now(),
        list(identity.ids),
        list(identity.addresses),
        list(identity.names),
        list(identity.remarks),
    )
    request = resumed(settings, request)
    request.save(settings)
    return request


def _carry_out(settings: Settings, request: ErasureRequest, embedder: Embedder, on_stage: OnStage) -> Receipt:
    """Do each stage that has not been noted as finished; one that a kill left unnoted is done again."""
    stages = {
        Stage.BLOCKED: lambda: _block(settings, request),
        # Before they are written anew from the tables.
        Stage.EXPORTED: lambda: purge_exports(settings, request),
        Stage.PURGED: lambda: _purge(settings, request),
        Stage.RECOMPUTED: lambda: _recompute(settings, request),
        Stage.COMPACTED: lambda: _compact(settings),
        Stage.INDEXED: lambda: _purge_index(settings, request, embedder),
        Stage.UNLOGGED: lambda: _purge_dagster_state(settings, request),
    }
    for stage, work in stages.items():
        if stage not in request.finished:
            work()
            on_stage(stage)
            request.finished.append(stage)
            request.save(settings)
    # The request has all of it now, and the scan would find it.
    waiting_path(settings, request.person).unlink(missing_ok=True)
    receipt = _receipt(settings, request)
    on_stage(Stage.SCANNED)
    write_private(receipt_path(settings, receipt), json.dumps(asdict(receipt), indent=1) + "\n")
    on_stage(Stage.RECEIPTED)
    if receipt.left:
        request.keep_waiting(settings)
    request_path(settings).unlink()
    return receipt


def _block(settings: Settings, request: ErasureRequest) -> None:
    identity = Identity(tuple(request.ids), tuple(request.addresses), tuple(request.names))
    key = list_key(settings)
    hashes = tuple(sorted(hashed(key, each) for each in identity.hashed_as))
    add_person(settings, Person(request.person, datetime.now(settings.zone).date(), hashes, identity.name_lengths))


def _purge(settings: Settings, request: ErasureRequest) -> None:
    suppressions = load_suppressions(settings)
    if suppressions is not None and settings.warehouse_path.exists():
        with open_warehouse(settings) as warehouse:
            purge(warehouse, settings, request, suppressions)


def _recompute(settings: Settings, request: ErasureRequest) -> None:
    if settings.warehouse_path.exists():
        with open_warehouse(settings) as warehouse:
            recompute(warehouse, settings, request)
            purge_engine_files(warehouse, settings, request)


def _compact(settings: Settings) -> None:
    if settings.warehouse_path.exists():
        with open_warehouse(settings) as warehouse:
            compact(warehouse, settings)
        # What a process that was killed spilled is of nobody's use.
        shutil.rmtree(settings.warehouse_path.with_name(f"{settings.warehouse_path.name}.tmp"), ignore_errors=True)


def _purge_index(settings: Settings, request: ErasureRequest, embedder: Embedder) -> None:
    if settings.warehouse_path.exists():
        purge_index(partial(open_warehouse, settings, read_only=True), settings, embedder, request)


def _purge_dagster_state(settings: Settings, request: ErasureRequest) -> None:
    rows, files = purge_dagster_state(settings, request.needles)
    request.note("dagster", redacted=rows)
    request.note("dagster_files", redacted=files)


def _receipt(settings: Settings, request: ErasureRequest) -> Receipt:
    """Look whether anything is left, and say what was done."""
    for part in settings.erasure_path.rglob("*.part"):
        part.unlink()
    found = scan(settings, request.needles)
    return Receipt(
        request.person,
        request.began,
        _now(),
        {place: {name: count for name, count in counts.items() if count} for place, counts in request.done.items()},
        found.files,
        [*request.remarks, *([f"names that others have, by the final scan: {found.shared}"] if found.shared else [])],
        [
            *_sources(settings),
            *(f"{folder}, which is not this home's own" for folder in found.skipped),
            HISTORY,
            BACKUPS,
        ],
        found.left,
    )


def receipt_path(settings: Settings, receipt: Receipt) -> Path:
    """Where a receipt is kept."""
    moment = receipt.asked_at.replace(":", "").replace("-", "")
    return settings.erasure_path / "receipts" / f"{moment}-{receipt.person[:12]}.json"


def _sources(settings: Settings) -> list[str]:
    """The sources, which are read only."""
    told = "still has what it had; the suppression list keeps it from coming back"
    systems = [f"the source folder {settings.source_dir}, which {told}"]
    if settings.mongodb_uri:
        systems.append(f"MongoDB, which {told}")
    if settings.airtable_api_key:
        systems.append(f"Airtable, which {told}")
    return systems


def _now() -> str:
    return datetime.now(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
