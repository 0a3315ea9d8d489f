"""The wire format: what is written comes back, and whatever a stranger sends costs an error at most."""

from __future__ import annotations

import math
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from hotswap.errors import ProtocolError
from hotswap.handover import wire
from hotswap.swappable import Schema

MESSAGES: tuple[type[wire.Message], ...] = get_args(wire.AnyMessage)
GOLDEN = Path(__file__).parents[2] / "snapshots" / "handover-1.txt"

# One of each, as protocol 1 writes it. Its bytes stay readable for as long as protocol 1 is spoken.
EXAMPLES: tuple[wire.Message, ...] = (
    wire.Hello(
        Schema(1, 1), {"tcp": Schema(1, 2)}, ["127.0.0.1:8080"], "0.1.0", "b5", "c7", "token", "require", 1, 20000, 12,
        ["hotswap", "run"], "/srv", 4711,
    ),
    wire.Welcome(1, {"tcp": 2}, 7, 9000, 29.5),
    wire.Refused(11, "draining"),
    wire.Listeners([wire.ListenerEntry("server", "web", "127.0.0.1:8080")]),
    wire.Lock(),
    wire.Pipe(),
    wire.Round(3, final=True),
    wire.Values([wire.Item("tcp", 2**40, 17, b"\x92\x01\x02", with_fd=True), wire.Item("tcp", 2, 1, in_memfd=True)]),
    wire.Closed([1, 2**62]),
    wire.RoundEnd(3),
    wire.RoundDone(3, 9000, [wire.Problem(5, "no such cluster")]),
    wire.Ack(4),
    wire.Final(9000, b"0123456789abcdef", b"shared", b"chain", [8], shared_in_memfd=False),
    wire.Prepared(),
    wire.Unable(8, "127.0.0.1:81 is taken"),
    wire.Owned(0.0025),
    wire.Straggler(wire.Item("tls", 9, 1, b"state", with_fd=True)),
    wire.Bye(2.5, 3, 9000, 12),
    wire.Released(),
    wire.Bye(2.5, 3, 9000, 12, {"copy": 1.5, "check": 1.0, "byte": 0.0}, {"removed_listener": 2}),
)  # fmt: skip


# -- messages of every shape that the types allow ---------------------------------------------------


def _integers(kind: inspect.IntType) -> st.SearchStrategy[int]:
    return st.integers(kind.ge if kind.ge is not None else -(2**63), kind.le if kind.le is not None else 2**64 - 1)


def _floats(kind: inspect.FloatType) -> st.SearchStrategy[float]:
    return st.floats(kind.ge, kind.le, allow_nan=False, allow_infinity=False)


def _texts(kind: inspect.StrType) -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), max_size=min(kind.max_length or 20, 20))


def _structs(kind: inspect.StructType) -> st.SearchStrategy[Any]:
    return st.builds(kind.cls, *(_strategy(field.type) for field in kind.fields))


_MAKERS: dict[type[inspect.Type], Callable[[Any], st.SearchStrategy[Any]]] = {
    inspect.IntType: _integers,
    inspect.FloatType: _floats,
    inspect.StrType: _texts,
    inspect.BytesType: lambda _: st.binary(max_size=40),
    inspect.BoolType: lambda _: st.booleans(),
    inspect.ListType: lambda kind: st.lists(_strategy(kind.item_type), max_size=4),
    inspect.DictType: lambda kind: st.dictionaries(_strategy(kind.key_type), _strategy(kind.value_type), max_size=4),
    inspect.StructType: _structs,
}


def _strategy(kind: inspect.Type) -> st.SearchStrategy[Any]:
    return _MAKERS[type(kind)](kind)


messages = st.one_of(*(_strategy(inspect.type_info(message)) for message in MESSAGES))


@given(messages)
def test_what_is_written_comes_back(message: wire.Message) -> None:
    assert wire.decode(wire.encode(message)) == message


# -- strangers --------------------------------------------------------------------------------------


def _decoded(data: bytes) -> wire.AnyMessage | None:
    """A message within its limits, or None for a `ProtocolError`; any other exception fails the test."""
    try:
        message = wire.decode(data)
    except ProtocolError:
        return None
    assert isinstance(message, MESSAGES)
    _check_limits(msgspec.to_builtins(message))
    return message


def _check_limits(value: Any) -> None:
    if isinstance(value, float):
        assert math.isfinite(value)
    elif isinstance(value, str):
        assert len(value) <= 4096
    elif isinstance(value, list):
        assert len(value) <= 4096
        for item in value:
            _check_limits(item)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    _decoded(data)


