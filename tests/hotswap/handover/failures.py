"""What comes of a failure at a fault point, worked out by the model from the tables.

The fault matrix with real processes and the failure table of ARCHITECTURE.md have this for their
expected result: `outcomes("source.put_byte.after", "kill")`.

Apart from the one fault everybody is well, and a deadline passes only when nothing else can happen any
more. Points that an upgrade never comes by (`Expected.reached`) are on the way of another `Course`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import NamedTuple

from hotswap.handover.states import Action, Destination, Event, Source, State
from tests.hotswap.handover.model import Kind, Model, Move, first_world
from tests.hotswap.handover.world import Life, Scene, World, die, resume, stop


class Outcome(Enum):
    """Who serves in the end, and with what."""

    DESTINATION_HAS_ALL = "the destination serves, nothing lost"
    SOURCE_HAS_ALL = "the source serves on, nothing lost"
    DESTINATION_HAS_LISTENERS = "the destination serves, the connections are lost"
    SOURCE_HAS_LISTENERS = "the source serves on, the connections are lost"
    COLD_START = "the destination starts afresh under the lock"
    OWNER_STOPPED = "the owner is stopped: nothing can be done without killing it"
    NOBODY = "nobody serves: the serving generation died, no other was under way"


class Course(Enum):
    """What an attempt would come to without the fault, each with the events that then do not occur."""

    UPGRADE = frozenset({Event.BAD_HELLO, Event.MISMATCH, Event.REHEARSE, Event.BREACH})
    DRY_RUN = frozenset({Event.BAD_HELLO, Event.MISMATCH, Event.CONVERGED, Event.BREACH})
    UNABLE = frozenset({Event.BAD_HELLO, Event.FINAL, Event.REHEARSE, Event.BREACH})  # the values do not restore
    REFUSED = frozenset({Event.HELLO, Event.BREACH})


class Fault(NamedTuple):
    """One failure of one process, the first time it comes by this point."""

    role: str
    action: Action
    when: str
    failure: str  # kill, stop (for good), or pause (until the others have come to rest)

    @classmethod
    def parse(cls, point: str, failure: str) -> Fault:
        """From a fault point as `hotswap.handover.states.fault_points` names it."""
        role, action, when = point.split(".")
        return cls(role, Action[action.upper()], when, failure)

    def befalls(self, world: World, who: int) -> World:
        """The process dies, or comes to a standstill: stopped, paused or hung is the same to the others."""
        if self.failure == "kill" or not world.processes[who].alive:
            return die(world, who)
        return stop(world, who)


class Expected(NamedTuple):
    """What may come of a fault; `reached` tells whether any run came by its point."""

    outcomes: frozenset[Outcome]
    reached: bool


_ENDS: dict[State, Outcome] = {
    Destination.OWNER: Outcome.DESTINATION_HAS_ALL,
    Destination.STARTED: Outcome.DESTINATION_HAS_ALL,
    Destination.COLD: Outcome.DESTINATION_HAS_LISTENERS,
    Destination.ALONE: Outcome.COLD_START,
    Source.SERVING: Outcome.SOURCE_HAS_ALL,
    Source.ALONE: Outcome.SOURCE_HAS_LISTENERS,
}


@cache
def outcomes(point: str, failure: str, course: Course = Course.UPGRADE, *, spawned: bool = True) -> Expected:
    """Everything that may come of `failure` at `point`."""
    run = _Run(Model(Scene((spawned,), early_mismatch=False)), Fault.parse(point, failure), course)
    return Expected(frozenset(run.outcomes), run.reached)


def undisturbed(course: Course) -> frozenset[Outcome]:
    """What comes of an attempt in which nothing fails."""
    return frozenset(_Run(Model(Scene((True,), early_mismatch=False)), None, course).outcomes)


class _Run:
    """All runs of one attempt with at most one fault."""

    def __init__(self, model: Model, fault: Fault | None, course: Course) -> None:
        self.model = model
        self.fault = fault
        self.course = course
        self.outcomes: set[Outcome] = set()
        self.reached = False
        first = (first_world(model.scene), False)
        seen = {first}
        waiting = [first]
        while waiting:
            world, failed = waiting.pop()
            following = list(self._following(world, failed=failed))
            if not following:
                self.outcomes.add(_outcome(world))
            new = [state for state in following if state not in seen]
            seen.update(new)
            waiting.extend(new)
            self.reached = self.reached or failed

    def _following(self, world: World, *, failed: bool) -> Iterator[tuple[World, bool]]:
        following = list(self._forward(world, failed=failed))
        if not following and self.fault is not None and self.fault.failure == "pause":
            following = [(resume(world, who), failed) for who in _stopped(world)]
        return iter(following)

    def _forward(self, world: World, *, failed: bool) -> Iterator[tuple[World, bool]]:
        moves = [move for who in range(len(world.processes)) for move in self._steps(world, who)]
        prompt = [move for move in moves if move.event is not Event.STOP]
        for move in prompt or moves:
            fault = None if failed else self._fault_on(world, move)
            if fault is None:
                yield move.world, failed
            elif fault.when == "before":
                yield fault.befalls(world, move.who), True
            else:
                yield fault.befalls(move.world, move.who), True

    def _steps(self, world: World, who: int) -> Iterator[Move]:
        for move in self.model.steps(world, who):
            if move.kind is Kind.STEP and move.event not in self.course.value:
                yield move

    def _fault_on(self, world: World, move: Move) -> Fault | None:
        fault, process = self.fault, world.processes[move.who]
        if fault is None or process.todo[:1] != (fault.action,):
            return None
        role = "source" if isinstance(process.state, Source) else "destination"
        return fault if role == fault.role else None


def _outcome(world: World) -> Outcome:
    for process in world.processes:
        if process.ticking and process.life is Life.RUNNING:
            return _ENDS[process.state]
    return Outcome.OWNER_STOPPED if _stopped(world) else Outcome.NOBODY


def _stopped(world: World) -> list[int]:
    return [who for who, process in enumerate(world.processes) if process.life is Life.STOPPED]
