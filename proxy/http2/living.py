"""The life of a connection to an endpoint that speaks HTTP/2: made, kept alive, replaced, and its end.

    dialled --> serving --GOAWAY, idle, drain, gone from the configuration--> finishing --last request--> GOAWAY, FIN
                  | ^ `--another took its place: no heartbeat any more--> finishing
                  | `--an answer to its first PING-- spare
                  `--succeed, see `proxy.encryption`--> dialled as a spare

Over TLS the endpoint has to agree on ``h2`` by ALPN, without it HTTP/2 begins at once (RFC 9113 section 3.3).

Requests that wait for an answer in silence have the server asked for a sign of life, by PING, after
``heartbeat_interval``; two more without one, and the connection is given up. One that answers that and nothing else is
asked again after `PATIENCE` only: servers of gRPC take more for an attack.
"""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, Final

from hotswap.log import fields
from proxy.connection import HIGH
from proxy.encryption.reasons import ENDED, TOO_SLOW
from proxy.http2.requests import Requests
from proxy.proxy_protocol.sending import announcement
from proxy.shared_pool import PAUSE
from proxy.sides import Shared
from proxy.tls.session import Session as TlsSession

if TYPE_CHECKING:
    from proxy.endpoint import Endpoint
    from proxy.http2.call import Http2Call
    from proxy.plane import Plane
    from proxy.sides import Upstream

SHARED: Final = 20
"""The key of these in `Endpoint.shared`."""
LAST_WORDS: Final = 2.0
"""Seconds for a server to close after our GOAWAY."""
UNANSWERED: Final = 2
"""Intervals that a server may leave a PING unanswered."""
PATIENCE: Final = 305.0
"""Seconds. gRPC tolerates a PING in five minutes while it has nothing to say (grpc/grpc doc/keepalive.md)."""
MOST_UNREAD: Final = HIGH + (1 << 22)
"""Bytes that may wait for a server. Bodies stop at HIGH; heads and acknowledgements have no flow control."""

log = logging.getLogger("proxy")


