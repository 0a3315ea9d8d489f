"""The process behind `tests.bench.metrics`: counts with one implementation, and clocks it.

    python -m tests.bench.counting '{"how": "c", "directory": ""}'

Which implementation it is shows in the environment before the import, in both libraries, hence a process for each.
`Workers` are forked from it, as gunicorn does after it has loaded the application.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import prctl

from tests.kit.companion import say

How = Literal["c", "python", "prometheus", "prometheus files"]

COUNTERS, GAUGES, HISTOGRAMS = 350, 50, 5
BOUNDS = tuple(0.001 * 2**n for n in range(17))  # 20 series a histogram: 17 and +Inf, sum, count
SERIES = COUNTERS + GAUGES + HISTOGRAMS * (len(BOUNDS) + 3)
NAMES = ("code", "n")

OPERATIONS = {
    "inc": "counter.inc()",
    "inc by": "counter.inc(1500)",
    "observe": "histogram.observe(0.003)",
    "labels": "family.labels('200', 'x').inc()",
}


class Spec(msgspec.Struct):
    """What to count with. `directory`: where prometheus_client is to have its files."""

    how: How
    directory: str = ""


class Hello(msgspec.Struct):
    """It is ready. `name` and `version` are for people; a reason why this implementation cannot be had."""

    name: str
    version: str
    problem: str = ""


class Took(msgspec.Struct):
    """An operation: nanoseconds of CPU a call. A scrape: nanoseconds of CPU for all of it, and its size."""

    nanoseconds: float
    size: int = 0


class Left(msgspec.Struct):
    """What there is on disk or in shared memory, and what a scrape says of one counter and one gauge."""

    files: int
    size: int  # bytes
    counter: float
    gauge: float


class Library(Protocol):
    """What differs between implementations; `counter`, `histogram` and `family` are for `OPERATIONS`."""

    counter: Any
    histogram: Any
    family: Any
    counters: list[Any]
    gauges: list[Any]
    histograms: list[Any]

    def text(self) -> bytes:
        """A scrape."""

    def files(self) -> list[Path]:
        """All that it keeps metrics in."""

    def died(self, pid: int) -> None:
        """What its manual says to do for a child that died."""

    def end(self) -> None:
        """Leave nothing behind."""


class Ours:
    """shm_metrics, in shared memory."""

    def __init__(self) -> None:
        from shm_metrics import Registry
        from shm_metrics.exposition import Exposition

        self.name = f"bench-{os.getpid()}"
        self.registry = registry = Registry.open(self.name)
        exposition = Exposition()
        self.text = lambda: b"".join(exposition.pieces(registry.collect(), "text"))
        with registry.defining():
            self.family = registry.counter("bench_requests_total", "Requests.", NAMES)
            gauges = registry.gauge("bench_busy", "Busy.", NAMES)
            histograms = registry.histogram("bench_seconds", "Duration.", NAMES, bounds=BOUNDS)
            self.counters = [self.family.labels("200", n) for n in range(COUNTERS)]
            self.gauges = [gauges.labels("200", n) for n in range(GAUGES)]
            self.histograms = [histograms.labels("200", n) for n in range(HISTOGRAMS)]
        self.counter, self.histogram = self.counters[0], self.histograms[0]

    def files(self) -> list[Path]:
        return list(Path("/dev/shm").glob(f"shm_metrics.{self.name}.*"))

    def died(self, pid: int) -> None:
        pass

    def end(self) -> None:
        self.registry.unlink()


class Theirs:
    """prometheus_client; with a directory its multiprocess mode."""

    def __init__(self, directory: str) -> None:
        if directory:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        import prometheus_client as client
        from prometheus_client import multiprocess

        client.disable_created_metrics()  # type: ignore[no-untyped-call]  # lines that the others do not have, nor its own files
        self.directory = directory
        self._mark: Callable[[int], None] = multiprocess.mark_process_dead
        defined, read = client.CollectorRegistry(), client.CollectorRegistry()
        self.family = client.Counter("bench_requests", "Requests.", NAMES, registry=defined)
        gauges = client.Gauge("bench_busy", "Busy.", NAMES, registry=defined, multiprocess_mode="livesum")
        histograms = client.Histogram("bench_seconds", "Duration.", NAMES, registry=defined, buckets=BOUNDS)
        self.counters = [self.family.labels("200", n) for n in range(COUNTERS)]
        self.gauges = [gauges.labels("200", n) for n in range(GAUGES)]
        self.histograms = [histograms.labels("200", n) for n in range(HISTOGRAMS)]
        self.counter, self.histogram = self.counters[0], self.histograms[0]
        if directory:
            multiprocess.MultiProcessCollector(read)  # type: ignore[no-untyped-call]
        self.text = lambda: client.generate_latest(read if directory else defined)

    def files(self) -> list[Path]:
        return list(Path(self.directory).iterdir()) if self.directory else []

    def died(self, pid: int) -> None:
        if self.directory:
            self._mark(pid)

    def end(self) -> None:
        pass


class Workers:
    """Processes that count once in every series and are there until they are killed."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._pids: list[int] = []

    def start(self, count: int) -> None:
        """So many more; they have counted when this returns."""
        for _ in range(count):
            ready, told = os.pipe()
            pid = os.fork()
            if not pid:
                prctl.set_pdeathsig(signal.SIGKILL)
                for counter in self._library.counters:
                    counter.inc()
                for gauge in self._library.gauges:
                    gauge.set(1)
                for histogram in self._library.histograms:
                    histogram.observe(0.003)
                os.write(told, b".")
                while True:
                    signal.pause()
            os.read(ready, 1)
            os.close(ready)
            os.close(told)
            self._pids.append(pid)

    def kill(self, count: int) -> None:
        """The oldest ones."""
        for _ in range(count):
            pid = self._pids.pop(0)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._library.died(pid)

    def replace(self, times: int) -> None:
        """One after the other."""
        for _ in range(times):
            self.kill(1)
            self.start(1)

    def end(self) -> None:
        """All of them."""
        self.kill(len(self._pids))


