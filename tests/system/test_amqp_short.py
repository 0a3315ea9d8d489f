"""aio-pika at a small broker of the tests, through upgrades: what `test_amqp` shows at length with a real one."""

from __future__ import annotations

import pytest

from tests.kit.amqp_peers import aio_pika, finish
from tests.kit.amqp_server import Server
from tests.kit.ports import loopback
from tests.kit.stage import Stage
from tests.kit.waiting import eventually


@pytest.mark.parametrize("handover", ["value", pytest.param("quiet", marks=pytest.mark.all)])
def test_messages_through_upgrades(stage: Stage, handover: str) -> None:
    address = loopback()
    listener = {"name": "mq", "address": address, "protocol": "amqp", "cluster": "broker", "handover": handover}
    with Server() as server:
        instance = stage.instance(
            {
                "name": "edge",
                "listeners": [listener],
                "clusters": [{"name": "broker", "endpoints": [server.address]}],
            }
        )
        instance.start()
        with aio_pika(address, 500) as client:
            for _ in range(2):
                before = sum(instance.figures("hotswap_amqp_delivered_total").values())
                eventually(
                    lambda before=before: sum(instance.figures("hotswap_amqp_delivered_total").values()) > before + 20,  # type: ignore[misc]
                    within=30,
                    what="messages flow",
                )
                done = instance.upgrade("--require-all")
                assert done.exit_code == 0, done.text
            report = finish(client)
    assert server.broken is None
    assert report.failures == []
    assert report.published >= 500
    assert (report.lost, report.doubled, report.redelivered) == (0, 0, 0)
