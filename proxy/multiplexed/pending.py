"""The calls under way on one connection by our id, in the order in which they came: the twin in Python of pending.pyx.

    12 --> client, its id 7, deadline, codec, ver1, what else is to be known of it, when it came, its route's label

Protocols add loops over runs of frames that put calls there and take them out (`proxy.bolt.runs`). What a run came to
stands in fields, for a compiled loop makes no object that it can do without.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.multiplexed.client import Client
    from proxy.multiplexed.ledger import Call


class Pending:
    """No call, to begin with. Ids of ours and of clients are numbers of 64 bits with a sign."""

    __slots__ = ("_calls", "asker", "count", "last", "route", "soonest", "wrong")

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}
        self.asker: Client | None = None
        """Whose answers the last run had."""
        self.count = 0
        """How many frames the last run had."""
        self.last = 0
        """The id that was given last."""
        self.route = ""
        """By which route the calls came that the last run answered."""
        self.soonest = inf
        """The earliest deadline of the calls of the last run."""
        self.wrong = 0
        """How many answers of the last run had a status that is no success."""

    def __len__(self) -> int:
        return len(self._calls)

    def size(self) -> int:
        """How many there are."""
        return len(self._calls)

    def has(self, number: int) -> bool:
        """A call has this id."""
        return number in self._calls

    def put(self, number: int, call: Call) -> None:
        """Add a call, or give one that is there another form: it keeps its place."""
        self._calls[number] = call

    def pop(self, number: int) -> Call | None:
        """Take a call out; None if there is none."""
        return self._calls.pop(number, None)

    def values(self) -> list[Call]:
        """All of them."""
        return list(self._calls.values())

    def items(self) -> list[tuple[int, Call]]:
        """All of them, with their ids."""
        return list(self._calls.items())

    def of(self, asker: Client) -> list[Call]:
        """Those of one client."""
        return [call for call in self._calls.values() if call[0] is asker]

    def forget(self, asker: Client) -> int:
        """Take out those of one client. Returns how many there were."""
        numbers = [number for number, call in self._calls.items() if call[0] is asker]
        for number in numbers:
            del self._calls[number]
        if self.asker is asker:
            self.asker = None
        return len(numbers)

    def earliest(self) -> float:
        """The earliest deadline; inf without a call."""
        return min((call[2] for call in self._calls.values()), default=inf)
