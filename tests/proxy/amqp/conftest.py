"""Worlds that both kinds of run share."""

from __future__ import annotations

import pytest

from tests.proxy.amqp.scene import Pair, relayed
from tests.proxy.simulation import World


@pytest.fixture
def world(moving: bool) -> World:
    return World(relayed(), moving=moving)


@pytest.fixture
def pair(world: World) -> Pair:
    pair = Pair(world)
    pair.open(1)
    return pair
