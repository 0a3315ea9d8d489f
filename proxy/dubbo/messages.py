"""Calls and answers as filters see them: `proxy.filters.Request` and `Response` over the attachments of a body.

What is edited is the map alone. Entries that are no texts stay as they are and where they are, for values elsewhere may
refer to them. A response without a map, as old servers send them, keeps none: edits of it are dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.dubbo.body import Attachment, behind_arguments, call_of, introduction, read_map, texts
from proxy.dubbo.frame import (
    BAD_REQUEST,
    EXHAUSTED,
    INACTIVE,
    NOT_FOUND,
    OK,
    SERVER_ERROR,
    SERVICE_ERROR,
    TIMEOUT,
)
from proxy.dubbo.hessian import Reader, write_text
from proxy.filters.api import Message, Request, Response
from proxy.multiplexed.attended import LOWEST_HTTP

if TYPE_CHECKING:
    from typing import Any

    from proxy.dubbo.body import Map

_STATUS: Final = {
    400: BAD_REQUEST,
    401: SERVICE_ERROR,
    403: SERVICE_ERROR,
    404: NOT_FOUND,
    408: TIMEOUT,
    429: EXHAUSTED,
    502: INACTIVE,
    503: EXHAUSTED,
    504: TIMEOUT,
}
_EXCEPTION, _VALUE, _NOTHING = 0, 1, 2
"""Kinds of a response; each is by 3 higher with attachments."""
_ATTACHED: Final = 3
_KIND: Final = 0x90
"""A number from 0 to 47 in one byte."""


def dubbo_status(status: int) -> int:
    """What a filter answers, which knows HTTP, in Dubbo's own numbers; up to 100 it is one already."""
    return status if status <= LOWEST_HTTP else _STATUS.get(status, SERVER_ERROR)


class _Attachments(Message):
    """Names have no case when asked for, and keep the one they are written in."""

    __slots__ = ()  # of two bases only one may have any
    if TYPE_CHECKING:

        @property
        def _body(self) -> bytes: ...
        @_body.setter
        def _body(self, body: bytes) -> None: ...
        @property
        def _map(self) -> Map: ...
        @_map.setter
        def _map(self, attachments: Map) -> None: ...

    def get(self, name: str) -> str | None:
        """See `Message`; of a repeated name the last value counts."""
        wanted = name.lower().encode()
        for one in reversed(self._map.entries):
            if one.name is not None and one.value is not None and one.name.lower() == wanted:
                return one.value.decode("utf-8", "replace")
        return None

    def add(self, name: str, value: str) -> None:
        """See `Message`."""
        if not name:
            raise ValueError("an attachment without a name")
        key, text = name.encode(), value.encode()
        self._map.entries.append(Attachment(write_text(key) + write_text(text), key, text))
        self.edited = True

    def remove(self, name: str) -> None:
        """See `Message`."""
        wanted = name.lower().encode()
        entries = self._map.entries
        kept = [one for one in entries if one.name is None or one.value is None or one.name.lower() != wanted]
        if len(kept) < len(entries):
            entries[:] = kept
            self.edited = True

    def text(self) -> bytes:
        """The body as it is now."""
        begun, opened, entries, end = self._map
        if not opened and not entries:
            return self._body
        body = self._body
        return b"".join((body[:begun], opened or b"H", *(one.raw for one in entries), b"Z", body[end:]))


class CallBody(_Attachments, Request):
    """The body of a request. `get` knows interface, version and method also where no attachment tells them."""

    __slots__ = ("_body", "_call", "_map")

    def __init__(self, body: bytes, notes: dict[str, Any], client: str) -> None:
        """Raises `ValueError`."""
        Message.__init__(self, b"", notes)
        self.copies = []
        self.client = client
        self._body = body
        begun = introduction(body)
        self._map = read_map(behind_arguments(body, begun))
        self._call = call_of(begun, texts(self._map))

    def get(self, name: str) -> str | None:
        """See `Message`."""
        found = super().get(name)
        if found is None and name in {"interface", "path", "version", "method"}:
            call = self._call
            text = {"method": call.method, "version": call.version}.get(name, call.interface)
            return text.decode("utf-8", "replace")
        return found

    @property
    def method(self) -> str:
        """That is called."""
        return self._call.method.decode("utf-8", "replace")

    @property
    def target(self) -> str:
        """The interface."""
        return self._call.interface.decode("utf-8", "replace")


class AnswerBody(_Attachments, Response):
    """The body of a response."""

    __slots__ = ("_attached", "_body", "_map", "_status")

    def __init__(self, body: bytes, notes: dict[str, Any], status: int) -> None:
        """Raises `ValueError`."""
        Message.__init__(self, b"", notes)
        self._status = status
        self._body = body
        reader = Reader(body, 1)
        kind = body[0] - _KIND if body and status == OK else _NOTHING
        self._attached = kind >= _ATTACHED
        if self._attached:
            if kind != _NOTHING + _ATTACHED:
                reader.skip()
            self._map = read_map(reader)
        else:
            self._map = read_map(Reader(b""))

    @property
    def status(self) -> int:
        """Dubbo's: 20 is success, also for an exception of the application."""
        return self._status

    def text(self) -> bytes:
        """See `Message`."""
        return super().text() if self._attached else self._body
