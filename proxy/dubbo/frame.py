"""Dubbo frames. All numbers are big-endian; requests and responses have the same head.

     0 u16 magic dabb
     2 u8  flags: 80 request, 40 wants a response, 20 event, 1f serialization (2 hessian2)
     3 u8  status, of a response
     4 i64 id
    12 u32 length of the body
    16 body

    c2 call   82 call that wants no response (oneway)   02 response
    e2 heartbeat, a2 one that wants none   22 its answer: null (N) for a body
    a2 with "R" for a body: readonly, the sender wants no new calls

Ids are the sender's own: 0, negative ones, and those that the other side uses as well. The body of a response with a
status other than 20 is a text. An exception of the application comes with status 20.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from proxy.dubbo.hessian import write_text
from proxy.multiplexed.wire import BadFrame

MAGIC: Final = 0xDABB
REQUEST, TWOWAY, EVENT, SERIALIZATION = 0x80, 0x40, 0x20, 0x1F
CALL: Final = REQUEST | TWOWAY
HESSIAN2: Final = 2
SIZE: Final = 16
"""Bytes of a head."""
MAX_BODY: Final = 0x7FFFFFFF
"""The length is a signed number to the peers."""
HEAD: Final = Struct(">HBBqI")
"""Magic, flags, status, id, length of the body."""
ID: Final = Struct(">q")
ID_AT: Final = 4
NULL: Final = b"N"
MAX_NULL: Final = 64
"""Bytes of a heartbeat's body that come back in its answer: null in any serialization takes less."""
READONLY_BODIES: Final = (b"\1R", b'"R"')
"""In hessian2, and in serializations that write JSON."""

OK = 20
TIMEOUT = 31
"""Of the server's side, to which the proxy belongs for its clients."""
INACTIVE = 35
"""The connection to the server ended before its answer came."""
BAD_REQUEST = 40
BAD_RESPONSE = 50
NOT_FOUND = 60
"""No route takes the service."""
SERVICE_ERROR = 70
SERVER_ERROR = 80
CLIENT_ERROR = 90
"""The call reached no server: it may be repeated."""
EXHAUSTED = 100
"""Too much is under way."""

_TEXTS: Final = {
    TIMEOUT: "no answer in time",
    INACTIVE: "the connection to the server was lost",
    BAD_REQUEST: "the request is too long or cannot be read",
    BAD_RESPONSE: "the response is too long",
    NOT_FOUND: "no route takes this service",
    SERVICE_ERROR: "the request was refused",
    SERVER_ERROR: "the request failed in the proxy",
    CLIENT_ERROR: "no server can be reached",
    EXHAUSTED: "too many requests are under way",
}


class Head(NamedTuple):
    """The head of any frame. The fields below are those of `proxy.multiplexed.wire.Head`."""

    flags: int
    status: int
    id: int
    payload: int
    """Bytes of the body."""

    @property
    def length(self) -> int:
        """Of the whole frame."""
        return SIZE + self.payload

    @property
    def version(self) -> int:
        """There is one."""
        return MAGIC

    @property
    def codec(self) -> int:
        """Errors are always in hessian2."""
        return 0

    @property
    def ver1(self) -> int:
        """Nothing more is to be known."""
        return 0

    @property
    def calls(self) -> bool:
        """It is a call, or a oneway call."""
        return self.flags & (REQUEST | EVENT) == REQUEST

    @property
    def answers(self) -> bool:
        """It is a response."""
        return not self.flags & REQUEST

    @property
    def wants_answer(self) -> bool:
        """It is a request with the flag for it."""
        return self.flags & CALL == CALL

    @property
    def patience(self) -> float:
        """The head does not say."""
        return 0.0


def read_head(data: bytes | bytearray, at: int) -> Head | None:
    """The head of the frame that begins there; None if more bytes are needed. Raises `BadFrame`."""
    if len(data) - at < SIZE:
        if not b"\xda\xbb".startswith(data[at : at + 2]):
            raise BadFrame("a frame does not begin with dabb")
        return None
    magic, flags, status, number, length = HEAD.unpack_from(data, at)
    if magic != MAGIC:
        raise BadFrame("a frame does not begin with dabb")
    if length > MAX_BODY:
        raise BadFrame("the length is out of range")
    return Head(flags, status, number, length)


def encode(flags: int, status: int, number: int, body: bytes) -> bytes:
    """A whole frame."""
    return HEAD.pack(MAGIC, flags, status, number, len(body)) + body


def error(number: int, status: int) -> bytes:
    """A response of our own: a status with a text. Peers fail this one call and keep the connection."""
    return encode(HESSIAN2, status, number, write_text(_TEXTS.get(status, "refused").encode()))


def heartbeat(number: int) -> bytes:
    """A heartbeat of our own."""
    return encode(CALL | EVENT | HESSIAN2, 0, number, NULL)


def heartbeat_answer(head: Head, body: bytes | bytearray) -> bytes:
    """The answer to a heartbeat, or to another event. Null is what came, written as that serialization does."""
    same = len(body) <= MAX_NULL
    serialization = head.flags & SERIALIZATION if same else HESSIAN2
    return encode(EVENT | serialization, OK, head.id, bytes(body) if same else NULL)


READONLY: Final = encode(REQUEST | EVENT | HESSIAN2, 0, 0, b"\1R")
"""To a client: no new calls here."""
