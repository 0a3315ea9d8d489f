"""Dubbo, as far as the code that all protocols share asks for it. See `proxy.multiplexed.wire`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from proxy.dubbo import frame as dubbo
from proxy.dubbo.body import behind_arguments, call_of, introduction, read_map
from proxy.dubbo.frame import ID, ID_AT, SIZE, Head
from proxy.dubbo.messages import AnswerBody, CallBody, dubbo_status
from proxy.dubbo.patience import patience
from proxy.multiplexed.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from proxy.accesslog.log import AccessLog
    from proxy.accesslog.record import Record
    from proxy.multiplexed import wire


class DubboWire(Wire):
    """The only version there is."""

    protocol: ClassVar[str] = "dubbo"
    ok: ClassVar[int] = dubbo.OK
    no_route: ClassVar[int] = dubbo.NOT_FOUND
    not_sent: ClassVar[int] = dubbo.CLIENT_ERROR
    timeout: ClassVar[int] = dubbo.TIMEOUT
    busy: ClassVar[int] = dubbo.EXHAUSTED
    closed: ClassVar[int] = dubbo.INACTIVE
    unreadable: ClassVar[int] = dubbo.BAD_REQUEST
    bad_answer: ClassVar[int] = dubbo.BAD_RESPONSE
    refused: ClassVar[int] = dubbo.SERVER_ERROR

    def verdict(self, status: int) -> int:
        """See `Wire`."""
        return dubbo_status(status)

    def read_head(self, data: bytes | bytearray, at: int) -> Head | None:
        """See `Wire`."""
        return dubbo.read_head(data, at)

    def renumber(self, frame: bytearray, head: wire.Head, number: int) -> None:
        """See `Wire`."""
        ID.pack_into(frame, ID_AT, number)

    def error(self, number: int, codec: int, ver1: int, status: int) -> bytes:
        """See `Wire`."""
        return dubbo.error(number, status)

    def heartbeat(self, version: int, number: int) -> bytes:
        """See `Wire`."""
        return dubbo.heartbeat(number)

    def patience(self, frame: bytearray) -> float:
        """See `Wire`."""
        return patience(frame, SIZE, len(frame))

    def text(self, frame: bytearray, head: wire.Head) -> bytes:
        """The body."""
        return bytes(frame[SIZE:])

    def with_text(self, frame: bytearray, head: wire.Head, text: bytes) -> bytearray:
        """See `Wire`."""
        if len(text) > dubbo.MAX_BODY:
            raise ValueError(f"a body of {len(text)} bytes; {dubbo.MAX_BODY} is the limit")
        changed = frame[:SIZE] + text
        changed[SIZE - 4 : SIZE] = len(text).to_bytes(4, "big")
        return changed

    def readable(self, text: bytes) -> bool:
        """See `Wire`."""
        try:
            read_map(behind_arguments(text, introduction(text)))
        except ValueError:
            return False
        return True

    def call(self, text: bytes, notes: dict[str, Any], client: str) -> CallBody:
        """See `Wire`."""
        return CallBody(text, notes, client)

    def answer(self, text: bytes, notes: dict[str, Any], status: int) -> AnswerBody:
        """See `Wire`."""
        return AnswerBody(text, notes, status)

    def record(self, log: AccessLog, text: bytes, kind: str, size: int, now: float) -> Record:
        """See `Wire`. Attachments are read only if the template asks for one."""
        attachments: Mapping[bytes, bytes] = {}
        try:
            begun = introduction(text)
        except ValueError:
            return log.invocation(b"", b"", b"", {}, kind, size, now)
        if log.asks_headers:
            try:
                attachments = behind_arguments(text, begun).texts()
            except ValueError:
                pass
        call = call_of(begun, attachments)
        return log.invocation(call.interface, call.version, call.method, attachments, kind, size, now)


DUBBO: Final = DubboWire()
