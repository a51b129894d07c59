"""Lines that the pipeline must put into quarantine, one list for each file.

What belongs here: each reason for which a record is rejected, and the line that shows it.
What does not: records that are merely untidy and still count (`story.py`).

A day's batch fails when more than a tenth of it is rejected, so the dates here are those of the two big days
of the story: December 2023, which falls on the first partition, and 1 April 2024.
"""

import json
from dataclasses import dataclass
from typing import Any

# With fewer users the lines below would be more than a tenth of a day.
FEWEST_USERS = 200


@dataclass(frozen=True)
class Dirty:
    """A line of a file and, in a few words, what is wrong with it."""

    fault: str
    line: str


def _record(fault: str, **fields: Any) -> Dirty:
    return Dirty(fault, json.dumps(fields, ensure_ascii=False))


def dirty_lines(taken_email: str) -> dict[str, list[Dirty]]:
    """Kind of record to its dirty lines.

    Args:
        taken_email: the address of a live user who was there before 1 April 2024.
    """
    return {"users": _users(taken_email), "events": _EVENTS, "orders": _ORDERS, "messages": _MESSAGES}


def _users(taken_email: str) -> list[Dirty]:
    december, april = "2023-12-11T10:00:00Z", "2024-04-01T15:30:00Z"
    return [
        _record("missing id", email="no.key@example.com", name="No Key", age=41, created_at=december),
        _record("missing e-mail", id="user_x01", name="Ada Ohnepost", age=33, created_at=december),
        _record("blank e-mail", id="user_x02", email="   ", interests=["wine"], age=29, created_at=april),
        _record("wrong type", id="user_x03", email="age.in.words@example.com", age="thirty-four", created_at=april),
        _record("age out of range", id="user_x04", email="newborn@example.org", age=0, created_at=december),
        _record("age out of range", id="user_x05", email="methuselah@example.org", age=130, created_at=december),
        _record("unparsable date", id="user_x06", email="some.day@example.net", created_at="a while ago"),
        _record(
            "second live user on one e-mail",
            id="user_x07",
            email=taken_email.upper(),
            occupation="Nurse",
            created_at=april,
        ),
        Dirty("unreadable line", '{"id": "user_x08", "email": "cut.off@example.com", "interests": ["hik'),
        Dirty("not an object", '["user_x09", "a.row@example.com", "Anna Row"]'),
    ]


_EVENTS = [
    _record("missing id", name="Unnumbered Supper", date="2024-02-17", participants=[], created_at="2023-12-11"),
    _record(
        "wrong type",
        id="event_x01",
        name="Head Count Only",
        date="2024-05-11",
        participants=14,
        created_at="2024-04-01T09:00:00Z",
    ),
    _record("missing date", id="event_x02", name="Some Other Time", participants=[], created_at="2024-04-01"),
    _record("unparsable date", id="event_x03", name="Leap of Faith", date="2024-02-30", created_at="2023-12-12"),
    Dirty("unreadable line", '{"id": "event_x04", "name": "Half a Brunch", "date": "2024-0'),
]

_ORDERS = [
    _record("missing id", user_id="user_014", amount=75.0, date="2023-12-12"),
    _record("missing id", id=None, user_id="user_021", amount=55.0, date="2024-04-01"),
    _record("missing user_id", id="order_x01", amount=85.0, date="2023-12-13"),
    _record("wrong type", id="order_x02", user_id="user_018", amount="eighty-five", date="2023-12-13"),
    _record("missing amount", id="order_x03", user_id="user_019", date="2024-04-01"),
    _record("negative amount", id="order_x04", user_id="user_009", amount=-40.0, date="2023-12-14"),
    _record("negative amount", id="order_x05", user_id="user_033", amount=-0.01, date="2024-04-01"),
    _record("amount of three places", id="order_x10", user_id="user_020", amount=19.995, date="2024-04-01"),
    _record("unparsable date", id="order_x06", user_id="user_011", amount=65.0, date="2024-02-30"),
    _record("unparsable date", id="order_x07", user_id="user_012", amount=45.0, date="next Friday"),
    _record("missing date", id="order_x08", user_id="user_017", amount=95.0, created_at="2024-04-01"),
    Dirty("unreadable line", '{"id": "order_x09", "user_id": "user_015", "amount": 75.0, '),
    Dirty("not an object", "85.0"),
]

_MESSAGES = [
    _record("missing id", user_id="user_013", content="Hi there!", status="queued", created_date="2024-04-01"),
    _record("missing user_id", id="msg_x01", content="To whom?", status="sent", sent_date="2023-12-14"),
    _record(
        "wrong type",
        id="msg_x02",
        user_id="user_016",
        content=["Hi"],
        status="queued",
        created_date="2023-12-15",
    ),
    _record("wrong type", id="msg_x03", user_id="user_022", content="Hello", status=1, created_date="2024-04-01"),
    _record("unparsable date", id="msg_x04", user_id="user_023", content="Soon!", status="sent", sent_date="soon"),
    _record(
        "unparsable date",
        id="msg_x05",
        user_id="user_024",
        content="Late supper?",
        status="queued",
        created_date="2023-12-32",
    ),
    Dirty("unreadable line", '{"id": "msg_x06", "user_id": "user_025", "content": "See you at The Vau'),
    Dirty("not an object", '"msg_x07"'),
]
