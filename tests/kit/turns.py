"""Whether this kernel gives threads turns of their own length (`hotswap.turns`): asked of it, not of a proxy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from hotswap import turns


def need_turns() -> None:
    """Skip the test if it does not. Another thread tries it, for what it takes stays with it."""
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(lambda: turns.take(turns.SHORT) and turns.turn()).result()
    if taken != turns.SHORT:
        pytest.skip("this kernel gives nobody turns of his own; Linux 6.12 does")
