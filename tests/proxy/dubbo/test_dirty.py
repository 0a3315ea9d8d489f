"""Copying in rounds, see `tests.proxy.multiplexed.dirty`: with readonly events, which end connections softly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings

from tests.kit import dubbo
from tests.proxy.dubbo.scene import rpc
from tests.proxy.multiplexed.dirty import Play, check, steps

if TYPE_CHECKING:
    from collections.abc import Callable


class DubboPlay(Play):
    def __init__(self) -> None:
        config = rpc(endpoints=2, shared_connections=2, retries=2, heartbeat_interval=1.0, request_timeout=0.7)
        super().__init__(config)

    def acts(self) -> dict[str, Callable[[int], None]]:
        def readonly(number: int) -> None:
            self.each(self.servers, number, lambda server: server.send(dubbo.READONLY))

        return {**super().acts(), "readonly": readonly}

    def frame(self, kind: str) -> bytes:
        self.number += 1
        if kind == "heartbeat":
            return dubbo.heartbeat(self.number)
        size = 40_000 if self.number % 3 == 0 else 5
        return dubbo.call(-self.number, bytes(size), oneway=kind == "oneway")

    def answers(self, data: bytes) -> list[bytes]:
        frames = dubbo.FrameReader().feed(data)[-2:]
        return [dubbo.answer(one.id, b"back") for one in frames if one.is_call and one.flags & dubbo.TWOWAY]

    def pushed(self, number: int) -> bytes:
        return dubbo.call(7, b"push")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(done=steps("readonly"))
def test_a_copy_of_what_is_dirty_is_a_copy_of_everything(done: list[tuple[str, int, bool]]) -> None:
    check(DubboPlay(), done)
