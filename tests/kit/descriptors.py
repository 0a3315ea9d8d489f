"""How many descriptors this process has open, for tests that promise to lose none."""

from __future__ import annotations

import gc
from pathlib import Path


def descriptors() -> int:
    """How many, once all that nobody refers to any more is gone.

    What a test before left in a cycle is closed by the collector at a moment of its own choice, which would be seen
    as a descriptor closed by the code under test.
    """
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
