"""The values that the model of the handover moves about, and what can be done to them.

A `World` is two or more processes and the attempts they made. The first process serves; the second is
the destination of the first attempt; once that is over, whoever serves may begin the next attempt with
the next process.

    process   life, state, actions still to do of the row under way, answer of the kernel, ticking, holding
    attempt   two message queues, both ends of the channel, the pipe, what became of the values
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from hotswap.handover.states import Action, Destination, Event, State


class Life(IntEnum):
    UNBORN = 0
    RUNNING = 1
    STOPPED = 2
    DEAD = 3


class Process(NamedTuple):
    life: Life
    state: State
    attempt: int = 0  # the one its state belongs to
    todo: tuple[Action, ...] = ()
    answer: Event | None = None
    ticking: bool = False
    holding: bool = False  # the listeners and the lock

    @property
    def alive(self) -> bool:
        return self.life in {Life.RUNNING, Life.STOPPED}


class Attempt(NamedTuple):
    giver: int
    taker: int
    to_giver: tuple[Event, ...] = ()
    to_taker: tuple[Event, ...] = ()
    giver_closed: bool = False
    taker_closed: bool = False
    giver_heard: bool = False  # CLOSED was told to the giver
    taker_heard: bool = False
    pipe: str = ""  # "", "O" or "A"
    was_put: bool = False  # O, at least once
    rounds: int = 0
    garbled: bool = False  # the giver could make no sense of a message; once is enough
    stale: bool = True  # FINAL is not what the giver holds: not sent yet, or the giver ticked since
    taken: bool = False  # the taker has begun to tick


class World(NamedTuple):
    processes: tuple[Process, ...]
    attempts: tuple[Attempt, ...]
    stops: int = 0
    breach: str = ""  # the invariant that the last move has broken


class Scene(NamedTuple):
    """What surrounds the processes."""

    spawned: tuple[bool, ...] = (True, True)  # by attempt: the giver started the taker, so it can end it
    leaked: bool = False  # a forked process keeps the channels open: no CLOSED, ever
    stops: int = 0  # real SIGSTOPs
    garbling: bool = True  # the giver may make no sense of a message, once in an attempt
    early_mismatch: bool = True  # a round, not only FINAL, may turn out to be of no use to the taker

    @property
    def attempts(self) -> int:
        return len(self.spawned)


DEAD = Process(Life.DEAD, Destination.LEFT)


def is_last_holder(world: World, who: int) -> bool:
    """Holds the listeners while the other side of the attempt, who might go on with them, is dead."""
    process = world.processes[who]
    attempt = world.attempts[process.attempt]
    other = world.processes[attempt.taker if attempt.giver == who else attempt.giver]
    return process.holding and not other.alive


def lock_held(world: World) -> bool:
    """By a process, or by a descriptor on its way: the lock belongs to the open file, flock(2)."""
    under_way = any(Event.WELCOME in attempt.to_taker for attempt in world.attempts)
    return under_way or any(process.alive and process.holding for process in world.processes)


def send(world: World, number: int, message: Event, *, to_taker: bool) -> World:
    """Queue a message, unless nobody is there to read it (EPIPE)."""
    attempt = world.attempts[number]
    if to_taker:
        sent = attempt if attempt.taker_closed else attempt._replace(to_taker=(*attempt.to_taker, message))
    else:
        sent = attempt if attempt.giver_closed else attempt._replace(to_giver=(*attempt.to_giver, message))
    return with_attempt(world, number, sent)


def die(world: World, who: int) -> World:
    """A process ends, by whatever cause. What it sent stays readable; what was sent to it is gone."""
    world = with_process(world, who, DEAD)
    for number, attempt in enumerate(world.attempts):
        if attempt.giver == who:
            world = with_attempt(world, number, attempt._replace(to_giver=(), giver_closed=True, giver_heard=False))
        elif attempt.taker == who:
            world = with_attempt(world, number, attempt._replace(to_taker=(), taker_closed=True, taker_heard=False))
    return world


def stop(world: World, who: int) -> World:
    """SIGSTOP."""
    return with_process(world, who, world.processes[who]._replace(life=Life.STOPPED))


def resume(world: World, who: int) -> World:
    """SIGCONT."""
    return with_process(world, who, world.processes[who]._replace(life=Life.RUNNING))


def with_process(world: World, who: int, process: Process) -> World:
    processes = world.processes
    return world._replace(processes=(*processes[:who], process, *processes[who + 1 :]))


def with_attempt(world: World, number: int, attempt: Attempt) -> World:
    if attempt.giver_closed and attempt.taker_closed:
        # Nobody looks at the rest of it any more: forget it, so that fewer worlds differ.
        attempt = Attempt(attempt.giver, attempt.taker, giver_closed=True, taker_closed=True, pipe=attempt.pipe)
    attempts = world.attempts
    return world._replace(attempts=(*attempts[:number], attempt, *attempts[number + 1 :]))
