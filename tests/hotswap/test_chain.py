from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hotswap.chain import LIMIT, Chain, Record
from hotswap.errors import UsageError
from hotswap.handover import wire

GOLDEN = Path(__file__).parents[1] / "snapshots" / "chain-1.txt"


def record(generation: int, *, build: str = "", outcome: str = "serving", command: list[str] | None = None) -> Record:
    return Record(
        generation,
        "1.0",
        build or f"build-{generation}",
        "config",
        command or ["serve", str(generation)],
        "/",
        4711,
        0.0,
        "upgrade",
        outcome,
    )


def chain_of(length: int) -> Chain:
    """A chain in which each generation took over from the one before."""
    chain = Chain()
    for generation in range(1, length + 1):
        chain.supersede(generation)
        chain.add(record(generation))
    return chain


def serving(chain: Chain) -> int:
    current = chain.current()
    assert current is not None
    return current.generation


def test_the_last_to_own_is_the_serving_one() -> None:
    chain = chain_of(3)
    assert serving(chain) == 3
    assert [entry.outcome for entry in chain.records] == [
        "superseded by generation 2",
        "superseded by generation 3",
        "serving",
    ]


def test_a_failed_attempt_changes_nothing_about_who_serves() -> None:
    chain = chain_of(2)
    chain.add(record(3, outcome="failed: it could not"))
    assert serving(chain) == 2
    assert chain.previous().generation == 1
    assert chain.superseded == ["build-1/config"]


def test_nobody_serves_and_nobody_was_before_in_an_empty_chain() -> None:
    assert Chain().current() is None
    with pytest.raises(UsageError, match="no earlier generation"):
        Chain().previous()
    with pytest.raises(UsageError):
        chain_of(1).previous()


def test_rolling_back_twice_comes_back_to_where_it_began() -> None:
    chain = chain_of(2)
    chain.supersede(3)
    chain.add(record(3, build=chain.records[0].build, command=chain.records[0].command))
    assert chain.previous().generation == 2


def test_an_identity_is_superseded_once_and_not_while_it_serves() -> None:
    chain = Chain()
    for generation in range(1, 6):
        chain.supersede(generation)
        chain.add(record(generation, build="a" if generation % 2 else "b"))
    assert chain.superseded == ["b/config"]


def test_the_oldest_records_go() -> None:
    chain = chain_of(LIMIT + 10)
    assert len(chain.records) == LIMIT
    assert (chain.records[0].generation, serving(chain)) == (11, LIMIT + 10)
    assert len(chain.superseded) <= LIMIT


def test_no_number_of_failures_pushes_out_who_serves_and_the_way_back() -> None:
    chain = chain_of(3)
    for _ in range(3 * LIMIT):
        chain.add(record(4, outcome="failed: it could not"))
    assert len(chain.records) == LIMIT
    assert (serving(chain), chain.previous().generation) == (3, 2)


def test_the_chain_travels_whole() -> None:
    chain = chain_of(3)
    assert Chain.decode(chain.encode()) == chain
    assert Chain.decode(b"") == Chain()


def test_a_record_of_a_later_version_is_read() -> None:
    later = msgspec.to_builtins(chain_of(2))
    later["records"][0]["mood"] = "cheerful"
    later["weather"] = "fine"
    assert Chain.decode(msgspec.msgpack.encode(later)) == chain_of(2)


def test_the_bytes_of_version_1_stay_what_they_were() -> None:
    """See tests/snapshots/README.md."""
    [(name, data)] = [line.split() for line in GOLDEN.read_text(encoding="ascii").splitlines()]
    assert name == "Chain"
    assert Chain.decode(bytes.fromhex(data)) == chain_of(2)
    released, today = msgspec.msgpack.decode(bytes.fromhex(data)), msgspec.msgpack.decode(chain_of(2).encode())
    for ours, theirs in zip(today.pop("records"), released.pop("records"), strict=True):
        assert ours.items() >= theirs.items(), "fields are only ever added"
    assert today.items() >= released.items()


def test_a_chain_that_is_none_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        Chain.decode(b"\x91\x01")


def test_long_commands_and_long_failures_never_outgrow_the_message_that_carries_the_chain() -> None:
    chain = Chain()
    for generation in range(1, LIMIT + 1):
        chain.supersede(generation)
        chain.add(record(generation, command=["java", "-cp", "x" * 4000]))
        chain.add(record(generation + 1, outcome="failed: " + "w" * 3000))
    data = chain.encode()
    wire.encode(wire.Final(0, b"d" * 16, b"s" * (wire.INLINE_VALUE - len(data)), data))
    moved = Chain.decode(data)
    assert serving(moved) == LIMIT
    assert moved.previous() == chain.previous(), "the way back was cut off"
