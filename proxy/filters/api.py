"""What somebody who writes a filter uses."""

from __future__ import annotations

from typing import Any, ClassVar, Final, NamedTuple

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of a filter's ``config`` in the file: fields with types, and defaults where they may be left out."""


class Client(msgspec.Struct, frozen=True):
    """A connection that was accepted."""

    host: str
    """Without port; ``unix`` on a unix socket."""
    protocol: str
    """Of the listener."""
    notes: dict[str, Any] = {}
    """What this filter wants to remember of a tcp connection as long as it lives: plain data, which moves with it."""


class Answer(NamedTuple):
    """Answer the request here; it goes to no upstream and no further filter."""

    status: int
    text: str = ""
    """The body; empty for the usual one, which tells status and reason."""
    headers: tuple[tuple[str, str], ...] = ()


class Delay(NamedTuple):
    """Go on with the next filter after so many seconds, 0 or more. It is a deadline of a value: it moves."""

    seconds: float


class Abort(NamedTuple):
    """End the connection by a reset."""


Verdict = Answer | Delay | Abort | None
"""None: go on."""

REQUESTS: Final = frozenset({"http1", "bolt", "dubbo"})
"""Protocols whose requests filters see; of the others they see connections."""

FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "expect"})
"""Fields that say where a message ends, or concern this hop: not for filters to change."""


class Message:
    """The head of a request or a response. Names have no case; values are text (latin-1 on the wire)."""

    __slots__ = ("_lines", "edited", "notes")

    def __init__(self, text: bytes, notes: dict[str, Any]) -> None:
        self._lines = text.split(b"\r\n")
        self.edited = False
        self.notes = notes
        """What this filter wants to remember of this request until its response: plain data, which moves with it."""

    def get(self, name: str) -> str | None:
        """The value of the field; None if it is not there. Repeated ones are joined by commas."""
        wanted = name.lower().encode("latin-1")
        found = [value for field, value in self._fields() if field == wanted]
        return b", ".join(found).decode("latin-1") if found else None

    def add(self, name: str, value: str) -> None:
        """One more field."""
        line = f"{_allowed(name)}: {value}"
        if "\r" in value or "\n" in value or not name:
            raise ValueError(f"{line!r} is not one header field")
        self._lines.append(line.encode("latin-1"))
        self.edited = True

    def remove(self, name: str) -> None:
        """All fields of that name."""
        wanted = _allowed(name).lower().encode("latin-1")
        kept = [line for line in self._lines[1:] if line.partition(b":")[0].lower() != wanted]
        if len(kept) + 1 < len(self._lines):
            self._lines[1:] = kept
            self.edited = True

    def set(self, name: str, value: str) -> None:
        """This field and no other of that name."""
        self.remove(name)
        self.add(name, value)

    def text(self) -> bytes:
        """The head as it is now, without its empty line."""
        return b"\r\n".join(self._lines)

    def _fields(self) -> list[tuple[bytes, bytes]]:
        parted = [line.partition(b":") for line in self._lines[1:]]
        return [(name.lower(), value.strip(b" \t")) for name, _, value in parted]


class Request(Message):
    """The head of a request, as the client sent it and earlier filters left it."""

    __slots__ = ("client", "copies")

    def __init__(self, text: bytes, notes: dict[str, Any], client: str) -> None:
        super().__init__(text, notes)
        self.client = client
        """The client's host."""
        self.copies: list[str] = []
        """See `mirror`."""

    def mirror(self, cluster: str) -> None:
        """Once it goes to its upstream, send a copy to this cluster as well; the answer is thrown away. http1 only."""
        self.copies.append(cluster)

    @property
    def method(self) -> str:
        """As it came."""
        return self._lines[0].partition(b" ")[0].decode("latin-1")

    @property
    def target(self) -> str:
        """The path with its query."""
        return self._lines[0].split(b" ")[1].decode("latin-1")


class Response(Message):
    """The head of the upstream's response."""

    __slots__ = ()

    @property
    def status(self) -> int:
        """Its status, 200 or above."""
        return int(self._lines[0].split(b" ")[1])


def _allowed(name: str) -> str:
    if name.lower() in FRAMING:
        raise ValueError(f"{name} is not for filters to change")
    return name


class Filter:
    """Inherit, and write the methods that the filter needs; the others cost nothing.

    One object serves all connections of a listener. What it keeps between requests it writes down in `save`, else it
    begins anew in the next generation; what it keeps between a request and its response belongs into `Message.notes`.
    `now` is in monotonic seconds and means nothing to another process. A filter must not block, and not do I/O.
    """

    Config: ClassVar[type[Settings]] = Settings
    """What may stand in ``config``."""

    protocols: ClassVar[frozenset[str]] = frozenset({"tcp", "http1", "bolt", "dubbo", "amqp"})
    """Where it may stand, if it has anything to look at there."""

    def __init__(self, config: Any) -> None:
        """`config` is a `Config`. Raises `ValueError` for what no type can say."""
        self.config = config

    def clusters(self) -> tuple[str, ...]:
        """The names of those it mirrors to, for the check of the file."""
        return ()

    def accepted(self, client: Client, now: float) -> Abort | Delay | None:
        """A connection was accepted; not a byte of it is read, no upstream is dialled. Any protocol."""
        raise NotImplementedError

    def received(self, data: bytes, client: Client, now: float) -> bytes | Abort | None:
        """Bytes of the client on their way to the upstream, as they came; none (``b""``) once, at its FIN. tcp only.

        Returns what goes on instead, None for the same. What is to wait for more is kept in ``client.notes``.
        """
        raise NotImplementedError

    def sent(self, data: bytes, client: Client, now: float) -> bytes | Abort | None:
        """Bytes of the upstream on their way to the client, else as `received`. tcp only."""
        raise NotImplementedError

    def request(self, request: Request, now: float) -> Verdict:
        """A request's head is there, before a route is chosen. http1, bolt and dubbo."""
        raise NotImplementedError

    def response(self, response: Response, now: float) -> None:
        """The upstream's final response to such a request. Fields can be edited. http1, bolt and dubbo."""
        raise NotImplementedError

    def save(self, now: float) -> Any:
        """What all requests share, as plain data; times as seconds from `now`."""
        return None

    def load(self, saved: Any, now: float) -> None:
        """The counterpart; `saved` is never None, and may come from another version."""

    @classmethod
    def has(cls, method: str) -> bool:
        """Whether it was written."""
        return getattr(cls, method) is not getattr(Filter, method)
