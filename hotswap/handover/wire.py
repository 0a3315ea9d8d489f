"""The messages of a handover, and their form on the wire.

One message is one SEQPACKET datagram on ``handover.sock``: a MessagePack array whose first element
is the tag, followed by the fields in order::

    +-----------+--------+--------+-- - - --+      fds ride along as SCM_RIGHTS (253 at most),
    | tag (str) | field  | field  |   ...   |      the sender's uid and pid as SCM_CREDENTIALS
    +-----------+--------+--------+-- - - --+      64 KB at most

Fields are only ever appended, with a default: an older reader ignores what it does not know, a newer
one fills in what is missing. What must be understood raises the protocol version instead, and is
refused in HELLO while refusing is free.

Everything here is read from an untrusted peer: types are checked by the decoder, sizes and counts here.
A value whose state is larger than a message travels in a sealed memfd, memfd_create(2).
"""

from __future__ import annotations

from functools import cache
from typing import Annotated

import msgspec
from msgspec import Meta

from hotswap.errors import ProtocolError
from hotswap.swappable import Schema

PROTOCOL_OLDEST = 1
PROTOCOL_NEWEST = 1

MAX_MESSAGE = 65536  # bytes
MAX_FDS = 253  # SCM_MAX_FD, unix(7): one more is EINVAL
MAX_VALUE = 64 * 1024 * 1024  # bytes of one value, in a memfd
INLINE_VALUE = 16 * 1024  # bytes; larger ones take a memfd
MAX_LISTENERS = 1024
MAX_WORDS = 64  # reasons told apart

Serial = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Text = Annotated[str, Meta(max_length=4096)]
Name = Annotated[str, Meta(max_length=256)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=0.0, le=1e9)]


class Message(msgspec.Struct, frozen=True, array_like=True, tag_field="type"):
    """Base of all messages."""


class Hello(Message, frozen=True, tag="HELLO"):
    """The destination introduces itself. fd: its own pidfd."""

    protocol: Schema
    schemas: Annotated[dict[Name, Schema], Meta(max_length=64)]
    wanted: Annotated[list[Name], Meta(max_length=MAX_LISTENERS)]
    version: Name
    build: Name
    config_id: Name
    token: Name = ""  # of the `hotswap upgrade` that spawned it
    takeover: Name = "auto"
    workers: Count = 1
    nofile: Count = 0  # RLIMIT_NOFILE, soft
    open_fds: Count = 0
    command: Annotated[list[Text], Meta(max_length=256)] = []
    cwd: Text = ""
    pid: Count = 0  # for people; no identity
    revision: Annotated[int, Meta(ge=-1, le=2**63 - 1)] = -1  # the orchestrator's order of versions; -1: none
    place: Name = ""  # its container


class Welcome(Message, frozen=True, tag="WELCOME"):
    """The source agrees. fd: its own pidfd."""

    protocol: int
    schemas: Annotated[dict[Name, int], Meta(max_length=64)]
    generation: Count  # of the destination, if it comes to own
    connections: Count  # roughly what will come
    deadline: Seconds  # remaining time of the attempt


class Refused(Message, frozen=True, tag="REFUSED"):
    """The source declines; `code` is the exit code of `hotswap.errors` that fits."""

    code: Count
    reason: Text


class ListenerEntry(msgspec.Struct, frozen=True, array_like=True):
    """One listening socket; its fd is the next one of the message."""

    purpose: Name  # server | control | handover | admin; own: a descriptor of the server's own, no listener
    name: Name
    address: Name


class Listeners(Message, frozen=True, tag="LISTENERS"):
    """Listening sockets, one fd each."""

    entries: Annotated[list[ListenerEntry], Meta(max_length=MAX_FDS)]


class Lock(Message, frozen=True, tag="LOCK"):
    """fd: the open lock file; the lock belongs to the open file description, flock(2)."""


class Pipe(Message, frozen=True, tag="PIPE"):
    """fd: the read end of this attempt's ownership pipe."""


class Round(Message, frozen=True, tag="ROUND"):
    """A pass begins; deadlines in its values are relative to this moment."""

    number: Count
    final: bool = False


