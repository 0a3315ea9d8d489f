"""Changes the connections of a cluster over to what is wanted.

    unsettled: a connection does not fit --+-- picked (http1, bolt), or at the next alarm --> a successor is dialled
                                           `-- strict, and it is plaintext --> it retires at once
    a successor serves                   --> one that does not fit retires: an idle one, else the next to become idle;
                                             of exclusive ones (http1) also those that nobody used for a second
    a successor failed                   --> `Measure.refused`: again after a pause
    nothing is left that does not fit    --> settled, which costs one look at a flag for each pick

The layers do the rest: `Upstream.succeed` dials, `Upstream.retire` ends. Relayed connections (tcp) cannot be
replaced; new ones follow.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from proxy.encryption.measure import PAUSE, STEP, Measure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.config.model import ClusterConfig
    from proxy.config.tls_model import Announced
    from proxy.encryption.state import Order, WishesState
    from proxy.endpoint import Endpoint
    from proxy.sides import Upstream

SWEEP: Final = 1.0
"""Seconds: what was idle for so long is not needed, so it goes without a successor."""
MOST_SPARES: Final = 8
"""Successors that are dialled at a time, for each endpoint: handshakes cost both sides a millisecond."""


class Switch(Measure):
    """That of one cluster."""

    __slots__ = ()

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
                endpoint.mix.settled, endpoint.mix.not_before = False, 0.0

    # ---- a pick ----

    def acquire(self, endpoint: Endpoint, now: float) -> Upstream | None:
        """Take an idle connection out of its pool, rather one that fits: `Pool.acquire` while it is not settled."""
        lack = self.lack(now)
        idle = endpoint.pool.connections()
        chosen = next((one for one in reversed(idle) if self.within(one, lack)), idle[-1] if idle else None)
        if chosen is None or not self.admits(chosen, now):
            return None
        endpoint.pool.discard(chosen)
        return chosen

    def admits(self, chosen: Upstream, now: float) -> bool:
        """Whether a connection that was picked may serve. One that does not fit gets a successor meanwhile."""
        if self.fits(chosen, now):
            return True
        if self.must_go(chosen, now):
            self._dismiss(chosen.endpoint, now)
            return False
        self._replace(chosen, now)
        return True

    def leaves(self, connection: Upstream, now: float) -> bool:
        """Its exchange is complete: whether it goes now, and not back to the pool."""
        lack = self.lack(now)
        if self.within(connection, lack):
            return False
        mix = connection.endpoint.mix
        if mix.owed > 0:
            mix.owed -= 1
            return True
        others = mix.secure if connection.tls is None else mix.plain  # while TLS cannot be had there are none
        waits = others and any(self.within(one, lack) for one in connection.endpoint.pool.connections())
        return bool(waits) or self.must_go(connection, now)  # a successor of before the handover waits

    # ---- replacing ----

    def _replace(self, old: Upstream, now: float) -> None:
        """Dial a successor, unless enough are under way or one failed a moment ago."""
        mix = old.endpoint.mix
        resting = self.wishes.resting_until(old.endpoint.name) if old.tls is None else 0.0
        if max(resting, mix.not_before) > now or old.plane.draining:  # first: so it may be for hours, at every pick
            return
        spares = mix.spares
        kin = sum(one.replaces(old) for one in spares)
        if kin >= self._most(old, now) or len(spares) >= MOST_SPARES:
            return
        limits = self._cluster.limits
        if not spares or limits is None or not limits.excess(dials=True):  # one more than the limit, for a moment
            old.succeed()

    def _most(self, old: Upstream, now: float) -> int:
        """So many successors of this kind are of use."""
        lack = self.lack(now)
        if not old.exclusive:  # shared ones wait for no idleness: never more of a version than go
            there = sum(one.replaces(old) for one in self._unfit(old.endpoint, now))
        else:
            there = old.endpoint.mix.plain if old.tls is None else old.endpoint.mix.secure
        return min(there, abs(lack)) if self.wishes.wants(old.endpoint) else there

    def succeeded(self, successor: Upstream, now: float) -> None:
        """It serves from now on: one that does not fit goes, the next to become idle if none is."""
        endpoint = successor.endpoint
        kin = [one for one in endpoint.pooled() if one is not successor and successor.replaces(one)]
        lack = self.lack(now, successor)  # else a share would seem reached by what is one too many
        old = next((one for one in kin if not one.connecting and not self.within(one, lack)), None)
        if not self.within(successor, lack) or endpoint.whole not in self._cluster.endpoints:
            if kin or endpoint.whole not in self._cluster.endpoints:
                self._superfluous(successor, now)  # something else is wanted by now
        elif old is not None:
            old.retire()
        elif not successor.exclusive and len(kin) >= self._cluster.config.shared_connections:
            self._superfluous(successor, now)  # what it was to replace is gone, and another took its place
        elif successor.exclusive and not endpoint.mix.settled:
            endpoint.mix.owed += 1
        self._go_on(endpoint, now)

    def _superfluous(self, successor: Upstream, now: float) -> None:
        """It replaces none: it goes, and the next one takes its time, whatever it is good for."""
        successor.endpoint.mix.not_before = now + PAUSE
        successor.retire()

    def _unfit(self, endpoint: Endpoint, now: float) -> list[Upstream]:
        """Those that wait for their next use and do not fit, oldest first."""
        lack = self.lack(now)
        return [one for one in endpoint.pooled() if not one.connecting and not self.within(one, lack)]

    def _go_on(self, endpoint: Endpoint, now: float) -> None:
        """Have what waits unused for long go, and the next one replaced."""
        gone = endpoint.whole not in self._cluster.endpoints
        for one in self._unfit(endpoint, now):
            proven = endpoint.mix.secure if one.tls is None else endpoint.mix.plain
            unused = one.exclusive and proven and now - one.active >= SWEEP
            if (unused or gone) and not self.fits(one, now):
                one.retire()
        unfit = self._unfit(endpoint, now)
        if unfit and not endpoint.mix.spares and not gone:
            self._replace(unfit[0], now)

    def _dismiss(self, endpoint: Endpoint, now: float) -> None:
        """Plaintext serves no longer, whether or not TLS can be had."""
        for one in self._unfit(endpoint, now):
            if self.must_go(one, now):
                one.retire()

    # ---- the alarm ----

    def alarm(self, now: float) -> None:
        """`due` has passed."""
        self.look(now)
        self.due = inf
        for endpoint in self._cluster.every():
            if endpoint.mix.settled:
                continue
            if self.wishes.strict:
                self._dismiss(endpoint, now)
            self._go_on(endpoint, now)
            resting = self.wishes.resting_until(endpoint.name) if self.wishes.wants(endpoint) else 0.0
            self.due = min(self.due, max(resting, now + STEP))
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
