"""A real `HttpServer` on a real socket, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from hotswap.control import HttpServer, Route

T = TypeVar("T")

PATIENCE = 10.0


def unix_listener(path: Path) -> socket.socket:
    """A listening unix socket."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1024)
    return listener


def tcp_listener() -> socket.socket:
    """A listening TCP socket on a free port of the loopback."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    return listener


class Serving:
    """Serves `routes` on `listener` while the with block runs. The listener is closed at its end."""

    def __init__(self, listener: socket.socket, routes: Mapping[tuple[str, str], Route], **options: Any) -> None:
        self.listener = listener
        self.server = HttpServer(routes, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def call(self, function: Callable[[], T]) -> T:
        """Run a function in the loop's thread."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE)

    def finish(self, seconds: float) -> None:
        """`HttpServer.finish`, awaited."""
        asyncio.run_coroutine_threadsafe(self.server.finish(seconds), self._loop).result(PATIENCE)

    def __enter__(self) -> Self:
        self._thread.start()
        self.call(lambda: self.server.start(self.listener.fileno()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call(self.server.stop)
        self.finish(0.1)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()
        self.listener.close()


def exchange(sock: socket.socket, request: bytes) -> bytes:
    """Send a request and read until the server is done."""
    sock.settimeout(PATIENCE)
    sock.sendall(request)
    return received(sock)


def received(sock: socket.socket) -> bytes:
    """Everything until the end of the stream; a reset counts as the end."""
    sock.settimeout(PATIENCE)
    pieces = []
    try:
        while piece := sock.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def connected(listener: socket.socket) -> socket.socket:
    """A new connection to a listener."""
    sock = socket.socket(listener.family, socket.SOCK_STREAM)
    sock.connect(listener.getsockname())  # blocking: with a timeout, a full queue of a unix listener is an error
    sock.settimeout(PATIENCE)
    return sock
