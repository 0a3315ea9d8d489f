"""What the agent answers: over its unix socket to its own user and root, over HTTPS to whom its settings allow.

GET  /status                 all sidecars; ?name= one
GET  /history                the last decisions; ?name= of one sidecar, ?limit=
GET  /inspect                a patrol, right now: findings with their remedies
POST /apply                  {"name"?: ..., "watch": bool}: read the specs anew; watch: a stream of events
POST /upgrade                {"name", "release"?, "watch"}: now, whatever the window says
POST /rollback               {"name", "why"?, "watch"}: to the release before
POST /pause, POST /resume    {"name"}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hotswap.control import Request, Response, Route
from hotswap.http import EventStream
from vm_agent.errors import NotPossible, SpecError
from vm_agent.lifecycle.care import seen
from vm_agent.lifecycle.states import State
from vm_agent.lifecycle.wishes import Ordered
from vm_agent.spec.edit import with_release

if TYPE_CHECKING:
    from vm_agent.daemon import Daemon
    from vm_agent.lifecycle.driver import Driver
    from vm_agent.runners.base import Running

READS = frozenset({"/status", "/history", "/inspect"})
"""What changes nothing."""


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of every POST."""

    name: str = ""
    release: str = ""
    why: str = ""
    watch: bool = False


def routes(daemon: Daemon) -> dict[tuple[str, str], Route]:
    """Bound to one agent."""

    async def get_status(request: Request) -> Response:
        name = request.query.get("name", "")
        drivers = [daemon.driver(name)] if name else [daemon.desk.drivers[one] for one in sorted(daemon.desk.drivers)]
        found = await seen(drivers)
        sidecars = [told(driver, *one) for driver, one in zip(drivers, found, strict=True)]
        general = {"runner": daemon.desk.runner.kind, "specs": daemon.settings.specs}
        broken = [{"file": file, "error": str(error)} for file, error in sorted(daemon.broken.items())]
        return Response.json({**general, "sidecars": sidecars, "broken_specs": broken})

    async def get_history(request: Request) -> Response:
        limit = request.query.get("limit", "200")
        count = int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 10 else 200
        return Response.json({"history": daemon.desk.history.entries(request.query.get("name", ""), min(count, 5000))})

    async def get_inspect(_request: Request) -> Response:
        return Response.json({"findings": await daemon.patrol.findings()})

    async def post_apply(request: Request) -> Response | EventStream:
        order = request.json(Order)
        broken = daemon.reread(sure=True)
        if broken:
            raise SpecError("\n".join(str(error) for error in broken.values()))
        if order.name and order.watch:
            return daemon.driver(order.name).watch()
        return Response.json({"sidecars": sorted(daemon.desk.drivers)})

    async def post_upgrade(request: Request) -> Response | EventStream:
        order = request.json(Order)
        driver = daemon.driver(order.name)
        if driver.spec is None:
            raise NotPossible(f"{order.name} has no spec")
        operation, wanted = driver.memory.operation, order.release or driver.spec.release
        if operation is not None and operation.after != wanted:
            raise NotPossible(
                f"{order.name} is {driver.memory.state} with release {operation.after}: repeat this after it"
            )
        if order.release and order.release != driver.spec.release:
            daemon.desk.releases.require(order.release)
            with_release(driver.spec, order.release)
            daemon.reread()
        stream = driver.watch() if order.watch else None
        if driver.memory.state is State.SERVING and driver.spec.release != driver.serving:
            driver.order(Ordered(driver.spec.release, order.why or "ordered by hand"))
        return stream or Response.json({"ordered": True})

    async def post_rollback(request: Request) -> Response | EventStream:
        order = request.json(Order)
        driver = daemon.driver(order.name)
        why = order.why or "ordered by hand"
        stream = driver.watch() if order.watch else None
        if driver.memory.state is State.BAKING:
            driver.take_back(why)
        elif not driver.memory.previous:
            raise NotPossible(f"{order.name} has no release to go back to")
        else:
            driver.order(Ordered(driver.memory.previous, why, back=True))
        return stream or Response.json({"ordered": True})

    async def post_pause(request: Request) -> Response:
        daemon.driver(request.json(Order).name).pause(paused=True)
        return Response.json({"paused": True})

    async def post_resume(request: Request) -> Response:
        daemon.driver(request.json(Order).name).pause(paused=False)
        return Response.json({"paused": False})

    return {
        ("GET", "/status"): get_status,
        ("GET", "/history"): get_history,
        ("GET", "/inspect"): get_inspect,
        ("POST", "/apply"): post_apply,
        ("POST", "/upgrade"): post_upgrade,
        ("POST", "/rollback"): post_rollback,
        ("POST", "/pause"): post_pause,
        ("POST", "/resume"): post_resume,
    }


def told(driver: Driver, running: Running | None, trouble: str) -> dict[str, Any]:
    """What the agent knows of one sidecar. `trouble`: why it is not known what runs."""
    memory, spec = driver.memory, driver.spec
    return {
        "name": driver.name,
        "state": memory.state,
        "since": driver.since,
        "release": driver.serving,
        "wanted": None if spec is None else spec.release,
        "previous": memory.previous or None,
        "paused": memory.paused,
        "waits": driver.waits or trouble or (str(driver.care.trouble) if driver.care.trouble else None),
        "condemned": memory.condemned,
        "operation": memory.operation,
        "pid": None if running is None else running.pid,
        "restarts": None if running is None else running.restarts,
        "held": [] if running is None else list(running.held),
        "kept": 0 if running is None else running.kept,
        "health": driver.care.health_told(),
        "timed": driver.care.timed,
    }
