"""One name with its search list and its address families: which questions, and what their answers mean together.

The names that it may stand for are tried in turn. One that has an address of either family is the one; one that has
none leads to the next. A name about which a server failed to answer ends the lookup: the next one could be another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.dns.answer import Absent, Failed, Found
from proxy.dns.message import AAAA, A, Question, labels
from proxy.dns.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.dns.names import Outcomes
    from proxy.dns.system import Setup

TYPES: dict[str, tuple[int, ...]] = {"any": (A, AAAA), "ipv4": (A,), "ipv6": (AAAA,)}
"""What is asked for each `family` of the configuration."""
HOSTS_TTL = 5
"""Seconds for which an entry of /etc/hosts is taken without another look at the file."""


def from_hosts(addresses: tuple[str, ...], family: str) -> Outcomes | None:
    """What the hosts file says; None if it says nothing, and servers are to be asked."""
    by_type: dict[int, Found | Absent | Failed] = {}
    for kind in TYPES[family]:
        fit = tuple(one for one in addresses if (":" in one) is (kind == AAAA))
        by_type[kind] = Found(fit, HOSTS_TTL) if fit else Absent(HOSTS_TTL, "the hosts file has no such address")
    return by_type if any(isinstance(one, Found) for one in by_type.values()) else None


class Lookup:
    """The driver carries out `queries`, calls `told` when all have their outcome, and so on until `outcomes`."""

    def __init__(self, host: str, family: str, setup: Setup, random: Callable[[int], int]) -> None:
        self.outcomes: Outcomes | None = None
        self.queries: dict[int, Query] = {}
        self._names = list(setup.candidates(host))
        self._types = TYPES[family]
        self._setup = setup
        self._random = random
        self._ask()

    def _ask(self) -> None:
        name, setup = labels(self._names.pop(0)), self._setup
        self.queries = {
            kind: Query(Question(name, kind), setup.servers, setup.attempts, setup.timeout, self._random)
            for kind in self._types
        }

    def told(self) -> None:
        """All queries have an outcome."""
        outcomes = {kind: query.outcome for kind, query in self.queries.items() if query.outcome is not None}
        absent = all(isinstance(one, Absent) for one in outcomes.values())
        if absent and self._names:
            self._ask()
        else:
            self.outcomes = outcomes
