"""The Dubbo connections of `tests.kit.load`: as those of bolt, with ids that begin below zero."""

from __future__ import annotations

from typing import Any

from tests.kit import dubbo
from tests.kit.bolt_client import Bolt

INTERFACES = ("kit.Echo", "kit.other.Echo")
GROUPS = ("blue", "green")


class Dubbo(Bolt):
    """`dubbo_calls` calls under way at a time; each content must come back to the call that sent it."""

    kind = "dubbo"

    @property
    def address(self) -> str:
        return self.plan.dubbo_address

    async def connect(self) -> None:
        await super().connect()
        self.reading = dubbo.FrameReader()
        self.last_id = self.random.randrange(-100, 0)  # many clients have the same ids, and some of them are 0

    def write_call(self, number: int, content: bytes, *, oneway: bool = False) -> None:
        attached: dict[str, Any] = {"trace": f"{self.index}-{number}", "group": GROUPS[number % 2]}
        interface = INTERFACES[number // 2 % 2]
        self.writer.write(dubbo.call(number, content, interface=interface, oneway=oneway, attached=attached))
        self.called["oneway" if oneway else "call"] += 1

    def heartbeat(self, number: int) -> bytes:
        return dubbo.heartbeat(number)

    def fresh(self) -> int:
        self.last_id += 1
        return self.last_id

    def arrived(self, data: bytes) -> None:
        for frame in self.reading.feed(data):
            if frame.is_call:
                self.writer.write(dubbo.answer(frame.id, frame.content))
                continue
            error = 0 if frame.status == dubbo.OK else frame.status
            self.answered(frame.id, error, None if frame.flags & dubbo.EVENT else frame.content)
