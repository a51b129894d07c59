"""What can be made to go wrong: MongoDB's own fail point, and our rules for the n-th command of a name.

What belongs here: which command meets which fault. What does not: carrying it out on a connection (`wire.py`) or on
the documents (`commands.py`).
"""

import threading
from dataclasses import dataclass, field
from typing import Any

from profile_pipeline_tests.servers.bson_query import BAD_VALUE, CommandError, Document


@dataclass
class FailPoint:
    """MongoDB's `failCommand`: the data of the fault, and for how many commands it is skipped and holds."""

    data: Document = field(default_factory=dict)
    skip: int = 0
    times: float = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def configure(self, command: Document) -> None:
        """Switch on or off as `configureFailPoint` says."""
        if command["configureFailPoint"] != "failCommand":
            raise CommandError(BAD_VALUE, f"unknown fail point: {command['configureFailPoint']}")
        mode = command.get("mode")
        match mode:
            case "off":
                self.skip, self.times = 0, 0
            case "alwaysOn":
                self.skip, self.times = 0, float("inf")
            case {"times": int(times)}:
                self.skip, self.times = 0, times
            case {"skip": int(skip)}:
                self.skip, self.times = skip, float("inf")
            case _:
                raise CommandError(BAD_VALUE, f"unknown mode of a fail point: {mode}")
        self.data = command.get("data", {})
        unknown = set(self.data) - {
            *("failCommands", "errorCode", "errorLabels", "closeConnection", "blockConnection", "blockTimeMS"),
            *("appName", "failInternalCommands"),
        }
        if unknown:
            raise CommandError(BAD_VALUE, f"unknown data of a fail point: {sorted(unknown)}")

    def meets(self, name: str, app_name: str | None) -> bool:
        """Whether the fault holds for this command, which then counts."""
        with self._lock:
            return self._meets(name, app_name)

    def _meets(self, name: str, app_name: str | None) -> bool:
        if not self.times or name not in self.data.get("failCommands", ()):
            return False
        if self.data.get("appName", app_name) != app_name:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Rule:
    """`onCommand`: what happens when the n-th command of a name arrives, counted from the rule's beginning."""

    name: str
    number: int
    collection: str | None
    writes: list[Document]
    closes_in_reply: bool

    @classmethod
    def parse(cls, command: Document) -> "Rule":
        """The rule that an `onCommand` describes."""
        unknown = set(command) - {"onCommand", "number", "collection", "writes", "closeInReply"}
        if unknown:
            raise CommandError(BAD_VALUE, f"unknown fields of onCommand: {sorted(unknown)}")
        return cls(
            command["onCommand"],
            command.get("number", 1),
            command.get("collection"),
            command.get("writes", []),
            command.get("closeInReply", False),
        )

    def meets(self, name: str, collection: Any) -> bool:
        """Whether this is the command it waits for."""
        if name != self.name or (self.collection is not None and collection != self.collection):
            return False
        self.number -= 1
        return self.number == 0
