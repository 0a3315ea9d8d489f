from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.certificates import Authority
from tests.kit.stage import Stage


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    made = Stage()
    try:
        yield made
        made.show()
    finally:
        made.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose certificates both sides of the proxy trust."""
    return Authority(tmp_path_factory.mktemp("authority"))
