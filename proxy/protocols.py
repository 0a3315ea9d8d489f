"""What a listener can speak: the one place where a protocol is plugged in.

A protocol is a downstream class for its listeners, and the classes of all its connections, whose `kind`
names them in a handover. They stand here by name: a start imports those that its configuration speaks (`proxy.ondemand`
says why), and the schemas of all kinds are known without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from hotswap.swappable import Schema
from proxy.filters.registry import looks_at_bytes
from proxy.listener import Listener
from proxy.ondemand import named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.accesslog.log import Sinks
    from proxy.cluster import Cluster
    from proxy.config.model import Config, ListenerConfig
    from proxy.connection import Connection
    from proxy.http1.exchange import Calls
    from proxy.metrics.families import Families
    from proxy.sides import Downstream


class Kind(NamedTuple):
    """Connections of one state kind: the class that restores it, and the versions that it reads and writes."""

    module: str
    name: str
    schema: Schema = Schema(1, 1)


KINDS: Final[Mapping[str, Kind]] = {
    "tcp.downstream": Kind("proxy.tcp", "TcpDownstream"),
    "tcp.upstream": Kind("proxy.tcp", "TcpUpstream"),
    "http1.downstream": Kind("proxy.http1.downstream", "Http1Downstream"),
    "http1.upstream": Kind("proxy.http1.upstream", "Http1Upstream"),
    "bolt.downstream": Kind("proxy.bolt.downstream", "BoltDownstream"),
    "bolt.upstream": Kind("proxy.bolt.upstream", "BoltUpstream"),
    "dubbo.downstream": Kind("proxy.dubbo.downstream", "DubboDownstream"),
    "dubbo.upstream": Kind("proxy.dubbo.upstream", "DubboUpstream"),
    "amqp.downstream": Kind("proxy.amqp.downstream", "AmqpDownstream"),
    "amqp.upstream": Kind("proxy.amqp.upstream", "AmqpUpstream"),
    "probe": Kind("proxy.health.probe", "Probe"),
    "entry": Kind("proxy.entry", "Entry"),
    "http1.mirror": Kind("proxy.http1.mirror", "Mirror"),
    "tcp.filtered.downstream": Kind("proxy.filtered", "FilteredDownstream"),
    "tcp.filtered.upstream": Kind("proxy.filtered", "FilteredUpstream"),
    "introduction": Kind("proxy.proxy_protocol.receiving", "Introduction"),
    "undecided": Kind("proxy.tls.undecided", "Undecided"),
    "tls.handshake": Kind("proxy.tls.handshaking", "Handshaking"),
    "tls.farewell": Kind("proxy.tls.farewell", "Farewell"),
    "http2.downstream": Kind("proxy.http2.downstream", "Http2Downstream"),
    "http2.upstream": Kind("proxy.http2.upstream", "Http2Upstream"),
}
"""State kind -> the class that restores it. A protocol's listeners accept connections of ``<protocol>.downstream``."""

MODULES: Final = tuple(dict.fromkeys(kind.module for kind in KINDS.values()))
"""See `proxy.later`."""

_classes: dict[str, type[Connection]] = {}


def connections(kind: str) -> type[Connection]:
    """The class of the connections of a kind. Raises `KeyError` for one that this version does not know."""
    found = _classes.get(kind)
    if found is None:
        found = _classes[kind] = named(*KINDS[kind][:2])
    return found


def downstream(config: ListenerConfig) -> type[Downstream]:
    """The class of the connections that a listener accepts."""
    filtered = config.protocol == "tcp" and looks_at_bytes(one.name for one in config.filters)
    found: type[Downstream] = connections(f"{config.protocol}.{'filtered.' if filtered else ''}downstream")  # type: ignore[assignment]  # by its name
    return found


def make_listener(
    config: ListenerConfig,
    clusters: Mapping[str, Cluster],
    sinks: Sinks,
    families: Families,
    whole: Config,
) -> Listener:
    """A listener of the `whole` configuration, with the classes of all that it may speak. `sinks` is open for it."""
    http2: type[Downstream] | None = None
    calls: Calls | None = None
    if config.http2:
        http2 = named(*KINDS["http2.downstream"][:2])
    if config.protocol == "http1" and any(one.http2 for one in whole.clusters):
        calls = named(*KINDS["http2.upstream"][:2])
    return Listener(config, clusters, downstream(config), sinks, families, http2, calls)
