"""Lookups that end when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import ClassVar

from proxy.config.model import DnsConfig
from proxy.dns.answer import Absent, Failed, Found
from proxy.dns.message import AAAA, A
from proxy.dns.names import Outcomes


class ManualAsker:
    """Implements `proxy.dns.names.Asker`. `current` is the one that may speak now."""

    current: ClassVar[ManualAsker | None] = None

    def __init__(self) -> None:
        self.asked: dict[str, Callable[[Outcomes], None]] = {}
        self.at = inf
        self.due: Callable[[], None] | None = None
        ManualAsker.current = self

    def ask(self, host: str, family: str, config: DnsConfig, told: Callable[[Outcomes], None]) -> None:
        assert host not in self.asked
        self.asked[host] = told

    def plan(self, at: float, due: Callable[[], None]) -> None:
        self.at, self.due = at, due

    def stop(self) -> None:
        self.asked.clear()
        self.at = inf
        if ManualAsker.current is self:
            ManualAsker.current = None


def asker() -> ManualAsker:
    assert ManualAsker.current is not None, "nobody asks"
    return ManualAsker.current


def answer(host: str, *addresses: str, ttl: int = 10) -> None:
    """The lookup under way brings these, or nothing."""
    outcomes: Outcomes = {}
    for kind in (A, AAAA):
        fit = tuple(one for one in addresses if (":" in one) is (kind == AAAA))
        outcomes[kind] = Found(fit, ttl) if fit else Absent(ttl, f"{host} has no address")
    asker().asked.pop(host)(outcomes)


def fail(host: str, why: str = "no answer within 5 s") -> None:
    asker().asked.pop(host)({A: Failed(why), AAAA: Failed(why)})


def pass_time(now: float) -> None:
    """What was planned until then happens."""
    one = asker()
    if one.at <= now and one.due is not None:
        due, one.at = one.due, inf
        due()
