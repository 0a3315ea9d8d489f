"""The process behind `tests.kit.upstreams`; that module says what it answers."""

from __future__ import annotations

import asyncio
import socket
import sys
import zlib
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec

from tests.kit import http, websocket
from tests.kit.bolt_upstream import BoltServer
from tests.kit.companion import converse, say
from tests.kit.dubbo_upstream import DubboServer
from tests.kit.frames import HEADER, Corrupt, FrameReader, FrameWriter
from tests.kit.tls import server_context
from tests.kit.upstreams import Ended, Kind, Listening, Place, Record, Spec

BACKLOG = 4096


class Tokens:
    """Held requests: who waits is known, and released by name."""

    def __init__(self) -> None:
        self._released: dict[str, asyncio.Event] = {}
        self.arrived = asyncio.Condition()
        self.held: list[str] = []

    async def hold(self, token: str) -> None:
        async with self.arrived:
            self.held.append(token)
            self.arrived.notify_all()
        await self._event(token).wait()
        self.held.remove(token)

    def release(self, token: str) -> None:
        self._event(token).set()

    def _event(self, token: str) -> asyncio.Event:
        return self._released.setdefault(token, asyncio.Event())


class Peer:
    """One connection from the proxy."""

    __slots__ = ("busy", "kind", "reader", "upstream", "writer")

    def __init__(
        self, upstream: Upstream, kind: Kind, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.upstream = upstream
        self.kind = kind
        self.reader = reader
        self.writer = writer
        self.busy = ""

    async def serve(self) -> None:
        record = self.upstream.record
        record.accepted += 1
        if secure := self.writer.get_extra_info("ssl_object"):
            record.versions[secure.version()] = record.versions.get(secure.version(), 0) + 1
        try:
            kinds = {"http": self.requests, "tcp": self.frames, "raw": self.echo}
            await kinds.get(self.kind, self.calls)()
        except (http.Closed, ConnectionError) as error:
            self.busy = self.busy or repr(error)
        except (Corrupt, LookupError, ValueError) as error:
            record.wrong.append(f"{self.kind} {self.busy}: {error!r}")
        finally:
            record.ended.append(Ended(self.kind, self.busy))
            self.writer.close()

    async def echo(self) -> None:
        while data := await self.reader.read(http.PIECE):
            self.writer.write(data)
            await self.writer.drain()

    async def calls(self) -> None:
        kind = DubboServer if self.kind == "dubbo" else BoltServer
        server = kind(self.upstream.record, self.reader, self.writer)
        try:
            await server.serve()
        finally:
            self.busy = server.busy

    async def frames(self) -> None:
        frames, answers = FrameReader(), FrameWriter()
        while data := await self.reader.read(http.PIECE):
            for payload in frames.feed(data):
                self.writer.write(answers.frame(payload))
            await self.writer.drain()
        if frames.partial:
            self.busy = f"{frames.partial} bytes of a frame"

    async def requests(self) -> None:
        while (head := await http.read_head(self.reader)) is not None:
            self.busy = head.start
            url = urlsplit(head.target)
            count = self.upstream.record.requests
            count[url.path] = count.get(url.path, 0) + 1
            if head.fields.get("expect") == "100-continue":
                self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request = Request(head, url.path, {name: values[-1] for name, values in parse_qs(url.query).items()})
            await ANSWERS.get(request.path, missing)(self, request)
            await self.writer.drain()
            if request.path == "/chat":  # was a tunnel; `busy` tells how it ended
                return
            self.busy = ""

    async def body(self, head: http.Head) -> bytes:
        return await http.read_body(self.reader, head)

    def answer(self, body: bytes, *fields: str) -> None:
        self.head(f"content-length: {len(body)}", *fields)
        self.writer.write(body)

    def head(self, *fields: str, status: str = "200 OK") -> None:
        self.writer.write("\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode())


class Request(NamedTuple):
    """A request without its body."""

    head: http.Head
    path: str
    query: dict[str, str]

    def number(self, name: str, otherwise: float) -> float:
        return float(self.query.get(name, otherwise))


def content(length: int) -> bytes:
    """Bytes that are not all alike."""
    return (bytes(range(256)) * (length // 256 + 1))[:length]


async def answer_echo(peer: Peer, request: Request) -> None:
    body = await peer.body(request.head)
    peer.answer(body, f"x-crc: {zlib.crc32(body):08x}")


async def answer_bytes(peer: Peer, request: Request) -> None:
    await peer.body(request.head)
    body = content(int(request.number("n", 1024)))
    peer.answer(body, f"x-crc: {zlib.crc32(body):08x}")


async def chunked(peer: Peer, request: Request) -> None:
    await peer.body(request.head)
    body = content(int(request.number("n", 10000)))
    peer.head("transfer-encoding: chunked", "trailer: x-crc")
    for start in range(0, len(body), 1000):
        peer.writer.write(http.chunk(body[start : start + 1000]))
        await peer.writer.drain()
    peer.writer.write(b"0\r\nx-crc: %08x\r\n\r\n" % zlib.crc32(body))


async def stream(peer: Peer, request: Request) -> None:
    await peer.body(request.head)
    every = request.number("every", 0.1)
    size = int(request.number("size", 512))
    count = max(1, round(request.number("seconds", 10) / every))
    in_chunks = "chunked" in request.query
    peer.head("transfer-encoding: chunked" if in_chunks else f"content-length: {count * (HEADER.size + size)}")
    frames, payload, loop = FrameWriter(), content(size), asyncio.get_running_loop()
    due = loop.time()
    for _ in range(count):
        due += every
        frame = frames.frame(payload)
        peer.writer.write(http.chunk(frame) if in_chunks else frame)
        await peer.writer.drain()
        await asyncio.sleep(due - loop.time())
    if in_chunks:
        peer.writer.write(b"0\r\n\r\n")


async def sink(peer: Peer, request: Request) -> None:
    length = crc = 0
    async for piece in http.pieces(peer.reader, request.head):
        length += len(piece)
        crc = zlib.crc32(piece, crc)
    peer.answer(msgspec.json.encode({"length": length, "crc": crc}), "content-type: application/json")


async def early(peer: Peer, request: Request) -> None:
    await peer.body(request.head)
    peer.head("link: </style.css>; rel=preload", status="103 Early Hints")
    await peer.writer.drain()
    peer.answer(b"late")


async def hold(peer: Peer, request: Request) -> None:
    body = await peer.body(request.head)
    await peer.upstream.tokens.hold(request.query["token"])
    peer.answer(body, f"x-crc: {zlib.crc32(body):08x}")


async def half(peer: Peer, request: Request) -> None:
    await peer.body(request.head)
    count, size = int(request.number("n", 64)), 1000
    peer.head(f"content-length: {count * (HEADER.size + size)}")
    frames, payload = FrameWriter(), content(size)
    sent = b"".join(frames.frame(payload) for _ in range(count))
    middle = len(sent) // 2 + 1  # inside a frame
    peer.writer.write(sent[:middle])
    await peer.writer.drain()
    await peer.upstream.tokens.hold(request.query["token"])
    peer.writer.write(sent[middle:])


async def headers(peer: Peer, request: Request) -> None:
    await peer.body(request.head)
    peer.answer(msgspec.json.encode(request.head.fields))


async def chat(peer: Peer, request: Request) -> None:
    key = websocket.accept_key(request.head.fields["sec-websocket-key"])
    peer.head(
        "upgrade: websocket", "connection: Upgrade", f"sec-websocket-accept: {key}", status="101 Switching Protocols"
    )
    messages = websocket.MessageReader()
    while data := await peer.reader.read(http.PIECE):
        for message in messages.feed(data):
            opcode = websocket.PONG if message.opcode == websocket.PING else message.opcode
            if opcode == websocket.CLOSE:
                peer.busy = ""  # an agreed end: the client closes the connection now
            peer.writer.write(websocket.encode(opcode, message.payload))
        await peer.writer.drain()


async def missing(peer: Peer, request: Request) -> None:
    await peer.body(request.head)
    peer.head("content-length: 0", status="404 Not Found")


ANSWERS = {
    "/echo": answer_echo,
    "/bytes": answer_bytes,
    "/chunked": chunked,
    "/stream": stream,
    "/sink": sink,
    "/early": early,
    "/hold": hold,
    "/half": half,
    "/headers": headers,
    "/chat": chat,
}


class Upstream:
    """All listeners, one record."""

    def __init__(self) -> None:
        self.record = Record()
        self.tokens = Tokens()

    async def listen(self, place: Place) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await Peer(self, place.kind, reader, writer).serve()

        secure = server_context(place.tls.cert, place.tls.key, place.tls.version) if place.tls else None
        if place.address.startswith("unix:"):
            path = place.address.removeprefix("unix:")
            await asyncio.start_unix_server(serve, path, backlog=BACKLOG, ssl=secure)
            return place.address
        host, _, port = place.address.rpartition(":")
        server = await asyncio.start_server(serve, host.strip("[]"), int(port), backlog=BACKLOG, ssl=secure)
        bound: socket.socket = server.sockets[0]
        return f"{host}:{bound.getsockname()[1]}"

    async def answer(self, question: dict[str, Any]) -> Record:
        if question["do"] == "release":
            self.tokens.release(question["token"])
        elif question["do"] == "held":
            await self.await_held(question["token"], question["within"])
        self.record.held = self.tokens.held
        return self.record

    async def await_held(self, token: str, within: float) -> None:
        try:
            async with asyncio.timeout(within), self.tokens.arrived:
                await self.tokens.arrived.wait_for(lambda: token in self.tokens.held)
        except TimeoutError:
            return  # the record will show that nothing is held


async def main() -> None:
    upstream = Upstream()
    places = msgspec.json.decode(sys.argv[1], type=Spec).places
    say(Listening([await upstream.listen(place) for place in places]))
    await converse(upstream.answer)


if __name__ == "__main__":
    asyncio.run(main())
