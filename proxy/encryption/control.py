"""What the control socket shows of encryption, and the orders that it takes.

    GET  /tls   one entry a cluster that knows TLS
    POST /tls   {"cluster", "wanted": on, off, follow or configured, "percent", "ramp"}   an order for a cluster
                {"cluster", "endpoint", "announces": tls, plaintext or configured}        an endpoint announces

An order holds through upgrades, until the configuration wants something new or the proxy starts from nothing. The
answer is the entry of the cluster.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from hotswap.address import Address
from hotswap.errors import Busy, Refused, UsageError
from hotswap.http import Request, Response
from hotswap.log import fields
from proxy.config.tls_model import Announced, Wanted
from proxy.encryption.state import Order
from proxy.encryption.status import with_connections
from proxy.sides import Upstream

if TYPE_CHECKING:
    from hotswap.control import Route
    from hotswap.serving import Serving
    from proxy.cluster import Cluster
    from proxy.server import ProxyServer

DAY = 86400.0
log = logging.getLogger("proxy")


class TlsOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /tls. `ramp` in seconds."""

    cluster: str
    wanted: Wanted | Literal["configured"] | None = None
    percent: int = 100
    ramp: float = 0.0
    endpoint: str = ""
    announces: Announced | Literal["configured"] | None = None


def control_routes(serving: Serving) -> dict[tuple[str, str], Route]:
    """The routes of one serving generation, for its control socket."""
    server = cast("ProxyServer", serving.server)

    async def show(_request: Request) -> Response:
        await server.look()
        return Response.json({"clusters": server.with_workers(entries(server, concerned(server)))})

    async def obey(request: Request) -> Response:
        order = request.json(TlsOrder)
        if serving.state == "handover":
            raise Busy("a handover is under way: order it when it is over")
        if serving.gave_away:
            raise Busy("another generation took over meanwhile; ask that one")
        carry_out(server, order)
        server.ordered(order)
        return Response.json(entries(server, [order.cluster])[0])

    return {("GET", "/tls"): show, ("POST", "/tls"): obey}


def concerned(server: ProxyServer) -> list[str]:
    """The clusters that know TLS, or have to do with it still."""
    return [one.name for one in server.clusters.values() if one.switch.concerned]


def entries(server: ProxyServer, names: list[str]) -> list[dict[str, Any]]:
    """Those of these clusters; one look at every connection."""
    upstreams: dict[str, list[Upstream]] = {name: [] for name in names}
    for connection in server.live().values():
        if isinstance(connection, Upstream) and connection.endpoint.cluster.name in upstreams:
            upstreams[connection.endpoint.cluster.name].append(connection)
    now = server.reactor.kernel.clock()
    return [with_connections(server.clusters[name], upstreams[name], now) for name in names]


def carry_out(server: ProxyServer, order: TlsOrder) -> None:
    """Raises `UsageError` for an order that means nothing, `Refused` for one that cannot be followed."""
    cluster = server.clusters.get(order.cluster)
    if cluster is None:
        raise UsageError(f"there is no cluster {order.cluster!r}; there are {', '.join(server.clusters)}")
    if not cluster.switch.concerned:
        raise Refused(f"cluster {cluster.name} knows no TLS: add tls: {{ca: FILE}} to it, then reload")
    if (order.wanted is None) is (order.announces is None):
        raise UsageError("order either what is wanted of a cluster or what an endpoint announces")
    if order.announces is not None:
        _announce(cluster, order)
    else:
        _want(cluster, order)
    server.changed_over()


def _want(cluster: Cluster, order: TlsOrder) -> None:
    if not 0 <= order.percent <= 100 or not 0.0 <= order.ramp <= 365 * DAY:
        raise UsageError("percent goes from 0 to 100, ramp from 0 seconds to 365 days")
    if order.endpoint:
        raise UsageError("a single endpoint announces; what is wanted of it alone stands in the configuration")
    if order.wanted not in {"off", "configured"} and not cluster.switch.wishes.possible:
        raise Refused(f"cluster {cluster.name} has no tls any more: add it again, then reload")
    if order.wanted == "follow" and cluster.config.original_dst:
        raise Refused(f"cluster {cluster.name} has endpoints: original_dst, of which none announces; order on or off")
    wanted = None if order.wanted == "configured" else order.wanted
    log.info("encryption was ordered", extra=fields(cluster=cluster.name, wanted=order.wanted, percent=order.percent))
    cluster.switch.obey(None if wanted is None else Order(wanted, order.percent, order.ramp))


def _announce(cluster: Cluster, order: TlsOrder) -> None:
    name = str(Address.parse(order.endpoint))
    known = [one.name for one in cluster.endpoints] + [*cluster.switch.wishes.announced]
    if name not in known:
        raise UsageError(f"cluster {cluster.name} has no endpoint {name}; it has {', '.join(known[:10])}")
    log.info("an endpoint announces", extra=fields(cluster=cluster.name, endpoint=name, what=order.announces))
    cluster.switch.announce(name, None if order.announces == "configured" else order.announces)
