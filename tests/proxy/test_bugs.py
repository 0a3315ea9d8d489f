"""A bug in a layer: whom it costs what."""

# mypy: disable-error-code="unreachable"
# (mypy believes that `client.ended` cannot change between two asserts on it)

from __future__ import annotations

from typing import TypeVar

import pytest

from proxy import protocols
from proxy.tcp import TcpDownstream, TcpUpstream
from tests.proxy.relays import TWO, both_ways, relay
from tests.proxy.simulation import World

T = TypeVar("T", TcpDownstream, TcpUpstream)


class Armed:
    """Classes of both sides with a bug in one callback, which shows once `now` is set."""

    def __init__(self, callback: str) -> None:
        self.now = False
        upstream = self._with_bug(TcpUpstream, callback) if callback == "connected" else TcpUpstream
        self.downstream: type[TcpDownstream] = type(
            "Downstream",
            (TcpDownstream if callback == "connected" else self._with_bug(TcpDownstream, callback),),
            {"__slots__": (), "_other_side": lambda own: upstream(own.plane)},
        )

    def _with_bug(self, base: type[T], callback: str) -> type[T]:
        def bug(own: T, *given: object) -> object:
            if self.now:
                raise ZeroDivisionError(callback)
            return getattr(base, callback)(own, *given)

        return type("Broken", (base,), {"__slots__": (), callback: bug})


@pytest.mark.parametrize("callback", ["begin", "received", "ended", "connected", "drained", "finished", "due"])
def test_a_bug_costs_the_connection_that_met_it_and_no_other(
    callback: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    armed = Armed(callback)
    monkeypatch.setitem(protocols._classes, "tcp.downstream", armed.downstream)
    world = World(TWO)
    bystander = relay(world)
    victims = relay(world)
    world.expected_bugs = 1
    armed.now = True
    try:
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
    finally:
        armed.now = False
    assert victims[0].reset
    assert "a bug ended a connection" in caplog.text
    assert f"ZeroDivisionError: {callback}" in caplog.text
    assert both_ways(*bystander)
    assert world.proxy.status()["bugs"] == 1
    assert world.proxy.families.bugs.value == 1
