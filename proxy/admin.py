"""The admin address: what probes and dashboards may read, and nothing that changes anything.

    GET /live      200 as long as the process answers at all
    GET /ready     200 while this name accepts connections, 503 while it drains, the application behind it is dead,
                   or a name of an endpoint waits for its first answer
    GET /status    the status as JSON, the same as on the control socket
    GET /metrics   everything that is counted, as Prometheus text, OpenMetrics or JSON

It may be reachable over the network, so it offers none of the control socket's orders. The control socket answers all
of these as well, with or without an admin address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.http import EventStream, Request, Response
from hotswap.routes import ACCEPTING, probes, status
from proxy.metrics.scrape import metrics_route
from proxy.server import ProxyServer

if TYPE_CHECKING:
    from hotswap.control import Route
    from hotswap.serving import Serving


def admin_routes(serving: Serving) -> dict[tuple[str, str], Route]:
    """The routes of one serving generation, for its `HttpServer`."""
    usual = probes(serving)["GET", "/ready"]

    async def ready(request: Request) -> Response | EventStream:
        server = serving.server
        trouble = server.app.trouble or server.names.trouble() if isinstance(server, ProxyServer) else ""
        if serving.state in ACCEPTING and trouble:
            return Response.text(f"{trouble}\n", 503)
        return await usual(request)

    async def show(_request: Request) -> Response:
        await serving.server.look()
        return Response.json(status(serving))

    return {
        **probes(serving),
        ("GET", "/ready"): ready,
        ("GET", "/status"): show,
        ("GET", "/metrics"): metrics_route(serving),
    }
