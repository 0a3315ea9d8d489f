"""Compares what encryption a cluster wants with what its connections have, and changes these over.

    unsettled: a connection does not fit --+-- picked (http1, bolt), or at the next alarm --> a successor is dialled
                                           `-- strict, and it is plaintext --> it retires at once
    a successor serves                   --> one that does not fit retires: an idle one, else the next to become idle;
                                             of exclusive ones (http1) also those that nobody used for a second
    a successor failed                   --> `Wishes.refused`: again after a pause
    nothing is left that does not fit    --> settled, which costs one look at a flag for each pick

The layers do the rest: `Upstream.succeed` dials, `Upstream.relieve` retires. Relayed connections (tcp) cannot be
replaced; new ones follow.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from proxy.encryption.wishes import WHOLE, Wishes
from proxy.endpoint import Anywhere

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.cluster import Cluster
    from proxy.config.model import ClusterConfig
    from proxy.config.tls_model import Announced
    from proxy.connection import Connection
    from proxy.encryption.state import Order, WishesState
    from proxy.endpoint import Endpoint
    from proxy.sides import Upstream

STEP: Final = 0.25
"""Seconds between two looks at what is not settled."""
SWEEP: Final = 1.0
"""Seconds: what was idle for so long is not needed, so it goes without a successor."""
MOST_SPARES: Final = 8
"""Successors that are dialled at a time, for each endpoint: handshakes cost both sides a millisecond."""


class Switch:
    """That of one cluster."""

    __slots__ = ("_carry", "_cluster", "due", "wishes")

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._carry = 0
        """Percent that are owed to connections which are not counted."""
        self.wishes = Wishes(cluster.config)
        self.due = inf
        """When `alarm` has something to do, monotonic seconds."""

    # ---- what is wanted changes ----

    def follow(self, config: ClusterConfig) -> None:
        """The configuration or the endpoints changed."""
        self.wishes.follow(config)
        self.changed()

    def obey(self, order: Order | None) -> None:
        """See `Wishes.obey`."""
        self.wishes.obey(order)
        self.changed()

    def announce(self, endpoint: str, what: Announced | None) -> None:
        """An endpoint announced something on the control socket; None takes that back."""
        if what is None:
            self.wishes.announced.pop(endpoint, None)
        else:
            self.wishes.announced[endpoint] = what
        self.wishes.proven(endpoint)  # at least it is worth a try
        self.changed()

    def read(self, file: Mapping[str, Announced] | None) -> None:
        """The file of announcements says this; None: there is none any more."""
        before = self.wishes.file or {}
        for name, what in (file or {}).items():
            if before.get(name) != what:
                self.wishes.proven(name)
        self.wishes.file = file
        self.changed()

    def changed(self) -> None:
        """Whoever picks a connection has to compare, until the alarm has looked."""
        if self.concerned:
            self.due = -inf
            for endpoint in self._cluster.every():
                endpoint.mix.settled = False

    @property
    def concerned(self) -> bool:
        """There may be something to do: TLS is possible, or was."""
        return self.wishes.possible or any(one.mix.secure for one in self._cluster.every())

    # ---- what is, and what is wanted ----

    def _look(self, now: float) -> None:
        """Compare all endpoints."""
        lack = self._lack(now)
        for endpoint in self._cluster.every():
            self._settle(endpoint, lack)

    @property
    def settled(self) -> bool:
        """Every connection is as wanted."""
        return all(endpoint.mix.settled for endpoint in self._cluster.every())

    def noted(self, endpoint: Endpoint, now: float) -> None:
        """A connection of that endpoint came or went."""
        if 0 < self.wishes.share(now) < WHOLE:
            self._look(now)
        else:
            self._settle(endpoint, self._lack(now))
        if not endpoint.mix.settled:
            self.due = min(self.due, now + STEP)

    def _settle(self, endpoint: Endpoint, lack: int) -> None:
        mix = endpoint.mix
        if isinstance(endpoint, Anywhere) and self.wishes.possible and self.wishes.current.wanted == "follow":
            mix.settled = False  # each destination is another endpoint: only a pick can tell
        elif not self.wishes.wants(endpoint):
            mix.settled = not mix.secure
        else:
            mix.settled = not ((lack > 0 and mix.plain) or (lack < 0 and mix.secure))
        if mix.settled:
            mix.owed = 0

    def _lack(self, now: float) -> int:
        """Of the connections to endpoints of which TLS is wanted so many more are to be encrypted; below 0: fewer."""
        if self.wishes.share(now) >= WHOLE:
            return 1 << 30
        have, total = self._counts()
        return self.wishes.quota(total, now) - have

    def _counts(self) -> tuple[int, int]:
        mixes = [one.mix for one in self._cluster.every() if self.wishes.wants(one)]
        secure = sum(mix.secure for mix in mixes)
        return secure, secure + sum(mix.plain for mix in mixes)

    def fits(self, connection: Upstream, now: float) -> bool:
        """It is as wanted."""
        return self._fits(connection, self._lack(now))

    def _fits(self, connection: Upstream, lack: int) -> bool:
        secure = connection.tls is not None
        if not self.wishes.wants(connection.endpoint):
            return not secure
        return lack >= 0 if secure else lack <= 0

    # ---- a connection begins ----

    def secures(self, connection: Upstream, now: float) -> bool:
        """Its TCP connection is there: whether TLS comes next."""
        wishes, endpoint = self.wishes, connection.endpoint
        if not wishes.wants(endpoint):
            return False
        if not wishes.strict and wishes.resting_until(endpoint.name) > now:
            endpoint.meters.fallbacks().inc()
            return False
        share = wishes.share(now)
        if share in {0, WHOLE}:
            return share > 0
        if not connection.pooled:
            self._carry += share
            if self._carry < WHOLE:
                return False
            self._carry -= WHOLE
            return True
        have, total = self._counts()
        coming = sum(one.tls is not None for each in self._cluster.every() for one in each.mix.spares.values())
        return have + coming < wishes.quota(total + (not connection.spare), now)

    def refused(self, connection: Upstream, reason: str, now: float) -> bool:
        """TLS, or a successor, could not be had. True if the same connection may be made anew in plaintext."""
        endpoint = connection.endpoint
        endpoint.meters.encryption_failures().inc()
        self.wishes.refused(endpoint.name, reason, now)
        if not endpoint.mix.settled:
            self.due = min(self.due, now + STEP)
        return not self.wishes.strict and not connection.spare

    def proven(self, endpoint: Endpoint) -> None:
        """A handshake succeeded."""
        if self.wishes.troubles:
            self.wishes.proven(endpoint.name)

    # ---- connections that do not fit ----

    def acquire(self, endpoint: Endpoint, now: float) -> Connection | None:
        """Take an idle connection out of its pool, rather one that fits: `Pool.acquire` while it is not settled."""
        lack = self._lack(now)
        idle: list[Upstream] = endpoint.pool.connections()  # type: ignore[assignment]  # it holds nothing else
        idle.reverse()
        chosen = next((one for one in idle if self._fits(one, lack)), idle[0] if idle else None)
        if chosen is None or not self.admits(chosen, now):
            return None
        endpoint.pool.discard(chosen)
        return chosen

    def admits(self, chosen: Upstream, now: float) -> bool:
        """Whether a connection that was picked may serve. One that does not fit gets a successor meanwhile."""
        if self.fits(chosen, now):
            return True
        if self.wishes.strict and chosen.tls is None:
            self._dismiss(chosen.endpoint, now)
            return False
        self._replace(chosen, now)
        return True

    def _replace(self, old: Upstream, now: float) -> None:
        """Dial a successor, unless enough are under way or one failed a moment ago."""
        mix, limits = old.endpoint.mix, self._cluster.limits
        enough = len(mix.spares) >= min(MOST_SPARES, mix.plain if old.tls is None else mix.secure)
        if not old.exclusive and not enough:  # shared ones wait for no idleness: never more of a version than go
            coming = sum(one.replaces(old) for one in mix.spares.values())
            enough = coming >= sum(one.replaces(old) for one in self._unfit(old.endpoint, now))
        if enough or old.plane.draining or self.wishes.resting_until(old.endpoint.name) > now:
            return
        if limits is None or not limits.excess(dials=True):
            old.succeed()

    def succeeded(self, successor: Upstream, now: float) -> None:
        """It serves from now on: one that does not fit goes, the next to become idle if none is."""
        endpoint = successor.endpoint
        self.wishes.proven(endpoint.name)
        old = next((one for one in self._unfit(endpoint, now) if successor.replaces(one)), None)
        if old is not None:
            old.relieve()
        elif successor.exclusive and not endpoint.mix.settled:
            endpoint.mix.owed += 1
        self._go_on(endpoint, now)

    def leaves(self, connection: Upstream, now: float) -> bool:
        """Its exchange is complete: whether it goes now, and not back to the pool."""
        lack = self._lack(now)
        if self._fits(connection, lack):
            return False
        mix = connection.endpoint.mix
        if mix.owed > 0:
            mix.owed -= 1
            return True
        if self.wishes.strict and connection.tls is None:
            return True
        idle: list[Upstream] = connection.endpoint.pool.connections()  # type: ignore[assignment]
        return any(self._fits(one, lack) for one in idle)  # a successor of before the handover

    def _unfit(self, endpoint: Endpoint, now: float) -> list[Upstream]:
        """Those that wait for their next use and do not fit, oldest first."""
        lack = self._lack(now)
        return [one for one in endpoint.pooled() if not one.connecting and not self._fits(one, lack)]

    def _go_on(self, endpoint: Endpoint, now: float) -> None:
        """Have what waits unused for long go, and the next one replaced."""
        for one in self._unfit(endpoint, now):
            proven = endpoint.mix.secure if one.tls is None else endpoint.mix.plain
            if one.exclusive and proven and now - one.active >= SWEEP and not self.fits(one, now):
                one.relieve()
        unfit = self._unfit(endpoint, now)
        if unfit and not endpoint.mix.spares:
            self._replace(unfit[0], now)

    def _dismiss(self, endpoint: Endpoint, now: float) -> None:
        """Plaintext that a strict cluster does not want serves no longer, whether or not TLS can be had."""
        for one in self._unfit(endpoint, now):
            if one.tls is None and not self.fits(one, now):
                one.relieve()

    # ---- the alarm ----

    def alarm(self, now: float) -> None:
        """`due` has passed."""
        self._look(now)
        self.due = inf
        for endpoint in self._cluster.every():
            if endpoint.mix.settled:
                continue
            if self.wishes.strict:
                self._dismiss(endpoint, now)
            self._go_on(endpoint, now)
            self.due = min(self.due, max(self.wishes.resting_until(endpoint.name), now + STEP))
        if self.wishes.grows(now):
            self.due = min(self.due, now + STEP)

    # ---- the value ----

    def save(self, now: float) -> WishesState:
        """What is wanted; the connections tell the rest."""
        return self.wishes.save(now)

    def load(self, saved: WishesState, now: float) -> None:
        """The counterpart of `save`."""
        self.wishes.load(saved, now)
        self.changed()
