"""DNS messages: the questions that are asked and the answers that are taken.

    header     id 16 | flags 16 | counts of questions, answers, authorities, additionals 16 each
    flags      QR 1 | opcode 4 | AA 1 | TC 1 | RD 1 || RA 1 | Z 1 | AD 1 | CD 1 | rcode 4
    question   name | type 16 | class 16
    record     name | type 16 | class 16 | ttl 32 | length 16 | data
    name       labels, each length 8 (1 to 63) | bytes; then 0, or 0b11 | offset 14: goes on there
    A, AAAA    4 or 16 bytes             CNAME    name
    SOA        name | name | serial 32 | refresh 32 | retry 32 | expire 32 | minimum 32

Sources: RFC 1035 section 4, RFC 3596 (AAAA), RFC 2181 section 8 (a TTL with its highest bit set is 0), RFC 2308
(negative answers). A pointer leads backwards only, at most `MOST_JUMPS` of them make a name, so no message costs more
than its size. What a stub has no use for is not read: additional records, and a message cut short (TC) but for its
question.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Final, NamedTuple

A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
AAAA: Final = 28
IN: Final = 1

NOERROR: Final = 0
NXDOMAIN: Final = 3
RCODES: Final = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}

LONGEST_NAME: Final = 255
"""Bytes on the wire, RFC 1035 section 2.3.4."""
MOST_JUMPS: Final = 16
MOST_RECORDS: Final = 1024
"""Of the answer, and of the authority section; nobody's endpoints are more."""

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_SOA = struct.Struct("!5I")

_QR, _TC, _RD = 1 << 15, 1 << 9, 1 << 8
_OPCODE = 0xF << 11

Labels = tuple[bytes, ...]


class BadMessage(ValueError):
    """These bytes are no DNS message; the text says why."""


class Question(NamedTuple):
    """What is asked. Labels are in lower case."""

    name: Labels
    type: int


class Record(NamedTuple):
    """A record of class IN. `data` by type: an address as text, labels of a name, minimum of an SOA, or None."""

    name: Labels
    type: int
    ttl: int
    data: str | Labels | int | None


class Message(NamedTuple):
    """An answer. A `truncated` one has no records here."""

    id: int
    truncated: bool
    rcode: int
    question: Question
    answers: tuple[Record, ...]
    authority: tuple[Record, ...]


def labels(name: str) -> Labels:
    """The labels of a name that `HostName` took."""
    return tuple(name.lower().removesuffix(".").encode("ascii").split(b"."))


def dotted(name: Labels) -> str:
    """A name for people."""
    return b".".join(name).decode("ascii", "backslashreplace")


def query(number: int, question: Question) -> bytes:
    """A question to a recursive server."""
    name = b"".join(bytes((len(label),)) + label for label in question.name) + b"\0"
    return _HEADER.pack(number, _RD, 1, 0, 0, 0) + name + _QUESTION.pack(question.type, IN)


def parse(data: bytes) -> Message:
    """Read an answer. Raises `BadMessage`."""
    if len(data) < _HEADER.size:
        raise BadMessage("it is shorter than a header")
    number, flags, questions, answers, authorities, _ = _HEADER.unpack_from(data)
    if not flags & _QR or flags & _OPCODE:
        raise BadMessage("it is no answer to a query")
    if questions != 1:
        raise BadMessage(f"it has {questions} questions")
    reader = _Reader(data)
    name = reader.name()
    kind, of_class = reader.take(_QUESTION)
    if of_class != IN:
        raise BadMessage("its question is not of class IN")
    truncated = bool(flags & _TC)
    if truncated:
        answers = authorities = 0
    found = reader.records(answers)
    return Message(number, truncated, flags & 0xF, Question(name, kind), found, reader.records(authorities))


class _Reader:
    """Goes through one message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = _HEADER.size
        self._known: dict[int, Labels] = {}
        """Names by the offsets that pointers lead to."""

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        try:
            fields = form.unpack_from(self._data, self._at)
        except struct.error:
            raise BadMessage("it ends too early") from None
        self._at += form.size
        return fields

    def name(self) -> Labels:
        """The name here; goes on behind it."""
        found, self._at = self._name(self._at, 0)
        if sum(map(len, found)) + len(found) + 1 > LONGEST_NAME:
            raise BadMessage("a name is too long")
        return found

    def _name(self, at: int, jumps: int) -> tuple[Labels, int]:
        data = self._data
        start = at
        found: list[bytes] = []
        while True:
            if at >= len(data):
                raise BadMessage("it ends inside a name")
            length = data[at]
            if not length:
                return tuple(found), at + 1
            if length < 64:
                label = data[at + 1 : at + 1 + length]
                if len(label) < length or len(found) > LONGEST_NAME // 2:
                    raise BadMessage("it ends inside a label" if len(label) < length else "a name is too long")
                found.append(label.lower())
                at += 1 + length
                continue
            if length < 192 or at + 1 >= len(data):
                raise BadMessage("a label has a type that nobody uses" if length < 192 else "it ends inside a pointer")
            target = (length & 63) << 8 | data[at + 1]
            if not _HEADER.size <= target < start or jumps >= MOST_JUMPS:
                raise BadMessage("a name points forwards" if target >= start else "a name has too many pointers")
            rest = self._known.get(target)
            if rest is None:
                rest, _ = self._name(target, jumps + 1)
                self._known[target] = rest
            return (*found, *rest), at + 2

    def records(self, count: int) -> tuple[Record, ...]:
        if count > MOST_RECORDS:
            raise BadMessage(f"it has {count} records in a section")
        found = []
        for _ in range(count):
            name = self.name()
            kind, of_class, ttl, length = self.take(_RECORD)
            end = self._at + length
            if end > len(self._data):
                raise BadMessage("it ends inside a record")
            data = self._content(kind, end) if of_class == IN else None
            self._at = end
            if of_class == IN:
                found.append(Record(name, kind, ttl if ttl < 1 << 31 else 0, data))
        return tuple(found)

    def _content(self, kind: int, end: int) -> str | Labels | int | None:
        if kind in (A, AAAA):
            raw = self._data[self._at : end]
            if len(raw) != (4 if kind == A else 16):
                raise BadMessage("an address has a wrong length")
            return str(ipaddress.IPv4Address(raw) if kind == A else ipaddress.IPv6Address(raw))
        content: Labels | int
        if kind == CNAME:
            content = self.name()
        elif kind == SOA:
            self.name()
            self.name()
            content = self.take(_SOA)[4]
        else:
            return None
        if self._at != end:
            raise BadMessage("a record has a wrong length")
        return content