def operation(library: Library, what: str, calls: int) -> Took:
    names = {"counter": library.counter, "histogram": library.histogram, "family": library.family}
    setup = "; ".join(f"{name} = {name}_" for name in names)  # local variables, as in a method that uses them often
    timer = timeit.Timer(OPERATIONS[what], setup, time.process_time_ns, {f"{n}_": one for n, one in names.items()})
    return Took(timer.timeit(calls) / calls)


def scrape(library: Library) -> Took:
    began = time.process_time_ns()
    text = library.text()
    return Took(time.process_time_ns() - began, len(text))


def left(library: Library) -> Left:
    files = library.files()
    values = dict(line.rpartition(" ")[::2] for line in library.text().decode().splitlines())
    labels = '{code="200",n="1"}'
    return Left(
        len(files),
        sum(one.stat().st_blocks * 512 for one in files),
        float(values[f"bench_requests_total{labels}"]),
        float(values[f"bench_busy{labels}"]),
    )


def library(spec: Spec) -> tuple[Library, Hello]:
    if spec.how.startswith("prometheus"):
        from importlib.metadata import version

        return Theirs(spec.directory), Hello("prometheus_client", version("prometheus_client"))
    os.environ["SHM_METRICS_CELLS"] = spec.how
    import hotswap
    from shm_metrics import cells

    problem = cells.WHY_PYTHON if spec.how == "c" else ""
    return Ours(), Hello("shm_metrics", hotswap.__version__, problem)


def questions() -> Iterator[dict[str, Any]]:
    for line in sys.stdin.buffer:
        yield msgspec.json.decode(line)


def main() -> None:
    counting, hello = library(msgspec.json.decode(sys.argv[1], type=Spec))
    workers = Workers(counting)
    say(hello)
    with contextlib.ExitStack() as exits:
        exits.callback(counting.end)
        exits.callback(workers.end)
        for question in questions():
            match question:
                case {"operation": what, "calls": calls}:
                    say(operation(counting, what, calls))
                case {"start": count}:
                    workers.start(count)
                    say(left(counting))
                case {"replace": times}:
                    workers.replace(times)
                    say(left(counting))
                case {"scrape": _}:
                    say(scrape(counting))
                case {"end": _}:
                    break
    say(Took(0))


if __name__ == "__main__":
    main()
