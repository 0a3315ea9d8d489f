"""What each kind of connection of `tests.kit.load` does, one class a kind."""

from __future__ import annotations

import asyncio
import os
import random
import zlib
from collections import Counter
from functools import cache
from typing import Any, ClassVar

import msgspec

from tests.kit import http, websocket
from tests.kit.frames import Corrupt, FrameReader, FrameWriter
from tests.kit.load import Plan
from tests.kit.tls import HOST, VERSIONS, client_context

LISTEN = 0.05  # seconds of silence that end a connection's life

context = cache(client_context)


class BadStatus(Exception):
    """A response that is not 200."""


class Client:
    """One connection: `connect`, `exchange` until the load finishes, `close`.

    `beats` counts what moved, `gap` is the longest wait seen, `doing` tells what was going on when it failed,
    `called` counts what a bolt client sent, by kind.
    """

    kind: ClassVar[str]
    moving: ClassVar[bool] = True  # beats by itself, again and again

    def __init__(self, plan: Plan, index: int, finishing: asyncio.Event) -> None:
        self.plan = plan
        self.index = index
        self.finishing = finishing
        self.random = random.Random(f"{self.kind} {index}")
        self.started = asyncio.Event()
        self.alive = True
        self.beats = self.exchanges = self.connects = 0
        self.called: Counter[str] = Counter()
        self.gap = 0.0
        self.doing = "connecting"

    @property
    def address(self) -> str:
        return self.plan.http

    async def connect(self) -> None:
        secure: dict[str, Any] = {}
        if self.plan.tls:
            secure = {"ssl": context(self.plan.tls, VERSIONS[self.index % 2]), "server_hostname": HOST}
        if self.address.startswith("unix:"):
            path = self.address.removeprefix("unix:")
            self.reader, self.writer = await asyncio.open_unix_connection(path, **secure)
        else:
            host, _, port = self.address.rpartition(":")
            self.reader, self.writer = await asyncio.open_connection(host.strip("[]"), int(port), **secure)
        self.connects += 1

    async def exchange(self) -> None:
        raise NotImplementedError

    async def prove(self) -> None:
        """Once more at the end: the connection is good for another exchange."""
        await self.get("/bytes?n=100")

    async def listen_once_more(self) -> None:
        """Nothing is left over: no byte that nobody asked for, no end that nobody wanted."""
        self.doing = "leaving"
        try:
            async with asyncio.timeout(LISTEN):
                data = await self.reader.read(1000)
        except TimeoutError:
            return
        if data:
            raise Corrupt(f"nobody asked for {data[:100]!r}")
        raise http.Closed("ended by the other side")

    def close(self) -> None:
        if not self.connects:
            return
        if self.plan.tls:
            self.writer.close()  # says close_notify, without which an end of TLS is an error
        else:
            self.writer.transport.abort()

    def beat(self, waited: float) -> None:
        self.beats += 1
        self.gap = max(self.gap, waited)
        self.started.set()

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the load finishes."""
        if self.finishing.is_set():
            return
        try:
            async with asyncio.timeout(seconds):
                await self.finishing.wait()
        except TimeoutError:
            return

    async def get(self, target: str) -> None:
        """One request whose response carries its CRC."""
        self.doing = target
        loop = asyncio.get_running_loop()
        sent = loop.time()
        self.writer.write(f"GET {target} HTTP/1.1\r\nhost: load.test\r\n\r\n".encode())
        head = await self.response()
        body = await http.read_body(self.reader, head)
        if f"{zlib.crc32(body):08x}" != head.fields.get("x-crc"):
            raise Corrupt(f"CRC of {len(body)} bytes is {zlib.crc32(body):08x}, not {head.fields.get('x-crc')}")
        self.beat(loop.time() - sent)

    async def response(self) -> http.Head:
        head = await http.read_response(self.reader)
        if head.status not in {200, 101}:
            body = await http.read_body(self.reader, head)
            raise BadStatus(f"{head.start} {body[:200]!r}")
        return head


class Busy(Client):
    """Requests all the time, of several shapes."""

    kind = "busy"
    targets = ("/bytes?n=1000", "/bytes?n=100", "/chunked?n=5000", "/bytes?n=20000")

    async def exchange(self) -> None:
        await self.get(self.targets[self.exchanges % len(self.targets)])
        mean = self.plan.busy / self.plan.rate
        await self.pause(mean * self.random.uniform(0.5, 1.5))


class Fresh(Client):
    """Another connection for each request: some handshake is always under way."""

    kind = "fresh"

    async def exchange(self) -> None:
        await self.get("/bytes?n=500")
        self.doing = "leaving"
        self.writer.close()
        await self.pause(self.plan.fresh / self.plan.fresh_rate * self.random.uniform(0.5, 1.5))
        self.doing = "connecting"
        await self.connect()


class Idle(Client):
    """Silence after the first request; anything that comes is wrong."""

    kind = "idle"
    moving = False

    async def exchange(self) -> None:
        if not self.exchanges:
            await self.get("/bytes?n=100")
        self.doing = "being idle"
        silence = asyncio.ensure_future(self.reader.read(1000))
        finishing = asyncio.ensure_future(self.finishing.wait())
        try:
            await asyncio.wait({silence, finishing}, return_when=asyncio.FIRST_COMPLETED)
            if silence.done():
                if data := silence.result():
                    raise Corrupt(f"nobody asked for {data[:100]!r}")
                raise http.Closed("ended while idle")
        finally:
            await _cancelled(silence)
            await _cancelled(finishing)


class Stream(Client):
    """Slow responses of known bytes."""

    kind = "streams"

    async def exchange(self) -> None:
        form = "&chunked=1" if (self.index + self.exchanges) % 2 else ""
        self.doing = f"/stream?seconds={self.plan.stream_seconds}&every=0.1&size={300 + 7 * self.index}{form}"
        self.writer.write(f"GET {self.doing} HTTP/1.1\r\nhost: load.test\r\n\r\n".encode())
        head = await self.response()
        frames, loop = FrameReader(), asyncio.get_running_loop()
        last = loop.time()
        async for piece in http.pieces(self.reader, head):
            for _ in frames.feed(piece):
                self.beat(loop.time() - last)
                last = loop.time()
        if frames.partial or frames.number != round(self.plan.stream_seconds / 0.1):
            raise Corrupt(f"the stream ended after {frames.number} frames and {frames.partial} bytes")


class Upload(Client):
    """Half a body now, the other half later."""

    kind = "uploads"
    moving = False

    async def exchange(self) -> None:
        body = self.random.randbytes(self.plan.upload_bytes)
        half = len(body) // 2
        self.doing = f"upload {self.exchanges}, first half"
        in_chunks = bool((self.index + self.exchanges) % 2)
        framing = "transfer-encoding: chunked" if in_chunks else f"content-length: {len(body)}"
        self.writer.write(f"POST /sink HTTP/1.1\r\nhost: load.test\r\n{framing}\r\n\r\n".encode())
        await self.part(body[:half], in_chunks)
        self.beat(0.0)
        self.doing = f"upload {self.exchanges}, half sent"
        await self.pause(self.plan.upload_pause * self.random.uniform(0.5, 1.5))
        self.doing = f"upload {self.exchanges}, second half"
        await self.part(body[half:], in_chunks)
        if in_chunks:
            self.writer.write(b"0\r\n\r\n")
        head = await self.response()
        seen = msgspec.json.decode(await http.read_body(self.reader, head))
        if seen != {"length": len(body), "crc": zlib.crc32(body)}:
            raise Corrupt(f"the upstream saw {seen} of {len(body)} bytes with CRC {zlib.crc32(body)}")
        self.beat(0.0)

    async def part(self, data: bytes, in_chunks: bool) -> None:
        self.writer.write(http.chunk(data) if in_chunks else data)
        await self.writer.drain()


class WebSocket(Client):
    """A tunnel with echoed messages."""

    kind = "websockets"

    async def connect(self) -> None:
        await super().connect()
        self.doing = "opening handshake"
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        lines = ["GET /chat HTTP/1.1", "host: load.test", "connection: Upgrade", "upgrade: websocket"]
        lines += ["sec-websocket-version: 13", f"sec-websocket-key: {key}", "", ""]
        self.writer.write("\r\n".join(lines).encode())
        head = await self.response()
        if head.status != 101 or head.fields.get("sec-websocket-accept") != websocket.accept_key(key):
            raise BadStatus(f"{head.start} is no opening handshake")
        self.sent, self.echoed, self.messages = FrameWriter(), FrameReader(), websocket.MessageReader()

    async def exchange(self) -> None:
        self.doing = f"message {self.exchanges}"
        message = self.sent.frame(self.random.randbytes(self.random.randrange(10, 2000)))
        loop = asyncio.get_running_loop()
        sent = loop.time()
        self.writer.write(websocket.encode(websocket.BINARY, message, os.urandom(4)))
        answer = await self.message(websocket.BINARY)
        if self.echoed.feed(answer.payload) == []:
            raise Corrupt("half a message was echoed")
        self.beat(loop.time() - sent)
        await self.pause(self.random.uniform(0.05, 0.2))

    async def message(self, opcode: int) -> websocket.Message:
        while True:
            data = await self.reader.read(http.PIECE)
            if not data:
                raise http.Closed("a tunnel ended")
            messages = self.messages.feed(data)
            if messages:
                if len(messages) > 1 or messages[0].opcode != opcode:
                    raise Corrupt(f"one message with opcode {opcode} expected, {messages!r:.200} came")
                return messages[0]

    async def prove(self) -> None:
        await self.exchange()
        self.doing = "closing handshake"
        self.writer.write(websocket.encode(websocket.CLOSE, b"\x03\xe8", os.urandom(4)))
        await self.message(websocket.CLOSE)


class Raw(Client):
    """TCP with frames both ways; several are under way at a time."""

    kind = "raw"

    @property
    def address(self) -> str:
        return self.plan.tcp

    async def connect(self) -> None:
        await super().connect()
        self.sent, self.echoed = FrameWriter(), FrameReader()

    async def exchange(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        count = self.random.randrange(1, 4)
        target = self.echoed.number + count
        for _ in range(count):
            self.writer.write(self.sent.frame(self.random.randbytes(self.random.randrange(1, 3000))))
        while self.echoed.number < target:
            self.doing = f"frame {self.echoed.number}"
            data = await self.reader.read(http.PIECE)
            if not data:
                raise http.Closed(f"ended {target - self.echoed.number} frames before the end")
            self.echoed.feed(data)
        if self.echoed.partial:
            raise Corrupt(f"{self.echoed.partial} bytes more than were sent")
        self.beat(loop.time() - began)
        await self.pause(2 * self.plan.raw / self.plan.raw_rate * self.random.uniform(0.5, 1.5))

    async def prove(self) -> None:
        await self.exchange()


async def _cancelled(task: asyncio.Future[Any]) -> None:
    """Cancel it and wait until it is gone; its result, if it had one already, is dropped."""
    task.cancel()
    await asyncio.wait({task})


ALL: tuple[type[Client], ...] = (Busy, Idle, Stream, Upload, WebSocket, Raw, Fresh)
