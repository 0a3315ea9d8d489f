from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hotswap.echo import Echo
from tests.kit.offspring import Offspring


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Echo]:
    made = Echo(tmp_path, Offspring())
    try:
        yield made
        print(made.log_text())
    finally:
        made.close()
