"""A generation that owns: its control socket, its door for successors, its signals, its end.

`Serving` also is what an attempt of a handover holds on to (`handover.source.Holder`).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import msgspec

from hotswap import lineage, news, turns
from hotswap.admission import failed, judge
from hotswap.chain import Bake, Chain
from hotswap.control import Route
from hotswap.copies import Copies
from hotswap.doors import Doors
from hotswap.draining import Draining
from hotswap.errors import Busy, DeadlinePassed, HotswapError, Superseded
from hotswap.estate import Estate, Identity
from hotswap.faults import Faults
from hotswap.handover import wire
from hotswap.handover.channel import Channel
from hotswap.handover.holder import Wishes
from hotswap.handover.rounds import Limits
from hotswap.handover.source import SourceAttempt
from hotswap.handover.states import Source, State
from hotswap.log import fields
from hotswap.reload import Reload, Reloading
from hotswap.routes import describe, probes, routes, status
from hotswap.runtime import Runtime
from hotswap.succession import Succession
from hotswap.supervisor import Supervisor
from hotswap.swappable import Swappable
from hotswap.tenure import Tenure
from hotswap.upgrade import Upgrade

log = logging.getLogger("hotswap")

MoreRoutes = Callable[["Serving"], Mapping[tuple[str, str], Route]]
"""What a server answers beside that: made for the generation that serves."""
_PREPARE_SECONDS = 0.5  # after the start, when whoever waited for it is served
_IDLE_CHECK_SECONDS = 0.05  # only while something that was kept drains


class Serving:
    """One generation from owning to its end; `ended` resolves with the exit code."""

    def __init__(
        self,
        identity: Identity,
        server: Swappable,
        runtime: Runtime,
        estate: Estate,
        chain: Chain,
        *,
        limits: Limits,
        admin_routes: MoreRoutes | None = None,
        control_routes: MoreRoutes | None = None,
        bake: Bake | None = None,
        supervisor: Supervisor,
        returns: bool = False,
    ) -> None:
        """`returns`: with everything given away this process stands by, and may own again."""
        self.identity = identity
        self.server = server
        self.estate = estate
        self.chain = chain
        self.loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self.loop.create_future()
        self.drain_under_way: Draining | None = None
        self.reloading = Reloading(self)
        self.gave_away = False
        self._leaving = False
        self._farewell_until = 0.0
        self.copies = Copies(server, self.loop, self.occupied)
        self.successor_spawned = False  # by this process: a keeper has somebody to wait for
        self.runtime = runtime
        self._limits, self._returns = limits, returns
        self._attempt: SourceAttempt | None = None
        self._reopened: SourceAttempt | None = None  # the attempt that was under way at the last SIGUSR1
        self._waiting: list[asyncio.Future[None]] = []
        self._held_signal = 0
        self._successor = -1  # its pidfd
        more = control_routes(self) if control_routes else {}
        admin = {**probes(self), **(admin_routes(self) if admin_routes else {})}
        self._doors = Doors(estate, {**more, **routes(self)}, admin, runtime.peers)
        self.started = time.time()
        self.tenure = Tenure(supervisor, estate, partial(describe, self), self.loop)
        self.succession = Succession(self, bake)

    # -- beginning and end ------------------------------------------------------------------------

    def open(self, dropped: Collection[str] = (), *, crashed: bool = False) -> None:
        """Answer on the control socket, the admin address and the door. Call it as owner. See `Tenure.begin`."""
        self.tenure.begin(dropped, crashed=crashed)
        self._doors.open(self._admit, self.occupied)
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self._on_signal, number)
        self.loop.add_signal_handler(signal.SIGHUP, self.reloading.signalled)
        self.loop.add_signal_handler(signal.SIGUSR1, self._reopen_files)
        self.loop.call_later(_PREPARE_SECONDS, wire.decoder)

    async def finish(self) -> None:
        """Let answers under way reach their readers."""
        await self._doors.finish()
        self.server.close()
        if not self.gave_away:
            self.runtime.unlink()
            lineage.forget(self.runtime.path)

    def _on_signal(self, number: int) -> None:
        if self._attempt is not None and self._attempt.frozen:
            self._held_signal = number
            return
        if self.draining and (self.succession.told_by_signal or not self.gave_away):
            log.warning("second signal: ending at once")
            self._end(128 + number)
            return
        self.succession.told_by_signal = True
        if self.gave_away:
            self.succession.told_to_leave()  # it may have to, after all
            self._farewell_until = min(self._farewell_until, time.monotonic() + self._limits.drain)
        else:
            self.succession.leave()

    def _reopen_files(self) -> None:
        """The successor is told, too: its files may have been opened before they were renamed."""
        self.server.reopen()
        if self.gave_away:
            self.signal_successor(signal.SIGUSR1)
        self._reopened = self._attempt

    @property
    def draining(self) -> bool:
        """On the way out: by an order, or because everything was given away."""
        return self._leaving or self.drain_under_way is not None

    @property
    def _past_return(self) -> bool:
        """There are no listeners to give any more."""
        return self._leaving or (self.drain_under_way is not None and self.drain_under_way.closed)

    def drain(self, deadline: float | None = None, delay: float | None = None) -> Draining:
        """Tell clients to go, close the listeners after the delay, let the work finish, then end. Seconds."""
        if self.drain_under_way is None:
            self.succession.end()
            limits = self._limits
            if deadline is None:
                began = self.succession.began_to_leave
                deadline = limits.drain - (time.monotonic() - began if began else 0.0)
            delay = limits.drain_delay if delay is None else delay
            self.tenure.drain(deadline)
            closing = partial(self.tenure.let_go, [*self.estate.server])
            late = partial(self.cancel_attempt, DeadlinePassed("the time of the drain is over"))
            self.drain_under_way = Draining(self.server, deadline, delay, closing, self._end, self.occupied, late)
        return self.drain_under_way

    @property
    def drain_seconds(self) -> float:
        """What a drain may take, as configured."""
        return self._limits.drain

    def _end_when_idle(self) -> None:
        if (self.server.idle() or time.monotonic() >= self._farewell_until) and self.tenure.settled:
            self._end(0)
        else:
            self.loop.call_later(_IDLE_CHECK_SECONDS, self._end_when_idle)

    def _end(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)

    # -- attempts ---------------------------------------------------------------------------------

    def occupied(self) -> bool:
        """An attempt is under way, or went well."""
        return self._attempt is not None or self.gave_away

    def _admit(self, channel: Channel, hello: wire.Hello, pidfd: int) -> None:
        """A caller said HELLO."""
        upgrade = self.succession.expected(hello)
        attempt = SourceAttempt(
            channel,
            hello,
            self.server,
            self,
            limits=self._limits,
            faults=Faults.armed(),
            generation=self.generation + 1,
            wishes=upgrade.wishes if upgrade else Wishes(),
            report=upgrade.report if upgrade else _unheard,
        )
        self._attempt = attempt
        attempt.over.add_done_callback(lambda future: self._attempt_over(attempt, future.result()))
        try:
            awaited = self.succession.under_way is not None and bool(self.succession.under_way.successor.token)
            facts = {"draining": self._past_return, "spawned": upgrade is not None and awaited, "awaited": awaited}
            self.succession.refuse_late(hello)
            chosen = judge(hello, self.server, self.chain, listeners=len(self.estate.server), **facts)
        except HotswapError as refusal:
            os.close(pidfd)
            if not self.draining:
                self.tenure.claim()  # a supervisor that started the caller takes that for the main process
            if upgrade is not None and not isinstance(refusal, Superseded):  # an old one that came back is no answer
                upgrade.attempt = attempt
            attempt.refuse(refusal)
            return
        if upgrade is not None:
            upgrade.attempt = attempt
        # Copying allocates much and frees little: a full collection in between stops everything
        # for tens of milliseconds at thousands of connections, and would find nothing.
        gc.disable()
        attempt.begin(chosen, pidfd)

    def _attempt_over(self, attempt: SourceAttempt, state: State) -> None:
        self._attempt, upgrade = None, self.succession.under_way
        if state is not Source.GONE:
            gc.enable()
        if attempt.peer_dead:
            self.server.sharing(False)
        elif state is not Source.GONE:
            self.copies.left(attempt)
        if state is Source.GONE and self.gave_away:
            self.loop.call_soon(self._farewell)
        elif state is Source.GONE:  # a bug kept it from retiring: frozen, and owner of nothing all the same
            self.gave_away = True
            self._end(0)
        elif not attempt.outcome.rehearsed:
            self._kept_on(attempt, upgrade)
        if upgrade is not None and upgrade.attempt is attempt:
            self.successor_spawned = state is Source.GONE and upgrade.successor.pidfd >= 0
            upgrade.settle(attempt, self.generation + 1)
        self.stirred()
        if self._held_signal:
            number, self._held_signal = self._held_signal, 0
            self._on_signal(number)
        self.succession.go_on_leaving()

    def _kept_on(self, attempt: SourceAttempt, upgrade: Upgrade | None) -> None:
        if isinstance(attempt.failure, Superseded | Busy):  # started again, or too soon: no attempt
            log.info("a caller was refused: %s", attempt.failure, extra=fields(version=attempt.hello.version))
            return
        why = str(attempt.failure or "the new generation hung up before it took over")
        log.error("a handover failed, serving on: %s", why)
        self.chain.add(failed(attempt.hello, self.generation + 1, why, time.time()))
        news.kept_on(self.server, upgrade, attempt)

    def cancel_attempt(self, why: HotswapError) -> None:
        """Take the attempt under way back, if there is one and the other does not own yet."""
        if self._attempt is not None:
            self._attempt.cancel(why)

    def _farewell(self) -> None:
        """Everything is given away; what was kept drains, then this process ends."""
        self._leaving = True
        self.tenure.succeeded_by(self._successor)
        if self.server.count():
            self.server.sharing(False)  # the destination lives, and holds no copy of what was kept
        elif not self._returns:
            # Tidying up after thousands of connections must not compete with the owner's first ticks.
            with contextlib.suppress(OSError):
                os.nice(10)
        self._farewell_until = time.monotonic() + (
            self._limits.drain if self.succession.told_by_signal else self._limits.farewell
        )
        self._end_when_idle()

    @property
    def generation(self) -> int:
        """The number of this generation in the chain."""
        current = self.chain.current()
        return current.generation if current else 0

    # -- handover.source.Holder -------------------------------------------------------------------

    @property
    def state(self) -> str:
        """One word for people."""
        if self.gave_away or self.draining:
            return "retired" if self.gave_away else "draining"
        return "handover" if self._attempt is not None else "serving"

    def resources(self) -> list[tuple[wire.ListenerEntry, int]]:
        """See `Holder`."""
        return self.estate.resources()

    def lock_fd(self) -> int:
        """See `Holder`."""
        return self.estate.lock

    def chain_state(self) -> bytes:
        """See `Holder`."""
        return self.chain.encode()

    def freeze(self) -> None:
        """See `Holder`."""
        self._doors.pause()
        self.server.freeze()

    def thaw(self) -> None:
        """See `Holder`."""
        self.server.thaw()
        self._doors.resume()

    def retired(self, kept: list[int], wanted: frozenset[str]) -> None:
        """See `Holder`."""
        self.gave_away = True
        turns.take(turns.USUAL)
        self.tenure.end()
        self.succession.end()
        if self.drain_under_way is not None:
            self.drain_under_way.superseded()
        if self._attempt is not None:
            self._successor = self._attempt.copy_of_pidfd()
            if self._reopened is self._attempt:
                self.signal_successor(signal.SIGUSR1)
        self._doors.close()
        names = {str(spec.address): spec.name for spec in self.server.wanted()}
        removed = {names[address]: fd for address, fd in self.estate.server.items() if address not in wanted}
        self.tenure.let_go([address for address in self.estate.server if address not in wanted])
        self.server.retire(kept, removed)

    def answering(self) -> bool:
        """See `Holder`."""
        return self._doors.answering

    def take_listeners(self) -> None:
        """See `Holder`."""
        self.gave_away = False
        turns.take(turns.SHORT)
        if self.succession.baking is not None:
            self.succession.baked("ended without a verdict: the generation that got everything died at once")
        self.server.abandon()
        self.estate.listen(self.server.wanted())
        self.open(crashed=True)
        if self.drain_under_way is not None:
            self.drain_under_way.resumed()

    def end_destination(self) -> None:
        """See `Holder`."""
        upgrade = self.succession.under_way
        if upgrade is not None and upgrade.attempt is self._attempt:
            upgrade.successor.kill()

    def status(self) -> dict[str, Any]:
        """What `hotswap status` shows."""
        return status(self)

    # -- reloads ----------------------------------------------------------------------------------

    @property
    def in_handover(self) -> bool:
        """An attempt is under way, or about to be, or went well."""
        return self.succession.under_way is not None or self.occupied()

    async def calm(self) -> None:
        """Wait until no attempt is under way."""
        while self.succession.under_way is not None or self._attempt is not None:
            waiting = self.loop.create_future()
            self._waiting.append(waiting)
            await waiting

    def stirred(self) -> None:
        """Something that others may wait for is over."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def reconfigured(self, plan: Reload, admin: int) -> None:
        """The server applied a new configuration: follow it. `admin` is the descriptor of a new admin address."""
        self.identity = msgspec.structs.replace(self.identity, config_id=plan.config_id)
        self.chain.reloaded(plan.config_id, time.time())
        self._limits = plan.limits or self._limits
        address = "" if plan.admin is None else str(plan.admin)
        self._doors.move_admin(address, admin)

    def signal_successor(self, number: int) -> None:
        """Pass a signal on to the generation that took over."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._successor, number)


def _unheard(event: dict[str, Any]) -> None:
    log.info("handover", extra=fields(**event))
