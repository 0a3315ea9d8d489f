from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.offspring import Offspring
from tests.vm_agent.releases import making
from vm_agent.releases.store import Releases


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    return made


@pytest.fixture
def store(source: Path, tmp_path: Path) -> Releases:
    return making.store(source, tmp_path / "state")


@pytest.fixture
def offspring() -> Iterator[Offspring]:
    made = Offspring()
    try:
        yield made
    finally:
        made.end()
