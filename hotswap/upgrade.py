"""One `hotswap upgrade`: have the next generation come, watch its attempt, say how it ended.

Events go to the caller as they happen; the last one is the result::

    {"event": "spawned", "pid": 4711}           or  {"event": "waiting", "timeout": 120.0}
                                                or  {"event": "summoned", "generation": 3}
    {"event": "connected", "pid": 4711, "version": "0.2.0", "connections": 9012}
    {"event": "round", "number": 1, "copied": 9012, "left": 41}
    {"event": "freezing", "rounds": 2}
    {"event": "owned", "pid": 4711, "downtime_ms": 2.1}
    {"event": "result", "ok": true, "exit_code": 0, "message": "...", ...}
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from hotswap.chain import Chain, Intent
from hotswap.errors import DeadlinePassed, HotswapError, NobodyStandsBy, UsageError
from hotswap.estate import Identity
from hotswap.handover.holder import Outcome, Wishes
from hotswap.handover.source import SourceAttempt
from hotswap.handover.states import Source
from hotswap.http import EventStream
from hotswap.orders import Order
from hotswap.standbys import Standby, Standbys

log = logging.getLogger("hotswap")

Finished = Callable[[dict[str, Any]], None]


class Successor(Protocol):
    """Who is to take over. `pidfd` is -1 if somebody else started it."""

    @property
    def token(self) -> str:
        """By which it is known when it calls."""

    @property
    def pid(self) -> int:
        """For people."""

    @property
    def pidfd(self) -> int:
        """Readable once it ended."""

    @property
    def running(self) -> bool:
        """As far as is known."""

    def kill(self) -> None:
        """If it can be."""

    def failure(self) -> HotswapError:
        """Why it ended."""

    def close(self) -> None:
        """Let go of it."""


class Plan(NamedTuple):
    """What an order comes to."""

    command: list[str]
    cwd: str
    intent: Intent
    standby: Standby | None = None


def planned(order: Order, identity: Identity, chain: Chain, standbys: Standbys, place: str) -> Plan:
    """What to start, where, and what the history is to say; or who is to be told to come. Raises `UsageError`.

    `place` is that of the generation that serves: a command of another container means something else here.
    """
    command, cwd = (order.command, order.cwd) if order.command else (identity.command, identity.cwd)
    intent = Intent(why=order.why, bake=order.bake)
    if order.external:
        if order.command or order.dry_run or order.rollback:
            raise UsageError("an external upgrade takes neither a command nor --dry-run: somebody else starts it")
        return Plan([], "", intent)
    if order.hand_over:
        latest = standbys.latest()
        if latest is None:
            raise UsageError("nobody stands by")
        return Plan([], "", Intent(why=order.why, leaving=True), latest)
    if order.rollback:
        earlier = chain.previous()
        intent = Intent("rollback", order.why or "by hand", earlier.restores or earlier.generation, order.bake)
        standby = None if order.command else standbys.of(earlier.generation, earlier.build)
        if standby is not None:
            return Plan([], "", intent, standby)
        if not order.command:  # a supervisor may know better what the one before is to be started by today
            if earlier.place not in {"", place}:
                raise NobodyStandsBy(
                    f"generation {earlier.generation} ran in another container, where nobody stands by any more: "
                    "start a container of its version"
                )
            command, cwd = earlier.command, earlier.cwd
    if not command or not cwd.startswith("/"):
        raise UsageError("an upgrade to another command needs the command and the absolute directory to start it in")
    return Plan(command, cwd, intent)


class Upgrade:
    """An order being carried out. `finished` is called once with the result, whatever it is."""

    def __init__(self, order: Order, successor: Successor, finished: Finished) -> None:
        self.order = order
        self.stream = EventStream()
        self.attempt: SourceAttempt | None = None
        self._finished = finished
        self._hung_up = False
        self._over = False
        self.told = False  # the server knows that it failed
        self._loop = asyncio.get_running_loop()
        self.successor = successor
        if successor.pidfd >= 0:
            self._loop.add_reader(successor.pidfd, self._on_death)
        self._timer = self._loop.call_later(order.timeout, self._late)

    @property
    def wishes(self) -> Wishes:
        """What the attempt needs to know of the order."""
        return Wishes(dry_run=self.order.dry_run, require_all=self.order.require_all)

    def report(self, event: dict[str, Any]) -> None:
        """Progress for the caller."""
        self.stream.send(event)

    def cancel(self, failure: HotswapError) -> None:
        """Give up unless the new generation owns already."""
        if self.attempt is not None and not self._hung_up:
            self.attempt.cancel(failure)
        else:
            self.successor.kill()
            self.fail(failure)

    def settle(self, attempt: SourceAttempt, generation: int) -> None:
        """The attempt is over: report it."""
        if attempt.state is Source.GONE or (attempt.outcome.rehearsed and attempt.failure is None):
            self._end(attempt.outcome, None, generation)
        elif attempt.failure is not None:
            self._end(attempt.outcome, attempt.failure, generation)
        elif self.successor.pidfd < 0 or not self.successor.running:
            self._end(attempt.outcome, self.successor.failure(), generation)
        else:
            self._hung_up = True  # it is about to end, and then says why

    def fail(self, failure: HotswapError) -> None:
        """It did not come to an attempt, or nobody knew why that ended until now."""
        log.error("an upgrade failed, serving on: %s", failure)
        self._end(Outcome(), failure, 0)

    def _on_death(self) -> None:
        self._loop.remove_reader(self.successor.pidfd)
        if self.attempt is None or self._hung_up:
            self.fail(self.successor.failure())

    def _late(self) -> None:
        came = self.attempt is not None or not self.order.external
        what = "the upgrade was not done" if came else "no new generation came"
        taken_back = " and was taken back" if came else ""
        self.cancel(DeadlinePassed(f"{what} within {self.order.timeout:g} s{taken_back}; give more by --timeout"))

    def _end(self, outcome: Outcome, failure: HotswapError | None, generation: int) -> None:
        if self._over:
            return
        self._over = True
        self._timer.cancel()
        if self.successor.pidfd >= 0:
            self._loop.remove_reader(self.successor.pidfd)
        figures = result(outcome, failure, generation)
        self.stream.send(figures)
        self.stream.end()
        with contextlib.suppress(OSError):
            self.successor.close()
        self._finished(figures)


def result(outcome: Outcome, failure: HotswapError | None, generation: int) -> dict[str, Any]:
    """The last event of an upgrade."""
    listeners, connections = _count(outcome.listeners, "listener"), _count(outcome.connections, "connection")
    moved = f"{listeners}, {connections}, {_count(outcome.in_flight, 'request')} in flight"
    if failure is not None:
        message = str(failure)
    elif outcome.rehearsed:
        message = f"dry run: {moved} would move"
    else:
        message = f"generation {generation} owns: {moved} moved in {outcome.downtime_ms:.1f} ms"
    return {
        "event": "result",
        "ok": failure is None,
        "exit_code": 0 if failure is None else failure.exit_code,
        "message": message,
        "generation": generation,
        "listeners": outcome.listeners,
        "connections": outcome.connections,
        "in_flight": outcome.in_flight,
        "downtime_ms": outcome.downtime_ms,
        "phases": outcome.phases,
        "rounds": outcome.rounds,
        "copied": outcome.copied,
        "kept": [{"count": count, "reason": reason} for reason, count in sorted(outcome.kept.items())],
        "stragglers": outcome.stragglers,
        "followed": outcome.followed,
        "dry_run": outcome.rehearsed,
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
