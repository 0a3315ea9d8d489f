"""The heads of calls and answers as filters see them: `proxy.filters.Request` and `Response` over a bolt header map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.bolt.frame import BUSY, CLOSED, CODEC, NO_PROCESSOR, TIMEOUT
from proxy.bolt.headers import read_pairs, write_headers
from proxy.filters.api import Message, Request, Response
from proxy.multiplexed.attended import LOWEST_HTTP

if TYPE_CHECKING:
    from typing import Any

ERROR: Final = 1
"""Refused: SOFABolt's clients raise a plain InvokeException."""
_STATUS: Final = {404: NO_PROCESSOR, 408: TIMEOUT, 400: CODEC, 429: BUSY, 502: CLOSED, 503: BUSY, 504: TIMEOUT}


def bolt_status(status: int) -> int:
    """What a filter answers, which knows HTTP, in bolt's own numbers; below 100 it is one already."""
    return status if status < LOWEST_HTTP else _STATUS.get(status, ERROR)


class _Map(Message):
    """A header map. Names have no case when asked for, and keep the one they are written in."""

    __slots__ = ()  # of two bases only one may have any
    if TYPE_CHECKING:

        @property
        def _pairs(self) -> list[tuple[bytes | None, bytes | None]]: ...
        @_pairs.setter
        def _pairs(self, pairs: list[tuple[bytes | None, bytes | None]]) -> None: ...

    def _read(self, text: bytes, notes: dict[str, Any]) -> None:
        """Raises `ValueError`."""
        Message.__init__(self, b"", notes)
        self._pairs = read_pairs(text)

    def get(self, name: str) -> str | None:
        """See `Message`; of a repeated name the last value counts."""
        wanted = name.lower().encode()
        for key, value in reversed(self._pairs):
            if key is not None and value is not None and key.lower() == wanted:
                return value.decode("utf-8", "replace")
        return None

    def add(self, name: str, value: str) -> None:
        """See `Message`."""
        if not name:
            raise ValueError("a header without a name")
        self._pairs.append((name.encode(), value.encode()))
        self.edited = True

    def remove(self, name: str) -> None:
        """See `Message`."""
        wanted = name.lower().encode()
        kept = [pair for pair in self._pairs if pair[0] is None or pair[0].lower() != wanted]
        if len(kept) < len(self._pairs):
            self._pairs = kept
            self.edited = True

    def text(self) -> bytes:
        """The map as it is now."""
        return write_headers(self._pairs)


class CallHead(_Map, Request):
    """The header map of a call."""

    __slots__ = ("_pairs",)

    def __init__(self, text: bytes, notes: dict[str, Any], client: str) -> None:
        self._read(text, notes)
        self.copies = []
        self.client = client

    @property
    def method(self) -> str:
        """As the header says."""
        return self.get("sofa_head_method_name") or ""

    @property
    def target(self) -> str:
        """The service."""
        return self.get("service") or self.get("sofa_head_target_service") or ""


class AnswerHead(_Map, Response):
    """The header map of an answer."""

    __slots__ = ("_pairs", "_status")

    def __init__(self, text: bytes, notes: dict[str, Any], status: int) -> None:
        self._read(text, notes)
        self._status = status

    @property
    def status(self) -> int:
        """Bolt's: 0 is success."""
        return self._status
