from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.kit.certificates import Authority
from tests.proxy.tls.scene import Scene

if TYPE_CHECKING:
    from tests.proxy.tls.scene import Build


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["1.2", "1.3"])
def version(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def scene(authority: Authority, version: str, moving: bool) -> Build:
    def build(**settings: Any) -> Scene:
        return Scene(authority, version, moving=moving, **settings)

    return build
