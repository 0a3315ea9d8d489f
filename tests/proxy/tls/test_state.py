"""The states of TLS, byte for byte as released, and how they may grow. See tests/snapshots/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.proxy_protocol.header import Pair
from proxy.state import EntryState, TcpDownstreamState, Transport
from proxy.tls.stage import StageState
from proxy.tls.state import CLOSED_IN, CUT, HANDSHAKE, WAITING, About, TlsState

GOLDEN = Path(__file__).parents[2] / "snapshots" / "tls-1.txt"

SESSION = TlsState(
    WAITING | CLOSED_IN,
    b"layer",
    b"\x17\x03\x03",
    b"\x18",
    b"\x17\x03\x03\x00",
    3,
    About("edge.test", "http/1.1", ("URI:spiffe://test/web",)),
)

EXAMPLES: dict[str, msgspec.Struct] = {
    "session": SESSION,
    "session-of-a-stream-cut-off": TlsState(CUT, b"layer"),
    "handshake-with-an-endpoint": TlsState(HANDSHAKE, preface=b"PROXY UNKNOWN\r\n"),
    "transport": Transport(0, 8, 0.5, b"unsent", SESSION),
    "tcp-downstream": TcpDownstreamState(
        Transport(0, 8, 0.5, b"", TlsState(0, b"layer")), "db", "127.0.0.1:5432", "192.0.2.1", "db"
    ),
    "entry-with-a-server-name": EntryState(
        Transport(2, 0, 0.5), "db", "127.0.0.1:5432", "tcp", "192.0.2.1", 1.5, 1, server_name="db.test"
    ),
    "handshaking-finished": StageState(
        Transport(2, 0, 0.5, b"", SESSION),
        "web",
        "127.0.0.1:443",
        "http1",
        "192.0.2.1",
        7.5,
        Pair("192.0.2.1", 56324, "203.0.113.5", 443),
    ),
    "undecided": StageState(Transport(0, 0, 0.5), "web", "127.0.0.1:443", "http1", "192.0.2.1", 1.25),
}


def golden() -> dict[str, bytes]:
    return {name: bytes.fromhex(text) for name, text in map(str.split, GOLDEN.read_text().splitlines())}


def as_released(written: Any, released: Any) -> Any:
    """Without what was appended later, at any depth."""
    if not isinstance(released, list) or not isinstance(written, list):
        return written
    return [as_released(*both) for both in zip(written, released, strict=False)]


def test_every_example_has_its_golden_bytes() -> None:
    assert golden().keys() == EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_written_as_released_with_further_fields_at_the_end(name: str) -> None:
    released = msgspec.msgpack.decode(golden()[name])
    written = msgspec.msgpack.decode(msgspec.msgpack.encode(EXAMPLES[name]))
    assert as_released(written, released) == released


@pytest.mark.parametrize("name", EXAMPLES)
def test_released_bytes_are_read(name: str) -> None:
    assert msgspec.msgpack.decode(golden()[name], type=type(EXAMPLES[name])) == EXAMPLES[name]


@pytest.mark.parametrize("name", EXAMPLES)
def test_fields_that_a_newer_version_appends_are_ignored(name: str) -> None:
    fields: list[Any] = msgspec.msgpack.decode(golden()[name])
    fields.append({"new": True})
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=type(EXAMPLES[name])) == EXAMPLES[name]


if __name__ == "__main__":
    for one, state in EXAMPLES.items():
        print(one, msgspec.msgpack.encode(state).hex())
