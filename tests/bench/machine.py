"""What a figure depends on besides the program: the machine, the versions, the load by others."""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from pathlib import Path

import msgspec

import hotswap


class Machine(msgspec.Struct):
    """Where and when something was measured."""

    date: str
    processor: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    hotswap: str
    load_before: float  # runnable processes, average over the minute before
    apart: bool = False  # see apart.py

    def __str__(self) -> str:
        return (
            f"{self.date}, {self.processor}, {self.cores} cores, {self.memory_gib:.0f} GiB, Linux {self.kernel}, "
            f"Python {self.python}, hotswap {self.hotswap}; load average before: {self.load_before:.1f}"
            + (", in a CPU group that comes before others" if self.apart else "")
        )


def describe(*, apart: bool = False) -> Machine:
    """This machine, now."""
    return Machine(
        date=dt.datetime.now(tz=dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        kernel=platform.release(),
        python=platform.python_version(),
        hotswap=f"{hotswap.__version__} ({_revision()})",
        load_before=os.getloadavg()[0],
        apart=apart,
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _revision() -> str:
    found = subprocess.run(["git", "describe", "--always"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "no revision"


def cpu_us(pid: int) -> float:
    """CPU time of all threads of a process so far, user and system, in microseconds (proc(5), schedstat)."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        total += int((thread / "schedstat").read_text().split()[0])
    return total / 1000


class Memory(msgspec.Struct, frozen=True):
    """Bytes of user-space memory of a process that are in RAM (proc(5), smaps_rollup)."""

    rss: int  # shared pages count in full
    pss: int  # shared pages count by the share of this process, so that a sum over processes means something
    private: int

    def __sub__(self, other: Memory) -> Memory:
        return Memory(self.rss - other.rss, self.pss - other.pss, self.private - other.private)


def memory(pid: int) -> Memory:
    """What a process holds now.

    A proxy with TLS is not dumpable, so nobody but root may look (prctl(2), PR_SET_DUMPABLE). Raises `PermissionError`,
    and `ProcessLookupError` or `FileNotFoundError` if the process ended.
    """
    found: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            found[name] = int(rest.split()[0]) * 1024
    return Memory(found["Rss"], found["Pss"], found["Private_Dirty"] + found["Private_Clean"])


def forget_peak(pid: int) -> None:
    """Have `peak` tell of what follows (proc(5), clear_refs). Raises `PermissionError` for processes of others."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pid: int) -> int:
    """Bytes of RSS of a process at the most since `forget_peak`, or its start (proc(5), status: VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "VmHWM":
            return int(rest.split()[0]) * 1024
    raise ProcessLookupError(f"process {pid} has no memory any more")


def ticks(pid: int) -> tuple[float, float]:
    """CPU time of a process so far, all its threads that ended included: the user's and the system's, in seconds.

    In steps of 10 ms (proc(5), stat). Tells it of a process that ended as long as nobody waited for it. Raises
    `FileNotFoundError` after that.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


def family(pid: int) -> list[int]:
    """A process and all that it started and that is there now (proc(5), children).

    Raises `FileNotFoundError` if it is gone.
    """
    children = [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return [pid, *(one for child in children for one in family(child))]


def pin(pid: int, core: int) -> None:
    """Keep all threads of a process on one of the cores that this one may use, counted from 0 and around."""
    cores = sorted(os.sched_getaffinity(0))
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {cores[core % len(cores)]})
