"""A CPU group of our own with a high weight, so that other work on the machine disturbs a measurement little.

Cgroup v1 only (cpu.shares, kernel documentation admin-guide/cgroup-v1); without it, or without root, everything is
measured as it comes, and the page says so by the load average.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT_GROUP = Path("/sys/fs/cgroup/cpu")
WEIGHT = 100_000  # of one group beside others of 1024


@contextmanager
def apart() -> Iterator[bool]:
    """What runs inside gets a core before others do. False if that cannot be had."""
    group = ROOT_GROUP / f"hotswap-bench-{os.getpid()}"
    try:
        group.mkdir()
        (group / "cpu.shares").write_text(str(WEIGHT))
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        (ROOT_GROUP / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()
