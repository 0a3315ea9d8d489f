from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.networks import Networks


@pytest.fixture
def networks() -> Iterator[Networks]:
    with Networks() as made:
        yield made
