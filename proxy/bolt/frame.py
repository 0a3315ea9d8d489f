"""Bolt frames. All numbers are big-endian; requests, heartbeats included, and responses differ in their heads.

    version 1                                          version 2
    request 22          response 20                    request 24          response 22
     0 u8  proto 1       0 u8  proto 1                  0 u8  proto 2       0 u8  proto 2
                                                        1 u8  ver1 1 | 2    1 u8  ver1 1 | 2
     1 u8  type 1 | 2    1 u8  type 0                   2 u8  type 1 | 2    2 u8  type 0
     2 u16 command       2 u16 command                  3 u16 command       3 u16 command
     4 u8  ver2 1        4 u8  ver2 1                   5 u8  ver2 1        5 u8  ver2 1
     5 u32 id            5 u32 id                       6 u32 id            6 u32 id
     9 u8  codec         9 u8  codec                   10 u8  codec        10 u8  codec
                                                       11 u8  switch       11 u8  switch
    10 i32 timeout, ms  10 u16 status                  12 i32 timeout, ms  12 u16 status
    14 u16 class        12 u16 class                   16 u16 class        14 u16 class        lengths
    16 u16 header       14 u16 header                  18 u16 header       16 u16 header
    18 u32 content      16 u32 content                 20 u32 content      18 u32 content
    22 class, header, content                          24 class, header, content, CRC

    type      0 response, 1 request, 2 request that wants no response (oneway)
    command   0 heartbeat, 1 call, 2 response to a call
    codec     1 hessian2, 11 protobuf ...: of no concern here
    CRC       u32, zlib's CRC-32 of all bytes before it; there if ver1 is 2 and bit 0 of switch is set, frame by frame

The peers (SOFABolt in Java, sofa-bolt-node, anthunder) read class and header lengths as signed numbers, so 32767 is
the limit of both. They close the connection on a command they do not know and on a wrong CRC.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from proxy.multiplexed.wire import BadFrame

if TYPE_CHECKING:
    from collections.abc import Iterator

RESPONSE, REQUEST, ONEWAY = 0, 1, 2
HEARTBEAT, CALL, ANSWER = 0, 1, 2
MAX_PART: Final = 32767
"""Bytes of class and of header."""
CRC_SIZE: Final = 4
U32: Final = Struct(">I")

OK = 0
NO_PROCESSOR = 6
"""No route takes the service."""
TIMEOUT = 7
BUSY = 4
NOT_SENT = 8
"""The call reached no server: it may be repeated."""
CODEC = 9
"""The frame is too long, or its header cannot be read."""
CLOSED = 16
"""The connection to the server ended before its answer came."""


class Layout(NamedTuple):
    """Where things are in the frames of one version.

    Both structs give (first bytes up to the command, id, codec, timeout or status, class, header, content); the
    codec of version 2 has the switch as its low byte.
    """

    version: int
    id_at: int
    request: Struct
    response: Struct


V1: Final = Layout(1, 5, Struct(">4sxIBiHHI"), Struct(">4sxIBHHHI"))
V2: Final = Layout(2, 6, Struct(">5sxIHiHHI"), Struct(">5sxIHHHHI"))
LAYOUTS: Final = {1: V1, 2: V2}

# First bytes of the frames nearly all traffic consists of -> ver1, 0 in version 1.
CALLS: Final = {b"\1\1\0\1": 0, b"\2\1\1\0\1": 1, b"\2\2\1\0\1": 2}
ANSWERS: Final = {b"\1\0\0\2": 0, b"\2\1\0\0\2": 1, b"\2\2\0\0\2": 2}


class Head(NamedTuple):
    """The head of any frame. `codec` has the switch as its low byte in version 2, `ver1` is 0 in version 1."""

    layout: Layout
    ver1: int
    type: int
    command: int
    id: int
    codec: int
    timeout: int
    """Of a request, milliseconds; the status of a response."""
    class_length: int
    header_length: int
    content_length: int
    size: int
    """Of the head itself."""

    @property
    def has_crc(self) -> bool:
        """The frame ends with a CRC."""
        return self.ver1 == 2 and bool(self.codec & 1)

    @property
    def length(self) -> int:
        """Of the whole frame."""
        parts = self.class_length + self.header_length + self.content_length
        return self.size + parts + (CRC_SIZE if self.has_crc else 0)

    # ---- see `proxy.multiplexed.wire.Head` ----

    @property
    def version(self) -> int:
        """1 or 2."""
        return self.layout.version

    @property
    def calls(self) -> bool:
        """It is a call, or a oneway call."""
        return self.command == CALL and self.type != RESPONSE

    @property
    def answers(self) -> bool:
        """It is a response."""
        return self.type == RESPONSE

    @property
    def wants_answer(self) -> bool:
        """It is a request."""
        return self.type == REQUEST

    @property
    def patience(self) -> float:
        """Seconds, 0 if the head does not say."""
        return self.timeout * 0.001 if self.timeout > 0 else 0.0

    @property
    def payload(self) -> int:
        """Bytes."""
        return self.content_length

    @property
    def status(self) -> int:
        """Of a response."""
        return self.timeout


def read_head(data: bytes | bytearray, at: int) -> Head | None:
    """The head of the frame that begins there; None if more bytes are needed. Raises `BadFrame`."""
    layout = LAYOUTS.get(data[at])
    if layout is None:
        raise BadFrame(f"{data[at]} is no version of bolt")
    shift = layout.version - 1
    if len(data) - at < 2 + shift:
        return None
    ver1 = data[at + 1] if shift else 0
    if shift and ver1 not in {1, 2}:
        raise BadFrame(f"{ver1} is no variant of version 2")
    kind = data[at + 1 + shift]
    if kind > ONEWAY:
        raise BadFrame(f"{kind} is no type of frame")
    form = layout.request if kind else layout.response
    if len(data) - at < form.size:
        return None
    first, number, codec, timeout, class_length, header_length, content_length = form.unpack_from(data, at)
    if class_length > MAX_PART or header_length > MAX_PART:
        raise BadFrame("the lengths of class and header are out of range")
    command = first[-2] << 8 | first[-1]
    return Head(
        layout,
        ver1,
        kind,
        command,
        number,
        codec,
        timeout,
        class_length,
        header_length,
        content_length,
        form.size,
    )


def frames(data: bytes | bytearray) -> Iterator[tuple[Head, int]]:
    """The heads of whole frames and where each begins. Stops at the first that is not whole. Raises `BadFrame`."""
    at = 0
    while at < len(data):
        head = read_head(data, at)
        if head is None or at + head.length > len(data):
            return
        yield head, at
        at += head.length


def with_header(frame: bytearray, head: Head, header: bytes) -> bytearray:
    """The frame with another header map, its lengths and its CRC made anew. Raises `ValueError` if that is too long."""
    if len(header) > MAX_PART:
        raise ValueError(f"a header map of {len(header)} bytes; {MAX_PART} is the limit")
    start = head.size + head.class_length
    end = head.length - (CRC_SIZE if head.has_crc else 0)
    changed = frame[:start] + header + frame[start + head.header_length : end]
    changed[head.size - 6 : head.size - 4] = len(header).to_bytes(2, "big")
    if head.has_crc:
        changed += bytes(CRC_SIZE)
        write_crc(changed, 0, len(changed))
    return changed


def crc_fits(data: bytes | bytearray, at: int, end: int) -> bool:
    """The CRC at the end of a frame is that of the frame."""
    with memoryview(data)[at : end - CRC_SIZE] as view:
        return bool(crc32(view) == U32.unpack_from(data, end - CRC_SIZE)[0])


def write_crc(data: bytearray, at: int, end: int) -> None:
    """Make the CRC at the end of a frame that of the frame."""
    with memoryview(data)[at : end - CRC_SIZE] as view:
        crc = crc32(view)
    U32.pack_into(data, end - CRC_SIZE, crc)


def error(number: int, codec: int, ver1: int, status: int) -> bytes:
    """A response of our own: nothing but a status. Peers fail this one call and keep the connection.

    It has no CRC, like the errors of the Java server.
    """
    if ver1:
        first = bytes((2, ver1, 0, 0, 2, 1)) + U32.pack(number) + bytes((codec >> 8, 0))
    else:
        first = b"\1\0\0\2\1" + U32.pack(number) + bytes((codec,))
    return first + status.to_bytes(2, "big") + bytes(8)


def heartbeat(version: int, number: int) -> bytes:
    """A heartbeat of our own, as Java's clients send it."""
    if version == 1:
        return b"\1\1\0\0\1" + U32.pack(number) + b"\1\xff\xff\xff\xff" + bytes(8)
    return b"\2\2\1\0\0\1" + U32.pack(number) + b"\1\0\xff\xff\xff\xff" + bytes(8)


def heartbeat_answer(head: Head) -> bytes:
    """The answer to a heartbeat, with a CRC if that has one."""
    if not head.ver1:
        return b"\1\0\0\0\1" + U32.pack(head.id) + bytes((head.codec,)) + bytes(10)
    frame = bytes((2, head.ver1, 0, 0, 0, 1)) + U32.pack(head.id) + head.codec.to_bytes(2, "big") + bytes(10)
    return frame + U32.pack(crc32(frame)) if head.has_crc else frame
