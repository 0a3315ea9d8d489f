from __future__ import annotations

import pytest

from tests.kit.certificates import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose certificates both sides of the proxy trust."""
    return Authority(tmp_path_factory.mktemp("authority"))
