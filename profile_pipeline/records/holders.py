"""Who holds an e-mail address when two users claim it.

What belongs here: the rule by which the first holder keeps an address and a second live user is rejected.
What does not: finding the claims (`quarantine.py`), and whose address it is for matching events
(`features/people.py`).
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from operator import attrgetter

UNKNOWN = datetime.min  # timestamps are UTC without a zone; an unknown one sorts first


@dataclass(frozen=True)
class Claim:
    """A version of a user, on one partition, that claims an address.

    `arrival` is its order of arrival, over what is in the log already (`is_new` false) and what is to be
    added.
    """

    day: date
    changed_at: datetime | None
    arrival: int
    user_id: str
    email: str
    deleted_date: date | None
    is_new: bool

    def is_live(self, day: date) -> bool:
        """Whether the version, as of a day, is of a user who is not deleted."""
        return self.deleted_date is None or self.deleted_date > day

    @property
    def order(self) -> tuple[date, datetime, int]:
        """The order in which versions come into force."""
        return (self.day, self.changed_at or UNKNOWN, self.arrival)


@dataclass(frozen=True)
class _Held:
    """A claim in force, and the claim with which its user's hold of the address began."""

    claim: Claim
    began: Claim

    def is_rejectable(self, day: date) -> bool:
        """Whether the hold began today with a claim that is not in the log yet."""
        return self.began.is_new and self.began.day == day


def second_holders(claims: Iterable[Claim]) -> dict[Claim, str]:
    """The new claims to reject, each with the other user who holds the address as of the end of its day.

    Claims in the log stay. Only the state at the end of a day counts, so that two users may swap addresses
    within one; a rejected version leaves the user with the one before it, address included.
    """
    rejected: dict[Claim, str] = {}
    state = _State()
    for day, claims_of_day in groupby(sorted(claims, key=attrgetter("order")), key=attrgetter("day")):
        stacks: dict[str, list[_Held]] = {}
        for claim in claims_of_day:
            stack = stacks.setdefault(claim.user_id, state.held_by(claim.user_id))
            continues = stack and stack[-1].claim.email == claim.email and stack[-1].claim.is_live(day)
            stack.append(_Held(claim, stack[-1].began if continues else claim))
        unsettled = {email for user_id, stack in stacks.items() for email in state.put(user_id, stack)}
        while unsettled:
            email = unsettled.pop()
            live = [held for held in state.holding(email) if held.claim.is_live(day)]
            if len(live) < 2:
                continue
            keeper = min(live, key=lambda held: (held.is_rejectable(day), held.began.order))
            for held in live:
                user_id = held.claim.user_id
                if held is not keeper and held.is_rejectable(day):
                    rejected[stacks[user_id].pop().claim] = keeper.claim.user_id
                    unsettled |= state.put(user_id, stacks[user_id])
    return rejected


class _State:
    """The claim in force for each user, and the users by address."""

    def __init__(self) -> None:
        self.in_force: dict[str, _Held] = {}
        self.users: dict[str, set[str]] = defaultdict(set)

    def held_by(self, user_id: str) -> list[_Held]:
        return [self.in_force[user_id]] if user_id in self.in_force else []

    def holding(self, email: str) -> list[_Held]:
        return [self.in_force[user_id] for user_id in sorted(self.users[email])]

    def put(self, user_id: str, stack: list[_Held]) -> set[str]:
        """Bring the top of a user's stack into force; returns the address whose holders changed."""
        if (old := self.in_force.pop(user_id, None)) is not None:
            self.users[old.claim.email].discard(user_id)
        if not stack:
            return set()
        self.in_force[user_id] = stack[-1]
        self.users[stack[-1].claim.email].add(user_id)
        return {stack[-1].claim.email}
