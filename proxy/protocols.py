"""What a listener can speak: the one place where a protocol is plugged in.

A protocol is a downstream class for its listeners, and the classes of all its connections, whose `kind`
names them in a handover.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.amqp.downstream import AmqpDownstream
from proxy.amqp.upstream import AmqpUpstream
from proxy.bolt.downstream import BoltDownstream
from proxy.bolt.upstream import BoltUpstream
from proxy.connection import Connection
from proxy.dubbo.downstream import DubboDownstream
from proxy.dubbo.upstream import DubboUpstream
from proxy.entry import Entry
from proxy.filtered import FilteredDownstream, FilteredUpstream
from proxy.filters.registry import looks_at_bytes
from proxy.health.probe import Probe
from proxy.http1.downstream import Http1Downstream
from proxy.http1.mirror import Mirror
from proxy.http1.upstream import Http1Upstream
from proxy.http2.downstream import Http2Downstream
from proxy.http2.upstream import Http2Upstream
from proxy.listener import Listener
from proxy.proxy_protocol.receiving import Introduction
from proxy.sides import Downstream
from proxy.tcp import TcpDownstream, TcpUpstream
from proxy.tls.farewell import Farewell
from proxy.tls.handshaking import Handshaking
from proxy.tls.undecided import Undecided

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.accesslog.log import Sinks
    from proxy.cluster import Cluster
    from proxy.config.model import ListenerConfig
    from proxy.metrics.families import Families

DOWNSTREAMS: dict[str, type[Downstream]] = {
    "tcp": TcpDownstream,
    "http1": Http1Downstream,
    "bolt": BoltDownstream,
    "dubbo": DubboDownstream,
    "amqp": AmqpDownstream,
}
"""A listener's ``protocol`` -> the class of the connections it accepts."""

HTTP2: type[Downstream] = Http2Downstream
"""What an ``http1`` listener speaks to those clients that ask for it, if its configuration says ``http2``."""

KINDS: dict[str, type[Connection]] = {
    connection.kind: connection
    for connection in (
        TcpDownstream,
        TcpUpstream,
        Http1Downstream,
        Http1Upstream,
        BoltDownstream,
        BoltUpstream,
        DubboDownstream,
        DubboUpstream,
        AmqpDownstream,
        AmqpUpstream,
        Probe,
        Entry,
        Mirror,
        FilteredDownstream,
        FilteredUpstream,
        Introduction,
        Undecided,
        Handshaking,
        Farewell,
        Http2Downstream,
        Http2Upstream,
    )
}
"""State kind -> the class that restores it."""


def downstream(config: ListenerConfig) -> type[Downstream]:
    """The class of the connections that a listener accepts."""
    if config.protocol == "tcp" and looks_at_bytes(one.name for one in config.filters):
        return FilteredDownstream
    return DOWNSTREAMS[config.protocol]


def make_listener(
    config: ListenerConfig, clusters: Mapping[str, Cluster], sinks: Sinks, families: Families
) -> Listener:
    """A listener, with the classes of all that it may speak. `sinks` is open for this configuration."""
    http2 = HTTP2 if config.http2 else None
    calls = Http2Upstream if config.protocol == "http1" else None
    return Listener(config, clusters, downstream(config), sinks, families, http2, calls)
