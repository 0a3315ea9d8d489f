from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.kit.certificates import Authority
from tests.proxy.encryption.scene import Changing

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def changing(authority: Authority, moving: bool) -> Callable[..., Changing]:
    """Makes a scene, `moving` as the playbooks are."""

    def build(**settings: Any) -> Changing:
        return Changing(authority, moving=moving, **settings)

    return build
