"""Copying in rounds, see `tests.proxy.multiplexed.dirty`: with both versions in turns."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from tests.kit import bolt
from tests.proxy.bolt.scene import V1, V2_CRC, rpc
from tests.proxy.multiplexed.dirty import Play, check, steps

DIALECTS = (V1, V2_CRC)


class BoltPlay(Play):
    def __init__(self) -> None:
        super().__init__(rpc(endpoints=2, shared_connections=2, retries=2, heartbeat_interval=1.0))

    def frame(self, kind: str) -> bytes:
        self.number += 1
        dialect = DIALECTS[self.number % 2]
        if kind == "heartbeat":
            return bolt.heartbeat(dialect, self.number)
        size = 40_000 if self.number % 3 == 0 else 5
        return bolt.call(dialect, self.number, bytes(size), timeout=self.number % 4 * 700, oneway=kind == "oneway")

    def answers(self, data: bytes) -> list[bytes]:
        frames = bolt.FrameReader().feed(data)[-2:]
        calls = [frame for frame in frames if frame.type == bolt.REQUEST and frame.command == bolt.CALL]
        return [bolt.answer(frame.dialect, frame.id, frame.content) for frame in calls]

    def pushed(self, number: int) -> bytes:
        return bolt.call(DIALECTS[number % 2], 7, b"push", timeout=500)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(done=steps())
def test_a_copy_of_what_is_dirty_is_a_copy_of_everything(done: list[tuple[str, int, bool]]) -> None:
    check(BoltPlay(), done)
