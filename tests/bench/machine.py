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


def user_memory(pid: int) -> int:
    """Bytes of user-space memory that belong to this process alone (proc(5), smaps_rollup: private pages).

    A proxy with TLS is not dumpable, so nobody but root may look (prctl(2), PR_SET_DUMPABLE). Raises `PermissionError`.
    """
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in {"Private_Dirty", "Private_Clean"}:
            total += int(rest.split()[0]) * 1024
    return total
