"""Which version of the index is served, which can be served again, and what each was built from.

What belongs here: what a version records about itself, promoting and rolling back, and dropping what nobody can
go back to. What does not: writing rows (`store.py`) and whether they are right (`health.py`).

LanceDB commits each write as a new, immutable version. Readers open the one under the tag `production`, and a tag
is one small file that is replaced by a rename: a reader finds the old version or the new one, whole. A version that
was served once keeps a tag of its own, `promoted-N`, for as long as it is among the last few.
"""

import warnings
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from profile_pipeline.errors import PipelineError
from profile_pipeline.index.store import LANCE_ERROR, PRODUCTION, IndexStore, promoted_number

PROMOTED = "promoted-"
"""What the tags of versions that were served begin with; their number follows."""

RECORD_KEY = "built"
"""Where a version's schema keeps what the version was built from."""

KEPT_VERSIONS = 3
"""Promoted versions to keep: the one served, and two nights to find out that it is not what one wants."""

MAX_FRAGMENTS = 8
"""Fragments after which a build compacts the table. A compaction rewrites every row, so it is not done each time;
without one, each build adds a fragment that every search has to open."""

MAX_VERSIONS = 12
"""Versions before the oldest with a tag after which a build cleans up: those of some three builds."""

NEVER = timedelta(days=36_500)
"""An age that no version reaches."""

AT_ONCE = timedelta(microseconds=1)
"""An age that every version but the newest has reached."""


class IndexVersion(BaseModel):
    """A version of the index: its number, and what it was built from.

    Attributes:
        version: its number.
        previous: the version that was served until then, which a rollback serves again; null before the first.
        model: the identity of its model, name and fingerprint.
        revision: the revision of the model in its hub, or of the package that carries it; null if neither does.
        weights_sha256: SHA-256 of the model's weights; null if it has none.
        text_recipe: how its texts were made, `index.text.TEXT_RECIPE`.
        as_of: the last day of the profiles in it: the partition it was built from.
        built_at: when, UTC.
        rows: its rows.
        upserted: rows that its build wrote.
        deleted: rows of users who had left since the version before.
        embedded: texts that its build embedded.
        probes: how many parts of the approximate index a search has to read to find what it should; 0 when there is
            none and each vector is compared.
        golden_queries: questions it was asked before it was served.
        golden_recall: the share of the users expected that they found; null without questions.
    """

    model_config = ConfigDict(frozen=True)

    version: int
    previous: int | None = None
    model: str
    revision: str | None = None
    weights_sha256: str | None = None
    text_recipe: int
    as_of: date
    built_at: datetime
    rows: int
    upserted: int
    deleted: int
    embedded: int
    probes: int = 0
    golden_queries: int = 0
    golden_recall: float | None = None


def seal(table: Any, record: dict[str, Any]) -> None:
    """Write into the version itself what it was built from, so that the two cannot come apart.

    Args:
        table: the open LanceDB table.
        record: the fields of `IndexVersion` but its number.
    """
    sealed = IndexVersion(version=0, **record).model_dump_json(exclude={"version"})
    table.update_field_metadata({"path": "user_id", "metadata": {RECORD_KEY: sealed}})


def describe(table: Any) -> IndexVersion | None:
    """What `seal` wrote into an open version; nothing in one of a release that recorded less."""
    metadata = table.schema.field("user_id").metadata or {}
    if RECORD_KEY.encode() not in metadata:
        return None
    recorded = IndexVersion.model_validate_json(b'{"version":0,' + metadata[RECORD_KEY.encode()][1:])
    return recorded.model_copy(update={"version": table.version})


def served_version(store: IndexStore) -> IndexVersion | None:
    """What is being served; nothing before the first promotion, or if its release recorded less."""
    table = store.open_promoted()
    return describe(table) if table is not None else None


def served_or_error(store: IndexStore) -> IndexVersion:
    """What is being served.

    Raises:
        PipelineError: nothing was promoted yet, or an earlier release built it.
    """
    return described(store.open_served())


def described(table: Any) -> IndexVersion:
    """What `seal` wrote into an open version.

    Raises:
        PipelineError: an earlier release built it.
    """
    record = describe(table)
    if record is None:
        raise PipelineError("the index was built by an earlier release; run `profile-pipeline build` to build it again")
    return record


def history(store: IndexStore) -> list[IndexVersion]:
    """The versions that are or were served and can be served again, newest first."""
    table = store.open_latest()
    if table is None:
        return []
    found = []
    for number in sorted(_promoted(table), reverse=True):
        try:
            table.checkout(number)
        except ValueError:
            # A build dropped it since the tags were listed.
            continue
        record = describe(table)
        if record is not None:
            found.append(record)
    return found


