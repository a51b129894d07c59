"""Who is meant, and all that they are known by.

What belongs here: from an id or an address to the ids, addresses and names to erase, as far as they are nobody else's.
What does not: erasing them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from profile_pipeline.errors import PipelineError
from profile_pipeline.history import LATEST_FIRST
from profile_pipeline.records.email import normalise_email
from profile_pipeline.records.models import Rejected, field_values
from profile_pipeline.records.suppressions import full_name, identity, is_distinctive
from profile_pipeline.replay import dialects_of
from profile_pipeline.settings import Settings
from profile_pipeline.sql import quoted
from profile_pipeline.warehouse import Warehouse


@dataclass(frozen=True)
class Identity:
    """What a person is known by. `remarks` says in words what is left out, and why."""

    ids: tuple[str, ...]
    addresses: tuple[str, ...]
    names: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def hashed_as(self) -> set[str]:
        """What goes on the suppression list, hashed."""
        anywhere = [each.lower() for each in self.ids if is_distinctive(each)]
        names = [name for each in self.names if (name := full_name(each))]
        return {*map(identity, self.ids), *anywhere, *self.addresses, *names}

    @property
    def name_lengths(self) -> tuple[int, ...]:
        """How many words their names have."""
        return tuple(sorted({name.count(" ") + 1 for each in self.names if (name := full_name(each))}))


class RejectedUser(NamedTuple):
    """What a rejected user record says of whose it is; `waits` for a replay unless it was resolved."""

    key: str | None
    email: str | None
    name: str | None
    waits: bool


def unseen(settings: Settings, user: str) -> Identity:
    """Somebody of whom nothing is known but an id or an address."""
    address = _address(settings, user)
    return Identity((), (address,), ()) if "@" in address else Identity((user.strip(),), (), ())


def identify(warehouse: Warehouse, settings: Settings, user: str) -> Identity | None:
    """What the user of an id, or of an address, is known by; None if nothing here names them so.

    Raises:
        PipelineError: several users had the address, and none of them has it now.
    """
    user_id, address = user.strip(), _address(settings, user)
    rejected = _rejected_users(warehouse, settings)
    if _is_id(warehouse, user_id, rejected):
        return _known_by(warehouse, user_id, rejected, ())
    held = _holders(warehouse, address)
    holders = [holder for holder, is_current in held.items() if is_current] or list(held)
    holders = holders or sorted({each.key for each in rejected if each.email == address and each.key})
    if len(holders) > 1:
        raise PipelineError(f"users {', '.join(holders)} have all had that address; say by its id which one is meant")
    if holders:
        return _known_by(warehouse, holders[0], rejected, (address,))
    is_guest = warehouse.scalar("SELECT count(*) FROM raw_events WHERE list_contains(participants, ?)", address)
    is_rejected = any(each.email == address for each in rejected)
    return Identity((), (address,), ()) if is_guest or is_rejected else None


def _known_by(
    warehouse: Warehouse,
    user_id: str,
    rejected: list[RejectedUser],
    given: Iterable[str],
) -> Identity:
    rows = warehouse.connection.execute("SELECT email, name FROM raw_users WHERE id = ?", [user_id]).fetchall()
    rows += [(each.email, each.name) for each in rejected if each.key == user_id]
    addresses = {*given, *(email for email, _ in rows if email)}
    names = {name.strip() for _, name in rows if name}
    left_out = []
    if not is_distinctive(user_id):
        left_out.append("the id, which other things may be called, too, outside of the fields for ids")
    if taken := {each for each in addresses if _is_anothers(warehouse, each, user_id, rejected)}:
        left_out.append(f"addresses that another user goes by now, or waits for: {len(taken)}")
    if shared := {each for each in names if not full_name(each) or _is_namesake(warehouse, each, user_id)}:
        left_out.append(f"names of a single word, or that another user has, in records of others: {len(shared)}")
    return Identity((user_id,), tuple(sorted(addresses - taken)), tuple(sorted(names - shared)), tuple(left_out))


def _is_id(warehouse: Warehouse, user_id: str, rejected: list[RejectedUser]) -> bool:
    places = (("raw_users", "id"), ("raw_orders", "user_id"), ("raw_messages", "user_id"))
    found = " UNION ALL ".join(f"(SELECT 1 FROM {table} WHERE {column} = $id LIMIT 1)" for table, column in places)
    rows = warehouse.connection.execute(found, {"id": user_id}).fetchall()
    return bool(rows) or any(each.key == user_id for each in rejected)


def _holders(warehouse: Warehouse, address: str) -> dict[str, bool]:
    """Who has or had an address: id to whether they have it now."""
    rows = warehouse.connection.execute(
        f"""
        SELECT id, latest.email = $address AND NOT latest.is_deleted FROM (
            SELECT id, first({{'email': email, 'is_deleted': deleted_at IS NOT NULL}} ORDER BY {LATEST_FIRST}) AS latest
            FROM raw_users WHERE id IN (SELECT id FROM raw_users WHERE email = $address) GROUP BY id
        ) ORDER BY id
        """,
        {"address": address},
    ).fetchall()
    return dict(rows)


def _is_anothers(warehouse: Warehouse, address: str, user_id: str, rejected: list[RejectedUser]) -> bool:
    """Whether another user has an address, or waits in quarantine for one that the user has left."""
    holders = _holders(warehouse, address)
    if any(is_current for holder, is_current in holders.items() if holder != user_id):
        return True
    is_left = user_id in holders and not holders[user_id]
    return is_left and any(
        each.waits and each.email == address and each.key not in (None, user_id) for each in rejected
    )


def _is_namesake(warehouse: Warehouse, name: str, user_id: str) -> bool:
    others = f"SELECT name FROM raw_users WHERE id <> {quoted(user_id)}"
    return bool(names_within(warehouse, others, [name]))


def names_within(warehouse: Warehouse, texts: str, names: Iterable[str]) -> set[str]:
    """Which full names stand, as whole words, in any of the texts that a query gives."""
    words = r"' ' || trim(regexp_replace(lower(text), '[^\pL\pN]+', ' ', 'g')) || ' '"
    found = f"SELECT count(*) FROM (SELECT {words} AS words FROM ({texts}) AS texts(text)) WHERE contains(words, ?)"
    full = {name: full_name(name) for name in names}
    return {name for name, written in full.items() if written and warehouse.scalar(found, f" {written} ")}


def _rejected_users(warehouse: Warehouse, settings: Settings) -> list[RejectedUser]:
    """Rejected user records, as far as they can be read."""
    found = []
    for condition, dialect in dialects_of(settings, "users"):
        for key, document, waits in warehouse.connection.execute(
            f"SELECT record_id, document, resolution IS NULL FROM quarantine WHERE kind = 'users' AND {condition}"
        ).fetchall():
            try:
                values = field_values("users", document, dialect)
            except Rejected:
                continue
            email, name = (values[field] if isinstance(values[field], str) else None for field in ("email", "name"))
            found.append(RejectedUser(key, _address(settings, email) if email else None, name, waits))
    return found


def _address(settings: Settings, text: str) -> str:
    return normalise_email(text, fold_aliases=settings.policy.fold_email_aliases)
