"""The names of a configuration: what is known of each, and when it is asked for again.

    waiting --next_at--> asking --answer-----> waiting, for the TTL
                           | `--no answer----> waiting, for a back-off; the last good answer stays
                           `----freeze-------> waiting, due at once: whoever owns then asks

Answers are values and move with the shared state, so a new generation needs no resolver before it serves. What is
being asked does not move. That a name does not exist, or has no address, is an answer, too: its endpoints go. Of two
address families each keeps its own last good answer.
"""

from __future__ import annotations

import ipaddress
import logging
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol

from hotswap.log import fields
from proxy.config.model import DnsConfig
from proxy.dns.answer import Absent, Failed, Found
from proxy.dns.host import HostName
from proxy.state import NameState
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from proxy.cluster import Cluster

Outcomes = dict[int, Found | Absent | Failed]
"""By type of record."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds from a lookup that failed to the next; the pause doubles."""
LONGEST_ABSENCE: Final = 60.0
"""Seconds after which a name that was not there is asked for again at the latest, whatever its SOA says."""

logger = logging.getLogger("proxy.dns")


class Asker(Protocol):
    """Does the lookups, and calls when it is time for one. Nothing is called from within `ask` or `plan`."""

    def ask(self, host: str, family: str, config: DnsConfig, told: Callable[[Outcomes], None]) -> None:
        """Look this up."""

    def plan(self, at: float, due: Callable[[], None]) -> None:
        """Call at this time, monotonic seconds; inf: never. Replaces what was planned before."""

    def stop(self) -> None:
        """No further word of any lookup, no call."""


class Name:
    """What is known of one name in one family."""

    __slots__ = ("addresses", "asking", "clusters", "error", "failed", "failures", "known", "next_at", "ready_by")

    def __init__(self, ready_by: float) -> None:
        self.clusters: list[Cluster] = []
        self.addresses: dict[int, tuple[str, ...]] = {}
        """By type of record, in the order of the addresses."""
        self.known = False
        """It was answered once."""
        self.next_at = 0.0
        """When it is asked for, monotonic seconds."""
        self.ready_by = ready_by
        """Until when it keeps the proxy from being ready while it is not known."""
        self.failures = 0
        """Lookups in a row without an answer."""
        self.failed = 0
        """All of those."""
        self.error = ""
        """Of the last lookup; empty if it brought addresses."""
        self.asking = False

    @property
    def all(self) -> tuple[str, ...]:
        """The addresses of all families."""
        return tuple(one for kind in sorted(self.addresses) for one in self.addresses[kind])

    def learn(self, outcomes: Outcomes, config: DnsConfig, now: float) -> None:
        """Take an answer, and see when to ask again."""
        good: list[int] = []
        none: list[Absent] = []
        errors: list[str] = []
        for kind, outcome in outcomes.items():
            if isinstance(outcome, Failed):
                errors.append(outcome.why)
            elif isinstance(outcome, Found):
                self.addresses[kind] = tuple(sorted(outcome.addresses, key=ipaddress.ip_address))
                good.append(outcome.ttl)
            else:
                self.addresses[kind] = ()
                none.append(outcome)
        absence = [FIRST_PAUSE if one.ttl is None else float(one.ttl) for one in none]
        pause = float(min(good)) if good else min([*absence, LONGEST_ABSENCE])
        pause = min(max(pause, config.min_ttl), config.max_ttl)
        self.error = ""
        if errors:
            self.failures += 1
            self.failed += 1
            pause = min(pause, FIRST_PAUSE * 2.0 ** min(self.failures - 1, 10), LONGEST_PAUSE)
            self.error = errors[0]
        else:
            self.failures = 0
            if not good:
                self.error = none[0].why
        self.known = self.known or bool(good or none)
        self.next_at = now + pause

    def save(self, now: float) -> NameState:
        """As it travels."""
        left, ready_left = remaining(self.next_at, now), remaining(self.ready_by, now)
        return NameState(self.addresses, self.known, left, ready_left, self.failures, self.failed, self.error)

    def load(self, saved: NameState, now: float) -> None:
        """The counterpart."""
        self.addresses, self.known, self.error = dict(saved.addresses), saved.known, saved.error
        self.next_at, self.ready_by = deadline(saved.left, now), deadline(saved.ready_left, now)
        self.failures, self.failed = saved.failures, saved.failed


