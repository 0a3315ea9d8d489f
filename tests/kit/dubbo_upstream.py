"""A Dubbo server like the bolt one: what a call wishes is what `tests.kit.bolt_upstream.Wish` says.

Only ids differ in kind: its own begin below zero, so that they are those of calls as well.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.kit import dubbo, http
from tests.kit.bolt_upstream import PATIENCE, WISH

if TYPE_CHECKING:
    from tests.kit.upstreams import Record


class DubboServer:
    """One connection."""

    def __init__(self, record: Record, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.record = record
        self.reader = reader
        self.writer = writer
        self.under_way = 0
        self.last_id = -3
        self.pushed: dict[int, tuple[bytes, asyncio.TimerHandle]] = {}

    async def serve(self) -> None:
        """Until the other side ends."""
        frames = dubbo.FrameReader()
        while data := await self.reader.read(http.PIECE):
            for frame in frames.feed(data):
                self.take(frame)
            await self.writer.drain()

    @property
    def busy(self) -> str:
        """What is under way."""
        return f"{self.under_way} calls" if self.under_way else ""

    def take(self, frame: dubbo.Frame) -> None:
        if frame.flags & dubbo.EVENT:
            self.count("heartbeat")
            if frame.flags & dubbo.TWOWAY:
                self.writer.write(dubbo.heartbeat_answer(frame.id))
        elif not frame.flags & dubbo.REQUEST:
            self.answered(frame)
        elif frame.flags & dubbo.TWOWAY:
            self.count("dubbo")
            self.called(frame)
        else:
            self.count("oneway")

    def count(self, what: str) -> None:
        self.record.requests[what] = self.record.requests.get(what, 0) + 1

    def called(self, frame: dubbo.Frame) -> None:
        delay, push = WISH.unpack_from(frame.content)
        if push:
            self.push(frame.content)
        self.under_way += 1
        if delay:
            asyncio.get_running_loop().call_later(delay / 1000, self.answer, frame)
        else:
            self.answer(frame)

    def answer(self, frame: dubbo.Frame) -> None:
        self.under_way -= 1
        if not self.writer.is_closing():
            self.writer.write(dubbo.answer(frame.id, frame.content))

    def push(self, content: bytes) -> None:
        """Call the client."""
        self.last_id += 1
        late = asyncio.get_running_loop().call_later(PATIENCE, self.unanswered, self.last_id)
        self.pushed[self.last_id] = (content, late)
        self.writer.write(dubbo.call(self.last_id, content))

    def answered(self, frame: dubbo.Frame) -> None:
        content, late = self.pushed.pop(frame.id, (None, None))
        if late is not None:
            late.cancel()
        if frame.status != dubbo.OK or content != frame.content:
            self.record.wrong.append(f"request {frame.id} to a client was answered by status {frame.status}")
        self.count("push")

    def unanswered(self, number: int) -> None:
        self.record.wrong.append(f"request {number} to a client was not answered")
