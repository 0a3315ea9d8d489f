"""What both drivers have in common: an event goes through the table, actions follow in order."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hotswap.errors import HotswapError, ProtocolError
from hotswap.faults import Faults
from hotswap.handover import wire
from hotswap.handover.channel import Channel, Received
from hotswap.handover.states import ENDS, Action, Event, Source, State, Step, out_of_turn

log = logging.getLogger("hotswap.handover")


class Machine:
    """One attempt, seen from one side. Callbacks of the loop turn into events; nothing is awaited.

    `over` is resolved with the end state. `reason` is the first thing that went wrong, for people.
    """

    role: str
    rows: Callable[[State, Event], Step]

    def __init__(self, state: State, channel: Channel, faults: Faults) -> None:
        self.state = state
        self.channel = channel
        self.faults = faults
        self.failure: HotswapError | None = None
        self.loop = asyncio.get_running_loop()
        self.over: asyncio.Future[State] = self.loop.create_future()
        self._events: deque[Event] = deque()
        self._busy = False
        self._watched: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._peer_dead = False
        self._closed_seen = False
        self._peer_pidfd = -1

    # -- events ---------------------------------------------------------------------------------

    def fire(self, event: Event) -> None:
        """Queue an event and work the queue off. An action may fire: its event comes after it."""
        self._events.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._events and not self.over.done():
                self._step(self._events.popleft())
        finally:
            self._busy = False

    def answer(self, event: Event) -> None:
        """The kernel's answer to an action: comes before everything that waits."""
        self._events.appendleft(event)

    def fail(self, failure: HotswapError, event: Event = Event.STOP) -> None:
        """Remember why (the first reason counts) and stop."""
        if self.failure is None:
            self.failure = failure
        self.fire(event)

    def _step(self, event: Event) -> None:
        before = self.state
        if self.failure is None and out_of_turn(before, event):
            self.failure = ProtocolError(f"{event.name} out of turn in state {before.name}")
        step = type(self).rows(before, event)
        log.debug("%s %s: %s -> %s", self.role, event.name, before.name, step.state.name)
        self.state = step.state
        for action in step.actions:
            name = f"{self.role}.{action.name.lower()}"
            try:
                self._hit(f"{name}.before")
                self.act(action)
                self._hit(f"{name}.after")
            except HotswapError as error:
                if self.action_failed(action, error):
                    break
            except Exception as error:  # a bug must not leave a generation frozen
                log.exception("%s failed", name)
                if self.action_failed(action, HotswapError(f"{name} failed: {error!r}")):
                    break
        if self.state in ENDS and not self.over.done():
            self.finish()
        elif event is Event.EMPTY and self._peer_dead:
            self.fire(Event.DEAD)  # death is a level, not an edge: it counts in the new state as well

    def _hit(self, point: str) -> None:
        self.faults.hit(point)
        if self.faults.corrupt_next:
            self.faults.corrupt_next = False
            self.channel.corrupt_next = True

    def act(self, action: Action) -> None:
        """Do one action."""
        raise NotImplementedError

    def action_failed(self, action: Action, error: HotswapError) -> bool:
        """Decide after a failed action; True: leave the rest of the row out."""
        raise NotImplementedError

    def on_message(self, received: Received) -> None:
        """Turn a message into an event."""
        raise NotImplementedError

    # -- the channel ------------------------------------------------------------------------------

    def watch_channel(self) -> None:
        """Read messages as they come."""
        self._watch(self.channel.fileno(), self.read_channel)

    def read_channel(self) -> None:
        """Handle what is there; at the end of the channel fire CLOSED, once."""
        while not self.over.done():
            try:
                received = self.channel.receive()
            except ProtocolError as error:
                self.fail(error, Event.BREACH)
                return
            if received is None:
                break
            try:
                self.on_message(received)
            except ProtocolError as error:
                self.fail(error, Event.BREACH)
            except HotswapError as error:
                self.fail(error)
            except Exception as error:  # a bug, or a value that nobody foresaw: the attempt fails, not the process
                name = type(received.message).__name__
                log.exception("%s could not be processed", name)
                self.fail(HotswapError(f"{name} could not be processed: {error!r}"), Event.BREACH)
        if self.over.done():
            return
        if self.channel.ended:
            self._unwatch(self.channel.fileno())
            if not self._closed_seen:
                self._closed_seen = True
                self.fire(Event.CLOSED)
        self.watch_writable()

    def send(self, message: wire.Message, fds: tuple[int, ...] = (), close: tuple[int, ...] = ()) -> None:
        """Send now or as soon as the socket takes it; see `Channel.send`."""
        self.channel.send(message, fds, close)
        self.watch_writable()

    def watch_writable(self) -> None:
        """Ask the loop for room in the socket, only while it is needed."""
        if self.over.done():
            return
        if self.channel.wants_write:
            self.loop.add_writer(self.channel.fileno(), self._on_writable)
        else:
            self.loop.remove_writer(self.channel.fileno())

    def _on_writable(self) -> None:
        self.channel.pump()
        self.watch_writable()
        if not self.channel.sending:
            self.on_sent()

    def on_sent(self) -> None:
        """Everything queued is out."""

    # -- the other process ------------------------------------------------------------------------

    def watch_peer(self, pidfd: int) -> None:
        """Death is this pidfd becoming readable, and nothing else."""
        if not _is_pidfd(pidfd):
            os.close(pidfd)
            raise ProtocolError("the descriptor that should prove life is no pidfd")
        self._peer_pidfd = pidfd
        self._watch(pidfd, self._on_death)

    def _on_death(self) -> None:
        self._unwatch(self._peer_pidfd)
        self._peer_dead = True
        # What was written before death still counts: drain first.
        self.read_channel()
        if not self.over.done():
            self.fire(Event.DEAD)

    @property
    def peer_dead(self) -> bool:
        """Proven."""
        return self._peer_dead

    def copy_of_pidfd(self) -> int:
        """A duplicate of the other's pidfd, for the caller to keep; -1 if there is none."""
        return os.dup(self._peer_pidfd) if self._peer_pidfd >= 0 else -1

    def detach_pidfd(self) -> int:
        """Hand the other's pidfd to the caller, who watches and closes it from now on."""
        pidfd, self._peer_pidfd = self._peer_pidfd, -1
        return pidfd

    def later(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do it in the next turn of the loop, if the state is still the same; a failure is one of the attempt."""
        self.loop.call_soon(self._later, self.state, work, arguments)

    def _later(self, state: State, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if self.state is not state or self.over.done():
            return
        try:
            work(*arguments)
        except HotswapError as error:
            self.fail(error)
        except Exception as error:
            log.exception("the attempt cannot go on")
            self.fail(HotswapError(f"the attempt cannot go on: {error!r}"))

    # -- time and the end -------------------------------------------------------------------------

    def set_deadline(self, seconds: float, callback: Callable[[], None]) -> None:
        """One timer at a time; a new one replaces the old.

        A process that was stopped meanwhile wakes up with its deadline passed and messages waiting:
        the messages come first, so the callback runs one turn of the loop later.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._due, callback)

    def _due(self, callback: Callable[[], None]) -> None:
        # Not call_soon: that runs before the descriptors of the next turn, a timer runs after them.
        self._timer = self.loop.call_later(0, callback)

    def finish(self) -> None:
        """Let go of everything the loop watches and tell whoever waits."""
        if self._timer is not None:
            self._timer.cancel()
        for fd in list(self._watched):
            self._unwatch(fd)
        # A source that serves on must know when the failed destination is gone: see `detach_pidfd`.
        if self._peer_pidfd >= 0 and (self._peer_dead or self.state is not Source.SERVING):
            os.close(self.detach_pidfd())
        self.over.set_result(self.state)

    def close_channel(self) -> None:
        """End this side of the channel."""
        fd = self.channel.fileno()
        if fd >= 0:
            self._unwatch(fd)
            self.loop.remove_writer(fd)
            self.channel.close()

    def _watch(self, fd: int, callback: Callable[[], None]) -> None:
        self.loop.add_reader(fd, callback)
        self._watched.add(fd)

    def _unwatch(self, fd: int) -> None:
        if fd in self._watched:
            self._watched.discard(fd)
            self.loop.remove_reader(fd)


def _is_pidfd(fd: int) -> bool:
    try:
        return "\nPid:" in Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
    except OSError:
        return False
