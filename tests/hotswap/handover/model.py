"""A model of the handover: processes, channels and pipes around the very tables that the drivers walk.

One move is one event, or one action of one process: whatever can happen between two events can also
happen between two actions of one row. A process may be killed at any time. SIGSTOP needs no move: a
stopped process is one whose turn does not come, and nobody's turn ever has to come (`Scene.stops` adds
real stops, to check just that). A message may stay unread for ever; what was written before a death can
be read after it.

What the model takes for granted about a driver:

1. A row is finished before the next event; the kernel's answer to an action comes before all else.
2. CLOSED (once) and DEAD (as long as it is true) are told only after the last message was read.
3. STOP (deadline, signal) comes only when nothing else waits to be heard.
4. WELCOME is told when listeners, lock and pipe are here as well.
5. TAKE_BACK answers TOOK as long as the byte was never put.
6. An action that sends is over when the message is in the socket, or nobody reads any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import NamedTuple

from hotswap.handover.states import Action, Destination, Event, Source, State, Step, destination_step, source_step
from tests.hotswap.handover.world import (
    Attempt,
    Life,
    Process,
    Scene,
    World,
    die,
    is_last_holder,
    lock_held,
    resume,
    send,
    stop,
    with_attempt,
    with_process,
)


class Kind(Enum):
    STEP = auto()  # sooner or later, unless the process is stopped or killed
    CHOICE = auto()  # perhaps never
    FAULT = auto()


class Move(NamedTuple):
    who: int
    label: str
    world: World
    kind: Kind = Kind.STEP
    event: Event | None = None  # if it is one


class Rules(NamedTuple):
    """What can be taken out, to see that it is needed. The numbers are those of ARCHITECTURE.md."""

    fresh_pipe: bool = True  # 2: a pipe serves one attempt
    abort_byte: bool = True  # 3: an abort is a byte
    proven_death: bool = True  # 4: death is a pidfd, not the end of the channel
    stop_last: bool = True  # STOP only when nothing else waits
    source: Callable[[State, Event], Step] = source_step
    destination: Callable[[State, Event], Step] = destination_step


ALL_RULES = Rules()

_ROUNDS = 2  # enough to see a round that is not the first
_OVER = frozenset({Source.SERVING, Source.ALONE, Destination.STARTED, Destination.COLD, Destination.ALONE})
_LEAVING = frozenset({Destination.LEFT, Source.GONE})
_TOLD_TO_LEAVE = frozenset({Event.GOT_A, Event.REFUSED, Event.RELEASED, Event.BREACH})
# Messages to the giver whose loss would matter; of the others each counts as STOP.
_GARBLED = frozenset({Event.PREPARED, Event.OWNED, Event.RELEASED})
_SENT_BY_TAKER = {
    Action.SEND_ROUND_DONE: Event.ROUND_DONE,
    Action.SEND_PREPARED: Event.PREPARED,
    Action.SEND_UNABLE: Event.UNABLE,
    Action.SEND_OWNED: Event.OWNED,
    Action.SEND_RELEASED: Event.RELEASED,
}
_SENT_BY_GIVER = {
    Action.SEND_REFUSED: Event.REFUSED,
    Action.SEND_RESOURCES: Event.WELCOME,
    Action.COPY_ROUND: Event.ROUND_DONE,
    Action.SEND_FINAL: Event.FINAL,
    Action.SEND_BYE: Event.BYE,
}
_TAKEN = {"O": Event.GOT_O, "A": Event.GOT_A, "": Event.EMPTY}


def first_world(scene: Scene) -> World:
    """A process that serves and has accepted the call of another."""
    serving = Process(Life.RUNNING, Source.GREETING, ticking=True, holding=True)
    calling = Process(Life.RUNNING, Destination.CALLING)
    unborn = (Process(Life.UNBORN, Destination.CALLING),) * (scene.attempts - 1)
    return World((serving, calling, *unborn), (Attempt(0, 1, to_giver=(Event.HELLO,)),))


class Model:
    """All moves out of a world."""

    def __init__(self, scene: Scene, rules: Rules = ALL_RULES) -> None:
        self.scene = scene
        self.rules = rules

    def moves(self, world: World) -> Iterator[Move]:
        """Everything that can happen next; nothing after a breach."""
        if world.breach:
            return
        for who in range(len(world.processes)):
            yield from self.steps(world, who)
            yield from self._faults(world, who)

    def steps(self, world: World, who: int) -> Iterator[Move]:
        """What a process can do next."""
        process = world.processes[who]
        if process.life is not Life.RUNNING:
            return
        if process.todo:
            yield from self._act(world, who)
        elif process.answer is not None:
            yield self._react(world, who, process.answer)
        elif process.state in _OVER:
            yield from self._between_attempts(world, who)
        else:
            yield from self._listen(world, who)

    def _faults(self, world: World, who: int) -> Iterator[Move]:
        process = world.processes[who]
        if process.alive:
            yield Move(who, f"kill P{who}", die(world, who), Kind.FAULT)
        if process.life is Life.RUNNING and world.stops < self.scene.stops:
            stopped = stop(world._replace(stops=world.stops + 1), who)
            yield Move(who, f"stop P{who}", stopped, Kind.FAULT)
        if process.life is Life.STOPPED:
            yield Move(who, f"continue P{who}", resume(world, who), Kind.FAULT)

    # -- events -----------------------------------------------------------------------------------

    def _listen(self, world: World, who: int) -> Iterator[Move]:
        """Events that wait to be heard; STOP if there are none."""
        process = world.processes[who]
        waiting = list(self._waiting(world, who))
        for event, heard in waiting:
            yield self._react(heard, who, event)
        if process.state is Source.RETIRED:
            yield self._react(world, who, Event.FLUSHED)
        if not waiting or not self.rules.stop_last:
            stopped = self._react(world, who, Event.STOP)
            if not self._in_vain(world, stopped.world, who):
                yield stopped

    def _waiting(self, world: World, who: int) -> Iterator[tuple[Event, World]]:
        """What can be heard now, each with the world after hearing it."""
        process = world.processes[who]
        number, attempt = process.attempt, world.attempts[process.attempt]
        gives = attempt.giver == who
        queue = attempt.to_giver if gives else attempt.to_taker
        if queue:
            rest = attempt._replace(to_giver=queue[1:]) if gives else attempt._replace(to_taker=queue[1:])
            heard = with_attempt(world, number, rest)
            for event in self._readings(queue[0], process.state, attempt):
                yield event, heard
            if (
                self.scene.garbling and queue[0] in _GARBLED and not attempt.garbled
            ):  # a bug of the other side, or of this one
                yield Event.BREACH, with_attempt(world, number, rest._replace(garbled=True))
        else:
            yield from self._end_of_other(world, who, gives=gives)
        if process.state in {Destination.PREPARED, Destination.DOOMED_LOOK} and self._pipe(world, number):
            yield Event.READABLE, world

    def _readings(self, message: Event, state: State, attempt: Attempt) -> tuple[Event, ...]:
        """A message may be judged in more than one way by its receiver."""
        if message is Event.HELLO:
            return (Event.HELLO, Event.BAD_HELLO)
        if message is Event.FINAL:
            return (Event.FINAL, Event.MISMATCH)
        if message is not Event.ROUND_DONE:
            return (message,)
        if state is Source.COPYING:
            done = (Event.CONVERGED, Event.REHEARSE)
            return (Event.ROUND_DONE, *done) if attempt.rounds < _ROUNDS else done
        return (Event.ROUND_DONE, Event.MISMATCH) if self.scene.early_mismatch else (Event.ROUND_DONE,)

    def _end_of_other(self, world: World, who: int, *, gives: bool) -> Iterator[tuple[Event, World]]:
        """CLOSED and DEAD, with nothing left to read."""
        process = world.processes[who]
        attempt = world.attempts[process.attempt]
        other = world.processes[attempt.taker if gives else attempt.giver]
        ended = (attempt.taker_closed if gives else attempt.giver_closed) and not self.scene.leaked
        if ended and not (attempt.giver_heard if gives else attempt.taker_heard):
            told = attempt._replace(giver_heard=True) if gives else attempt._replace(taker_heard=True)
            yield Event.CLOSED, with_attempt(world, process.attempt, told)
        dead = not other.alive if self.rules.proven_death else ended
        # Without HELLO and WELCOME there is no pidfd of the other.
        if dead and process.state not in {Source.GREETING, Destination.CALLING}:
            yield Event.DEAD, world

    def _in_vain(self, before: World, after: World, who: int) -> bool:
        """A deadline that changes nothing, not even by END_DESTINATION."""
        old, new = before.processes[who], after.processes[who]
        if old.state is not new.state:
            return False
        taker = before.processes[before.attempts[new.attempt].taker]
        return not new.todo or (new.todo == (Action.END_DESTINATION,) and not (self._ours(new) and taker.alive))

    def _ours(self, process: Process) -> bool:
        return self.scene.spawned[process.attempt]

    def _react(self, world: World, who: int, event: Event) -> Move:
        """Look the row up and begin it."""
        process = world.processes[who]
        table = self.rules.source if isinstance(process.state, Source) else self.rules.destination
        step = table(process.state, event)
        holding = process.holding or event is Event.WELCOME
        process = process._replace(state=step.state, todo=step.actions, answer=None, holding=holding)
        after = with_process(world, who, process)
        if step.state in _LEAVING and event not in _TOLD_TO_LEAVE and is_last_holder(after, who):
            after = after._replace(breach="the last one who holds the listeners leaves")
        return Move(who, f"P{who} {world.processes[who].state.name} {event.name}", after, event=event)

    def _between_attempts(self, world: World, who: int) -> Iterator[Move]:
        """The next attempt, and the start of one who found nobody to take over from."""
        process = world.processes[who]
        if process.state is Destination.ALONE and not process.ticking:
            if lock_held(world):
                yield Move(who, f"P{who} finds the lock held and exits", die(world, who))
            else:
                cold = with_process(world, who, process._replace(ticking=True, holding=True))
                yield Move(who, f"P{who} takes the lock: cold start", _one_owner(cold))
        elif len(world.attempts) < self.scene.attempts:
            number = len(world.attempts)
            taker = number + 1
            after = with_process(world, who, process._replace(state=Source.GREETING, attempt=number))
            after = with_process(after, taker, Process(Life.RUNNING, Destination.CALLING, attempt=number))
            after = after._replace(attempts=(*world.attempts, Attempt(who, taker, to_giver=(Event.HELLO,))))
            yield Move(who, f"P{who} begins an attempt with P{taker}", after, Kind.CHOICE)

    # -- actions ----------------------------------------------------------------------------------

    def _act(self, world: World, who: int) -> Iterator[Move]:
        """Do the next action of the row under way."""
        process = world.processes[who]
        action = process.todo[0]
        label = f"P{who} {action.name}"
        after = with_process(world, who, process._replace(todo=process.todo[1:]))
        gives = isinstance(process.state, Source)
        sent = (_SENT_BY_GIVER if gives else _SENT_BY_TAKER).get(action)
        if sent is not None:
            after = send(after, process.attempt, sent, to_taker=gives)
        effect = _EFFECTS.get(action)
        if effect is not None:
            after = effect(self, after, who, process.attempt)
        yield Move(who, label, after)
        if action is Action.SEND_FINAL:
            # The destination does not read, or the last pass breaks off: the row is cut short by STOP.
            for what, then in (("sent too late", after), ("not sent", world)):
                failed = with_process(then, who, process._replace(todo=(), answer=Event.STOP))
                yield Move(who, f"{label} fails, {what}", failed, Kind.CHOICE)

    def _copy_round(self, world: World, who: int, number: int) -> World:
        attempt = world.attempts[number]
        return with_attempt(world, number, attempt._replace(rounds=attempt.rounds + 1))

    def _freeze(self, world: World, who: int, number: int) -> World:
        return with_process(world, who, world.processes[who]._replace(ticking=False))

    def _save(self, world: World, who: int, number: int) -> World:
        ticking = world.processes[who].ticking  # in a dry run
        return with_attempt(world, number, world.attempts[number]._replace(stale=ticking, rounds=0))

    def _put_byte(self, world: World, who: int, number: int) -> World:
        world = with_attempt(world, number, world.attempts[number]._replace(was_put=True))
        return self._fill_pipe(world, number, "O")

    def _take_back(self, world: World, who: int, number: int) -> World:
        took = not world.attempts[number].was_put or self._pipe(world, number) == "O"
        if took:
            world = self._fill_pipe(world, number, "")
        return with_process(world, who, world.processes[who]._replace(answer=Event.TOOK if took else Event.EMPTY))

    def _put_abort(self, world: World, who: int, number: int) -> World:
        return self._fill_pipe(world, number, "A") if self.rules.abort_byte else world

    def _thaw(self, world: World, who: int, number: int) -> World:
        attempt = world.attempts[number]
        world = with_attempt(world, number, attempt._replace(stale=True))
        if attempt.taken:
            return world._replace(breach="the source thaws with values that another has used")
        return _tick(world, who)

    def _end_destination(self, world: World, who: int, number: int) -> World:
        return die(world, world.attempts[number].taker) if self.scene.spawned[number] else world

    def _take_listeners(self, world: World, who: int, number: int) -> World:
        return _tick(world, who)

    def _close(self, world: World, who: int, number: int) -> World:
        attempt = world.attempts[number]
        if attempt.giver == who:
            attempt = attempt._replace(giver_closed=True, to_giver=())
        else:
            attempt = attempt._replace(taker_closed=True, to_taker=())
        world = with_attempt(world, number, attempt)
        return die(world, who) if world.processes[who].state is Source.GONE else world

    def _take_byte(self, world: World, who: int, number: int) -> World:
        byte = self._pipe(world, number)
        world = self._fill_pipe(world, number, "")
        return with_process(world, who, world.processes[who]._replace(answer=_TAKEN[byte]))

    def _start(self, world: World, who: int, number: int) -> World:
        if world.attempts[number].stale:
            return world._replace(breach="a destination starts with stale values")
        return self._start_cold(world, who, number)

    def _start_cold(self, world: World, who: int, number: int) -> World:
        return _tick(with_attempt(world, number, world.attempts[number]._replace(taken=True)), who)

    def _leave(self, world: World, who: int, number: int) -> World:
        return die(world, who)

    # -- the pipe ---------------------------------------------------------------------------------

    def _pipe(self, world: World, number: int) -> str:
        return world.attempts[number if self.rules.fresh_pipe else 0].pipe

    def _fill_pipe(self, world: World, number: int, byte: str) -> World:
        number = number if self.rules.fresh_pipe else 0
        return with_attempt(world, number, world.attempts[number]._replace(pipe=byte))


_EFFECTS: dict[Action, Callable[[Model, World, int, int], World]] = {
    Action.COPY_ROUND: Model._copy_round,
    Action.FREEZE: Model._freeze,
    Action.SEND_FINAL: Model._save,
    Action.PUT_BYTE: Model._put_byte,
    Action.TAKE_BACK: Model._take_back,
    Action.PUT_ABORT: Model._put_abort,
    Action.THAW: Model._thaw,
    Action.END_DESTINATION: Model._end_destination,
    Action.TAKE_LISTENERS: Model._take_listeners,
    Action.CLOSE: Model._close,
    Action.TAKE_BYTE: Model._take_byte,
    Action.START: Model._start,
    Action.START_COLD: Model._start_cold,
    Action.LEAVE: Model._leave,
}


def _tick(world: World, who: int) -> World:
    return _one_owner(with_process(world, who, world.processes[who]._replace(ticking=True)))


def _one_owner(world: World) -> World:
    """The first invariant: never two who tick, be one of them stopped at the moment."""
    ticking = [f"P{who}" for who, process in enumerate(world.processes) if process.alive and process.ticking]
    return world._replace(breach="two owners: " + " and ".join(ticking)) if len(ticking) > 1 else world
