"""Shares of connections: reached with as many as there were, and then there is rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kit import bolt
from tests.proxy.encryption.scene import STEP, V1

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.proxy.encryption.scene import Changing

    Build = Callable[..., Changing]

V2 = bolt.DIALECTS[1]
STEPS = 10
PATIENT = ", heartbeat_interval: 1h"


def dials_until_rest(scene: Changing) -> int:
    """Let everything happen that will; how many successors were dialled."""
    dials = 0
    for _ in range(STEPS):
        while scene.world.dials:
            scene.accepted().beat()
            dials += 1
        scene.world.wait(STEP)
    return dials


def in_use(scene: Changing, *dialects: bolt.Dialect, most: int) -> int:
    """All shared connections of these versions are there; how many."""
    clients = [scene.world.connect("rpc") for _ in dialects]
    for number in range(1, 4 * most):
        for client, dialect in zip(clients, dialects, strict=True):
            client.send(bolt.call(dialect, number, b"first"))
            while scene.world.dials:
                scene.accepted()
    return sum(scene.counts)


@pytest.mark.parametrize("shared", [1, 4])
@pytest.mark.parametrize("first", ["off", "on"])
def test_any_share_of_bolt_is_reached_one_for_one(changing: Build, shared: int, first: str) -> None:
    scene = changing(shared=shared, encryption=first, cluster=PATIENT)
    before = in_use(scene, V1, most=shared)
    assert before == shared
    for percent in (1, 34, 75, 100, 50, 0):
        secure = scene.counts[1]
        scene.order("on", percent)
        wanted = -(-before * percent // 100)
        assert dials_until_rest(scene) == abs(wanted - secure), percent
        assert scene.counts == (before - wanted, wanted)
        assert scene.about["settled"]


def test_versions_share_the_share(changing: Build) -> None:
    scene = changing(shared=2, cluster=PATIENT)
    before = in_use(scene, V1, V2, most=2)
    for percent in (25, 75, 100, 60, 1):
        scene.order("on", percent)
        assert dials_until_rest(scene) <= before
        assert sum(scene.counts) == before
        assert scene.counts[1] == -(-before * percent // 100)
        assert scene.about["settled"]


@pytest.mark.parametrize("percent", [25, 75])
def test_endpoints_share_the_share(changing: Build, percent: int) -> None:
    scene = changing(shared=2, cluster=PATIENT, endpoints="127.0.0.1:9000, 127.0.0.1:9001, 127.0.0.1:9002")
    before = in_use(scene, V1, most=6)
    for share in (percent, 100, percent, 0):
        scene.order("on", share)
        assert dials_until_rest(scene) <= before
        assert sum(scene.counts) == before
        assert scene.counts[1] == -(-before * share // 100)
        assert scene.about["settled"]


@pytest.mark.parametrize("most_idle", [1, 8])
@pytest.mark.parametrize("number", [1, 5])
@pytest.mark.parametrize("percent", [1, 50, 99])
def test_any_share_of_http1_comes_to_rest(changing: Build, most_idle: int, number: int, percent: int) -> None:
    scene = changing(cluster=f", max_idle: {most_idle}, keepalive_timeout: 1000s")
    scene.crowd(number)
    scene.order("on", percent)
    dials = 0
    for _ in range(STEPS):
        while scene.world.dials:
            scene.accepted()
            dials += 1
        scene.world.wait(STEP)
    assert dials <= number + 1
    assert scene.about["settled"]
    assert 0 < sum(scene.counts) <= max(most_idle, number)
    assert scene.world.proxy.clusters["app"].endpoints[0].in_flight == 0
