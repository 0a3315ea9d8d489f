"""What the process uses, as the kernel tells it."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from proxy.metrics.process import SLICE, Usage

FOLDER = Path("/proc/self/fd")


def open_now() -> int:
    """How many descriptors are open, without that of the folder."""
    return len([*FOLDER.iterdir()]) - 1


def look(usage: Usage) -> int:
    """To its end; in how many slices."""
    return sum(1 for _ in usage.look()) + 1


def test_all_figures_of_this_process() -> None:
    usage = Usage()
    look(usage)
    told = usage.now(7)
    assert told.number == 7
    assert told.descriptors == open_now()
    assert told.most_descriptors == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert 1 << 20 < told.resident < 1 << 40
    assert 0.0 < told.cpu <= usage.now(7).cpu
    assert told.started <= time.time()


def test_descriptors_are_those_of_the_last_look() -> None:
    usage = Usage()
    look(usage)
    before = usage.now(1).descriptors
    fd = os.open(os.devnull, os.O_RDONLY)
    try:
        assert usage.now(1).descriptors == before
        look(usage)
        assert usage.now(1).descriptors == before + 1
    finally:
        os.close(fd)


def test_where_the_kernel_does_not_tell_they_are_counted_in_slices(tmp_path: Path) -> None:
    """A folder without a size stands for that of an older kernel; its entries are counted, less the one for itself."""
    usage = Usage(Sizeless(tmp_path))
    for number in range(2 * SLICE + 5):
        (tmp_path / str(number)).touch()
    assert look(usage) == 3
    assert usage.now(1).descriptors == 2 * SLICE + 4


class Sizeless(type(FOLDER)):  # type: ignore[misc]  # the class of paths differs by system
    """A folder whose size is 0."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        real = super().stat(follow_symlinks=follow_symlinks)
        return os.stat_result((*real[:6], 0, *real[7:10]))


def test_a_look_that_nobody_finishes_leaves_nothing_open(tmp_path: Path) -> None:
    for number in range(SLICE):
        (tmp_path / str(number)).touch()
    before = open_now()
    looking = Usage(Sizeless(tmp_path)).look()
    next(looking)
    looking.close()
    assert open_now() == before
