"""Changing a configuration in place, without a new generation.

A server that can do it has one method more than `Swappable` asks for::

    def reload(self) -> Reload: ...          # read, check, compare; touch nothing

`hotswap reload`, SIGHUP and POST /reload then mean: read it whole, bind what is new, and only when nothing can go
wrong any more apply it, all at once, between two ticks. Whatever fails before leaves everything as it was.

A reload and a handover wait for each other: a reload that is ordered during an attempt begins when that is over, and
an upgrade that is ordered during a reload starts when that is done. So both see one configuration, never a half.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

import msgspec

from hotswap import listeners
from hotswap.address import Address
from hotswap.errors import BindFailed, Busy, HotswapError, Refused
from hotswap.handover.rounds import Limits
from hotswap.log import fields
from hotswap.swappable import ListenerSpec

if TYPE_CHECKING:
    from hotswap.estate import Estate
    from hotswap.serving import Serving

T = TypeVar("T")

log = logging.getLogger("hotswap")


class Change(msgspec.Struct, frozen=True):
    """One difference between two configurations, for people and ``--json``."""

    what: str
    """The kind of thing: ``listener``, ``cluster``, ``route``, ``setting``."""
    name: str
    how: Literal["added", "removed", "changed"]
    detail: str = ""
    """An address, or what differs."""


class Reload(Protocol):
    """A configuration that was read and found valid. Nothing of it is applied."""

    @property
    def config_id(self) -> str:
        """Its digest; see `hotswap.Generation`."""

    @property
    def changes(self) -> Sequence[Change]:
        """How it differs from the one that is in force; empty if it does not."""

    @property
    def wanted(self) -> Sequence[ListenerSpec]:
        """Its listeners; those whose address is known already stay bound."""

    @property
    def admin(self) -> Address | None:
        """Its admin address."""

    @property
    def limits(self) -> Limits | None:
        """Its bounds of handover and drain; None: as before."""

    def apply(self, added: Mapping[str, int]) -> None:
        """Put it in force, whole, now. It must not fail.

        `added` are the new listeners by name, listening. Those that are gone belong to the server from here on: it
        accepts what waits in their queues, then closes them.
        """


@runtime_checkable
class Reloadable(Protocol):
    """What a server has that can change its configuration in place."""

    def reload(self) -> Reload:
        """Read the configuration again. Called in a thread of its own, while the server ticks: touch nothing.

        Raises `HotswapError` if it cannot be used, or cannot be applied without a restart.
        """


class ReloadOrder(msgspec.Struct, frozen=True):
    """The body of POST /reload."""

    dry_run: bool = False
    timeout: float = 30.0  # seconds, for an attempt under way to end


class Reloading:
    """The reloads of one serving generation, one after the other."""

    def __init__(self, serving: Serving) -> None:
        self.last: dict[str, Any] | None = None
        self._serving = serving
        self._turn = asyncio.Lock()
        self._working = False
        self._signalled: asyncio.Task[None] | None = None
        self._again = False

    async def settled(self) -> None:
        """Until no reload is under way that could still change what an upgrade would see."""
        while self._working:
            async with self._turn:
                pass

    async def carry_out(self, order: ReloadOrder) -> dict[str, Any]:
        """Read, check and (unless it is a dry run) apply. Raises `HotswapError` if nothing was applied."""
        try:
            async with asyncio.timeout(order.timeout):
                await self._turn.acquire()
        except TimeoutError:
            raise Busy("another reload is under way and does not end; try again") from None
        try:
            plan = await self._read(order.timeout)
            try:
                return self._told(self._apply(plan, dry_run=order.dry_run), order)
            finally:
                self._working = False
        except HotswapError as error:
            self._told({"ok": False, "exit_code": error.exit_code, "message": str(error)}, order)
            raise
        finally:
            self._working = False
            self._turn.release()

    async def _read(self, patience: float) -> Reload:
        """The new configuration, read while no handover is under way and none began meanwhile."""
        serving = self._serving
        server = serving.server
        if not isinstance(server, Reloadable):
            raise Refused(f"{serving.identity.name} cannot reload; `hotswap upgrade` applies what changed")
        while True:
            try:
                async with asyncio.timeout(patience):
                    await serving.calm()
            except TimeoutError:
                raise Busy(f"a handover is under way and did not end within {patience:g} s; try again") from None
            self._refuse_if_over()
            self._working = True  # an upgrade that is ordered from here on waits
            plan: Reload = await in_thread(server.reload)
            self._refuse_if_over()
            if not serving.in_handover:  # else somebody took over, or tried to: look again
                return plan
            self._working = False

    def _refuse_if_over(self) -> None:
        serving = self._serving
        if serving.gave_away:
            raise Busy("another generation took over meanwhile; ask that one")
        if serving.draining:
            raise Refused("this generation is draining; there is nothing to reload")

    def _apply(self, plan: Reload, *, dry_run: bool) -> dict[str, Any]:
        serving = self._serving
        began = time.monotonic()
        before = serving.identity.config_id
        fresh = _Fresh(plan, serving.estate.server, serving.estate.admin_address)
        if dry_run:
            fresh.drop()
        elif plan.changes:
            fresh.listen()
            serving.estate.server = fresh.server
            serving.tenure.follow({**fresh.server, **fresh.admin_of(serving.estate)})
            plan.apply(fresh.added)
            serving.reconfigured(plan, fresh.admin)
        return {
            "ok": True,
            "exit_code": 0,
            "dry_run": dry_run,
            "before": before,
            "config_id": plan.config_id,
            "generation": serving.generation,
            "changes": [msgspec.to_builtins(change) for change in plan.changes],
            "took_ms": (time.monotonic() - began) * 1e3,
        }

    def _told(self, answer: dict[str, Any], order: ReloadOrder) -> dict[str, Any]:
        if not order.dry_run:
            self.last = {**answer, "at": time.time()}
        return answer

    # -- SIGHUP -----------------------------------------------------------------------------------

    def signalled(self) -> None:
        """SIGHUP. Several that come while one waits are one."""
        self._again = True
        if self._signalled is None:
            self._signalled = asyncio.get_running_loop().create_task(self._by_signal())

    async def _by_signal(self) -> None:
        while self._again:
            self._again = False
            try:
                answer = await self.carry_out(ReloadOrder(timeout=600.0))
            except HotswapError as error:
                if self._serving.gave_away:
                    self._serving.signal_successor(signal.SIGHUP)
                    break
                log.error("the configuration stays as it is", extra=fields(reason=str(error)))  # noqa: TRY400
            else:
                log.info(
                    "reloaded" if answer["changes"] else "nothing to reload: the configuration is the same",
                    extra=fields(config=answer["config_id"], changes=len(answer["changes"])),
                )
        self._signalled = None


class _Fresh:
    """The sockets that a reload adds: bound all, or none."""

    def __init__(self, plan: Reload, inherited: Mapping[str, int], admin: str) -> None:
        self._plan = plan
        self.admin = -1
        """The descriptor of a new admin address."""
        self.server, _ = listeners.resolve(plan.wanted, inherited, reuse=True)
        self.added = {
            spec.name: self.server[str(spec.address)] for spec in plan.wanted if str(spec.address) not in inherited
        }
        if plan.admin is not None and str(plan.admin) != admin:
            try:
                self.admin = listeners.bind(plan.admin, reuse=True)
            except BindFailed:
                self.drop()
                raise

    def admin_of(self, estate: Estate) -> dict[str, int]:
        """The admin listener from then on, by address."""
        wanted = "" if self._plan.admin is None else str(self._plan.admin)
        fd = self.admin if wanted != estate.admin_address else estate.admin
        return {wanted: fd} if fd >= 0 else {}

    def listen(self) -> None:
        """Let clients in, into the queues. Raises `BindFailed` with everything undone."""
        try:
            for spec in self._plan.wanted:
                if spec.name in self.added:
                    listeners.listen(self.added[spec.name], spec.backlog)
            if self.admin >= 0:
                listeners.listen(self.admin, 128)
        except BindFailed:
            self.drop()
            raise

    def drop(self) -> None:
        """Undo the binding."""
        for fd in (*self.added.values(), self.admin):
            if fd >= 0:
                os.close(fd)
        for spec in self._plan.wanted:
            if spec.name in self.added and str(spec.address).startswith("unix:"):
                with contextlib.suppress(OSError):
                    Path(spec.address.host).unlink()


async def in_thread(work: Callable[[], T]) -> T:
    """Run something slow beside the ticks. No executor: it would import modules now, while serving."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(answer: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)  # type: ignore[arg-type]

    def run() -> None:
        answer, failure = None, None
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001  it is raised where it is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(settle, answer, failure)

    threading.Thread(target=run, name="reload", daemon=True).start()
    return await future
