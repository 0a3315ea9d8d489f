"""Processes that share metrics with a test, and end as it says."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from shm_metrics import Registry, memory, segment
from shm_metrics.layout import Geometry
from shm_metrics.slots import Slots
from tests.kit.offspring import kill, wait_for_end, wait_for_stop
from tests.kit.waiting import readable

PATIENCE = 20.0
SMALL = Geometry(slots=3, cells=512, definitions=4096)
ROOM = Geometry(slots=8, cells=512, definitions=4096)


class Child:
    """A forked process. It runs `work`, which may `tell` and `wait`, and ends without further ado."""

    def __init__(self, work: Callable[[Child], None]) -> None:
        self._heard, self._told = os.pipe()
        self._waits, self._gone = os.pipe()
        self._lines = b""
        self.pid = os.fork()
        if not self.pid:
            os.close(self._heard)
            os.close(self._gone)
            _run(lambda: work(self))
        os.close(self._told)
        os.close(self._waits)

    # ---- in the child ----

    def tell(self, text: str) -> None:
        """Say a line to the test."""
        os.write(self._told, text.encode() + b"\n")

    def wait(self) -> None:
        """Until the test lets it go on; for ever if that is gone."""
        if not os.read(self._waits, 1):
            os._exit(3)

    def close_all(self) -> None:
        """All its descriptors, as daemons do; but for those that it needs to be spoken to."""
        for number in {int(path.name) for path in Path("/proc/self/fd").iterdir()} - {self._told, self._waits}:
            with suppress(OSError):  # that of the listing itself
                os.close(number)

    # ---- in the test ----

    def hear(self) -> str:
        """The next line that it says."""
        while b"\n" not in self._lines:
            assert readable(self._heard, within=PATIENCE), "the child says nothing"
            piece = os.read(self._heard, 65536)
            assert piece, "the child ended"
            self._lines += piece
        line, _, self._lines = self._lines.partition(b"\n")
        return line.decode()

    def go(self) -> None:
        """Let it go on."""
        os.write(self._gone, b".")

    def stop(self) -> None:
        """By SIGSTOP; returns when it has."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_for_stop(self.pid, within=PATIENCE)

    def resume(self) -> None:
        """After `stop`."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> int:
        """Wait for its end. Returns its exit code, negative for a signal."""
        os.close(self._heard)
        os.close(self._gone)
        return _ended(self.pid)

    def kill(self) -> None:
        """By SIGKILL; returns when it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.end() == -signal.SIGKILL


@contextmanager
def child(work: Callable[[Child], None]) -> Iterator[Child]:
    """A `Child` that is gone at the end of the block, in any case."""
    one = Child(work)
    try:
        yield one
    finally:
        kill(one.pid, signal.SIGKILL)
        try:
            os.waitpid(one.pid, 0)
        except ChildProcessError:
            pass  # it has been waited for


def finish(work: Callable[[], None]) -> int:
    """Run it in a forked child. Returns the exit code of that, negative for a signal."""
    pid = os.fork()
    if not pid:
        _run(work)
    return _ended(pid)


def steps(work: Callable[[], None]) -> list[str]:
    """The steps that it takes in a child of its own, see `Segment.step`."""
    heard, told = os.pipe()

    def noted() -> None:
        vars(segment)["_nothing"] = lambda step: os.write(told, step.encode() + b"\n")
        work()

    assert finish(noted) == 0
    os.close(told)
    with os.fdopen(heard) as lines:
        return lines.read().splitlines()


def killed_at(number: int, work: Callable[[], None]) -> bool:
    """Run it in a child that kills itself at its step of that number, from 0. False if it ended before."""
    left = iter(range(number))

    def step(_: str) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def short() -> None:
        vars(segment)["_nothing"] = step
        work()

    code = finish(short)
    assert code in {0, -signal.SIGKILL}
    return code != 0


def open_files(of: int | Path) -> int:
    """Descriptors of this process that are of the same file."""
    status = os.fstat(of) if isinstance(of, int) else of.stat()
    numbers = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    return [memory.identity(number) for number in numbers].count((status.st_dev, status.st_ino))


def slots(registry: Registry) -> Slots:
    """Those of its segment."""
    assert registry._shared is not None
    return registry._shared.slots


def close(registry: Registry) -> None:
    """As if its process were dead."""
    assert registry._shared is not None
    registry._shared.segment.close()


@contextmanager
def joined(fd: int) -> Iterator[Registry]:
    """A registry that leaves at the end of the block."""
    registry = Registry.join(fd)
    try:
        yield registry
    finally:
        close(registry)


def read(registry: Registry) -> dict[tuple[str, ...], float]:
    """The first cell of each member, by name and labels."""
    return {(one.shape.name, *member.values): member.cells[0] for one in registry.collect() for member in one.members}


def value(registry: Registry, name: str, *labels: str) -> float:
    """What a reader sees of that member; of a histogram the sum."""
    return read(registry)[(name, *labels)]


def cells(registry: Registry, name: str) -> list[float]:
    """The cells of the only member of that family."""
    (family,) = [one for one in registry.collect() if one.shape.name == name]
    return family.members[0].cells


def _run(work: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - pytest must not go on in a child
        traceback.print_exc()
    finally:
        os._exit(code)


def _ended(pid: int) -> int:
    wait_for_end(pid, within=PATIENCE)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
