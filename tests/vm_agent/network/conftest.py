from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.networks import Networks
from tests.kit.stage import Stage


@pytest.fixture
def networks() -> Iterator[Networks]:
    with Networks() as made:
        yield made


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    try:
        yield made
        made.show()
    finally:
        made.close()
