"""What a serving generation answers on its control socket.

GET  /status       who serves, with what
GET  /connections  one entry a live connection
GET  /live, /ready whether it answers at all; whether it accepts connections (503 if not)
GET  /history      the generations so far, and the attempts that failed
POST /upgrade      `hotswap.orders.Order`: a stream of events
POST /reload       {"dry_run", "timeout"}: take the changed configuration, whole or not at all
POST /announce     tell the supervisor everything again: it may have come back and know nothing
POST /drain        {"deadline", "delay", "watch"}: accept nothing more, finish, end; `watch`: a stream of events
POST /leave        `hotswap.orders.Leave`: hand over to whoever takes over already or stands by, else drain; as SIGTERM
POST /standby      `hotswap.standbys.Standby`: a stream that tells, if ever, to take over
POST /gave_up      `hotswap.orders.GaveUp`: a successor that will be none
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hotswap.chain import Chain
from hotswap.control import Request, Response, Route
from hotswap.draining import DrainOrder
from hotswap.errors import Busy, ConnectionsLost
from hotswap.http import EventStream
from hotswap.orders import GaveUp, Leave, Order
from hotswap.place import LIFE, here
from hotswap.reload import ReloadOrder
from hotswap.standbys import Standby

if TYPE_CHECKING:
    from hotswap.serving import Serving


ACCEPTING = frozenset({"serving", "handover"})
"""In a handover the listeners accept all the time: probes must not take the name out of service for it."""


def status(serving: Serving, *, brief: bool = False) -> dict[str, Any]:
    """What `hotswap status` shows; `brief` leaves out what takes a look at every connection."""
    identity, server, baking = serving.identity, serving.server, serving.succession.baking
    return {
        "name": identity.name,
        "generation": serving.generation,
        "pid": os.getpid(),
        "life": LIFE,
        "place": here(),
        "version": identity.version,
        "build": identity.build,
        "state": serving.state,
        "started": serving.started,
        "config_id": identity.config_id,
        "listeners": [{"name": spec.name, "address": str(spec.address)} for spec in server.wanted()],
        "connections": server.count(),
        "in_flight": None if brief else server.in_flight(),
        "server": None if brief else server.status(),
        "last_upgrade": serving.succession.last or inherited_upgrade(serving.chain),
        "last_reload": serving.reloading.last,
        "baking": baking.status() if baking is not None else None,
        "upgrading": serving.succession.under_way is not None,
        "standbys": serving.succession.standbys.facts(),
    }


def describe(serving: Serving) -> str:
    """The same in a line."""
    names = ", ".join(spec.name for spec in serving.server.wanted())
    return f"generation {serving.generation} {'drains' if serving.draining else 'serves'} {names}"


def inherited_upgrade(chain: Chain) -> dict[str, Any] | None:
    """The upgrade that brought this generation about; None after a cold start."""
    record = chain.current()
    if record is None or record.how == "cold":
        return None
    crash = record.how == "crash"
    # Figures come with BYE: a source that died before it leaves them unknown, which is not zero.
    figures = {
        "listeners": record.listeners,
        "connections": record.connections,
        "in_flight": record.in_flight,
        "downtime_ms": record.downtime_ms,
    }
    return {
        "ok": not crash,
        "exit_code": ConnectionsLost.exit_code if crash else 0,
        "message": "the generation before died in the handover: listeners were kept, connections lost" if crash else "",
        "generation": record.generation,
        "how": record.how,
        "began": record.began,
        **(figures if record.listeners else {}),
    }


def probes(serving: Serving) -> dict[tuple[str, str], Route]:
    """What a server answers a probe unless it knows better, on the control socket and the admin address."""

    async def live(_request: Request) -> Response:
        return Response.text("live\n")

    async def ready(_request: Request) -> Response:
        return Response.text(f"{serving.state}\n", 200 if serving.state in ACCEPTING else 503)

    return {("GET", "/live"): live, ("GET", "/ready"): ready}


def routes(serving: Serving) -> dict[tuple[str, str], Route]:
    """Bound to one serving generation."""

    async def get_status(request: Request) -> Response:
        await serving.server.look()
        return Response.json(status(serving, brief="brief" in request.query))

    async def get_connections(_request: Request) -> Response:
        await serving.server.look()
        return Response.json({"connections": serving.server.connections()})

    async def get_history(_request: Request) -> Response:
        return Response.json({"history": serving.chain.records})

    async def post_upgrade(request: Request) -> EventStream:
        order = request.json(Order)
        await serving.reloading.settled()
        return serving.succession.upgrade(order)

    async def post_reload(request: Request) -> Response:
        return Response.json(await serving.reloading.carry_out(request.json(ReloadOrder)))

    async def post_announce(_request: Request) -> Response:
        if serving.gave_away:
            raise Busy("another generation took over meanwhile; ask that one")
        serving.tenure.again()
        return Response.json({"supervised": serving.tenure.supervised, "pid": os.getpid()})

    async def post_drain(request: Request) -> Response | EventStream:
        order = request.json(DrainOrder)
        if serving.state == "handover":
            raise Busy("a handover is under way: drain when it is over")
        if serving.gave_away:
            raise Busy("another generation took over meanwhile; ask that one")
        draining = serving.drain(order.deadline, order.delay)
        if order.watch:
            return draining.watch()
        return Response.json({"draining": True, "in_flight": serving.server.in_flight()})

    async def post_leave(request: Request) -> Response:
        order = request.json(Leave)
        if serving.gave_away or order.life not in {"", LIFE}:
            raise Busy("another generation took over meanwhile")
        if not serving.succession.leaving:  # a hook may run more than once, and is no more urgent by that
            serving.succession.leave()
        return Response.json({"leaving": True})

    async def post_standby(request: Request) -> EventStream:
        standby = request.json(Standby)
        if serving.gave_away or serving.draining:
            raise Busy("this generation is on its way out; ask the next one")
        serving.copies.stands_by(standby.place)
        return serving.succession.standbys.join(standby)

    async def post_gave_up(request: Request) -> Response:
        serving.succession.gave_up(request.json(GaveUp))
        return Response.json({})

    return {
        ("GET", "/status"): get_status,
        ("GET", "/connections"): get_connections,
        ("GET", "/history"): get_history,
        ("POST", "/upgrade"): post_upgrade,
        ("POST", "/reload"): post_reload,
        ("POST", "/announce"): post_announce,
        ("POST", "/drain"): post_drain,
        ("POST", "/leave"): post_leave,
        ("POST", "/standby"): post_standby,
        ("POST", "/gave_up"): post_gave_up,
    }
