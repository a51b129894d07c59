"""Who keeps an address that two users claim."""

from datetime import date, datetime

import pytest

from profile_pipeline.records.holders import Claim, second_holders


def claim(
    day: int, user: str, email: str, *, arrival: int = 0, deleted: int | None = None, is_new: bool = True
) -> Claim:
    at = datetime(2024, 1, day)
    gone = None if deleted is None else date(2024, 1, deleted)
    return Claim(date(2024, 1, day), at, arrival, user, email, gone, is_new)


@pytest.mark.parametrize(
    ("claims", "rejected"),
    [
        pytest.param([claim(1, "u1", "a"), claim(2, "u2", "a")], {("u2", 2): "u1"}, id="the first holder keeps it"),
        pytest.param(
            [claim(1, "u1", "a", arrival=2), claim(1, "u2", "a", arrival=1)],
            {("u1", 1): "u2"},
            id="order of arrival",
        ),
        pytest.param([claim(1, "u1", "a"), claim(2, "u1", "b"), claim(3, "u2", "a")], {}, id="given up before"),
        pytest.param(
            [
                claim(1, "u1", "a"),
                claim(1, "u2", "b"),
                claim(2, "u1", "b", arrival=1),
                claim(2, "u2", "a", arrival=2),
            ],
            {},
            id="swapped within a day",
        ),
        pytest.param(
            [claim(1, "u1", "a"), claim(1, "u3", "b"), claim(2, "u1", "b"), claim(2, "u2", "a")],
            {("u1", 2): "u3", ("u2", 2): "u1"},
            id="a rejected move keeps the old address",
        ),
        pytest.param(
            [
                claim(1, "u1", "a", deleted=3),
                claim(2, "u2", "a"),
                claim(3, "u1", "a", deleted=3),
                claim(4, "u2", "a"),
            ],
            {("u2", 2): "u1"},
            id="free from the day of deletion",
        ),
        pytest.param(
            [claim(1, "u2", "a"), claim(1, "u1", "a", arrival=9, is_new=False)],
            {("u2", 1): "u1"},
            id="the log stays",
        ),
        pytest.param(
            [claim(1, "u1", "a"), claim(5, "u1", "a"), claim(5, "u2", "a")],
            {("u2", 5): "u1"},
            id="kept by renewing",
        ),
        pytest.param([claim(1, "u1", "a"), claim(2, "u2", "a", deleted=2)], {}, id="a deleted user claims nothing"),
    ],
)
def test_a_second_live_user_on_an_address_is_rejected(
    claims: list[Claim], rejected: dict[tuple[str, int], str]
) -> None:
    found = {(claim.user_id, claim.day.day): holder for claim, holder in second_holders(claims).items()}
    assert found == rejected
