"""How many descriptors this process has open, for tests that promise to lose none; and how it is without a free one."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def descriptors() -> int:
    """How many, once all that nobody refers to any more is gone.

    What a test before left in a cycle is closed by the collector at a moment of its own choice, which would be seen
    as a descriptor closed by the code under test.
    """
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@contextmanager
def no_free_descriptor() -> Iterator[None]:
    """Meanwhile this process can open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    full = [os.dup(0)]
    highest = max(int(one.name) for one in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        with suppress(OSError):
            while True:  # until nothing is free below that
                full.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in full:
            os.close(fd)
