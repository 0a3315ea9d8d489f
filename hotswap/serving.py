"""A generation that owns: its control socket, its door for successors, its signals, its end.

`Serving` also is what an attempt of a handover holds on to (`handover.source.Holder`).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from hotswap import listeners
from hotswap.chain import Chain, Record
from hotswap.control import HttpServer, Request, Response, Route
from hotswap.errors import AttemptFailed, Busy, HotswapError, Refused, Superseded, UsageError
from hotswap.faults import Faults
from hotswap.handover import wire
from hotswap.handover.channel import Channel
from hotswap.handover.greeter import Greeter
from hotswap.handover.rounds import Limits
from hotswap.handover.source import Outcome, SourceAttempt, Wishes
from hotswap.handover.states import Source, State
from hotswap.http import EventStream
from hotswap.log import fields
from hotswap.runtime import Runtime
from hotswap.swappable import Schema, Swappable
from hotswap.upgrade import Order, Upgrade, result

log = logging.getLogger("hotswap")

_IDLE_CHECK_SECONDS = 0.05  # only while draining
_FAREWELL_SECONDS = 2.0  # for answers of the control socket at the end
_SPARE_FDS = 64  # a destination needs beyond the descriptors that move


@dataclass(frozen=True)
class Identity:
    """Who this generation is."""

    name: str
    version: str
    build: str
    config_id: str
    command: list[str]
    cwd: str


@dataclass
class Estate:
    """The descriptors that pass from generation to generation."""

    lock: int
    control: int
    handover: int
    admin: int = -1
    admin_address: str = ""
    server: dict[str, int] = field(default_factory=dict)  # by address


class DrainOrder(msgspec.Struct, frozen=True):
    """The body of POST /drain."""

    deadline: float = 60.0  # seconds


class Serving:
    """One generation from owning to its end; `ended` resolves with the exit code."""

    def __init__(
        self, identity: Identity, server: Swappable, runtime: Runtime, estate: Estate, chain: Chain, *,
        limits: Limits, admin_routes: Callable[[Serving], Mapping[tuple[str, str], Route]] | None = None,
    ) -> None:  # fmt: skip
        self.identity = identity
        self.server = server
        self.estate = estate
        self.chain = chain
        self.loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self.loop.create_future()
        self.draining = False
        self.gave_away = False
        self._runtime = runtime
        self._limits = limits
        self._attempt: SourceAttempt | None = None
        self._upgrade: Upgrade | None = None
        self._last_upgrade: dict[str, Any] | None = None
        self._held_signal = 0
        self._greeter: Greeter | None = None
        self._control = HttpServer(self._routes())
        self._admin = HttpServer(admin_routes(self) if admin_routes else {})
        self.started = time.time()

    # -- beginning and end ------------------------------------------------------------------------

    def open(self) -> None:
        """Answer on the control socket, the admin address and the door. Call it as owner."""
        self._control.start(self.estate.control)
        self._greeter = Greeter(self.estate.handover, self._admit, self._occupied)
        if self.estate.admin >= 0:
            self._admin.start(self.estate.admin)
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self._on_signal, number)
        self.loop.add_signal_handler(signal.SIGHUP, log.warning, "SIGHUP is ignored: use `hotswap upgrade`")

    def _close_doors(self) -> None:
        self._control.stop()
        self._admin.stop()
        if self._greeter is not None:
            self._greeter.stop()
            self._greeter = None

    async def finish(self) -> None:
        """Let answers under way reach their readers."""
        self._close_doors()
        await self._control.finish(_FAREWELL_SECONDS)
        await self._admin.finish(0.1)
        if not self.gave_away:
            self._runtime.unlink()

    def _on_signal(self, number: int) -> None:
        if self._attempt is not None and self._attempt.frozen:
            self._held_signal = number
            return
        if self.draining:
            log.warning("second signal: ending at once")
            self._end(128 + number)
            return
        if self._upgrade is not None:
            self._upgrade.cancel(AttemptFailed("the serving generation was told to end"))
        elif self._attempt is not None:
            self._attempt.cancel(AttemptFailed("the serving generation was told to end"))
        if not self.gave_away:
            self.drain(self._limits.drain)

    def drain(self, seconds: float) -> None:
        """Accept nothing more, let the work finish, then end."""
        log.info("draining", extra=fields(deadline=f"{seconds:g}s", in_flight=self.server.in_flight()))
        self.draining = True
        self.server.drain(time.monotonic() + seconds)
        self._end_when_idle(time.monotonic() + seconds)

    def _end_when_idle(self, until: float) -> None:
        if self.server.idle() or time.monotonic() >= until:
            self._end(0)
        else:
            self.loop.call_later(_IDLE_CHECK_SECONDS, self._end_when_idle, until)

    def _end(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)

    # -- attempts ---------------------------------------------------------------------------------

    def _occupied(self) -> bool:
        return self._attempt is not None or self.gave_away

    def _admit(self, channel: Channel, hello: wire.Hello, pidfd: int) -> None:
        """A caller said HELLO."""
        upgrade = self._upgrade if self._upgrade is not None and hello.token == self._upgrade.spawned.token else None
        attempt = SourceAttempt(
            channel, hello, self.server, self,
            limits=self._limits, faults=Faults.armed(), generation=self._generation() + 1,
            wishes=upgrade.wishes if upgrade else Wishes(),
            report=upgrade.report if upgrade else _unheard,
        )  # fmt: skip
        self._attempt = attempt
        attempt.over.add_done_callback(lambda future: self._attempt_over(attempt, future.result()))
        try:
            chosen = self._judge(hello, spawned=upgrade is not None)
        except HotswapError as refusal:
            os.close(pidfd)
            attempt.failure = refusal
            attempt.refuse(wire.Refused(refusal.exit_code, str(refusal)))
            return
        if upgrade is not None:
            upgrade.attempt = attempt
        attempt.begin(chosen, pidfd)

    def _judge(self, hello: wire.Hello, *, spawned: bool) -> dict[str, int]:
        """The schema versions to write. Raises the refusal."""
        if self._upgrade is not None and not spawned:
            raise Busy("an upgrade is under way, and this generation is not the one it waits for")
        if self.draining:
            raise Refused("the serving generation is draining; it will end by itself")
        identity = f"{hello.build}/{hello.config_id}"
        if not spawned and hello.takeover != "require" and identity in self.chain.superseded:
            raise Superseded(
                f"generation {self._generation()} superseded this build and configuration; "
                "to go back all the same use --takeover=require, or `hotswap rollback`"
            )
        if hello.protocol.oldest > wire.PROTOCOL_NEWEST or hello.protocol.newest < wire.PROTOCOL_OLDEST:
            raise Refused(
                f"no common protocol version: this side speaks {wire.PROTOCOL_OLDEST} to {wire.PROTOCOL_NEWEST}, "
                f"the other {hello.protocol.oldest} to {hello.protocol.newest}; upgrade by way of a version between"
            )
        needed = len(self.server.values()) + len(self.estate.server) + _SPARE_FDS
        if hello.nofile and hello.nofile - hello.open_fds < needed:
            raise Refused(
                f"the new generation may open {hello.nofile} files and needs {needed} more: raise its RLIMIT_NOFILE"
            )
        return _agree(self.server.schemas(), hello.schemas)

    def _attempt_over(self, attempt: SourceAttempt, state: State) -> None:
        self._attempt = None
        if attempt.peer_dead or state is Source.GONE:
            self.server.sharing(False)
        else:
            self._watch_copies(attempt)
        figures = result(attempt.outcome, None if state is Source.GONE else attempt.failure, self._generation() + 1)
        if state is Source.GONE:
            self.loop.call_soon(self._farewell)
        elif not attempt.outcome.rehearsed:
            log.error("a handover failed, serving on", extra=fields(reason=figures["message"]))
            self._record_failure(attempt, figures["message"])
        if self._upgrade is not None and self._upgrade.attempt is attempt:
            self._last_upgrade = figures
            self._upgrade.settle(attempt, self._generation() + 1)
        if self._held_signal:
            number, self._held_signal = self._held_signal, 0
            self._on_signal(number)

    def _watch_copies(self, attempt: SourceAttempt) -> None:
        """Descriptors stay shared until the failed destination is proven dead."""
        pidfd = attempt.detach_pidfd()
        if pidfd < 0:
            return

        def dead() -> None:
            self.loop.remove_reader(pidfd)
            os.close(pidfd)
            if self._attempt is None:
                self.server.sharing(False)

        self.loop.add_reader(pidfd, dead)

    def _farewell(self) -> None:
        """Everything is given away; what was kept drains, then this process ends."""
        until = time.monotonic() + self._limits.drain
        self.draining = True
        self._end_when_idle(until)

    def _record_failure(self, attempt: SourceAttempt, why: str) -> None:
        hello = attempt.hello
        self.chain.add(
            Record(
                self._generation() + 1,
                hello.version,
                hello.build,
                hello.config_id,
                list(hello.command),
                hello.cwd,
                hello.pid,
                time.time(),
                "upgrade" if hello.token else "takeover",
                f"failed: {why}",
            )  # fmt: skip
        )

    def _generation(self) -> int:
        current = self.chain.current()
        return current.generation if current else 0

    # -- handover.source.Holder -------------------------------------------------------------------

    def resources(self) -> list[tuple[wire.ListenerEntry, int]]:
        """See `Holder`."""
        estate = self.estate
        found = [
            (wire.ListenerEntry("control", "", ""), estate.control),
            (wire.ListenerEntry("handover", "", ""), estate.handover),
        ]
        if estate.admin >= 0:
            found.append((wire.ListenerEntry("admin", "", estate.admin_address), estate.admin))
        found += [(wire.ListenerEntry("server", "", address), fd) for address, fd in estate.server.items()]
        return found

    def lock_fd(self) -> int:
        """See `Holder`."""
        return self.estate.lock

    def chain_state(self) -> bytes:
        """See `Holder`."""
        return self.chain.encode()

    def freeze(self) -> None:
        """See `Holder`. A collection of garbage in the freeze would be felt."""
        gc.disable()
        self.server.freeze()

    def thaw(self) -> None:
        """See `Holder`."""
        self.server.thaw()
        gc.enable()

    def retired(self, kept: list[int], wanted: frozenset[str]) -> None:
        """See `Holder`."""
        self.gave_away = True
        self._close_doors()
        names = {str(spec.address): spec.name for spec in self.server.wanted()}
        removed = {names[address]: fd for address, fd in self.estate.server.items() if address not in wanted}
        self.server.retire(kept, removed)

    def take_listeners(self) -> None:
        """See `Holder`."""
        self.gave_away = False
        self.server.abandon()
        for spec in self.server.wanted():
            listeners.listen(self.estate.server[str(spec.address)], spec.backlog)
        gc.enable()
        self._reopen()

    def _reopen(self) -> None:
        self._control = HttpServer(self._routes())
        self.open()

    def end_destination(self) -> None:
        """See `Holder`."""
        if self._upgrade is not None and self._upgrade.attempt is self._attempt:
            self._upgrade.spawned.kill()

    # -- the control socket -----------------------------------------------------------------------

    def _routes(self) -> dict[tuple[str, str], Route]:
        return {
            ("GET", "/status"): self._get_status,
            ("GET", "/connections"): self._get_connections,
            ("GET", "/history"): self._get_history,
            ("POST", "/upgrade"): self._post_upgrade,
            ("POST", "/drain"): self._post_drain,
        }

    @property
    def state(self) -> str:
        """One word for people."""
        if self.gave_away:
            return "retired"
        if self.draining:
            return "draining"
        return "handover" if self._attempt is not None else "serving"

    def status(self) -> dict[str, Any]:
        """What `hotswap status` shows."""
        wanted = self.server.wanted()
        return {
            "name": self.identity.name,
            "generation": self._generation(),
            "pid": os.getpid(),
            "version": self.identity.version,
            "build": self.identity.build,
            "state": self.state,
            "started": self.started,
            "config_id": self.identity.config_id,
            "listeners": [{"name": spec.name, "address": str(spec.address)} for spec in wanted],
            "connections": len(self.server.values()),
            "in_flight": self.server.in_flight(),
            "server": self.server.status(),
            "last_upgrade": self._last_upgrade,
        }

    async def _get_status(self, _request: Request) -> Response:
        return Response.json(self.status())

    async def _get_connections(self, _request: Request) -> Response:
        return Response.json({"connections": self.server.connections()})

    async def _get_history(self, _request: Request) -> Response:
        return Response.json({"history": self.chain.records})

    async def _post_drain(self, request: Request) -> Response:
        order = request.json(DrainOrder)
        if self._attempt is not None:
            raise Busy("a handover is under way: drain when it is over")
        if not self.draining:
            self.drain(order.deadline)
        return Response.json({"draining": True, "in_flight": self.server.in_flight()})

    async def _post_upgrade(self, request: Request) -> EventStream:
        order = request.json(Order)
        if self._upgrade is not None or self._attempt is not None or self.gave_away:
            raise Busy("another attempt is under way; try again when it is over")
        if self.draining:
            raise Refused("this generation is draining; there is nothing to upgrade")
        command, cwd = order.command or self.identity.command, order.cwd if order.command else self.identity.cwd
        if order.rollback:
            earlier = self.chain.previous()
            command, cwd = earlier.command, earlier.cwd
        if not command or not Path(cwd or "/").is_dir():
            raise UsageError(f"no command to start, or {cwd} is no directory")
        self._upgrade = Upgrade(order, command, cwd or "/", self._upgrade_over)
        return self._upgrade.stream

    def _upgrade_over(self) -> None:
        self._upgrade = None


def _unheard(event: dict[str, Any]) -> None:
    log.info("handover", extra=fields(**event))


def _agree(ours: Mapping[str, Schema], theirs: Mapping[str, Schema]) -> dict[str, int]:
    """The newest version of each kind that both understand. Raises `Refused`."""
    chosen = {}
    for kind, schema in ours.items():
        other = theirs.get(kind)
        if other is None:
            raise Refused(
                f"the new generation does not know the state kind {kind!r}: upgrade by way of a version between"
            )
        version = min(schema.newest, other.newest)
        if version < max(schema.oldest, other.oldest):
            raise Refused(
                f"no common version of the state kind {kind!r}: {schema.oldest} to {schema.newest} here, "
                f"{other.oldest} to {other.newest} there; upgrade by way of a version between"
            )
        chosen[kind] = version
    return chosen


__all__ = ["Estate", "Identity", "Outcome", "Serving"]
