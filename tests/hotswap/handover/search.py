"""Breadth-first through every world that the model can reach, with the shortest path to each."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from itertools import chain, combinations
from typing import NamedTuple

from hotswap.handover.states import Destination, Event, Source
from tests.hotswap.handover.model import Kind, Model, Move, first_world
from tests.hotswap.handover.world import Life, Process, Scene, World


class Finding(NamedTuple):
    """A world that must not be, and the shortest way there."""

    what: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return "\n    ".join([self.what, *self.path])


class Search:
    """Everything reachable, or what is until a finding begins with `until`; `findings` holds one of each kind."""

    def __init__(self, model: Model, until: str = "-") -> None:
        self.findings: dict[str, Finding] = {}
        self._scene = model.scene
        self._numbers: dict[World, int] = {first_world(model.scene): 0}  # in the order of their discovery
        self._came_from: list[tuple[str, int]] = [("", -1)]
        self._onward: list[list[int]] = []
        waiting = deque(self._numbers)
        while waiting and not any(finding.startswith(until) for finding in self.findings):
            world = waiting.popleft()
            moves = list(model.moves(world))
            self._judge(world, moves)
            onward = []
            for move in moves:
                number = self._numbers.setdefault(move.world, len(self._numbers))
                if number == len(self._came_from):
                    self._came_from.append((move.label, len(self._onward)))
                    waiting.append(move.world)
                if move.kind is not Kind.FAULT:
                    onward.append(number)
            self._onward.append(onward)

    def _judge(self, world: World, moves: list[Move]) -> None:
        movers = frozenset(move.who for move in moves if move.kind is Kind.STEP)
        what = world.breach or stuck(world, movers, self._scene)
        if what and what not in self.findings:
            self.findings[what] = Finding(what, self._path(self._numbers[world]))

    def _path(self, number: int) -> tuple[str, ...]:
        """The moves from the first world to this one."""
        labels = []
        while number:
            label, number = self._came_from[number]
            labels.append(label)
        return tuple(reversed(labels))

    @property
    def worlds(self) -> Collection[World]:
        """All that were found."""
        return self._numbers.keys()

    def comes_to_rest(self) -> bool:
        """Without faults every run ends: the moves that are no faults form no circle."""
        entering = Counter(chain.from_iterable(self._onward))
        free = [number for number in range(len(self._onward)) if not entering[number]]
        done = 0
        while free:
            done += 1
            for after in self._onward[free.pop()]:
                entering[after] -= 1
                if not entering[after]:
                    free.append(after)
        return done == len(self._onward)

    def report(self) -> str:
        """All findings with their paths."""
        return "\n".join(str(finding) for finding in self.findings.values())


def stuck(world: World, movers: frozenset[int], scene: Scene) -> str:
    """The liveness invariant: a healthy process holds the listeners, nobody serves, and so it stays.

    Every run without further faults ends in a world where nothing moves (`Search.comes_to_rest`), so it
    is enough to judge those: the worlds in which all `movers` are stopped for good. Others may be
    stopped too. Two cases are excused, because nothing safe can be done about them without killing by
    hand: a stopped process has taken the byte and said so (it may have ticked), or it has taken the byte
    and nobody who could kill it has spawned it.
    """
    processes = world.processes
    running = [who for who, process in enumerate(processes) if process.life is Life.RUNNING]
    idle = [who for who in running if who not in movers]
    if not any(processes[who].holding for who in idle):
        return ""
    for more in chain.from_iterable(combinations(idle, count) for count in range(len(idle))):
        healthy = [who for who in idle if who not in more]
        if any(processes[who].ticking for who in healthy):
            continue
        holders = [who for who in healthy if processes[who].holding]
        stopped = [process for who, process in enumerate(processes) if process.alive and who not in healthy]
        could_kill = any(
            processes[who].state is Source.WAITING and scene.spawned[processes[who].attempt] for who in holders
        )
        if holders and (could_kill or not any(has_the_byte(process) for process in stopped)):
            return "nobody serves: " + ", ".join(f"P{who} in {processes[who].state.name}" for who in holders)
    return ""


def has_the_byte(process: Process) -> bool:
    """Owns, whether it ticks already or not."""
    return process.ticking or process.answer is Event.GOT_O or process.state in {Destination.OWNER, Destination.COLD}
