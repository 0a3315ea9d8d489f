"""The states of tcp and the shared state, byte for byte as released, and how they may grow.

Never edit a line of tests/snapshots/tcp-1.txt: a failure here tells that a running generation is not understood.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.http1.state import MirrorState
from proxy.proxy_protocol.header import Pair
from proxy.proxy_protocol.receiving import IntroductionState
from proxy.state import (
    EntryState,
    FilteredState,
    NameState,
    SharedState,
    TcpDownstreamState,
    TcpUpstreamState,
    Transport,
)

GOLDEN = Path(__file__).parents[1] / "snapshots" / "tcp-1.txt"

EXAMPLES: dict[str, msgspec.Struct] = {
    "downstream-relaying": TcpDownstreamState(
        Transport(0, 8, 0.5), "db", "127.0.0.1:5432", "192.0.2.1", "db", None, 12.25
    ),
    "downstream-dialling": TcpDownstreamState(
        Transport(2, 8, 0.0), "db", "127.0.0.1:5432", "192.0.2.1", "db", 0.75, None, ("127.0.0.1:9000",)
    ),
    "upstream-connecting": TcpUpstreamState(Transport(1, 7, 0.0), "db", "127.0.0.1:9001"),
    "upstream-half-closed": TcpUpstreamState(Transport(44, 7, 3.5, b"unsent"), "db", "unix:/run/db.sock"),
    "entry-delayed": EntryState(
        Transport(2, 0, 0.5), "db", "127.0.0.1:5432", "tcp", "192.0.2.1", 1.5, 1, {"mine": {"seen": 1}}
    ),
    "mirror-copying": MirrorState(Transport(0, 0, 0.5, b"piece"), "shadow", "127.0.0.1:9100", None, 7),
    "downstream-redirected": TcpDownstreamState(
        Transport(0, 8, 0.5), "db", "127.0.0.1:5432", "192.0.2.1", "db", destination="203.0.113.5:443"
    ),
    "downstream-introduced": TcpDownstreamState(
        Transport(0, 8, 0.5),
        "db",
        "127.0.0.1:5432",
        "192.0.2.1",
        "db",
        introduced=Pair("192.0.2.1", 56324, "203.0.113.5", 443),
    ),
    "introduction": IntroductionState(
        Transport(0, 0, 0.5), "db", "127.0.0.1:5432", "tcp", "192.0.2.9", 1.5, b"PROXY TCP4 192."
    ),
    "upstream-transparent": TcpUpstreamState(Transport(1, 7, 0.0), "db", "203.0.113.5:443 from 192.0.2.1"),
    "filtered-downstream": FilteredState(
        # What is inside grows by itself: these are the bytes as released.
        bytes.fromhex(
            "9a940008cb3fe0000000000000c400a26462ae3132372e302e302e313a35343332a93139322e302e322e31a26462c0c090c000"
        ),
        {"mine": {"rest": b"a", "lines": 2}},
    ),
    "shared": SharedState(9, {"db": {"127.0.0.1:9000": -1, "127.0.0.1:9001": 1}}, {"accepted": 4}, 29.5, True),
    "shared-with-names": SharedState(
        9, names={"any app.test": NameState({1: ("10.0.0.1",), 28: ()}, True, 2.5, 0.0, 1, 3, "no answer")}
    ),
    "shared-with-resting": SharedState(9, resting={"rpc": {"127.0.0.1:9000": 7.5}}),
}


def golden() -> dict[str, bytes]:
    return {name: bytes.fromhex(text) for name, text in map(str.split, GOLDEN.read_text().splitlines())}


def as_released(written: list[Any], released: list[Any]) -> list[Any]:
    """Without the fields that came later, those of the nested `Transport` included."""
    kept = written[: len(released)]
    if isinstance(released[0], list):
        kept[0] = kept[0][: len(released[0])]
    return kept


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
    fields: list[Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(EXAMPLES[name]))
    fields.append({"new": True})
    if isinstance(fields[0], list):
        fields[0].append("new")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=type(EXAMPLES[name])) == EXAMPLES[name]


def test_fields_that_an_older_version_did_not_write_have_defaults() -> None:
    fields = [[0, 8, 0.5], "db", "127.0.0.1:5432", "192.0.2.1", "db"]
    assert msgspec.convert(fields, TcpDownstreamState) == TcpDownstreamState(
        Transport(0, 8, 0.5), "db", "127.0.0.1:5432", "192.0.2.1", "db"
    )
    assert msgspec.convert([9], SharedState) == SharedState(9)
