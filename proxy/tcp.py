"""Protocol ``tcp``: a client's connection is relayed to one endpoint of the listener's cluster.

The downstream is read only once the upstream is connected, so a dial that fails costs nothing: the next
endpoint is tried, each once. When none is left the client gets a reset: a FIN would read as an empty answer.

    accepted --> dialling --connected--> relaying --both FINs--> closed
                   | ^ |                    `--silence or max_duration--> closed
        failed or  `-' `--no endpoint left--> reset
        timed out
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar

import msgspec

from hotswap.swappable import Schema
from proxy.accesslog.record import Record, load_record, save_record
from proxy.encryption.reasons import TOO_SLOW
from proxy.proxy_protocol.sending import announcement
from proxy.sides import Downstream, Upstream
from proxy.state import TcpDownstreamState, TcpUpstreamState
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from typing import Any

    from proxy.cluster import Cluster
    from proxy.plane import Places, Plane

_encode = msgspec.msgpack.Encoder().encode
_decode_downstream = msgspec.msgpack.Decoder(TcpDownstreamState).decode
_decode_upstream = msgspec.msgpack.Decoder(TcpUpstreamState).decode


class TcpDownstream(Downstream):
    """The client's side. It holds the deadlines of the pair."""

    __slots__ = ("cluster", "connect_by", "record", "tried", "until")

    kind: ClassVar[str] = "tcp.downstream"
    schema: ClassVar[Schema] = Schema(1, 1)
    protocol: ClassVar[str] = "tcp"
    """What its listener speaks."""

    cluster: Cluster

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.tried: tuple[str, ...] = ()
        """Endpoints that could not be connected to."""
        self.connect_by = inf
        """While dialling: when this attempt has taken too long."""
        self.unseen = type(self) is TcpDownstream
        self.until = inf
        """The end of the cluster's max_duration."""
        self.record: Record | None = None
        """For the access log; None where none is kept."""

    def begin(self) -> None:
        """Dial, and read nothing before that succeeded."""
        self.paused = True
        cluster = self.listener.cluster_of(self.server_name)
        if cluster is None:
            self._strand()
            return
        self.cluster = cluster
        if self.listener.access_log is not None:
            self.record = Record(self.plane.now, cluster=self.cluster.name)
        duration = self.cluster.config.max_duration
        if duration is not None:
            self.until = self.plane.now + duration
        self._dial()

    def _dial(self) -> None:
        endpoint = self.cluster.pick(self.tried)
        if self.cluster.personal and endpoint is not None:
            endpoint = endpoint.seen_by(self)
        limits = self.cluster.limits
        if limits is not None and limits.admit(self, dials=True):
            endpoint = None
        if endpoint is None:
            self._strand()
            return
        upstream = self._other_side()
        upstream.endpoint = endpoint
        upstream.peer = self
        self.peer = upstream
        self.connect_by = self.plane.now + self.cluster.config.connect_timeout
        self.touch()
        self.plane.dial(upstream, endpoint.address)
        if self.cluster.announces is not None:
            upstream.introduce(announcement(self.cluster, self))
        self.wake(self.due())

    def _strand(self) -> None:
        """There is no endpoint for it."""
        self.listener.answered += 1
        self.listener.failed += 1
        self.listener.meters.stranded.inc()
        self.reset()

    def _other_side(self) -> TcpUpstream:
        return TcpUpstream(self.plane)

    @property
    def waiting(self) -> bool:
        """See `proxy.limits.Claimant`."""
        return self.connect_by != inf and self.fd >= 0

    @property
    def retrying(self) -> bool:
        """See `proxy.limits.Claimant`."""
        return False

    def dialled(self) -> None:
        """The upstream is connected: let bytes flow."""
        self.connect_by = inf
        self.listener.answered += 1
        if self.record is not None and self.peer is not None:
            self.record.endpoint = self.peer.endpoint.name
        self.tried = ()
        self.active = self.plane.now
        self.touch()
        self.resume()
        self.wake(self.due())

    def try_next(self, failed: str) -> None:
        """The endpoint of that name cannot be connected to: on to the next."""
        self.peer = None
        self.tried = (*self.tried, failed)
        self._dial()

    def part(self) -> None:
        """Keep what the other side knows."""
        self.count_sent()
        super().part()

    def count_sent(self) -> None:
        """Bring the record up to date with the upstream."""
        if self.record is not None and self.peer is not None:
            self.record.sent = self.peer.passed

    def over(self) -> None:
        """One line for the whole connection."""
        self.count_sent()
        record = self.record
        if record is not None:
            self.log("own" if not record.endpoint else "ok" if self.eof and self.fin_sent else "aborted")

    def log(self, outcome: str) -> None:
        """Write that line; there is none after it."""
        record, self.record = self.record, None
        log = self.listener.access_log
        if record is not None and log is not None:
            record.received = self.passed
            log.write(record, self, outcome, self.plane.now)

    def due(self) -> float:
        """The connect timeout while dialling, then the idle timeout of the pair; max_duration always."""
        if self.connect_by != inf:
            return min(self.connect_by, self.until)
        if self.peer is None:
            return self.until
        silent_since: float = max(self.active, self.peer.active)
        return min(silent_since + self.cluster.config.idle_timeout, self.until)

    def expired(self, now: float) -> None:
        """Try the next endpoint if only the dial took too long, else end the pair."""
        upstream = self.peer
        if upstream is None:
            self.close()
        elif self.connect_by <= now < self.until:
            if self.plane.in_plaintext(upstream, TOO_SLOW):
                return
            upstream.endpoint.unreachable(now, late=True)
            self.part()
            upstream.close()
            self.try_next(upstream.endpoint.name)
        else:
            self.part()
            upstream.close()
            self.close()

    def save(self, now: float) -> bytes:
        """See `proxy.state.TcpDownstreamState`."""
        return _encode(
            TcpDownstreamState(
                self.transport(now),
                self.listener.name,
                self.listener.address,
                self.remote,
                self.cluster.name,
                remaining(self.connect_by, now),
                remaining(self.until, now),
                self.tried,
                save_record(self.record, now),
                self.passed,
                self.introduced,
                self.destination,
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode_downstream(state)
        self.listener = places.listener(saved.listener, saved.address, self.protocol)
        self.cluster = places.cluster(saved.cluster)
        self.load_transport(saved.transport, now, places)
        self.remote = saved.remote
        self.connect_by = deadline(saved.connect_left, now)
        self.cluster.claim(self)
        self.until = deadline(saved.duration_left, now)
        self.tried = saved.tried
        self.record = load_record(saved.record, now)
        self.passed = saved.passed
        self.introduced = saved.introduced
        self.destination = saved.destination
        self.server_name = ""

    def describe(self) -> dict[str, Any]:
        """With the cluster; the endpoint stands at the upstream."""
        return {**super().describe(), "cluster": self.cluster.name}


class TcpUpstream(Upstream):
    """The endpoint's side."""

    __slots__ = ()

    kind: ClassVar[str] = "tcp.upstream"
    schema: ClassVar[Schema] = Schema(1, 1)

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.unseen = type(self) is TcpUpstream

    def part(self) -> None:
        """Tell the other side what it keeps."""
        self.peer.count_sent()
        super().part()

    def attached(self) -> None:
        """A relay uses its endpoint as long as it lives."""
        super().attached()
        self.endpoint.begin()

    def detached(self) -> None:
        """And no longer."""
        super().detached()
        self.endpoint.end()

    def give_time(self, when: float) -> None:
        """See `Upstream`. The downstream has the deadline."""
        downstream: TcpDownstream = self.peer
        downstream.connect_by = when
        downstream.changes += 1
        downstream.wake(when)

    def connected(self) -> None:
        """Start to relay."""
        self.endpoint.connected(secure=self.tls is not None)
        self.peer.dialled()

    def connect_failed(self, errno: int) -> None:
        """Have the downstream try another."""
        self.endpoint.unreachable(self.plane.now)
        downstream = self.peer
        self.peer = None
        downstream.try_next(self.endpoint.name)

    def ended(self) -> None:
        """The endpoint's FIN: it said what it had to say."""
        self.endpoint.answered(self.plane.now)
        super().ended()

    def failed(self, errno: int) -> None:
        """The endpoint is gone."""
        if not self.refused():
            self.endpoint.lost(self.plane.now)
        super().failed(errno)

    def save(self, now: float) -> bytes:
        """See `proxy.state.TcpUpstreamState`."""
        endpoint = self.endpoint
        return _encode(TcpUpstreamState(self.transport(now), endpoint.cluster.name, endpoint.key, self.passed))

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode_upstream(state)
        self.endpoint = places.endpoint(saved.cluster, saved.endpoint)
        self.load_transport(saved.transport, now, places)
        self.passed = saved.passed
