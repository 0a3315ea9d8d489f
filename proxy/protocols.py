"""What a listener can speak: the one place where a protocol is plugged in.

A protocol is a downstream class for its listeners, and the classes of all its connections, whose `kind`
names them in a handover.
"""

from __future__ import annotations

from proxy.bolt.downstream import BoltDownstream
from proxy.bolt.upstream import BoltUpstream
from proxy.connection import Connection, Downstream
from proxy.health.probe import Probe
from proxy.http1.downstream import Http1Downstream
from proxy.http1.upstream import Http1Upstream
from proxy.tcp import TcpDownstream, TcpUpstream

DOWNSTREAMS: dict[str, type[Downstream]] = {
    "tcp": TcpDownstream,
    "http1": Http1Downstream,
    "bolt": BoltDownstream,
}
"""A listener's ``protocol`` -> the class of the connections it accepts."""

KINDS: dict[str, type[Connection]] = {
    connection.kind: connection
    for connection in (
        TcpDownstream,
        TcpUpstream,
        Http1Downstream,
        Http1Upstream,
        BoltDownstream,
        BoltUpstream,
        Probe,
    )
}
"""State kind -> the class that restores it."""