@st.composite
def _arrays(draw: st.DrawFn) -> bytes:
    """Well-formed MessagePack with a known tag and fields of any kind."""
    tag = draw(st.sampled_from([message.__struct_config__.tag for message in MESSAGES]))
    leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
    fields = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
    return msgspec.msgpack.encode([tag, *draw(st.lists(fields, max_size=16))])


@given(_arrays())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_fields_of_the_wrong_kind_are_a_protocol_error(data: bytes) -> None:
    _decoded(data)


@given(messages, st.data())
def test_a_damaged_message_is_a_message_or_a_protocol_error(message: wire.Message, data: st.DataObject) -> None:
    encoded = bytearray(wire.encode(message))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    _decoded(bytes(encoded))
    _decoded(bytes(encoded[:at]))


@given(messages, st.binary(min_size=1, max_size=9))
def test_bytes_behind_a_message_are_a_protocol_error(message: wire.Message, rest: bytes) -> None:
    assert _decoded(wire.encode(message) + rest) is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x91" * 60000 + b"\xc0", id="nested sixty thousand deep"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="an array of four billion"),
        pytest.param(b"\x92\xa6VALUES\xdd\xff\xff\xff\xff", id="four billion values"),
        pytest.param(b"\x92\xa6CLOSED\xdd\x00\x00\x20\x00" + b"\x01" * 0x2000, id="more serials than allowed"),
        pytest.param(b"\x92\xa3ACK\xff", id="a negative count"),
        pytest.param(b"\x92\xa3ACK\xcf\xff\xff\xff\xff\xff\xff\xff\xff", id="a count beyond 63 bits"),
        pytest.param(b"\x92\xa5OWNED\xcb\x7f\xf8\0\0\0\0\0\0", id="not a number of seconds"),
        pytest.param(b"\x92\xa5OWNED\xcb\x7f\xf0\0\0\0\0\0\0", id="infinite seconds"),
        pytest.param(b"\x92\xa3BYE\xcb\x7f\xf0\0\0\0\0\0\0", id="infinite downtime"),
        pytest.param(b"\x91\xa4PIPO", id="an unknown tag"),
        pytest.param(b"\x91\x01", id="a tag that is a number"),
        pytest.param(b"\x81\xa4type\xa4PIPE", id="a map"),
        pytest.param(b"\x93\xa7REFUSED\x0b\xa1\xff", id="text that is no UTF-8"),
        pytest.param(b"\x93\xa7REFUSED\x0b\xda\xff\xff" + b"x" * 65535, id="a reason of 64 KB"),
    ],
)  # fmt: skip
def test_refuses(data: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert _decoded(data) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KB


def test_does_not_write_what_the_other_side_would_not_read() -> None:
    with pytest.raises(ProtocolError, match=r"Final of \d+ bytes is larger than a message may be \(65536\)"):
        wire.encode(wire.Final(0, b"", bytes(wire.MAX_MESSAGE), b""))


# -- other versions ---------------------------------------------------------------------------------


@given(messages)
def test_an_older_reader_ignores_fields_that_were_appended(message: wire.Message) -> None:
    fields = msgspec.msgpack.decode(wire.encode(message))
    assert wire.decode(msgspec.msgpack.encode([*fields, "new", {"field": 1}])) == message


@given(messages)
def test_a_newer_reader_fills_in_fields_that_are_missing(message: wire.Message) -> None:
    fields = msgspec.msgpack.decode(wire.encode(message))
    required = sum(field.required for field in msgspec.structs.fields(message))
    older = wire.decode(msgspec.msgpack.encode(fields[: 1 + required]))
    assert type(older) is type(message)
    for field in msgspec.structs.fields(message):
        if field.required:
            assert getattr(older, field.name) == getattr(message, field.name)


def test_there_is_an_example_of_every_message() -> None:
    """And then one of each that had fields appended since, with all of them."""
    kinds = [type(example) for example in EXAMPLES]
    assert kinds[: len(MESSAGES)] == list(MESSAGES)
    assert len({*kinds}) == len(MESSAGES)


def test_the_bytes_of_protocol_1_stay_what_they_were() -> None:
    """A message that changes here is not understood by a generation that runs already.

    Append a field with a default instead; then the new bytes are added below the old ones, which stay.
    """
    golden = [bytes.fromhex(line.split()[1]) for line in GOLDEN.read_text(encoding="ascii").splitlines()]
    assert [wire.decode(data) for data in golden] == list(EXAMPLES)
    for data, example in zip(golden, EXAMPLES, strict=True):
        then = msgspec.msgpack.decode(data)
        assert msgspec.msgpack.decode(wire.encode(example))[: len(then)] == then
    assert golden[-1] == wire.encode(EXAMPLES[-1])
