"""One blocking client connection, step by step: for tests that cut an exchange in the middle."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import NamedTuple, Self

from hotswap.address import Address
from tests.kit.http import Closed, Head
from tests.kit.waiting import Deadline

PATIENCE = 15.0


class Response(NamedTuple):
    """A whole response."""

    status: int
    fields: dict[str, str]
    body: bytes


class Client:
    """A connection to `host:port`, `[ipv6]:port` or `unix:/path`. Every wait ends after `patience` seconds."""

    def __init__(self, address: str, patience: float = PATIENCE) -> None:
        target = Address.parse(address)
        self.socket = socket.socket(target.family, socket.SOCK_STREAM)
        self.patience = patience
        self.socket.settimeout(patience)
        self.unread = b""
        try:
            self.socket.connect(target.sockaddr)
        except OSError:
            self.socket.close()
            raise

    def send(self, data: bytes | str) -> None:
        """Send all of it."""
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def get(self, target: str, *fields: str) -> None:
        """Send a whole GET."""
        self.send("\r\n".join([f"GET {target} HTTP/1.1", "host: client.test", *fields, "", ""]))

    def end_sending(self) -> None:
        """FIN, and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def more(self) -> bytes:
        """At least one more byte into `unread`; empty at the end of the connection."""
        data = self.socket.recv(1 << 16)
        self.unread += data
        return data

    def take(self, count: int) -> bytes:
        """Exactly so many bytes. Raises `Closed`."""
        deadline = Deadline(self.patience)
        while len(self.unread) < count:
            if not self.more() or deadline.passed:
                raise Closed(f"{len(self.unread)} of {count} bytes came: {self.unread[:200]!r}")
        data, self.unread = self.unread[:count], self.unread[count:]
        return data

    def take_line(self) -> bytes:
        """Up to CRLF, which is dropped. Raises `Closed`."""
        while b"\r\n" not in self.unread:
            if not self.more():
                raise Closed(f"only {self.unread[:200]!r} came")
        line, _, self.unread = self.unread.partition(b"\r\n")
        return line

    def rest(self) -> bytes:
        """Everything until the other side ends."""
        while self.more():
            pass
        data, self.unread = self.unread, b""
        return data

    def head(self) -> Head:
        """The next response head, 1xx too."""
        start = self.take_line().decode("latin-1")
        fields = {}
        while line := self.take_line():
            name, _, value = line.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        return Head(start, fields)

    def response(self) -> Response:
        """The next response with its body."""
        head = self.head()
        if head.fields.get("transfer-encoding") != "chunked":
            return Response(head.status, head.fields, self.take(int(head.fields.get("content-length", "0"))))
        body = b""
        while size := int(self.take_line(), 16):
            body += self.take(size)
            assert self.take_line() == b""
        while line := self.take_line():
            name, _, value = line.decode("latin-1").partition(":")
            head.fields[name.lower()] = value.strip()
        return Response(head.status, head.fields, body)

    def ask(self, target: str, *fields: str) -> Response:
        """GET and its response."""
        self.get(target, *fields)
        return self.response()

    def ended(self) -> bool:
        """Whether the other side ends or resets this connection within the patience, without another byte."""
        try:
            return not self.more()
        except ConnectionError:
            return True

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
