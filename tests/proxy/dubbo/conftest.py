"""Worlds that both kinds of run share."""

from __future__ import annotations

import pytest

from tests.proxy.dubbo.scene import rpc
from tests.proxy.simulation import World


@pytest.fixture
def world(moving: bool) -> World:
    return World(rpc(), moving=moving)
