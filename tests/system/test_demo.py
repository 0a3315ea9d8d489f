"""The demo does what its last line says, in a process of its own."""

from __future__ import annotations

import pytest

from tests.kit.examples import demonstrate


@pytest.mark.all
def test_the_demo_loses_nothing() -> None:
    told = demonstrate("examples/demo.py", "--upgrades", "1")
    assert "0 failed" in told
    assert "0 closed" in told
    assert told.endswith("Nothing was lost.\n")
