from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.stage import Stage


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    made = Stage()
    try:
        yield made
        made.show()
    finally:
        made.close()
