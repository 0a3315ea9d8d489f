"""A bug in a layer: whom it costs what."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `client.ended` cannot change between two asserts on it)

from __future__ import annotations

import pytest

from proxy.tcp import TcpDownstream, TcpUpstream
from tests.proxy.relays import TWO, both_ways, relay
from tests.proxy.simulation import World


@pytest.mark.parametrize("callback", ["begin", "received", "ended", "connected", "drained", "finished", "due"])
def test_a_bug_costs_the_connection_that_met_it_and_no_other(
    callback: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(TWO)
    bystander = relay(world)
    victims = relay(world)

    def bug(*_: object) -> None:
        raise ZeroDivisionError(callback)

    world.expected_bugs = 1
    with monkeypatch.context() as patch:
        patch.setattr(TcpUpstream if callback == "connected" else TcpDownstream, callback, bug)
        if callback in ("begin", "connected"):
            victims = (world.connect("db"), victims[1])
            if callback == "connected":
                world.dialled().accept()
        elif callback == "received":
            victims[0].send(b"x")
        elif callback == "ended":
            victims[0].fin()
        elif callback == "drained":
            victims[0].accept_bytes(0)
            victims[1].send(b"x" * 100_000)
            world.expected_bugs = 1
            victims[0].accept_bytes(None)
        elif callback == "finished":
            victims[1].fin()
        else:
            world.expected_bugs = 2
            world.time += 60
            world.proxy.reactor.tick()
            assert not world.proxy.values(), "both had a deadline to be looked at"
            return
    assert victims[0].reset
    assert "a bug ended a connection" in caplog.text
    assert f"ZeroDivisionError: {callback}" in caplog.text
    assert both_ways(*bystander)
    assert world.proxy.status()["bugs"] == 1
    assert world.proxy.families.bugs.value == 1
