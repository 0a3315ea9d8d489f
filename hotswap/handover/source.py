"""The giving side of a handover: drives `states.SOURCE_ROWS` for one attempt.

Rounds are sliced: between two slices the loop serves, so copying is felt by nobody. From FREEZE to
SEND_FINAL runs in one go, bounded by `Limits.freeze`; there is nothing else to do while frozen.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from hotswap.errors import ConnectionsLost, DeadlinePassed, DestinationFailed, HotswapError, LeftBehind, ProtocolError
from hotswap.faults import Faults
from hotswap.handover import wire
from hotswap.handover.channel import Channel, Received, to_memfd
from hotswap.handover.holder import Holder, Outcome, Wishes
from hotswap.handover.machine import Machine
from hotswap.handover.ownership import OwnershipPipe
from hotswap.handover.rounds import SMALL, Copier, Limits, converged
from hotswap.handover.states import Action, Event, Source, State, source_step
from hotswap.swappable import REFUSED, STRAGGLERS, Passed, Reason, Swappable, Value

log = logging.getLogger("hotswap.handover")

_LATE: dict[State, str] = {
    Source.COPYING: "copying was not done in time",
    Source.OFFERED: "the new generation did not take over in time after the freeze",
    Source.WAITING: "the new generation took the byte and went silent",
}
_ANSWERS = 2.0  # seconds that BYE waits for answers to others than this channel
_GATHERING = 0.002  # seconds between two looks at whether other processes of this generation brought their values
_AFTER_OWNED = frozenset({Source.RETIRED, Source.LEAVING, Source.ALONE, Source.GONE})

Report = Callable[[dict[str, Any]], None]


class SourceAttempt(Machine):
    """One attempt, from an accepted HELLO to the end. `outcome` and `failure` tell what came of it."""

    role = "source"
    rows = staticmethod(source_step)

    def __init__(
        self,
        channel: Channel,
        hello: wire.Hello,
        server: Swappable,
        holder: Holder,
        *,
        limits: Limits,
        faults: Faults,
        wishes: Wishes,
        report: Report,
        generation: int,
    ) -> None:
        super().__init__(Source.GREETING, channel, faults)
        self.hello = hello
        self.outcome = Outcome()
        self._server = server
        self._holder = holder
        self._limits = limits
        self._wishes = wishes
        self._report = report
        self._generation = generation
        self._pipe = OwnershipPipe.fresh()
        self._byte_out = False
        self._copier = Copier(server)
        self._round = 0
        self._round_began = 0.0
        self._round_sent = False
        self._chosen: dict[str, int] = {}
        self._stragglers: set[int] = set()
        self._announced: frozenset[int] = frozenset()
        self._at: dict[str, float] = {}

    def begin(self, chosen: Mapping[str, int], pidfd: int) -> None:
        """The HELLO was acceptable: welcome it and start to copy."""
        self._chosen = dict(chosen)
        try:
            self.watch_peer(pidfd)
        except ProtocolError as error:
            self.refuse(error)
            return
        self.watch_channel()
        self.set_deadline(self._limits.attempt, self._late)
        self.fire(Event.HELLO)

    def refuse(self, refusal: HotswapError) -> None:
        """The HELLO was not acceptable: say why and end."""
        self.failure = refusal
        self.watch_channel()
        self.fire(Event.BAD_HELLO)

    def cancel(self, failure: HotswapError) -> None:
        """Stop the attempt; too late once the destination owns."""
        if self.state not in _AFTER_OWNED:
            self.set_deadline(0, partial(self.fail, failure))

    @property
    def frozen(self) -> bool:
        """Between the freeze and the outcome."""
        return self.state in {Source.OFFERED, Source.VETOING, Source.DOUBTING, Source.WAITING}

    @property
    def thawed(self) -> bool:
        """It was taken back after the freeze."""
        return self.state is Source.SERVING and "freeze" in self._at

    # -- messages ---------------------------------------------------------------------------------

    def on_message(self, received: Received) -> None:
        """See `Machine`."""
        message = received.message
        for fd in received.fds:
            os.close(fd)
        if isinstance(message, wire.RoundDone):
            self._on_round_done(message)
        elif isinstance(message, wire.Prepared):
            self._mark("checked")
            if self.state is Source.REHEARSING:
                self.outcome.rehearsed = True
                self.outcome.connections = len(self._copier.sent)
            self.fire(Event.PREPARED)
        elif isinstance(message, wire.Owned):
            self._mark("owned")
            self.fire(Event.OWNED)
        elif isinstance(message, wire.Unable):
            if self.failure is None:
                self.failure = DestinationFailed(f"the new generation cannot take over: {message.reason}")
            self.fire(Event.UNABLE)
        elif isinstance(message, wire.Released):
            self.fire(Event.RELEASED)
        else:
            raise ProtocolError(f"a source was sent {type(message).__name__}")

    def _on_round_done(self, done: wire.RoundDone) -> None:
        if self.state is not Source.COPYING or done.number != self._round or not self._round_sent:
            raise ProtocolError(f"ROUND_DONE {done.number} out of turn")
        for problem in done.problems:
            self._server.keep([problem.serial], Reason(problem.reason, REFUSED))
        # Milliseconds each, over all connections: serve in between, and before the freeze.
        self.outcome.in_flight = self._server.in_flight()
        self.later(self._weigh, bool(done.problems))

    def _weigh(self, more: bool) -> None:
        """Copy on, or freeze."""
        if not self._server.gathered():
            self.loop.call_later(_GATHERING, self.later, self._weigh, more)
            return
        dirty = self._copier.dirty()
        self._report({"event": "round", "number": self._round, "copied": self._copier.copied, "left": dirty})
        staying = self._server.staying()
        if self._wishes.require_all and staying:
            why = "; ".join(sorted(set(staying.values())))
            raise LeftBehind(f"{len(staying)} connections cannot move ({why}), and --require-all was given")
        if more or not converged(self._limits, self._round, self._copier.copied, dirty):
            self.later(self.fire, Event.ROUND_DONE)
        else:
            self.later(self.fire, Event.REHEARSE if self._wishes.dry_run else Event.CONVERGED)

    # -- actions ----------------------------------------------------------------------------------

    def act(self, action: Action) -> None:
        """See `Machine`."""
        self._ACTIONS[action](self)

    def action_failed(self, action: Action, error: HotswapError) -> bool:
        """Before OWNED an attempt is taken back; after it the rest of the row must still happen."""
        if self.state in _AFTER_OWNED:
            log.error("after the commit: %s", error)
            if action is Action.SEND_STRAGGLERS:
                self.fire(Event.FLUSHED)  # else nobody would ever say BYE
            return False
        if action in {Action.TAKE_BACK, Action.PUT_ABORT, Action.THAW, Action.CLOSE, Action.END_DESTINATION}:
            log.error("while taking the attempt back: %s", error)
            return False
        self.fail(error)
        return True

    def _send_welcome(self) -> None:
        version = min(self.hello.protocol.newest, wire.PROTOCOL_NEWEST)
        own = os.pidfd_open(os.getpid())
        count = self._server.count()
        welcome = wire.Welcome(version, self._chosen, self._generation, count, self._limits.attempt)
        self.send(welcome, (own,), (own,))
        self._report({"event": "connected", "pid": self.hello.pid, "version": self.hello.version, "connections": count})

    def _send_refused(self) -> None:
        if self.failure is not None:
            self.send(wire.Refused(self.failure.exit_code, str(self.failure)))

    def _send_resources(self) -> None:
        self._server.agree(self._chosen, frozenset(self.hello.wanted))
        own, resources = self._server.descriptors(), self._holder.resources()
        self.outcome.listeners = sum(entry.purpose == "server" for entry, _ in resources)
        resources += [(wire.ListenerEntry("own", name, ""), fd) for name, fd in own.items()]
        for at in range(0, len(resources), wire.MAX_FDS):
            entries, fds = zip(*resources[at : at + wire.MAX_FDS], strict=True)
            self.send(wire.Listeners([*entries]), fds, tuple({*fds}.intersection(own.values())))
        self.send(wire.Lock(), (self._holder.lock_fd(),))
        self.send(wire.Pipe(), (self._pipe.read_end,))
        self._server.sharing(True)

    def _copy_round(self) -> None:
        self._round += 1
        self._round_sent = False
        self._open_round(final=False)
        self.loop.call_soon(self._copy_slice, self._round)

    def _open_round(self, *, final: bool) -> None:
        self._round_began = time.monotonic()
        self.send(wire.Round(self._round, final))
        self._copier.begin()
        for closed in self._copier.closed_messages():
            self.send(closed)

    def _copy_slice(self, number: int) -> None:
        """Copy for at most `Limits.slice`, then let the loop serve."""
        if self.state is not Source.COPYING or number != self._round or self._round_sent or self.over.done():
            return
        until = time.monotonic() + self._limits.slice
        while not self.channel.sending:
            try:
                batch = self._copier.next_batch(self._round_began)
                if batch is not None:
                    self.channel.send(batch.message, batch.fds, batch.spent)
            except Exception as error:
                log.exception("a value could not be copied")
                self.fail(HotswapError(f"a value could not be copied: {error!r}"))
                return
            if batch is None:
                self._round_sent = True
                self.outcome.copied += self._copier.copied
                self.outcome.rounds = self._round
                self.send(wire.RoundEnd(self._round))
                self._copier.prove()  # while the destination restores
                return
            if time.monotonic() >= until:
                break
        if self.channel.sending:
            self.watch_writable()  # goes on in on_sent, or when acknowledgements open the window
        else:
            self.loop.call_soon(self._copy_slice, number)

    def on_sent(self) -> None:
        """Room again: go on with the round."""
        if self.state is Source.COPYING and not self._round_sent:
            self.loop.call_soon(self._copy_slice, self._round)

    def read_channel(self) -> None:
        """An acknowledgement may have opened the window."""
        waiting = self.channel.sending
        super().read_channel()
        if waiting and not self.over.done() and not self.channel.sending:
            self.on_sent()

    def _freeze(self) -> None:
        self._report({"event": "freezing", "rounds": self._round})
        self._mark("freeze")
        self._holder.freeze()
        self.set_deadline(self._limits.freeze, self._late)

    def _send_final(self) -> None:
        until = time.monotonic() + self._limits.freeze
        self._round += 1
        self._open_round(final=True)
        copier = self._copier
        while (batch := copier.next_batch(self._round_began, SMALL)) is not None:
            self.channel.send(batch.message, batch.fds, batch.spent)
            self._flush(until)
        self._stragglers = set(self._server.stragglers()).difference(copier.staying)
        self._announced = frozenset(self._stragglers)
        self.outcome.stragglers = len(self._stragglers)
        shared, chain = self._server.save_shared(self._round_began), self._holder.chain_state()
        large = len(shared) + len(chain) > wire.INLINE_VALUE
        memfd = (to_memfd(shared),) if large else ()
        final = wire.Final(*copier.proof(), b"" if large else shared, chain, sorted(self._stragglers), large)
        self.send(final, memfd, memfd)
        self._flush(until)
        self.outcome.copied += copier.copied
        self._mark("final")  # the rest is done while the destination checks
        self.outcome.kept = {str(reason): count for reason, count in Counter(copier.staying.values()).items()}

    def _flush(self, until: float) -> None:
        """Wait until everything is out. The data plane stands still meanwhile, so this is bounded."""
        channel = self.channel
        while channel.sending:
            left = until - time.monotonic()
            if left <= 0:
                raise DeadlinePassed("the new generation stopped reading in the middle of the freeze")
            dead = channel.wait(left, self._peer_pidfd)
            channel.pump()
            super().read_channel()
            if dead or channel.ended:
                raise DestinationFailed("the new generation ended in the middle of the freeze")

    def _put_byte(self) -> None:
        self._pipe.put()
        self._byte_out = True

    def _take_back(self) -> None:
        # Before the byte was put it is in hand, whatever the row says: SEND_FINAL may have failed.
        took = not self._byte_out or self._pipe.take() is Event.GOT_O
        self._byte_out = self._byte_out and not took
        self.answer(Event.TOOK if took else Event.EMPTY)
        if not took:
            self.set_deadline(self._limits.grace, self._late)

    def _put_abort(self) -> None:
        self._pipe.put_abort()

    def _retire(self) -> None:
        self._at.setdefault("owned", time.monotonic())  # OWNED came as a BREACH
        self.outcome.connections = len(self._copier.sent)
        self.outcome.measured(self._at)
        self.failure = None
        kept = sorted({*self._copier.staying, *self._stragglers, *self._server.stragglers()})  # announced ones too
        self._holder.retired(kept, frozenset(self.hello.wanted))
        self._report({"event": "owned", "pid": self.hello.pid, "downtime_ms": self.outcome.downtime_ms})

    def _send_stragglers(self) -> None:
        """Send those that have become values; come back for the rest. Those that take too long are kept."""
        waiting = self._stragglers.intersection(self._server.stragglers())
        values, staying = self._server.values(), self._server.staying()
        for serial in sorted(self._stragglers - waiting):
            if serial in values and serial not in staying:
                self._send_straggler(values[serial])
        self._stragglers = waiting
        since = time.monotonic() - self._at["owned"]
        answering = since < _ANSWERS and self._holder.answering()  # after BYE this process may be killed
        if (not waiting and not answering) or since > self._limits.stragglers:
            self.fire(Event.FLUSHED)
        else:
            self.set_deadline(0.01, self._send_stragglers)

    def _send_straggler(self, value: Value) -> None:
        try:
            state = value.save(time.monotonic())
            large = len(state) > wire.INLINE_VALUE
            memfd = (to_memfd(state),) if large else ()
            worker = value.worker if isinstance(value, Passed) else 0
            item = wire.Item(value.kind, value.serial, value.changes, b"" if large else state, True, large, worker)
            self.send(wire.Straggler(item), (value.fd, *memfd), memfd)
        except Exception:  # it is kept, and the others still go
            log.exception("a straggler could not be sent")
        else:
            self._server.forget(value.serial)  # owned on receipt: no longer by this side
            self.outcome.followed += 1

    def _send_bye(self) -> None:
        outcome = self.outcome
        words = self._copier.words()
        words[STRAGGLERS] = sum(serial in self._server.values() for serial in self._announced)
        moved = (outcome.downtime_ms, outcome.listeners, outcome.connections, outcome.in_flight)
        self.send(wire.Bye(*moved, outcome.phases, dict((+words).most_common(wire.MAX_WORDS))))
        self.set_deadline(self._limits.release, self._late)

    def _take_listeners(self) -> None:
        self.failure = ConnectionsLost("the new generation died as owner: this one serves on, its connections are lost")
        self._holder.take_listeners()

    def _close(self) -> None:
        self.close_channel()
        self._pipe.close()

    # -- time -------------------------------------------------------------------------------------

    def _late(self) -> None:
        self.fail(DeadlinePassed(_LATE.get(self.state, "the handover took too long")))
        if self.state is Source.WAITING:
            self.set_deadline(self._limits.grace, self._late)

    def _mark(self, what: str) -> None:
        self._at[what] = time.monotonic()

    _ACTIONS: Mapping[Action, Callable[[SourceAttempt], None]] = {
        Action.SEND_WELCOME: _send_welcome,
        Action.SEND_REFUSED: _send_refused,
        Action.SEND_RESOURCES: _send_resources,
        Action.COPY_ROUND: _copy_round,
        Action.FREEZE: _freeze,
        Action.SEND_FINAL: _send_final,
        Action.PUT_BYTE: _put_byte,
        Action.TAKE_BACK: _take_back,
        Action.PUT_ABORT: _put_abort,
        Action.THAW: lambda self: self._holder.thaw(),
        Action.RETIRE: _retire,
        Action.SEND_STRAGGLERS: _send_stragglers,
        Action.SEND_BYE: _send_bye,
        Action.TAKE_LISTENERS: _take_listeners,
        Action.CLOSE: _close,
        Action.END_DESTINATION: lambda self: self._holder.end_destination(),
    }
