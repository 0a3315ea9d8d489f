"""Fixtures of the agent's tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm_agent.agent import FakeAgent


@pytest.fixture
def directory() -> Iterator[Path]:
    """One whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="hs", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture
def agent(directory: Path) -> Iterator[FakeAgent]:
    """One that looks after edge."""
    with FakeAgent(directory) as made:
        yield made
