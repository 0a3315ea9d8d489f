"""Bolt, as far as the code that all protocols share asks for it. See `proxy.multiplexed.wire`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, cast

from proxy.bolt import frame as bolt
from proxy.bolt.frame import U32, Head, write_crc
from proxy.bolt.headers import read_headers
from proxy.bolt.messages import ERROR, AnswerHead, CallHead, bolt_status
from proxy.multiplexed.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from proxy.accesslog.log import AccessLog
    from proxy.accesslog.record import Record
    from proxy.multiplexed import wire


class BoltWire(Wire):
    """Both versions."""

    protocol: ClassVar[str] = "bolt"
    ok: ClassVar[int] = bolt.OK
    no_route: ClassVar[int] = bolt.NO_PROCESSOR
    not_sent: ClassVar[int] = bolt.NOT_SENT
    timeout: ClassVar[int] = bolt.TIMEOUT
    busy: ClassVar[int] = bolt.BUSY
    closed: ClassVar[int] = bolt.CLOSED
    unreadable: ClassVar[int] = bolt.CODEC
    bad_answer: ClassVar[int] = bolt.CODEC
    refused: ClassVar[int] = ERROR

    def verdict(self, status: int) -> int:
        """See `Wire`."""
        return bolt_status(status)

    def read_head(self, data: bytes | bytearray, at: int) -> Head | None:
        """See `Wire`."""
        return bolt.read_head(data, at)

    def renumber(self, frame: bytearray, head: wire.Head, number: int) -> None:
        """See `Wire`; makes the CRC anew."""
        own = cast("Head", head)
        U32.pack_into(frame, own.layout.id_at, number)
        if own.has_crc:
            write_crc(frame, 0, len(frame))

    def error(self, number: int, codec: int, ver1: int, status: int) -> bytes:
        """See `Wire`."""
        return bolt.error(number, codec, ver1, status)

    def heartbeat(self, version: int, number: int) -> bytes:
        """See `Wire`."""
        return bolt.heartbeat(version, number)

    def text(self, frame: bytearray, head: wire.Head) -> bytes:
        """The header map."""
        own = cast("Head", head)
        start = own.size + own.class_length
        return bytes(frame[start : start + own.header_length])

    def with_text(self, frame: bytearray, head: wire.Head, text: bytes) -> bytearray:
        """See `Wire`."""
        return bolt.with_header(frame, cast("Head", head), text)

    def readable(self, text: bytes) -> bool:
        """See `Wire`."""
        try:
            read_headers(text)
        except ValueError:
            return False
        return True

    def call(self, text: bytes, notes: dict[str, Any], client: str) -> CallHead:
        """See `Wire`."""
        return CallHead(text, notes, client)

    def answer(self, text: bytes, notes: dict[str, Any], status: int) -> AnswerHead:
        """See `Wire`."""
        return AnswerHead(text, notes, status)

    def record(self, log: AccessLog, text: bytes, kind: str, size: int, now: float) -> Record:
        """See `Wire`."""
        headers: Mapping[bytes, bytes] = {}
        try:
            headers = read_headers(text)
        except ValueError:
            pass
        return log.call(headers, kind, size, now)


BOLT: Final = BoltWire()
