"""A TCP relay that fails on purpose.

The kit's own tests put it in the proxy's place: each of its faults must be noticed.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from tests.kit.companion import Companion, converse, say
from tests.kit.ports import free_port

Fault = Literal["none", "drop", "double", "flip", "close", "reset", "mute", "refuse"]


class Link(msgspec.Struct):
    """Where to listen and where to forward to."""

    near: str
    far: str


class Done(msgspec.Struct):
    """How many connections are open."""

    open: int


class Relay:
    """The running relay. A context manager."""

    def __init__(self, far: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._companion = Companion("tests.kit.relay", Link(self.address, far))

    def fail(self, fault: Fault) -> None:
        """From now on, or at once, misbehave like this on every connection."""
        self._companion.ask({"do": fault}, within=10)

    def __enter__(self) -> Self:
        self._companion.line(within=20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._companion.stop()


TWISTS: dict[str, Callable[[bytes], bytes]] = {
    "drop": lambda data: data[:-2] + data[-1:],
    "double": lambda data: data[:-1] + data[-2:],
    "flip": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "mute": lambda _: b"",
}


class Process:
    """The relay itself."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.writers: set[asyncio.StreamWriter] = set()
        self.twist: Callable[[bytes], bytes] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.link.far.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        self.writers |= {writer, far_writer}
        await asyncio.gather(self.copy(reader, far_writer, twisted=False), self.copy(far_reader, writer, twisted=True))
        self.writers -= {writer, far_writer}

    async def copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, twisted: bool) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(self.twist(data) if twisted and self.twist else data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async def answer(self, question: dict[str, Any]) -> Done:
        fault: Fault = question["do"]
        self.twist = TWISTS.get(fault)
        for writer in self.writers if fault in {"close", "reset"} else ():
            if fault == "reset":
                connection: socket.socket = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()
        if fault == "refuse":
            self.server.close()
        return Done(len(self.writers))

    async def main(self) -> None:
        host, _, port = self.link.near.rpartition(":")
        self.server = await asyncio.start_server(self.serve, host, int(port), backlog=4096)
        say(Done(0))
        await converse(self.answer)


if __name__ == "__main__":
    asyncio.run(Process(msgspec.json.decode(sys.argv[1], type=Link)).main())