def promote(store: IndexStore, version: int, kept: int = KEPT_VERSIONS) -> None:
    """Serve a version from now on, in one atomic step, and let go of promoted ones beyond the last few.

    The version served before is given its tag first, so that no crash can lose it. It is the last to be let go of,
    whatever its number: after a rollback it is older than those that were found wanting.
    """
    table = store.open_version(version)
    tags = table.tags
    before = promoted_number(table)
    if before is not None:
        _keep(table, before)
        tags.update(PRODUCTION, version)
    else:
        tags.create(PRODUCTION, version)
    _keep(table, version)
    others = sorted(_promoted(table) - {version}, key=lambda number: (number == before, number), reverse=True)
    for number in others[kept - 1 :]:
        tags.delete(f"{PROMOTED}{number}")


def roll_back(store: IndexStore, version: int | None = None) -> IndexVersion:
    """Serve a version again that was served before, by default the one that the served one took the place of.

    Returns:
        The version that is served now.

    Raises:
        PipelineError: there is none, or no such one; the message lists what there is.
        TransientError: another process is building.
    """
    with store.writing():
        now, kept = served_version(store), history(store)
        number = version if version is not None or now is None else now.previous
        wanted = [each for each in kept if each.version == number]
        if not wanted:
            what = "no earlier version" if version is None else f"no version {version}"
            listed = ", ".join(str(each.version) for each in kept) or "none"
            raise PipelineError(f"the index at {store.path} has {what} to roll back to; kept versions: {listed}")
        promote(store, wanted[0].version, len(kept))
        return wanted[0]


def compact_when_due(table: Any) -> bool:
    """Put small fragments together if many have piled up, or versions to drop; whether a clean-up is due, too."""
    committed = _committed(table)
    oldest = _oldest_with_a_tag(table, committed)
    fragments = table.stats()["fragment_stats"]["num_fragments"]
    due = fragments > MAX_FRAGMENTS or sum(number < oldest for number in committed) > MAX_VERSIONS
    if due:
        table.optimize(cleanup_older_than=NEVER)
    return due


def clean_up(table: Any) -> None:
    """Drop the versions before the oldest with a tag.

    LanceDB drops by age, not by number, and refuses to drop one with a tag. Files that a killed run never committed
    go too, once they are a week old.
    """
    committed = _committed(table)
    age = datetime.now().astimezone() - committed[_oldest_with_a_tag(table, committed)]
    # LanceDB reads the clock a little later; what is not dropped for that, the next clean-up drops.
    table.optimize(cleanup_older_than=age + timedelta(seconds=1))


def keep_nothing_else(table: Any) -> None:
    """Leave the served version, which must be the newest, and no other version, tag or file."""
    for tag in [tag for tag in _tags(table) if tag not in (PRODUCTION, f"{PROMOTED}{table.version}")]:
        table.tags.delete(tag)
    with warnings.catch_warnings():
        # That readers of what is dropped fail is wanted: they open the served version again.
        warnings.simplefilter("ignore", UserWarning)
        table.optimize(cleanup_older_than=AT_ONCE, delete_unverified=True)


def _committed(table: Any) -> Mapping[int, datetime]:
    """When each version was committed."""
    return {version["version"]: version["timestamp"].astimezone() for version in table.list_versions()}


def _oldest_with_a_tag(table: Any, committed: Mapping[int, datetime]) -> int:
    """The number of the oldest version that a tag keeps; of the newest before the first promotion."""
    tagged = {tag["version"] for tag in _tags(table).values()}
    return min(tagged & committed.keys(), default=table.version)


def _promoted(table: Any) -> set[int]:
    """The numbers of the versions that are or were served."""
    tags = _tags(table).items()
    return {tag["version"] for name, tag in tags if name == PRODUCTION or name.startswith(PROMOTED)}


def _tags(table: Any) -> Mapping[str, Any]:
    """The version under each tag; listed again if a build deletes one between finding it and reading it."""
    while True:
        try:
            listed: Mapping[str, Any] = table.tags.list()
        except RuntimeError as error:
            if not str(error).startswith(f"{LANCE_ERROR} Not found"):
                raise
        else:
            return listed


def _keep(table: Any, version: int) -> None:
    name = f"{PROMOTED}{version}"
    if name not in _tags(table):
        table.tags.create(name, version)
