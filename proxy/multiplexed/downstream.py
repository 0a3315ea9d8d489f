"""A client's side without what comes from the client, which each protocol reads in its own way.

A request of a server, which came by the upstream connection that this client used last, gets an id of ours too:
`pushes` is the way back for its answer.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from proxy.multiplexed.attended import MAX_CALLS, Attended
from proxy.multiplexed.wire import EVERY, LAST_ID, SAME, SINGLE

if TYPE_CHECKING:
    from proxy.multiplexed.ledger import Ledger
    from proxy.multiplexed.wire import Head


class MultiplexedDownstream(Attended):
    """A client connection."""

    __slots__ = ()

    def begin(self) -> None:
        """The first frame is due within the keep-alive timeout."""
        self.wake(self.due())

    # ---- calls of the client ----

    def choose(self, buffer: bytearray, begun: int, end: int, version: int, last: Ledger | None) -> Ledger | int:
        """The connection for a call; a status if there is none.

        From `begun` to `end` the buffer has what a route is chosen by. `last` is the connection of the call before.
        """
        listener = self.listener
        services = listener.services
        name = services.only
        self.route = services.label
        self.alike = EVERY
        if name is None:
            try:
                route = services.route(bytes(buffer[begun:end]))
            except ValueError:
                return self.wire.unreadable
            if route is None:
                return self.wire.no_route
            name, self.route = route.cluster(), route.label
            self.alike = SAME if route.split is None else SINGLE
        cluster = listener.clusters[name]
        if cluster.limits is not None or len(cluster.endpoints) > 1:
            self.alike = SINGLE
        if cluster.limits is not None and cluster.limits.busy():
            return self.wire.busy
        alone = len(cluster.endpoints) == 1
        if last is not None and last.version == version and last.endpoint.cluster is cluster and alone:
            return last
        endpoint = cluster.pick()
        if endpoint is None:
            return self.wire.not_sent
        pool = endpoint.shared_pool(version)
        chosen = pool.at_hand(endpoint, cluster.shared_connections, self.plane.now)  # without Python
        if chosen is None:
            chosen = self.upstream.connect_to(self.plane, endpoint, version)
        return self.wire.busy if chosen.burden() >= MAX_CALLS else chosen

    def refuse_run(self, number: int, codec: int, ver1: int, status: int) -> None:
        """Answer a call that nobody looks at, and that no connection was chosen for."""
        self.listener.answered += 1
        self.listener.failed += status != self.wire.no_route
        self.count_error(self.route)
        self.send(self.wire.error(number, codec, ver1, status))

    def one_way(self, frame: bytearray, head: Head, begun: int, end: int) -> None:
        """A request that nobody waits for: it is dropped if it cannot be served."""
        upstream = self.choose(frame, begun, end, head.version, None)
        if not isinstance(upstream, int):
            upstream.add(frame, head, (self, head.id, inf, head.codec, head.ver1, None, self.plane.now, ""))

    # ---- requests of servers ----

    def push(self, upstream: Ledger, frame: bytearray, head: Head) -> None:
        """Pass a server's request on."""
        number = self.last_id
        while True:
            number = number + 1 if number < LAST_ID else 1
            if number not in self.pushes:
                break
        self.last_id = number
        self.changes += 1
        about = self.about_pushed(upstream, frame, head)
        if head.wants_answer:
            patience = upstream.endpoint.cluster.config.request_timeout
            until = self.plane.now + (head.patience or patience)
            self.pushes[number] = (upstream, head.id, until, head.codec, head.ver1, about)
            upstream.asked[self] = None
            if until < self.soonest:
                self.soonest = until
                self.wake(until)
        self.wire.renumber(frame, head, number)
        self.deliver(frame, 0, len(frame), 0, 0, "")

    def pushed_back(self, frame: bytearray, head: Head) -> None:
        """The client's answer to a server's request."""
        push = self.pushes.pop(head.id, None)
        if push is not None and push[5] is not None:
            if push[5].record is not None:
                push[5].record.sent = head.payload
            self.tell(push[5], "ok", head.status)
        if push is None or push[0] is None or push[0].closed or push[0].version != head.version:
            return
        self.wire.renumber(frame, head, push[1])
        push[0].send(bytes(frame))
        if self.leaving:
            self._leave()

    # ---- the end ----

    def ended(self) -> None:
        """The client's FIN: it gets the answers it waits for."""
        self.linger = inf
        self.leaving = True
        self._leave()

    def failed(self, errno: int) -> None:
        """The client is gone."""
        self._gone()

    def give_up(self, reason: str) -> None:
        """See `Client`."""
        self.close()
        self._gone()

    def drain(self) -> None:
        """End after the last answer."""
        self.leaving = True
        self.changes += 1
        self._leave()

    def finished(self) -> None:
        """Our FIN went out."""
        self.close()
        self._gone()

    # ---- deadlines ----

    def due(self) -> float:
        """The earliest deadline of a server's request, or the end of idleness."""
        due = min(self.active + self.listener.config.keepalive_timeout, self.soonest, self.linger)
        for one in self.held:
            due = min(due, one.when, one.until)
        return due

    def expired(self, now: float) -> None:
        """Give requests of servers up; end an idle connection."""
        if self.soonest <= now:
            for number in [number for number, push in self.pushes.items() if push[2] <= now]:
                upstream, theirs, _, codec, ver1, about = self.pushes.pop(number)
                if about is not None:
                    self.tell(about, "own", self.wire.timeout)
                if upstream is not None and not upstream.closed:
                    upstream.send(self.wire.error(theirs, codec, ver1, self.wire.timeout))
            self.soonest = min([push[2] for push in self.pushes.values()], default=inf)
        if self.linger <= now:
            self._leave()
        if self.held:
            self.release(now)
            self.go_on()
        if self.active + self.listener.config.keepalive_timeout <= now and not self.closed:
            if self.busy:
                self.active = now
            else:
                self.close()
                self._gone()