class Names:
    """All of them. Empty if no endpoint is a name, and then it costs nothing."""

    def __init__(self, asker: Callable[[], Asker], clock: Callable[[], float], changed: Callable[[], None]) -> None:
        """`changed` is called when clusters took other endpoints."""
        self._make = asker
        self._clock = clock
        self._changed = changed
        self._config = DnsConfig()
        self._names: dict[tuple[str, str], Name] = {}
        """By name and family."""
        self._asker: Asker | None = None
        self._running = False

    def follow(self, clusters: Iterable[Cluster], config: DnsConfig) -> None:
        """These are the clusters now. Answers of names that stay are kept."""
        running = self._running
        self.stop()
        now = self._clock()
        before, self._names = self._names, {}
        for cluster in clusters:
            for host in dict.fromkeys(
                one.address.host for one in cluster.config.endpoints if isinstance(one.address, HostName)
            ):
                key = (host, cluster.config.family)
                if key not in self._names:
                    name = self._names[key] = before.get(key) or Name(now + config.wait)
                    name.clusters = []
                    if config != self._config:
                        name.next_at = now
                self._names[key].clusters.append(cluster)
        self._config = config
        for (host, _), name in self._names.items():
            if name.known:
                self._tell(host, name)
        if running:
            self.start()

    # ---- who owns ----

    def start(self) -> None:
        """This generation owns and ticks: ask, now and whenever a TTL is over."""
        if not self._running:
            self._running = True
            if self._names:
                self._asker = self._make()
                self._ask()

    def stop(self) -> None:
        """It does not, or not now. What is being asked will be asked again."""
        self._running = False
        if self._asker is not None:
            self._asker.stop()
            self._asker = None
            for name in self._names.values():
                name.asking = False

    def _ask(self) -> None:
        """Ask for what is due."""
        asker = self._asker
        if asker is None:
            return
        now = self._clock()
        for key, name in self._names.items():
            if name.next_at <= now and not name.asking:
                name.asking = True
                asker.ask(*key, self._config, lambda outcomes, key=key: self._told(key, outcomes))  # type: ignore[misc]
        asker.plan(min([name.next_at for name in self._names.values() if not name.asking], default=inf), self._ask)

    def _told(self, key: tuple[str, str], outcomes: Outcomes) -> None:
        """A lookup is over."""
        name = self._names[key]
        was, failing, empty = name.all, bool(name.failures), name.known and not name.all
        name.asking = False
        name.learn(outcomes, self._config, self._clock())
        about = fields(name=key[0], reason=name.error)
        if name.failures == 1 and not failing:
            logger.warning("a name cannot be looked up, what was known of it stays", extra=about)
        elif not name.failures and not name.all and not empty:
            logger.warning("a name has no address, its endpoints are gone", extra=about)
        elif name.all and not name.failures and (failing or empty):
            logger.info("a name is looked up again", extra=fields(name=key[0], addresses=" ".join(name.all)))
        if name.known and (name.all != was or not name.all):
            self._tell(key[0], name)
            self._changed()
        self._ask()

    @staticmethod
    def _tell(host: str, name: Name, *, inert: bool = False) -> None:
        for cluster in name.clusters:
            cluster.resolved(host, name.all, inert=inert)

    # ---- the value ----

    def save(self, now: float) -> dict[str, NameState]:
        """See `proxy.state.SharedState`."""
        return {f"{family} {host}": name.save(now) for (host, family), name in self._names.items()}

    def load(self, saved: Mapping[str, NameState], now: float) -> None:
        """The counterpart, before anything is asked. Nothing is closed."""
        for (host, family), name in self._names.items():
            state = saved.get(f"{family} {host}")
            if state is not None:
                name.load(state, now)
                if name.known:
                    self._tell(host, name, inert=True)

    # ---- for people ----

    def trouble(self) -> str:
        """Why the proxy should not be sent anything; empty if all is well."""
        now = self._clock()
        unknown = [host for (host, _), name in self._names.items() if not name.known and now < name.ready_by]
        return f"no answer yet for the name {unknown[0]}" if unknown else ""

    def status(self) -> list[dict[str, Any]]:
        """One entry a name."""
        now = self._clock()
        return [_about(host, family, name, now) for (host, family), name in self._names.items()]


def _about(host: str, family: str, name: Name, now: float) -> dict[str, Any]:
    left = 0.0 if name.asking else max(name.next_at - now, 0.0)
    words = ", ".join(name.all) or ("no address" if name.known else "not known yet")
    again = "is being asked" if name.asking else f"asked again in {left:.0f} s"
    return {
        "name": host,
        "family": family,
        "addresses": name.all,
        "known": name.known,
        "next_in": round(left, 3),
        "failures": name.failures,
        "failed": name.failed,
        "error": name.error,
        "clusters": [cluster.name for cluster in name.clusters],
        "line": f"{host}: {words}; {again}" + (f"; {name.error}" if name.error else ""),
    }
