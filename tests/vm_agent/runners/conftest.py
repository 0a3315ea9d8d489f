from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.offspring import Offspring
from tests.vm_agent.runners.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path, Offspring())
    try:
        yield made
        print(made.log.read_text() if made.log.exists() else "")
    finally:
        made.end()
