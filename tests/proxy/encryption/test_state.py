"""What moves of a change of encryption, byte for byte as released; a line that is there already never changes.

``python -m tests.proxy.encryption.test_state`` prints the file anew; tests/snapshots/README.md tells how it grows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.encryption.state import Order, TroubleState, WishesState
from proxy.http1.state import UpstreamState as Http1State
from proxy.http1.states import Use
from proxy.multiplexed.state import UpstreamState as BoltState
from proxy.state import SharedState, Transport
from proxy.tls.farewell import FarewellState

GOLDEN = Path(__file__).parents[2] / "snapshots" / "encryption-1.txt"

ENDPOINT = "10.0.0.1:12200"
WISHES = WishesState(
    Order("on", 50, 600.0),
    Order("follow", 100, 0.0),
    {ENDPOINT: "tls"},
    12.5,
    10,
    25,
    {ENDPOINT: TroubleState(3, 1.5, "it took too long")},
)
QUIET = Transport(0, 0, 0.5)


def bolt(*, spare: bool = False, **new: Any) -> BoltState:
    """A connection without calls."""
    return BoltState(
        QUIET, "rpc", ENDPOINT, 1, b"", 0, 9, (), 0, (), None, 0.5, 0.5, 0.5, 0, 0, not spare, spare, **new
    )


EXAMPLES: dict[str, msgspec.Struct] = {
    "wishes": WISHES,
    "wishes-of-nobody": WishesState(),
    "shared-with-wishes": SharedState(7, switches={"rpc": WISHES}),
    "bolt-silent": bolt(spare=False, retire_left=299.5),
    "bolt-spare": bolt(spare=True),
    "bolt-kept": bolt(spare=True, kept=b"a call"),
    "http1-spare": Http1State(
        QUIET, "app", ENDPOINT, Use.DIAL, b"", 0, 0.75, False, False, 0, None, age=0.25, spare=True
    ),
    "farewell": FarewellState(Transport(48, 0, 0.5), 1.5),
}


def golden() -> dict[str, bytes]:
    lines = GOLDEN.read_text(encoding="ascii").splitlines()
    return {name: bytes.fromhex(text) for name, text in (line.split(" ") for line in lines)}


@pytest.mark.parametrize("name", golden())
def test_golden_snapshot_is_read_and_written_the_same(name: str) -> None:
    example = EXAMPLES[name]
    assert msgspec.msgpack.decode(golden()[name], type=type(example)) == example
    released = msgspec.msgpack.decode(golden()[name])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(example))[: len(released)] == released


def test_every_example_has_its_line() -> None:
    assert set(EXAMPLES) == set(golden())


def test_generation_before_reads_what_it_knows() -> None:
    """Fields are only appended: to it these are connections that end with their last call, or wait for nothing."""
    fields: list[object] = msgspec.msgpack.decode(golden()["bolt-silent"])
    before = msgspec.msgpack.decode(msgspec.msgpack.encode(fields[:17]), type=BoltState)
    assert (before.retiring, before.spare, before.retire_left) == (True, False, None)


if __name__ == "__main__":
    for key, value in EXAMPLES.items():
        print(f"{key} {msgspec.msgpack.encode(value).hex()}")
