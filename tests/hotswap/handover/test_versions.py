"""The version policy inside of messages: parts of a list grow as messages do, at their end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hotswap.errors import ProtocolError
from hotswap.handover import wire
from hotswap.swappable import Schema

PARTS = [
    (wire.Listeners([wire.ListenerEntry("server", "web", "127.0.0.1:80")] * 2), 1),
    (wire.Values([wire.Item("tcp", 1, 2, b"s", True, False, 3), wire.Item("tcp", 2, 0)]), 1),
    (wire.RoundDone(1, 2, [wire.Problem(1, "too new"), wire.Problem(2, "too old")]), 3),
]


def plain(message: wire.Message) -> list[Any]:
    fields: list[Any] = msgspec.msgpack.decode(wire.encode(message))
    return fields


def read(fields: list[Any]) -> wire.AnyMessage:
    return wire.decode(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize(("message", "at"), PARTS, ids=lambda value: type(value).__name__)
def test_fields_appended_to_a_part_are_ignored(message: wire.Message, at: int) -> None:
    fields = plain(message)
    fields[at] = [[*part, "new", None, {"field": 1}] for part in fields[at]]
    assert read(fields) == message


def test_fields_missing_at_the_end_of_a_part_are_filled_in() -> None:
    assert read(["VALUES", [["tcp", 7, 3]]]) == wire.Values([wire.Item("tcp", 7, 3, b"", False, False, 0)])


@pytest.mark.parametrize("part", [[], ["tcp"], ["tcp", 7]])
def test_a_required_field_missing_in_a_part_is_a_protocol_error(part: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        read(["VALUES", [part]])


def test_a_range_of_versions_may_grow_as_well() -> None:
    hello = wire.Hello(Schema(1, 2), {"tcp": Schema(3, 4)}, [], "1", "b", "c")
    fields = plain(hello)
    fields[1].append("new")
    fields[2]["tcp"].append("new")
    assert read(fields) == hello


def test_a_hello_of_the_first_release_is_understood() -> None:
    """Everything that HELLO gained since has a default."""
    assert read(["HELLO", [1, 1], {}, [], "0.1.0", "build", "config"]) == wire.Hello(
        Schema(1, 1), {}, [], "0.1.0", "build", "config"
    )


def test_a_message_nobody_knows_is_a_protocol_error_not_ignored() -> None:
    """What must be understood raises the protocol version; in between there is nothing to guess."""
    with pytest.raises(ProtocolError):
        read(["SEGMENT", 1])
