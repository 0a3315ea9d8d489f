"""Worlds that both kinds of run share."""

from __future__ import annotations

from pathlib import Path

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


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("guest\n")
    return path
