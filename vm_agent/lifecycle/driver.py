"""Carries out what the table of states says, for one sidecar: one piece of work at a time, each step remembered first.

The driver knows no rules; `states.py` has them, `wishes.py` says what is wanted. What is done stands in `work.py`.
Fault points (see `hotswap.faults`): ``agent.<state>.before`` when a state is entered, ``.after`` once it is remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from hotswap.errors import AttemptFailed, HotswapError, OwnerHung
from hotswap.faults import Faults
from hotswap.http import EventStream
from hotswap.log import fields
from vm_agent.errors import NotPossible
from vm_agent.lifecycle import endings
from vm_agent.lifecycle.audience import Audience
from vm_agent.lifecycle.care import Care
from vm_agent.lifecycle.desk import Desk
from vm_agent.lifecycle.memory import Memory, Operation
from vm_agent.lifecycle.sidecar import Sidecar
from vm_agent.lifecycle.states import RESTS, UPGRADING, WORK, Action, Event, Found, State, resume, step
from vm_agent.lifecycle.wishes import Ordered, Wish, wish
from vm_agent.lifecycle.work import Work
from vm_agent.spec.model import Spec

log = logging.getLogger("vm_agent")

_FIRST_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 60.0
_ASK_SECONDS = 1.0
_HUNG_ASKS = 3
_INTERRUPTIBLE = frozenset({State.FETCHING, State.PREPARING, State.BAKING, State.RETURNING})
_HARMLESS = frozenset({Action.REHEARSE, Action.HAND_OVER})  # what they raise, they raise before anything was ordered


class Driver:
    """One sidecar. All methods belong to the event loop's thread."""

    def __init__(self, name: str, desk: Desk) -> None:
        self.name = name
        self.desk = desk
        self.directory: Path = desk.releases.link(name).parent
        self.memory = Memory.load(self.directory)
        self.spec: Spec | None = None
        self.serving = ""
        """The release that serves; empty: none, or one that the agent did not install."""
        self.waits = ""
        """Why what is wanted does not happen."""
        self.since = time.time()
        self.postponed = ""
        """Why an upgrade could not be begun; empty: it may be, again."""
        self._postponed_last = ""
        self.condemnation = ""
        """Why what bakes is being taken back."""
        self.resumed = False
        self.unwritten = ""
        """Why what is remembered could not be written down."""
        self.sidecar = Sidecar(name, Path(desk.settings.runtime_dir), desk.releases.directory, desk.releases.link(name))
        self.care = Care(self)
        self.audience = Audience(name)
        self._work = Work(self)
        self._task: asyncio.Task[None] | None = None
        self._ordered: Ordered | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._failures = 0
        self._faults = Faults.armed()

    # -- what is wanted ---------------------------------------------------------------------------

    def want(self, spec: Spec | None) -> None:
        """The spec as it is now; None: there is none any more."""
        changed = spec != self.spec
        self.spec = spec
        if spec is not None:
            self.memory.spec = spec
        if changed and self.resumed:
            self._failures, self.postponed = 0, ""
            if spec is not None:
                self.remember()
            if self.memory.state is State.WAITING and spec is not None:
                self.happened(Event.WANTED, "the spec changed")
            self.care.look_soon()
            self.consider()

    def order(self, ordered: Ordered) -> None:
        """By hand. Raises `NotPossible`."""
        if self.memory.state is not State.SERVING:
            raise NotPossible(f"{self.name} is {self.memory.state}: nothing can be ordered until it serves")
        if ordered.release == self.serving:
            raise NotPossible(f"{self.name} serves release {ordered.release} already")
        self._ordered, self.postponed = ordered, ""
        self.consider()

    def take_back(self, why: str) -> None:
        """By hand, in the bake. Raises `NotPossible`."""
        if not self.resumed:
            raise NotPossible(
                f"{self.name} is not known yet: the agent began just now, and it does not answer; repeat this"
            )
        if self.memory.state is not State.BAKING:
            raise NotPossible(f"{self.name} is {self.memory.state}: there is nothing to take back")
        self._cancel()
        self.happened(Event.CONDEMNED, why)

    def pause(self, *, paused: bool) -> None:
        """No upgrade begins by itself; what crashed is started all the same."""
        self.memory.paused = paused
        self.remember()
        self.note("paused" if paused else "resumed")
        self.consider()

    def consider(self) -> None:
        """Look at what is wanted; a step follows only at rest, or where one can be broken off."""
        if not self.resumed:
            return
        if self.memory.state in _INTERRUPTIBLE and self.spec is None:
            self.happened(Event.UNWANTED, "its spec is gone")
            return
        if self.memory.state not in RESTS:
            return
        if self.audience.outcome is not None:
            self._settle()  # of what is over; what comes next is somebody else's
        wanted = wish(self.spec, self.memory, self.serving, self._ordered, self.postponed, datetime.now().astimezone())
        if wanted.event is Event.OUTDATED and self.desk.upgrading(self.name):
            wanted = Wish(why=f"release {wanted.release} waits: {self.desk.upgrading(self.name)} is being upgraded")
        if self.memory.state is not State.WAITING or wanted.event is not None:
            self.waits = wanted.why if wanted.event is None else ""
        if wanted.event is not None:
            self._take(wanted)
        elif wanted.why:
            self.desk.history.note_once(self.name, "waits", wanted.why)
        self._settle()

    def _take(self, wanted: Wish) -> None:
        if wanted.event is Event.OUTDATED:
            self._ordered = None
            self._faults = Faults.armed()
            self.memory.operation = Operation(
                before=self.serving, after=wanted.release, why=wanted.why, began=time.time(), back=wanted.back
            )
        assert wanted.event is not None  # noqa: S101  for mypy
        self.happened(wanted.event, wanted.why)

    # -- what happens -----------------------------------------------------------------------------

    async def resume(self) -> None:
        """Begin, from what an agent before left. Does not fail: whoever does not answer is asked again."""
        hung = 0
        while True:
            try:
                found = await self._found()
                break
            except Exception as error:
                if not isinstance(error, HotswapError):
                    log.exception("looking for it failed", extra=fields(sidecar=self.name))
                self.desk.history.note_once(self.name, "does not answer", str(error))
                hung = hung + 1 if isinstance(error, OwnerHung) else 0
                if hung and hung % _HUNG_ASKS == 0:  # health checks begin after this only
                    await self._end_hung(hung)
            await asyncio.sleep(_ASK_SECONDS)
        before = self.memory.state
        state, actions = resume(before, found, wanted=self.spec is not None)
        self.resumed = True
        if before is not State.ABSENT or found is not Found.NOTHING:
            self.note("adopted" if found is not Found.NOTHING else "found dead", f"was {before}", release=self.serving)
        why = f"the agent ended while it was {before}"
        if before is State.BAKING and found is Found.BEFORE:
            with contextlib.suppress(HotswapError):  # then the reason is not known
                why = await self._work.why_returned() or why
        self._enter(state, actions, "" if before is State.ABSENT else why)
        self.consider()

    async def _end_hung(self, asked: int) -> None:
        try:
            await self.care.kill(f"it did not answer {asked} times, and is started anew")
        except HotswapError as error:  # who would end it does not answer either: it is tried again
            self.desk.history.note_once(self.name, "cannot be ended", str(error))

    async def _found(self) -> Found:
        spec = self.spec or self.memory.spec  # what is not wanted any more is stopped by who looks after it
        launch = None if spec is None else self.desk.launch(spec)
        running = launch is not None and await self.desk.runner.adopt(launch)
        status = await self.sidecar.settled()
        if status is None:
            if running and (await self.desk.runner.look(self.name)) is not None:
                raise HotswapError("it runs and does not answer on its control socket yet")
            return Found.NOTHING
        self.serving = await self.sidecar.release(status)
        operation = self.memory.operation
        return Found.AFTER if operation is not None and self.serving == operation.after else Found.BEFORE

    def happened(self, event: Event, why: str = "") -> None:
        """An event. What says nothing in this state is ignored."""
        found = step(self.memory.state, event)
        if found is None:
            log.debug("ignored", extra=fields(sidecar=self.name, state=self.memory.state, event=event, why=why))
            return
        self._enter(*found, why)

    def _enter(self, state: State, actions: tuple[Action, ...], why: str) -> None:
        came_from = self.memory.state
        self._faults.hit(f"agent.{state}.before")
        if state is not came_from:
            self.since = time.time()
        if state is State.RETURNING:
            self.condemnation = why or self.condemnation or "taken back"
        self.memory.state = state
        for action in actions:
            if action not in WORK:
                self._surely(action, why, came_from)
        self.remember()
        self._faults.hit(f"agent.{state}.after")
        self.audience.tell({"event": "state", "state": state, "why": why})
        for action in actions:
            if action in WORK:
                self._start(action)
        if state is State.ABSENT and self.spec is None:
            self._ordered = None  # which nobody will carry out
            self._settle()
            self.desk.emptied(self.name)
        elif state in RESTS:
            asyncio.get_running_loop().call_soon(self.consider)
            self.desk.rested(self.name)

    def _surely(self, action: Action, why: str, came_from: State) -> None:
        """A step is taken whole, whatever fails of it: half of one is no state."""
        try:
            self._carry_out(action, why, came_from)
        except Exception:
            log.exception("a part of a step failed", extra=fields(sidecar=self.name, action=action))

    def _carry_out(self, action: Action, why: str, came_from: State) -> None:
        operation = self.memory.operation
        match action:
            case Action.CANCEL:
                self._cancel()
            case Action.BEGIN:
                assert operation is not None  # noqa: S101  for mypy
                if not self._failures:
                    self.note("upgrading", why, before=operation.before, after=operation.after)
            case Action.KEEP:
                endings.keep(self, why)
            case Action.CONDEMN:
                endings.condemn(self, why, came_from)
            case Action.POSTPONE:
                self._postpone(why)
            case Action.UNDO:
                endings.undo(self, why)
            case Action.WAIT:
                self._wait(why)
            case Action.LOOK_AFTER:
                if not self.postponed:
                    self._failures = 0
                if self.serving and self.serving == self.desk.releases.current(self.name):
                    self.memory.proven = self.serving
                self.care.begin()

    def _later(self) -> float:
        self._failures += 1
        return min(_FIRST_RETRY_SECONDS * 2.0 ** min(self._failures - 1, 10), _LAST_RETRY_SECONDS)

    def _postpone(self, why: str) -> None:
        operation, seconds = self.operation, self._later()
        self.memory.operation = None
        self.audience.outcome = (AttemptFailed.exit_code, why)
        if self._failures == 1 or why != self._postponed_last:
            self.note("postponed", why, before=operation.before, after=operation.after, again_s=seconds)
        self._postponed_last = why
        self.postponed = why if self.spec is None or self.spec.release == operation.after else ""
        self._cancel_retry()
        self._retry = asyncio.get_running_loop().call_later(seconds, self._again)

    def _again(self) -> None:
        self.postponed = ""
        self.consider()

    def _wait(self, why: str) -> None:
        seconds = self._later()
        self.note("cannot start", why, again_s=seconds)
        self.waits = why
        self._cancel_retry()
        self._retry = asyncio.get_running_loop().call_later(seconds, self.happened, Event.RETRY)

    # -- work -------------------------------------------------------------------------------------

    def _start(self, action: Action) -> None:
        self._cancel_retry()
        if action is Action.STOP:
            self.care.end()
        self._task = asyncio.get_running_loop().create_task(self._do(action), name=f"{self.name}: {action}")

    async def _do(self, action: Action) -> None:
        try:
            event, why = await self._work.carry_out(action)
        except asyncio.CancelledError:
            return
        except HotswapError as error:
            event, why = Event.HINDERED if action in _HARMLESS else Event.FAILED, str(error)
        except Exception as error:
            log.exception("work failed", extra=fields(sidecar=self.name, action=action))
            event, why = Event.FAILED, f"a bug of the agent: {type(error).__name__}: {error}"
        self._task = None
        self.happened(event, why)

    def _cancel(self) -> None:
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._task = None

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    async def close(self) -> None:
        """The agent ends: whatever is under way is left to the next one."""
        self.care.end()
        self._cancel_retry()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.audience.dismiss()

    # -- telling ----------------------------------------------------------------------------------

    def note(self, what: str, text: str = "", **facts: Any) -> None:
        """Into the history, and to whoever watches."""
        self.desk.history.note(self.name, what, text, **facts)
        self.audience.tell({"event": "note", "what": what, "text": text, **facts})

    def watch(self) -> EventStream:
        """Every event from now on, until it is at rest and nothing is to be done; then a result."""
        stream = self.audience.join()
        asyncio.get_running_loop().call_soon(self.consider)
        return stream

    def _settle(self) -> None:
        if self.audience and self.memory.state in RESTS and self._ordered is None and not self.care.awaited:
            self.audience.dismiss(self.result())

    def result(self) -> dict[str, Any]:
        """The last event for a watcher: what came of it."""
        return endings.result(self)

    def change(self, operation: Operation, **values: Any) -> Operation:
        """Remember more of the operation under way."""
        changed = msgspec.structs.replace(operation, **values)
        self.memory.operation = changed
        self.remember()
        return changed

    @property
    def operation(self) -> Operation:
        """The one under way. Raises `HotswapError` if there is none: a bug."""
        if self.memory.operation is None:
            raise HotswapError("no operation under way: a bug")
        return self.memory.operation

    @property
    def busy(self) -> bool:
        """An upgrade is under way."""
        return self.memory.state in UPGRADING

    def remember(self) -> None:
        """Write down what was changed of `memory`."""
        try:
            if self.memory.state is State.ABSENT and self.spec is None:
                Memory.forget(self.directory)
                self.desk.releases.link(self.name).unlink(missing_ok=True)
            else:
                self.memory.save(self.directory)
            self.unwritten = ""
        except OSError as error:
            self.unwritten = f"{self.directory} cannot be written: {error.strerror}"
            log.error(  # noqa: TRY400
                "cannot be remembered",
                extra=fields(sidecar=self.name, directory=str(self.directory), error=error.strerror),
            )
