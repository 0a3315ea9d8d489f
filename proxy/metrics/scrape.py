"""`GET /metrics`: sets the gauges, collects, and makes the text, in slices between which the data plane ticks.

In a handover exactly one process answers, and no question is lost. The source does until the gauges of the destination
are those that count. A question that it has accepted and not answered by then it passes on to whoever answers on the
control socket now; and if the destination dies before it let go of everything, it answers again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from hotswap.errors import HotswapError
from hotswap.http import HttpError, Request, Response
from hotswap.successor import ask_successor
from proxy.server import ProxyServer
from shm_metrics import processes
from shm_metrics.exposition import CONTENT_TYPES, Exposition
from shm_metrics.negotiation import chosen, compressed, gzipped

if TYPE_CHECKING:
    from hotswap.control import Route
    from hotswap.serving import Serving
    from shm_metrics import Collected

PASSED_ON: Final = ("accept", "accept-encoding")
PATIENCE: Final = 5.0
"""Seconds, for somebody to own."""
SHORTLY: Final = 0.001
"""Seconds. The destination says OWNED before its gauges count, so that is read in the next turn of the loop."""


def metrics_route(serving: Serving) -> Route:
    """The route of one serving generation."""
    exposition = Exposition()

    async def metrics(request: Request) -> Response:
        server = serving.server
        if not isinstance(server, ProxyServer):
            raise HttpError(404, "this server has no metrics")
        found = await _answered(serving, server, request)
        if isinstance(found, Response):
            return found
        form = chosen(request.headers.get("accept", ""))
        pieces = exposition.pieces(found, form)
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


async def _answered(serving: Serving, server: ProxyServer, request: Request) -> Response | list[Collected]:
    """What is counted, or the successor's answer. Raises `HotswapError` if nobody has one."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE
    passed_on: dict[str, str] = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    while True:
        late = loop.time() >= until
        if serving.gave_away:
            try:
                return await ask_successor(serving.runtime.control_path, request.path, passed_on)
            except HotswapError:  # it may have died before it let go of everything
                if late and serving.gave_away:
                    raise
        elif server.metrics.reigns or late:  # late: its gauges are missing, which is better than no answer
            found = await _collected(serving, server)
            # Looked at afterwards: whoever rules now did all the time.
            if server.metrics.reigns or (late and not serving.gave_away):
                return found
        await asyncio.sleep(SHORTLY)


async def _collected(serving: Serving, server: ProxyServer) -> list[Collected]:
    await server.look()
    for _ in server.gauges.refresh(owns=True):
        await asyncio.sleep(0)
        if serving.gave_away:
            return []
    server.home.tell()
    steps = server.metrics.collecting()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return [*end.value, *processes.families(server.metrics.processes())]
        await asyncio.sleep(0)
