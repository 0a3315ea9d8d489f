"""A relay of two sessions, for peers that nobody here wrote: no proxy, only what its HTTP/2 is made of.

Everything of a client's connection is passed to a connection of its own, stream by stream, with back-pressure. After
every read both sessions may move.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

import msgspec

from proxy.http2.budget import Limits
from proxy.http2.errors import NO_ERROR, REFUSED_STREAM
from proxy.http2.owner import Owner
from proxy.http2.session import Session, SessionState
from proxy.http2.settings import Settings
from tests.kit.ports import free_port

if TYPE_CHECKING:
    from types import TracebackType

    from proxy.http2.heads import Head
    from proxy.http2.hpack import Field

TURN = 0.1  # seconds between two looks at whether it is to end


class Side(Owner):
    """One connection, and the owner of its session."""

    def __init__(self, sock: socket.socket, *, server: bool) -> None:
        self.sock = sock
        self.session = Session(self, Settings(connect=True), Limits(), server=server)
        self.session.begin()
        self.out = b""
        self.other: Side
        self.names: dict[int, int] = {}
        """The stream over there, by that here."""
        self.held: dict[int, int] = {}
        """Bytes that are not consumed yet."""
        self.broke: list[str] = []

    def move(self, now: float) -> None:
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(self.session.save(now)), type=SessionState)
        self.session = Session.load(state, self, self.session.limits, now)

    def headers(self, stream_id: int, head: Head, end: bool) -> None:
        fields = head.fields
        if self.session.server:
            there = self.other.session.open()
            if not there:
                self.session.reset(stream_id, REFUSED_STREAM)
                return
            self.names[stream_id] = there
            self.other.names[there] = stream_id
        self.other.session.send_headers(self.names[stream_id], fields, end)

    def body(self, stream_id: int, piece: bytes, end: bool) -> None:
        if self.other.session.send_body(self.names[stream_id], piece, end):
            self.session.consumed(stream_id, len(piece))
        else:
            self.held[stream_id] = self.held.get(stream_id, 0) + len(piece)

    def trailers(self, stream_id: int, fields: list[Field]) -> None:
        self.other.session.send_trailers(self.names[stream_id], fields)

    def writable(self, stream_id: int) -> None:
        name = self.names[stream_id]
        self.other.session.consumed(name, self.other.held.pop(name, 0))

    def reset(self, stream_id: int, code: int) -> None:
        self.other.session.reset(self.names[stream_id], code)

    def refused(self, stream_id: int, status: int) -> None:
        self.broke.append(f"{stream_id} was refused with {status}")

    def settled(self) -> None:
        """Of no interest here."""

    pong = settled

    def goaway(self, last: int, code: int) -> None:
        if code != NO_ERROR:
            self.broke.append(f"GOAWAY of {last} with {code}")

    def broken(self, code: int, reason: str) -> None:
        self.broke.append(f"broken: {code} {reason}")

    def flush(self) -> None:
        self.out += self.session.take()
        while self.out:
            try:
                self.out = self.out[self.sock.send(self.out) :]
            except BlockingIOError:
                return


class Relay:
    """Listens on loopback. A context manager; `broke` tells what was wrong with any connection."""

    def __init__(self, upstream: int, *, moves: bool) -> None:
        self.port = free_port()
        self.moves = moves
        self.broke: list[str] = []
        self.reads = 0
        self._upstream = upstream
        self._ends = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.settimeout(TURN)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        while self._threads:
            self._threads.pop().join()
        self._listener.close()

    @property
    def ended(self) -> bool:
        """No connection is left."""
        return not any(thread.is_alive() for thread in self._threads[1:])

    def _start(self, what: object, *arguments: object) -> None:
        assert callable(what)
        thread = threading.Thread(target=what, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ends.is_set():
            with contextlib.suppress(TimeoutError):
                self._start(self._relay, self._listener.accept()[0])

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._upstream)) as upstream:
            down, up = Side(client, server=True), Side(upstream, server=False)
            down.other, up.other = up, down
            try:
                self._serve(down, up)
            except OSError as error:
                if not isinstance(error, ConnectionError):
                    self.broke.append(repr(error))
            self.broke += down.broke + up.broke

    def _serve(self, *sides: Side) -> None:
        with selectors.DefaultSelector() as poll:
            for side in sides:
                side.sock.setblocking(False)
                poll.register(side.sock, selectors.EVENT_READ, side)
            while not self._ends.is_set():
                for side in sides:
                    side.flush()
                    poll.modify(side.sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if side.out else 0), side)
                for key, events in poll.select(TURN):
                    if events & selectors.EVENT_READ and not self._read(key.data, sides):
                        return

    def _read(self, side: Side, sides: tuple[Side, ...]) -> bool:
        """False at the end."""
        received = side.sock.recv(65536)
        if not received:
            return False
        self.reads += 1
        now = time.monotonic()
        side.session.received(received, now)
        if self.moves:
            for one in sides:
                one.move(now)
        return True