class Item(msgspec.Struct, frozen=True, array_like=True):
    """One value. Its fds follow in order: the descriptor if `with_fd`, then a memfd if `in_memfd`."""

    kind: Name
    serial: Serial
    changes: Count
    state: bytes = b""
    with_fd: bool = False
    in_memfd: bool = False
    worker: Count = 0


class Values(Message, frozen=True, tag="VALUES"):
    """A run of values of the round under way."""

    items: Annotated[list[Item], Meta(max_length=4096)]


class Closed(Message, frozen=True, tag="CLOSED"):
    """Connections that were copied and are no more, or stay with the source."""

    serials: Annotated[list[Serial], Meta(max_length=4096)]


class RoundEnd(Message, frozen=True, tag="ROUND_END"):
    """Everything of this round was sent."""

    number: Count


class Problem(msgspec.Struct, frozen=True, array_like=True):
    """A value that the destination cannot hold."""

    serial: Serial
    reason: Text


class RoundDone(Message, frozen=True, tag="ROUND_DONE"):
    """The destination has restored a round."""

    number: Count
    restored: Count
    problems: Annotated[list[Problem], Meta(max_length=512)]


class Ack(Message, frozen=True, tag="ACK"):
    """The receiver took `count` messages with fds out of the socket and closed or kept the fds."""

    count: Count


class Final(Message, frozen=True, tag="FINAL"):
    """The last pass is complete. fd: a memfd with `shared` if `shared_in_memfd`."""

    connections: Count
    digest: bytes
    shared: bytes
    chain: bytes  # hotswap's own state: generations so far
    stragglers: Annotated[list[Serial], Meta(max_length=4096)] = []
    shared_in_memfd: bool = False


class Prepared(Message, frozen=True, tag="PREPARED"):
    """Count and digest are right; the destination is about to take the byte."""


class Unable(Message, frozen=True, tag="UNABLE"):
    """The destination cannot go on; it waits for the abort."""

    code: Count
    reason: Text


class Owned(Message, frozen=True, tag="OWNED"):
    """The destination has the byte. It ticks when this send has returned."""

    downtime: Seconds = 0.0  # from FINAL received to this message


class Straggler(Message, frozen=True, tag="STRAGGLER"):
    """A connection that had become a value only after the commit; owned on receipt."""

    item: Item


class Bye(Message, frozen=True, tag="BYE"):
    """Nothing more comes. The figures are for the destination's history."""

    downtime_ms: Annotated[float, Meta(ge=0.0, le=1e12)] = 0.0
    listeners: Count = 0
    connections: Count = 0
    in_flight: Count = 0
    phases: Annotated[dict[Name, Annotated[float, Meta(ge=0.0, le=1e12)]], Meta(max_length=16)] = {}  # milliseconds
    stayed: Annotated[dict[Name, Count], Meta(max_length=MAX_WORDS)] = {}  # connections, by the word of the reason


class Released(Message, frozen=True, tag="RELEASED"):
    """The answer to BYE; the source may exit."""


AnyMessage = (
    Hello
    | Welcome
    | Refused
    | Listeners
    | Lock
    | Pipe
    | Round
    | Values
    | Closed
    | RoundEnd
    | RoundDone
    | Ack
    | Final
    | Prepared
    | Unable
    | Owned
    | Straggler
    | Bye
    | Released
)

_encoder = msgspec.msgpack.Encoder()


@cache
def decoder() -> msgspec.msgpack.Decoder[AnyMessage]:
    """Takes 3 ms the first time, for which a cold start has no use: a server asks for it once it serves."""
    return msgspec.msgpack.Decoder(AnyMessage)


def encode(message: Message) -> bytes:
    """The bytes of a message. Raises `ProtocolError` if they exceed `MAX_MESSAGE`."""
    data = _encoder.encode(message)
    if len(data) > MAX_MESSAGE:
        raise ProtocolError(
            f"{type(message).__name__} of {len(data)} bytes is larger than a message may be ({MAX_MESSAGE})"
        )
    return data


def decode(data: bytes) -> AnyMessage:
    """A message from bytes of an untrusted peer. Raises `ProtocolError`."""
    try:
        return decoder().decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolError(f"not a handover message: {error}") from None
