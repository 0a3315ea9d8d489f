"""A bolt server that sends every content back, late and out of order if it is wished, and calls its clients.

    content   delay u32, milliseconds | push u8 | anything         what a call wishes, and what comes back

With `push` the server sends a request of its own first, and takes its answer as part of the promise.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, NamedTuple

from tests.kit import bolt, http

if TYPE_CHECKING:
    from tests.kit.upstreams import Record

WISH = struct.Struct("!I?")
PATIENCE = 20.0


class Wish(NamedTuple):
    """What a call wishes."""

    delay: int = 0
    push: bool = False

    def content(self, payload: bytes) -> bytes:
        """The content of such a call."""
        return WISH.pack(*self) + payload


class BoltServer:
    """One connection."""

    def __init__(self, record: Record, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.record = record
        self.reader = reader
        self.writer = writer
        self.under_way = 0
        self.pushed: dict[int, tuple[bytes, asyncio.TimerHandle]] = {}
        self.versions: set[int] = set()

    async def serve(self) -> None:
        """Until the other side ends."""
        frames = bolt.FrameReader()
        while data := await self.reader.read(http.PIECE):
            for frame in frames.feed(data):
                self.take(frame)
            await self.writer.drain()

    @property
    def busy(self) -> str:
        """What is under way."""
        return f"{self.under_way} calls" if self.under_way else ""

    def take(self, frame: bolt.Frame) -> None:
        count = self.record.requests
        self.versions.add(frame.dialect.version)
        if len(self.versions) > 1:
            self.record.wrong.append("both versions on one connection")
        if frame.type and frame.command == bolt.HEARTBEAT:
            count["heartbeat"] = count.get("heartbeat", 0) + 1
            self.writer.write(bolt.heartbeat_answer(frame.dialect, frame.id))
        elif frame.type == bolt.RESPONSE:
            self.answered(frame)
        elif frame.type == bolt.ONEWAY:
            count["oneway"] = count.get("oneway", 0) + 1
        else:
            count["bolt"] = count.get("bolt", 0) + 1
            self.called(frame)

    def called(self, frame: bolt.Frame) -> None:
        delay, push = WISH.unpack_from(frame.content)
        if push:
            self.push(frame)
        self.under_way += 1
        if delay:
            asyncio.get_running_loop().call_later(delay / 1000, self.answer, frame)
        else:
            self.answer(frame)

    def answer(self, frame: bolt.Frame) -> None:
        self.under_way -= 1
        if not self.writer.is_closing():
            self.writer.write(bolt.answer(frame.dialect, frame.id, frame.content))

    def push(self, frame: bolt.Frame) -> None:
        """Call the client, with an id that it may use as well."""
        late = asyncio.get_running_loop().call_later(PATIENCE, self.unanswered, frame.id)
        self.pushed[frame.id] = (frame.content, late)
        self.writer.write(bolt.call(frame.dialect, frame.id, frame.content))

    def answered(self, frame: bolt.Frame) -> None:
        content, late = self.pushed.pop(frame.id, (None, None))
        if late is not None:
            late.cancel()
        if frame.timeout or content != frame.content:
            self.record.wrong.append(f"request {frame.id} to a client was answered by status {frame.timeout}")
        self.record.requests["push"] = self.record.requests.get("push", 0) + 1

    def unanswered(self, number: int) -> None:
        self.record.wrong.append(f"request {number} to a client was not answered")
