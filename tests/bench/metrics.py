"""What counting costs, and reading: `shm_metrics` beside prometheus_client, plain and with its multiprocess mode.

All implementations stand ready, each in a process of its own (`tests.bench.counting`), and are clocked in turn in every
round. A scrape is of eight workers with 500 series each, then of their eight successors, after a hundred were killed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeVar

import msgspec

from tests.bench.counting import OPERATIONS, Hello, How, Left, Spec, Took
from tests.bench.cpu import best
from tests.kit.companion import Companion

PATIENCE = 60.0  # seconds for any answer
ALONE: How = "prometheus"  # which knows nothing of other processes

T = TypeVar("T")


class Plan(msgspec.Struct):
    """How often to do what."""

    rounds: int = 25
    calls: int = 20_000
    scrapes: int = 10
    workers: int = 8
    deaths: int = 100


class Row(msgspec.Struct):
    """One implementation: a figure per round. Nanoseconds of CPU a call; milliseconds of CPU a scrape."""

    name: str
    version: str
    calls: dict[str, list[float]] = {}
    scrapes: list[float] = []
    scrapes_after: list[float] = []
    """After deaths."""
    left: Left | None = None
    """After deaths; None: it knows nothing of other processes."""


class Result(msgspec.Struct):
    """Everything of one run."""

    rows: list[Row]
    workers: int
    deaths: int
    missing: dict[str, str]


NAMES: dict[How, str] = {
    "c": "shm_metrics, C",
    "python": "shm_metrics, Python",
    "prometheus": "prometheus_client",
    "prometheus files": "prometheus_client, multiprocess",
}


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    missing = {}
    with ExitStack() as exits:
        stands: list[tuple[Counting, Row]] = []
        for how, name in NAMES.items():
            directory = (
                exits.enter_context(tempfile.TemporaryDirectory(prefix="hsb")) if how == "prometheus files" else ""
            )
            one = Counting(how, directory)
            exits.callback(one.close)
            if one.hello.problem:
                missing[name] = one.hello.problem
            else:
                stands.append((one, Row(name, one.hello.version)))
        for what in OPERATIONS:
            for stand, row in _rounds(stands, plan.rounds):
                row.calls.setdefault(what, []).append(stand.call(what, plan.calls))
            _tell(say, f"{OPERATIONS[what]}, ns", {row.name: row.calls[what] for _, row in stands})
        many = [(stand, row) for stand, row in stands if stand.how != ALONE]
        for stand, _ in many:
            stand.start(plan.workers)
        for stand, row in _rounds(stands, plan.scrapes):
            row.scrapes.append(stand.scrape())
        _tell(say, "scrape, ms", {row.name: row.scrapes for _, row in stands})
        for stand, row in many:
            row.left = stand.replace(plan.deaths)
        for stand, row in _rounds(many, plan.scrapes):
            row.scrapes_after.append(stand.scrape())
        _tell(say, f"scrape after {plan.deaths} deaths, ms", {row.name: row.scrapes_after for _, row in many})
        return Result([row for _, row in stands], plan.workers, plan.deaths, missing)


def _rounds(stands: list[tuple[Counting, Row]], rounds: int) -> Iterator[tuple[Counting, Row]]:
    for number in range(rounds):
        first = number % len(stands)  # nobody always comes after the same one
        yield from [*stands[first:], *stands[:first]]


def _tell(say: Callable[[str], None], what: str, figures: dict[str, list[float]]) -> None:
    say(f"{what}: " + ", ".join(f"{name} {best(rounds):.1f}" for name, rounds in figures.items()))


class Counting:
    """The test's side of `tests.bench.counting`."""

    def __init__(self, how: How, directory: str) -> None:
        self._companion = Companion("tests.bench.counting", Spec(how, directory))
        self.how = how
        self.hello = msgspec.json.decode(self._companion.line(within=PATIENCE), type=Hello)

    def call(self, what: str, calls: int) -> float:
        """Nanoseconds a call."""
        return self._ask(Took, operation=what, calls=calls).nanoseconds

    def scrape(self) -> float:
        """Milliseconds."""
        return self._ask(Took, scrape=1).nanoseconds / 1e6

    def start(self, workers: int) -> Left:
        """So many processes more that count."""
        return self._ask(Left, start=workers)

    def replace(self, times: int) -> Left:
        """Kill the oldest worker and start another one, so often."""
        return self._ask(Left, replace=times)

    def close(self) -> None:
        """End it with its workers, and leave nothing behind."""
        self._ask(Took, end=1)
        self._companion.stop()

    def _ask(self, answer: type[T], **question: object) -> T:
        return msgspec.json.decode(self._companion.ask(question, within=PATIENCE), type=answer)
