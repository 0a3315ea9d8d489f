"""The admin address: what probes and dashboards may read, and nothing that changes anything.

    GET /live      200 as long as the process answers at all
    GET /ready     200 while this name accepts connections, 503 while it drains
    GET /status    the status as JSON, the same as on the control socket

It may be reachable over the network, so it offers none of the control socket's orders.
"""

from __future__ import annotations

from typing import Any, Protocol

from hotswap.control import Route
from hotswap.http import Request, Response

# In a handover the listeners accept all the time: probes must not take the name out of service for it.
ACCEPTING = frozenset({"serving", "handover"})


class Owner(Protocol):
    """The part of `hotswap.serving.Serving` that the admin address shows."""

    @property
    def state(self) -> str:
        """One word: serving, handover, draining or retired."""

    def status(self) -> dict[str, Any]:
        """All there is to know."""


def admin_routes(owner: Owner) -> dict[tuple[str, str], Route]:
    """The routes for an `HttpServer`."""

    async def live(_request: Request) -> Response:
        return Response.text("live\n")

    async def ready(_request: Request) -> Response:
        return Response.text(f"{owner.state}\n", 200 if owner.state in ACCEPTING else 503)

    async def show(_request: Request) -> Response:
        return Response.json(owner.status())

    return {("GET", "/live"): live, ("GET", "/ready"): ready, ("GET", "/status"): show}
