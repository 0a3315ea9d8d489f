"""`GET /metrics`: sets the gauges, collects, and makes the text, in slices between which the data plane ticks.

In a handover exactly one process answers. The source does until the destination's gauges are those that count; a
question that it has accepted and not answered by then it passes on to whoever owns the control socket now.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hotswap.http import HttpError, Request, Response
from hotswap.successor import ask_successor
from proxy.server import ProxyServer
from shm_metrics import processes
from shm_metrics.exposition import CONTENT_TYPES, Exposition
from shm_metrics.negotiation import chosen, compressed, gzipped

if TYPE_CHECKING:
    from hotswap.control import Route
    from hotswap.serving import Serving

PASSED_ON = ("accept", "accept-encoding")


def metrics_route(serving: Serving) -> Route:
    """The route of one serving generation."""
    exposition = Exposition()

    async def metrics(request: Request) -> Response:
        server = serving.server
        if not isinstance(server, ProxyServer):
            raise HttpError(404, "this server has no metrics")
        for _ in server.gauges.refresh(owns=True):
            await asyncio.sleep(0)
            if serving.gave_away or not server.metrics.reigns:
                break
        if serving.gave_away or not server.metrics.reigns:  # nothing may come between this look and `collect`
            passed_on = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
            return await ask_successor(serving.runtime.control_path, request.path, passed_on)
        server.home.tell()
        families = [*server.metrics.collect(), *processes.families(server.metrics.processes())]
        form = chosen(request.headers.get("accept", ""))
        pieces = exposition.pieces(families, form)
        headers = {"Vary": "Accept, Accept-Encoding"}
        if compressed(request.headers.get("accept-encoding", "")):
            pieces = gzipped(pieces)
            headers["Content-Encoding"] = "gzip"
        body = []
        for piece in pieces:
            body.append(piece)
            await asyncio.sleep(0)
        return Response(200, b"".join(body), CONTENT_TYPES[form], headers)

    return metrics
