"""A connection to an endpoint that all clients share: chosen or dialled for a call, and what becomes of its calls.

A request of the server goes to the client that called last on this connection, or, if that is gone, to one that
waits for an answer on it; its way back is the downstream's record.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from proxy.connection import HIGH
from proxy.encryption.reasons import ENDED
from proxy.multiplexed.living import Living
from proxy.shared_pool import PAUSE

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.cluster import Cluster
    from proxy.endpoint import Endpoint
    from proxy.multiplexed.ledger import Ledger
    from proxy.multiplexed.wire import Head
    from proxy.plane import Plane
    from proxy.shared_pool import SharedPool

MOST_UNREAD: Final = HIGH + (1 << 25)
"""Bytes that may wait for a server: two longest frames, more than calls take."""


class MultiplexedUpstream(Living):
    """Without what comes from the server, which each protocol reads in its own way."""

    __slots__ = ()

    @classmethod
    def connect(
        cls,
        plane: Plane,
        cluster: Cluster,
        version: int,
        tried: Collection[str] = (),
        subset: tuple[tuple[str, str], ...] = (),
    ) -> Ledger | None:
        """The shared connection for a call to this cluster, perhaps one that is being dialled.

        None: no endpoint is left.
        `tried` are the endpoints that cannot be connected to; only those with all labels of the `subset` are asked.
        """
        endpoint = cluster.pick(tried, subset)
        return None if endpoint is None else cls.connect_to(plane, endpoint, version, tried, subset)

    @classmethod
    def connect_to(
        cls,
        plane: Plane,
        endpoint: Endpoint,
        version: int,
        tried: Collection[str] = (),
        subset: tuple[tuple[str, str], ...] = (),
    ) -> Ledger:
        """The same once this endpoint was picked."""
        cluster = endpoint.cluster
        if endpoint.rests_until > plane.now:  # a fresh connection would be closed with the calls that it was given
            resting = [one.name for one in cluster.endpoints if one.rests_until > plane.now]
            endpoint = cluster.pick((*tried, *resting), subset) or endpoint
        pool: SharedPool = endpoint.shared_pool(version)
        chosen: MultiplexedUpstream | None = pool.choose_for(endpoint, plane.now)
        if chosen is None or (len(pool.members) < cluster.shared_connections and pool.grows(chosen, plane.now)):
            added = cls(plane)
            added.dial(endpoint, version)
            pool.add(added)
            chosen = chosen or added
        return chosen

    def count_answers(self, answered: int, wrong: int) -> None:
        """So many calls are over, so many of them by an error."""
        if self.again and not self.outbox:
            calls = self.calls
            under_way = {number for number, _ in calls.items()}
            self.again = {number: again for number, again in self.again.items() if number in under_way}
        if answered:
            endpoint = self.endpoint
            if endpoint.watch is not None:
                endpoint.watch.answered(self.plane.now)
            endpoint.calls += answered
            meters = endpoint.meters
            oks, errors = meters.calls or meters.shared()
            oks.inc(answered - wrong)
            if wrong:
                errors.inc(wrong)
        self.ended_calls(answered)

    def refuse_answer(self, head: Head) -> None:
        """An answer that is too long."""
        under_way = self.calls
        call = under_way.pop(head.id)
        if call is not None:
            self.ended_calls(1)
            if call[0] is not None:
                call[0].fail(call, self.wire.bad_answer)

    def pushed(self, frame: bytearray, head: Head) -> None:
        """A request of the server."""
        client = self.caller
        if client is None:
            under_way = self.calls
            calls = under_way.values()
            client = calls[-1][0] if calls else None
        if client is not None:
            client.push(self, frame, head)
        elif head.wants_answer:
            self.send(self.wire.error(head.id, head.codec, head.ver1, self.wire.closed))

    # ---- the transport ----

    def connect_failed(self, errno: int) -> None:
        """Have the calls tried at other endpoints."""
        self.not_connected()

    def not_connected(self) -> None:
        """See `Living`. Nobody waits for one that was to take another's place."""
        if self.spare:
            return
        self.endpoint.shared_pool(self.version).not_before = self.plane.now + PAUSE
        self.endpoint.unreachable(self.plane.now)
        self.lost(self.wire.not_sent, self.endpoint.name)

    def ended(self) -> None:
        """The server's FIN: it answers nothing any more."""
        self.close()
        self.cut()

    def failed(self, errno: int) -> None:
        """The server is gone."""
        self.cut()

    def cut(self) -> None:
        """See `Living`."""
        if self.refused():
            self.lost(self.wire.closed, unseen=True)
            return
        if self.calls:
            self.endpoint.lost(self.plane.now)
        self.lost(self.wire.closed)

    def give_up(self, reason: str) -> None:
        """See `Ledger`."""
        self.close()
        self.lost(self.wire.closed)

    def lost(self, status: int, unreachable: str = "", *, unseen: bool = False) -> None:
        """See `Living`."""
        if self.spare and not unseen and not self.spurned:
            self.endpoint.cluster.switch.refused(self, ENDED, self.plane.now)
        calls, again, unsent = self.calls, self.again, self.unsent
        self.calls, self.again, self.unsent = self.record(), {}, b""
        cluster = self.endpoint.cluster
        for head, at in self.wire.frames(unsent):
            if not head.calls:
                continue
            call = calls.pop(head.id)
            if call is None and head.wants_answer:
                continue
            attempts, tried = again.get(head.id, (0, ()))
            if unreachable:
                tried = (*tried, unreachable)
            else:
                attempts += 1
            if call is None:
                call = (None, 0, inf, head.codec, head.ver1, None, self.plane.now, "")
            elif call[0] is None:
                continue
            other = None
            terms = call[5].terms if call[5] is not None else None
            if attempts <= (terms or cluster.config).retries + unseen:
                other = self.connect(
                    self.plane, cluster, self.version, tried, terms.subset if terms is not None else ()
                )
            if other is not None:
                if not unreachable:
                    cluster.meters.retries.inc()
                other.add(bytearray(unsent[at : at + head.length]), head, call, (attempts, tried))
            elif call[0] is not None:
                call[0].fail(call, self.wire.not_sent)
        for call in calls.values():
            if call[0] is not None:
                call[0].fail(call, status)
        self.clogged = False
        self.drained()
        asked, self.asked = self.asked, {}
        for client in asked:
            client.forsaken(self)
        self.caller = None

    def stuffed(self) -> None:
        """See `Ledger`. It is read on, since it may wait for that; calls wait at their clients meanwhile."""
        if len(self.outbox) > MOST_UNREAD:
            self.give_up("it does not read")

    def drained(self) -> None:
        """There is room again for those that feed it."""
        feeders = self.feeders
        self.feeders = {}
        for client in feeders:
            if self.clogged:
                self.feeders[client] = None
            else:
                client.unblock(self)
