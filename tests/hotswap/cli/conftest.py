"""Fixtures of the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hotswap.cli.server import FakeServer


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[FakeServer]:
    """The name edge, served."""
    with FakeServer(tmp_path / "run") as server:
        yield server
