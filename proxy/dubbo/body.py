"""What the body of a request says in Hessian 2.0: whom it calls, and what is attached.

    dubbo version, path, version, method, desc: five texts      arguments, as many as desc has types      attachments

Path and version are what a route needs; a group is nowhere but among the attachments, behind all arguments. What the
attachments say of interface and version counts for more than the texts, as it does for servers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.dubbo.hessian import MAX_ENTRIES, Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_INTRODUCTION: Final = 8192
"""Bytes of the five texts."""
MAX_ARGUMENTS: Final = 255
"""The JVM's own limit."""
_TYPE: Final = re.compile(rb"\[*(?:[ZBCSIJFDV]|L[^;]+;)")
_MAX_MEMO: Final = 1024

_counts: dict[bytes, int] = {}


class Introduction(NamedTuple):
    """The five texts, but for the first."""

    path: bytes
    version: bytes
    method: bytes
    desc: bytes
    """The types of the arguments, as the JVM writes them."""
    end: int
    """Where the arguments begin in the body."""


class Call(NamedTuple):
    """All that a route may ask for."""

    interface: bytes
    method: bytes
    version: bytes
    group: bytes
    attachments: Mapping[bytes, bytes]
    """Those that are texts."""


def introduction(body: bytes) -> Introduction:
    """Read the beginning of a body. Raises `ValueError`."""
    reader = Reader(body[:MAX_INTRODUCTION])
    reader.text()
    return Introduction(reader.text(), reader.text(), reader.text(), reader.text(), reader.at)


def arguments(desc: bytes) -> int:
    """How many there are. Raises `ValueError`."""
    count = _counts.get(desc)
    if count is None:
        types = _TYPE.findall(desc)
        count = len(types)
        if count > MAX_ARGUMENTS or sum(map(len, types)) != len(desc):
            raise ValueError("the types of the arguments cannot be read")
        if len(_counts) >= _MAX_MEMO:
            _counts.clear()
        _counts[desc] = count
    return count


class Attachment(NamedTuple):
    """One entry of the map: the bytes of both, and their texts; None where one is something else."""

    raw: bytes
    name: bytes | None
    value: bytes | None


class Map(NamedTuple):
    """The attachments of a message, and where they stand in its body."""

    begun: int
    """Where the map begins, or would."""
    opened: bytes
    """How it begins; empty if there is none."""
    entries: list[Attachment]
    end: int


def read_map(reader: Reader) -> Map:
    """The attachments, which come next. Raises `ValueError`."""
    body, begun = reader.body, reader.at
    if not reader.opens_map():
        return Map(begun, b"", [], reader.at)
    opened = body[begun : reader.at]
    entries: list[Attachment] = []
    while not reader.closes_map():
        if len(entries) >= MAX_ENTRIES:
            raise ValueError("it has too many attachments")
        at = reader.at
        name = reader.text_or_none()
        value = reader.text_or_none()
        entries.append(Attachment(body[at : reader.at], name, value))
    return Map(begun, opened, entries, reader.at)


def texts(attachments: Map) -> dict[bytes, bytes]:
    """The entries of which both are texts; of a name that is repeated the last value counts."""
    return {one.name: one.value for one in attachments.entries if one.name is not None and one.value is not None}


def behind_arguments(body: bytes, begun: Introduction) -> Reader:
    """A reader that comes to the attachments of a request next. Raises `ValueError`."""
    reader = Reader(body, begun.end)
    reader.skip(arguments(begun.desc))
    return reader


def read_call(body: bytes) -> Call:
    """Read all of it. Raises `ValueError`."""
    begun = introduction(body)
    return call_of(begun, behind_arguments(body, begun).texts())


def call_of(begun: Introduction, attachments: Mapping[bytes, bytes]) -> Call:
    """What both say together."""
    interface = attachments.get(b"interface") or attachments.get(b"path") or begun.path
    version = attachments.get(b"version") or begun.version
    return Call(interface, begun.method, version, attachments.get(b"group", b""), attachments)
