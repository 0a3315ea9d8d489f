"""The receiving side of a handover: drives `states.DESTINATION_ROWS`.

Until it has the byte a destination is inert: it restores values, adds descriptors to its epoll, and
does no I/O on any of them. It leaves by `os._exit`: no close_notify, no unlink, no atexit.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping

import msgspec

from hotswap.errors import (
    AttemptFailed,
    CannotRestore,
    DeadlinePassed,
    HotswapError,
    ProtocolError,
    SourceHung,
    error_of,
)
from hotswap.faults import Faults
from hotswap.handover import wire
from hotswap.handover.channel import Channel, Received, from_memfd
from hotswap.handover.holder import Taker
from hotswap.handover.machine import Machine
from hotswap.handover.ownership import OwnershipPipe
from hotswap.handover.rounds import Holdings, Limits
from hotswap.handover.states import Action, Destination, Event, destination_step
from hotswap.swappable import Swappable

log = logging.getLogger("hotswap.handover")


class DestinationAttempt(Machine):
    """One attempt, from HELLO to the end."""

    role = "destination"
    rows = staticmethod(destination_step)

    def __init__(self, channel: Channel, server: Swappable, taker: Taker, *, limits: Limits, faults: Faults) -> None:
        super().__init__(Destination.CALLING, channel, faults)
        self._server = server
        self._taker = taker
        self._limits = limits
        self._pipe = OwnershipPipe(-1)
        self._holdings = Holdings(server)
        self._listeners: list[tuple[wire.ListenerEntry, int]] = []
        self._lock = -1
        self._generation = 0
        self._round_began = 0.0
        self._round = 0
        self._restored = 0
        self._wanted: list[str] = []
        self._said_owned = False
        self._refused = self._aborted = False
        self._lost = 0  # stragglers

    def begin(self, hello: wire.Hello) -> None:
        """Send HELLO with a pidfd of our own."""
        own = os.pidfd_open(os.getpid())
        self._wanted = hello.wanted
        self.watch_channel()
        self.set_deadline(self._limits.attempt, self._late)
        self.faults.hit("destination.send_hello.before")
        self.send(hello, (own,), (own,))

    # -- messages ---------------------------------------------------------------------------------

    def on_message(self, received: Received) -> None:
        """See `Machine`. Descriptors that nothing takes are closed."""
        message, fds = received.message, received.fds
        try:
            take = self._MESSAGES.get(type(message))
            if take is None:
                raise ProtocolError(f"a destination was sent {type(message).__name__}")
            with_fds = bool(fds)
            take(self, message, fds)
            if with_fds and not self.over.done():
                self.channel.acknowledge()
        finally:
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def _expect(self, *states: Destination) -> None:
        if self.state not in states:
            raise ProtocolError(f"a message out of turn in state {self.state.name}")

    def _on_welcome(self, message: wire.Welcome, fds: list[int]) -> None:
        self._expect(Destination.CALLING)
        if len(fds) != 1 or self._peer_pidfd >= 0:
            raise ProtocolError("WELCOME carries one pidfd, once")
        self._generation = message.generation
        self.watch_peer(fds.pop())
        self.set_deadline(min(message.deadline, self._limits.attempt) + self._limits.freeze, self._late)
        self._server.agree(message.schemas, frozenset(self._wanted))

    def _on_refused(self, message: wire.Refused, _fds: list[int]) -> None:
        if self.failure is None:
            self.failure = error_of(message.code, message.reason)
        self._refused = self.state is Destination.CALLING
        self.fire(Event.REFUSED)

    def _on_listeners(self, message: wire.Listeners, fds: list[int]) -> None:
        self._expect(Destination.CALLING)
        if len(message.entries) != len(fds) or len(self._listeners) + len(fds) > wire.MAX_LISTENERS:
            raise ProtocolError("LISTENERS does not match its descriptors")
        self._listeners += zip(message.entries, fds, strict=True)
        fds.clear()

    def _on_lock(self, _message: wire.Lock, fds: list[int]) -> None:
        self._expect(Destination.CALLING)
        if len(fds) != 1 or self._lock >= 0:
            raise ProtocolError("LOCK carries one descriptor, once")
        self._lock = fds.pop()

    def _on_pipe(self, _message: wire.Pipe, fds: list[int]) -> None:
        self._expect(Destination.CALLING)
        if len(fds) != 1 or self._pipe.read_end >= 0 or self._lock < 0:
            raise ProtocolError("PIPE carries one descriptor, once, after LOCK")
        self._pipe.read_end = fds.pop()
        # Only now: a source that dies before leaves nothing to own, and this side starts afresh.
        self.fire(Event.WELCOME)
        try:
            self._taker.adopt(self._listeners, self._lock, self._generation)
        except HotswapError as error:
            self._mismatch(str(error), error.exit_code)

    def _on_round(self, message: wire.Round, _fds: list[int]) -> None:
        self._round = message.number
        self._round_began = time.monotonic()
        self._restored = 0

    def _on_values(self, message: wire.Values, fds: list[int]) -> None:
        if self.state is not Destination.RECEIVING:
            return  # already doomed; the source has not heard of it yet
        holdings, restore, began = self._holdings, self._server.restore, self._round_began
        changes = holdings.changes
        for item in message.items:
            saved = holdings.take(item, fds, began)
            if item.with_fd is (item.serial in changes):
                if item.serial in holdings.refused:
                    continue  # the source has not heard of it yet
                raise ProtocolError(f"value {item.serial} came with a second descriptor, or without its first")
            try:
                restore(saved, began)
            except CannotRestore as error:
                holdings.refuse(item.serial, str(error))
            else:
                holdings.have(item)
        if fds:
            raise ProtocolError("values with more descriptors than announced")
        self._restored += len(message.items)

    def _on_closed(self, message: wire.Closed, _fds: list[int]) -> None:
        if self.state is Destination.RECEIVING:
            self._holdings.forget(message.serials)

    def _on_round_end(self, message: wire.RoundEnd, _fds: list[int]) -> None:
        if self.state is Destination.RECEIVING and message.number == self._round:
            for serial, reason in self._server.unrestored().items():
                self._holdings.refuse(serial, reason)
            self.fire(Event.ROUND_DONE)

    def _on_final(self, message: wire.Final, fds: list[int]) -> None:
        if self.state is not Destination.RECEIVING:
            return
        if self._holdings.problems:
            first = self._holdings.problems[0]
            self._mismatch(f"{len(self._holdings.problems)} values of the last pass cannot be restored: {first.reason}")
            return
        if not self._holdings.matches(message):
            self._mismatch(
                f"count or digest differ: {len(self._holdings.changes)} connections restored, "
                f"{message.connections} announced"
            )
            return
        shared = from_memfd(fds.pop()) if message.shared_in_memfd and fds else message.shared
        try:
            self._server.expect_stragglers(message.stragglers)
            self._server.restore_shared(shared, self._round_began)
            self._taker.restore_chain(message.chain, self._generation)
        except (HotswapError, msgspec.DecodeError) as error:
            self._mismatch(f"the shared state cannot be restored: {error}")
            return
        self.fire(Event.FINAL)

    def _mismatch(self, reason: str, code: int = 14) -> None:
        if self.failure is None:
            self.failure = error_of(code, reason)
        self.fire(Event.MISMATCH)

    def _on_straggler(self, message: wire.Straggler, fds: list[int]) -> None:
        self._expect(Destination.OWNER)
        saved = self._holdings.take(message.item, fds, time.monotonic())
        try:
            self._server.restore(saved, time.monotonic())
        except CannotRestore as error:
            self._lost += 1
            log.error("a straggler was lost: %s", error)  # noqa: TRY400  the text says it all

    def _on_bye(self, message: wire.Bye, _fds: list[int]) -> None:
        self._expect(Destination.OWNER)
        self._taker.told(message, self._lost)
        self.fire(Event.BYE)

    # -- actions ----------------------------------------------------------------------------------

    def act(self, action: Action) -> None:
        """See `Machine`."""
        self._ACTIONS[action](self)

    def action_failed(self, action: Action, error: HotswapError) -> bool:
        """Before the byte: leave. After it: this is the owner, whatever happens.

        With one exception: who could not say OWNED to a source that lives must not tick. Its death
        tells the source that nothing was done.
        """
        if action is Action.SEND_OWNED and not self._said_owned and not self._peer_dead:
            self.failure = self.failure or error
            self._leave()
            return True
        if self.state in {Destination.OWNER, Destination.STARTED, Destination.COLD}:
            log.error("while starting as owner: %s", error)
            return False
        if action is Action.LEAVE:
            os._exit(error.exit_code)
        self.fail(error)
        return True

    def _send_round_done(self) -> None:
        self.send(wire.RoundDone(self._round, self._restored, self._holdings.reported()))
        self._holdings.prove()

    def _send_prepared(self) -> None:
        self.send(wire.Prepared())

    def _send_unable(self) -> None:
        failure = self.failure or AttemptFailed("unknown")
        self.send(wire.Unable(failure.exit_code, str(failure)[:4000]))

    def _take_byte(self) -> None:
        if self._pipe.read_end < 0:
            self.answer(Event.EMPTY)
            return
        answer = self._pipe.take()
        self._aborted = answer is Event.GOT_A
        if answer is Event.EMPTY and not self._peer_dead:
            self._watch(self._pipe.read_end, self._on_readable)
        else:
            self._unwatch(self._pipe.read_end)
        self.answer(answer)

    def _on_readable(self) -> None:
        self._unwatch(self._pipe.read_end)
        self.fire(Event.READABLE)

    def _send_owned(self) -> None:
        """No I/O before this send has returned; an end of the channel counts as returned."""
        self._send_for_sure(wire.Owned())
        self._said_owned = True

    def _start(self) -> None:
        self.failure = None
        self._taker.start()

    def _start_cold(self) -> None:
        self.failure = None
        self._taker.start_cold()

    def _send_released(self) -> None:
        """A source that misses it takes the listeners back when this process dies: see that it is out."""
        self._send_for_sure(wire.Released())

    def _send_for_sure(self, message: wire.Message) -> None:
        """Return only when the message is in the socket, or nobody is there to read it."""
        self.channel.send(message)
        while self.channel.sending and not self._peer_dead:
            self._peer_dead = self.channel.wait(1.0, self._peer_pidfd)
            self.channel.pump()

    def _close(self) -> None:
        self.close_channel()
        self._pipe.close()

    def _leave(self) -> None:
        self._taker.leave(self.failure, settled=self._refused or self._aborted)

    def finish(self) -> None:
        """See `Machine`. What came from a source that died too early is of no use, and no straggler comes any more."""
        if self.state in {Destination.STARTED, Destination.COLD}:
            self._server.expect_stragglers(())
        if self.state in {Destination.COLD, Destination.LEFT}:  # the latter: it will call again
            self._close()
        if self.state is Destination.ALONE:
            for fd in (*(fd for _, fd in self._listeners), self._lock):
                if fd >= 0:
                    os.close(fd)
        super().finish()

    def _late(self) -> None:
        if self.state is Destination.CALLING:
            self.fail(SourceHung("the serving generation took the call and does not answer; see `hotswap doctor`"))
        else:
            self.fail(DeadlinePassed("the handover did not come to an end in time"))

    # Each method takes the one message type it stands at, which no single signature can say.
    _MESSAGES: Mapping[type, Callable[..., None]] = {
        wire.Welcome: _on_welcome,
        wire.Refused: _on_refused,
        wire.Listeners: _on_listeners,
        wire.Lock: _on_lock,
        wire.Pipe: _on_pipe,
        wire.Round: _on_round,
        wire.Values: _on_values,
        wire.Closed: _on_closed,
        wire.RoundEnd: _on_round_end,
        wire.Final: _on_final,
        wire.Straggler: _on_straggler,
        wire.Bye: _on_bye,
    }

    _ACTIONS: Mapping[Action, Callable[[DestinationAttempt], None]] = {
        Action.SEND_ROUND_DONE: _send_round_done,
        Action.SEND_PREPARED: _send_prepared,
        Action.SEND_UNABLE: _send_unable,
        Action.TAKE_BYTE: _take_byte,
        Action.SEND_OWNED: _send_owned,
        Action.START: _start,
        Action.START_COLD: _start_cold,
        Action.SEND_RELEASED: _send_released,
        Action.CLOSE: _close,
        Action.LEAVE: _leave,
    }