class Living(Shared):
    """A connection that begins and ends."""

    __slots__ = ("asked", "deadline", "heard", "replaced", "requests", "retiring")

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.requests = Requests(self)
        self.retiring = False
        """It takes no further requests, and ends with the last."""
        self.replaced = False
        """Another took its place."""
        self.deadline = inf
        """Of the dial, of a spare's proof, or of the end."""
        self.heard = plane.now
        """When the server was last heard, or began to be asked."""
        self.asked = inf
        """When it was sent a PING, and has said nothing else since."""

    @property
    def calls(self) -> dict[int, Http2Call]:
        """Requests under way, and those that wait."""
        return self.requests.seated

    def is_ready(self) -> bool:
        """Requests may go out."""
        return self.fd >= 0 and not (self.connecting or self.spare or self.shutting)

    def busy(self) -> None:
        """A request begins."""
        if len(self.requests.seated) == 1:
            self.heard = self.plane.now
        self.wake(self.due())

    def vacated(self) -> None:
        """A stream is free."""
        if self.requests.waiting:
            self.plane.unflushed.append(self)
        self.end_if_done()
        if not self.requests.seated:
            self.wake(self.due())

    # ---- the dial ----

    def dial(self, endpoint: Endpoint) -> None:
        """Connect."""
        self.endpoint = endpoint
        self.retiring = self.plane.draining
        self.deadline = self.plane.now + endpoint.cluster.config.connect_timeout
        self.plane.dial(self, endpoint.address)
        self.introduce(announcement(endpoint.cluster, None))
        self.wake(self.deadline)

    def connected(self) -> None:
        """Begin, and serve those that wait: a client need not know the server's settings for that."""
        if isinstance(self.tls, TlsSession) and self.tls.about.alpn != "h2":
            about = {"cluster": self.endpoint.cluster.name, "endpoint": self.endpoint.name}
            log.warning("an endpoint does not agree on HTTP/2", extra=fields(alpn=self.tls.about.alpn, **about))
            self.close()
            if self.spare:
                self.cut()
            self._not_connected(late=False)
            return
        self.deadline = inf
        self.heard = self.plane.now
        self.endpoint.connected(secure=self.tls is not None)
        session = self.requests.session
        session.begin()
        if self.spare:
            self.deadline = self.plane.now + self.endpoint.cluster.config.connect_timeout
            session.ping()
        else:
            self.requests.serve()
        self.stir()
        self.wake(self.due())

    def connect_failed(self, errno: int) -> None:
        """Let the requests try another endpoint."""
        self._not_connected(late=False)

    def _not_connected(self, *, late: bool) -> None:
        if self.spare:
            return
        self.endpoint.shared_pool(SHARED).not_before = self.plane.now + PAUSE
        self.endpoint.unreachable(self.plane.now, late=late)
        self.requests.disappoint(late=late)

    def give_time(self, when: float) -> None:
        """See `Upstream`."""
        self.deadline = when

    def renumbered(self, former: int) -> None:
        """See `Upstream`."""
        super().renumbered(former)
        pool = self.endpoint.shared.get(SHARED)
        if pool is not None and pool.members.pop(former, None) is not None:
            pool.add(self)

    # ---- what is said of it ----

    def stir(self) -> None:
        """Write what the session has to say by now."""
        session = self.requests.session
        said = session.take()
        if said:
            self.send(said)
            if len(self.outbox) > MOST_UNREAD:
                self.wake(self.plane.now)  # not now: a request may be in the middle of something

    def settled(self) -> None:
        """Its settings came."""
        if self.requests.waiting and self.is_ready():
            self.requests.serve()

    def pong(self) -> None:
        """It answered a PING: the proof of one that is to take another's place."""
        if not self.spare:
            return
        self.spare = False
        self.deadline = inf
        self.endpoint.shared_pool(SHARED).add(self)
        self.recount()
        self.endpoint.cluster.switch.succeeded(self, self.plane.now)

    def told_to_go(self, code: str) -> None:
        """GOAWAY: no further requests here."""
        about = {"cluster": self.endpoint.cluster.name, "endpoint": self.endpoint.name}
        log.debug("an endpoint sent GOAWAY", extra=fields(code=code, **about))
        self.exhausted()

    def exhausted(self) -> None:
        """It will never have a stream again. Those that wait for one go elsewhere."""
        self._take_no_more()
        for call in list(self.requests.waiting.values()):
            call.lost(untouched=True)
        self.end_if_done()

    def broke(self, reason: str) -> None:
        """It does not speak HTTP/2 as we do: the end of everything here."""
        about = {"cluster": self.endpoint.cluster.name, "endpoint": self.endpoint.name}
        log.warning("an endpoint broke HTTP/2", extra=fields(reason=reason, **about))
        self._take_no_more()
        self.requests.lose(untouched=False)
        self._end()

    # ---- the end ----

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return not self.requests.seated

    @property
    def serves(self) -> bool:
        """It takes requests."""
        return not self.retiring

    @property
    def retires(self) -> bool:
        """Another took its place."""
        return self.replaced

    def succeed(self) -> None:
        """See `Upstream`."""
        successor = type(self)(self.plane)
        successor.spare = True
        successor.dial(self.endpoint)

    def replaces(self, other: Upstream) -> bool:
        """See `Upstream`."""
        return super().replaces(other) and isinstance(other, Living)

    def retire(self) -> None:
        """See `Upstream`. It ends with its last request; a client of HTTP/2 may close whenever nothing is under way."""
        self.replaced = True
        self.wind_down()

    def wind_down(self) -> None:
        """Take no further requests, and end with the last."""
        self._take_no_more()
        self.end_if_done()

    def _take_no_more(self) -> None:
        self.retiring = True
        self.changes += 1
        self.endpoint.unshare(SHARED, self)
        self.recount()

    def drain(self) -> None:
        """See `Connection`."""
        if self.spare:
            self.close()
        else:
            self.wind_down()

    def end_if_done(self) -> None:
        """If it is to end, and nothing is under way."""
        if self.retiring and not self.requests.seated and not self.closed and not self.shutting:
            if self.connecting:
                self.close()
            else:
                self._end()

    def _end(self) -> None:
        """Say good-bye, and give the server a moment to close."""
        self.endpoint.unshare(SHARED, self)  # one that was made while we drain is there until now
        session = self.requests.session
        session.end()
        self.stir()
        self.deadline = self.plane.now + LAST_WORDS
        self.shut()
        self.wake(self.deadline)

    def cut(self) -> None:
        """What was under way is lost."""
        if self.spare and not self.spurned:
            self.endpoint.cluster.switch.refused(self, ENDED, self.plane.now)
        self.requests.lose(untouched=self.refused())

    def over(self) -> None:
        """Count how it went, if another took its place."""
        super().over()
        if self.replaced:
            self.count_retired("cut" if self.requests.seated else "own" if self.shutting else "peer")
            self.replaced = False

    def detached(self) -> None:
        """It ended, or lives elsewhere now."""
        super().detached()
        self.endpoint.unshare(SHARED, self)

    # ---- deadlines ----

    def due(self) -> float:
        """The end of the dial or of the connection; idleness; silence while requests wait for their answers."""
        requests = self.requests
        if len(self.outbox) > MOST_UNREAD:
            return self.plane.now
        when = min(self.deadline, min(requests.closing.values(), default=inf))
        if self.deadline != inf:
            return when
        if not requests.seated:
            return min(when, self.heard + self.endpoint.pool.keepalive)
        return min(when, self._heartbeat())

    def _heartbeat(self) -> float:
        """When a sign of life is due, or asked for."""
        if self.retiring:
            return inf
        interval = self.endpoint.cluster.config.heartbeat_interval
        if self.asked == inf:
            return self.heard + interval
        return self.asked + (UNANSWERED * interval if self.requests.session.pings else PATIENCE)

    def expired(self, now: float) -> None:
        """Give up a dial or a server that is mute, ask one that is silent, end what is idle."""
        requests = self.requests
        if len(self.outbox) > MOST_UNREAD:
            self.close()
            self.cut()
            return
        requests.close_late(now)
        if self.deadline <= now:
            self._too_late()
        elif self.deadline != inf or self.closed:
            return
        elif not requests.seated:
            if self.heard + self.endpoint.pool.keepalive <= now:
                self.wind_down()
        elif self._heartbeat() <= now:
            if requests.session.pings:
                self.close()
                self.cut()
                return
            self.asked = now
            self.changes += 1
            session = requests.session
            session.ping()
            self.stir()
            if self.endpoint.whole not in self.endpoint.cluster.endpoints:  # nor in the configuration any more
                self.wind_down()

    def _too_late(self) -> None:
        if self.connecting and self.plane.in_plaintext(self, TOO_SLOW):
            return
        connecting, spare = self.connecting, self.spare
        self.close()
        if spare:
            self.cut()
        elif connecting:
            self._not_connected(late=True)
