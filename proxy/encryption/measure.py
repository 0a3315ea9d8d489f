"""What a cluster's connections have, held against what is wanted of them.

    lack      so many more connections are to be encrypted, below 0 fewer; those to endpoints that want TLS count
    fits      a connection need not be replaced: encrypted as wanted, or within the share
    settled   all of an endpoint's connections fit: a flag in its `Mix`, all that a pick looks at
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from proxy.encryption.reasons import label
from proxy.encryption.wishes import WHOLE, Wishes

if TYPE_CHECKING:
    from proxy.cluster import Cluster
    from proxy.endpoint import Endpoint
    from proxy.sides import Upstream

STEP: Final = 0.25
"""Seconds between two looks at what is not settled."""
PAUSE: Final = 1.0
"""Seconds after a successor that failed for another reason than its TLS, or was not needed."""
ALL: Final = 1 << 30


class Measure:
    """That of one cluster."""

    __slots__ = ("_carry", "_cluster", "due", "wishes")

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._carry = 0
        """Percent that are owed to connections which are not counted."""
        self.wishes = Wishes(cluster.config)
        self.due = inf
        """When `Switch.alarm` has something to do, monotonic seconds."""

    @property
    def concerned(self) -> bool:
        """There may be something to do: TLS is possible, or was."""
        return self.wishes.possible or any(one.mix.secure for one in self._cluster.every())

    @property
    def settled(self) -> bool:
        """Every connection is as wanted."""
        return all(endpoint.mix.settled for endpoint in self._cluster.every())

    # ---- comparing ----

    def look(self, now: float) -> None:
        """Compare all endpoints."""
        lack = self.lack(now)
        for endpoint in self._cluster.every():
            self._settle(endpoint, lack)

    def noted(self, endpoint: Endpoint, now: float) -> None:
        """A connection of that endpoint came or went."""
        if 0 < self.wishes.share(now) < WHOLE:  # then it matters to all others, too
            self.look(now)
            settled = self.settled
        else:
            self._settle(endpoint, self.lack(now))
            settled = endpoint.mix.settled
        if not settled:
            self.due = min(self.due, now + STEP)

    def _settle(self, endpoint: Endpoint, lack: int) -> None:
        mix = endpoint.mix
        if not self.wishes.wants(endpoint):
            mix.settled = not mix.secure
        else:
            mix.settled = not ((lack > 0 and mix.plain) or (lack < 0 and mix.secure))
        if mix.settled:
            mix.owed = 0

    def lack(self, now: float, without: Upstream | None = None) -> int:
        """See the module. `without` a connection: as if it were not there."""
        if self.wishes.share(now) >= WHOLE:
            return ALL
        mixes = [one.mix for one in self._cluster.every() if self.wishes.wants(one)]
        have = sum(mix.secure for mix in mixes)
        total = have + sum(mix.plain for mix in mixes)
        if without is not None and self.wishes.wants(without.endpoint):
            total -= 1
            have -= without.tls is not None
        return self.wishes.quota(total, now) - have

    def fits(self, connection: Upstream, now: float) -> bool:
        """See the module."""
        return self.within(connection, self.lack(now))

    def within(self, connection: Upstream, lack: int) -> bool:
        """The same with a lack that is known."""
        secure = connection.tls is not None
        if not self.wishes.wants(connection.endpoint):
            return not secure
        return lack >= 0 if secure else lack <= 0

    def must_go(self, connection: Upstream, now: float) -> bool:
        """It is plaintext, and nothing may be sent in plaintext."""
        return self.wishes.strict and connection.tls is None and self.wishes.share(now) >= WHOLE

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
        mixes = [one.mix for one in self._cluster.every() if wishes.wants(one)]
        handshaking = [one for mix in mixes for one in mix.coming.values() if one.tls is not None]
        have = sum(mix.secure for mix in mixes) + len(handshaking)
        total = sum(mix.secure + mix.plain for mix in mixes) + sum(not one.spare for one in handshaking)
        return have < wishes.quota(total + (not connection.spare), now)

    def refused(self, connection: Upstream, reason: str, now: float) -> bool:
        """TLS could not be had, or a successor. True if the same connection may be made anew in plaintext."""
        endpoint = connection.endpoint
        endpoint.meters.encryption_failures(label(reason)).inc()
        if connection.secured:
            self.wishes.refused(endpoint.name, reason, now)
        else:
            endpoint.mix.not_before = now + PAUSE
        if not endpoint.mix.settled:
            self.due = min(self.due, now + STEP)
        return not self.wishes.strict and not connection.spare

    def proven(self, endpoint: Endpoint) -> None:
        """Bytes of the endpoint came by TLS."""
        if self.wishes.troubles:
            self.wishes.proven(endpoint.name)
