"""Sealing and opening: every suite, both directions, any size, any cut."""

from __future__ import annotations

import mmap
from array import array
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.tls.errors import TlsError
from proxy.tls.suites import TLS13, Suite
from proxy.tls.twin import RecordLayer
from tests.proxy.tls.records import (
    ALERT,
    ALL,
    BOTH,
    DATA,
    EACH_KIND,
    HANDSHAKE,
    KINDS,
    NATIVE_KINDS,
    Event,
    begin,
    carries,
    joined,
    moved,
    named,
    noise,
    pair,
    plaintext,
    read,
    records,
)

SIZES = (1, 2, 15, 16, 17, 100, 1000, 1399, 16383, 16384, 16385, 40000, 200_000)
SOME = KINDS[0]


def bidirectional(client: RecordLayer, server: RecordLayer, size: int) -> None:
    for sender, receiver in ((client, server), (server, client)):
        assert plaintext(receiver, sender.seal(DATA, noise(size))) == noise(size)


@pytest.mark.parametrize(("name", "suite"), ALL, ids=named)
def test_what_one_side_seals_the_other_opens(name: str, suite: Suite) -> None:
    client, server = pair(name, suite, tx_explicit=7)
    for size in SIZES:
        bidirectional(client, server, size)
    assert client.tx_seq == server.rx_seq > len(SIZES)


@pytest.mark.parametrize("suite", NATIVE_KINDS, ids=named)
def test_both_implementations_seal_the_same_bytes(suite: Suite) -> None:
    one, other = (begin(name, suite, server=True, tx_seq=5, tx_explicit=2**64 - 3, rekey_at=12) for name in BOTH)
    for size in (0, *SIZES):
        for kind in (ALERT, HANDSHAKE, DATA):
            assert one.seal(kind, noise(size)) == other.seal(kind, noise(size))
    assert (one.tx_seq, one.tx_explicit) == (other.tx_seq, other.tx_explicit)


@pytest.mark.parametrize("suite", NATIVE_KINDS, ids=named)
def test_what_one_implementation_seals_the_other_opens(suite: Suite) -> None:
    bidirectional(*pair("c", suite, "python"), 50_000)
    bidirectional(*pair("python", suite, "c"), 50_000)


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_a_record_has_the_form_of_its_version(name: str, suite: Suite) -> None:
    layer = begin(name, suite, server=True)
    record = layer.seal(HANDSHAKE, b"1234")
    assert record[:3] == (b"\x17\x03\x03" if suite.version == TLS13 else b"\x16\x03\x03")
    assert len(record) == 5 + 4 + suite.expansion
    assert int.from_bytes(record[3:5], "big") == len(record) - 5


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_kind_of_bytes_is_sealed(name: str, kind: type) -> None:
    client, server = pair(name, SOME)
    assert plaintext(server, client.seal(DATA, kind(noise(100)))) == noise(100)


@pytest.mark.parametrize("name", BOTH)
def test_a_bytearray_is_opened_and_may_change_afterwards(name: str) -> None:
    client, server = pair(name, SOME)
    buffer = bytearray(client.seal(DATA, b"first") + client.seal(ALERT, b"ab"))
    assert server.open(buffer, 0) == (len(buffer), b"first", ALERT, b"ab")
    del buffer[:]


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
@pytest.mark.parametrize("limit", [1, 64, 1000, 16383])
def test_no_record_carries_more_than_the_peer_takes(name: str, suite: Suite, limit: int) -> None:
    client, server = pair(name, suite, limit=limit)
    for size in (limit - 1, limit, limit + 1, 3 * limit):
        sealed = client.seal(DATA, noise(size))
        assert max(len(record) for record in records(sealed)) <= 5 + limit + suite.expansion
        assert len(list(records(sealed))) == max(1, -(-size // limit))
        assert plaintext(server, sealed) == noise(size)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("suite", KINDS, ids=named)
def test_records_are_opened_to_one_plaintext_up_to_one_of_another_type(name: str, suite: Suite) -> None:
    if not carries(name, suite):
        name = "python"
    client, server = pair(name, suite)
    stream = b"".join(client.seal(DATA, word) for word in (b"one ", b"", b"two "))
    stream += client.seal(HANDSHAKE, b"message")
    stream += client.seal(DATA, b"three")
    behind = stream[: -len(client.seal(DATA, b"three"))]
    assert server.open(stream, 0) == (len(behind), b"one two ", HANDSHAKE, b"message")
    assert server.open(stream, len(behind)) == (len(stream), b"three", 0, None)
    assert server.open(stream, len(stream)) == (len(stream), b"", 0, None)


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_the_stream_may_be_cut_anywhere(name: str, suite: Suite) -> None:
    """And the layer may move there, too."""
    client, _ = pair(name, suite)
    stream = (
        client.seal(DATA, b"first")
        + client.seal(HANDSHAKE, b"second")
        + client.seal(DATA, b"")
        + client.seal(DATA, b"x")
    )
    expected = [Event(DATA, b"first"), Event(HANDSHAKE, b"second"), Event(DATA, b"x")]
    for cut in range(len(stream) + 1):
        _, server = pair(name, suite)
        before, rest = read(server, stream[:cut])
        after, rest = read(moved(server), rest + stream[cut:])
        assert joined(before + after) == expected
        assert rest == b""


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_bytes_may_come_one_by_one(name: str, suite: Suite) -> None:
    client, server = pair(name, suite)
    events: list[Event] = []
    rest = b""
    for byte in client.seal(DATA, noise(50)) + client.seal(ALERT, b"\x01\x00"):
        more, rest = read(server, rest + bytes((byte,)))
        events += more
    assert events == [Event(DATA, noise(50)), Event(ALERT, b"\x01\x00")]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("position", [-1, 4, 2**70])
def test_a_position_outside_of_the_buffer_is_refused(name: str, position: int) -> None:
    with pytest.raises(ValueError, match="position"):
        begin(name, SOME, server=True).open(b"abc", position)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("kind", [0, 20, 24, 255, -1, 2**40])
def test_other_types_of_records_are_not_sealed(name: str, kind: int) -> None:
    with pytest.raises(ValueError, match="type of a record"):
        begin(name, SOME, server=True).seal(kind, b"")


@pytest.mark.parametrize("name", BOTH)
def test_what_is_no_data_is_refused(name: str) -> None:
    layer = begin(name, SOME, server=True)
    seal, open_ = cast("Any", layer.seal), cast("Any", layer.open)
    for wrong, arguments in (
        (seal, (DATA, "text")),
        (seal, (DATA, 5)),
        (seal, ("23", b"")),
        (open_, ("text", 0)),
        (open_, (b"", None)),
    ):
        with pytest.raises(TypeError):
            wrong(*arguments)
    assert layer.tx_seq == 0


@pytest.mark.parametrize("name", BOTH)
def test_memory_that_another_process_may_change_is_not_opened(name: str) -> None:
    """Nor any but the two kinds that a socket is read into: lengths in it are looked at twice."""
    client, server = pair(name, SOME)
    record = client.seal(DATA, b"x")
    with mmap.mmap(-1, len(record)) as shared:
        shared[:] = record
        for wrong in (shared, memoryview(record), array("B", record)):
            with pytest.raises(TypeError, match="bytes or a bytearray"):
                server.open(cast("Any", wrong), 0)
    assert server.open(bytearray(record), 0) == (len(record), b"x", 0, None)


# ---- KeyUpdate


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_both_directions_go_on_under_their_next_keys(name: str, suite: Suite) -> None:
    client, server = pair(name, suite)
    if suite.version != TLS13:
        for update in (client.update_tx, client.update_rx):
            with pytest.raises(ValueError, match="KeyUpdates"):
                update()
        return
    for turn in range(3):
        bidirectional(client, server, 100)
        before = client.seal(DATA, b"same")
        client.update_tx()
        assert client.tx_seq == 0
        assert read(server, before)[0] == [Event(DATA, b"same")]
        server.update_rx()
        bidirectional(client, server, 100 + turn)
        server.update_tx()
        client.update_rx()
        client, server = moved(client), moved(server)


@pytest.mark.parametrize("suite", [suite for suite in NATIVE_KINDS if suite.version == TLS13], ids=named)
def test_both_implementations_have_the_same_next_keys(suite: Suite) -> None:
    for ours, theirs in (BOTH, BOTH[::-1]):
        client, server = pair(ours, suite, theirs)
        for _ in range(3):
            client.update_tx()
            server.update_rx()
            bidirectional(client, server, 100)


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_enough_records_under_one_key_lead_to_the_next(name: str, suite: Suite) -> None:
    client, server = pair(name, suite, rekey_at=3, limit=10)
    stream = b"".join(client.seal(DATA, noise(25, seed)) for seed in range(4))  # three records each
    events: list[Event] = []
    while stream:
        at, plain, kind, payload = server.open(stream, 0)
        events.append(Event(DATA, plain))
        if payload is not None:
            assert (kind, payload) == (HANDSHAKE, b"\x18\x00\x00\x01\x00")
            events.append(Event(kind, payload))
            server.update_rx()
        stream = stream[at:]
    assert b"".join(event.content for event in events if event.kind == DATA) == b"".join(noise(25, s) for s in range(4))
    updates = [event.kind for event in joined(events)].count(HANDSHAKE)
    assert updates == (3 if suite.version == TLS13 else 0)
    assert client.tx_seq == (3 if suite.version == TLS13 else 12)


@pytest.mark.parametrize("name", BOTH)
def test_only_data_leads_to_the_next_key(name: str) -> None:
    client, server = pair(name, KINDS[0], rekey_at=1)
    for kind in (HANDSHAKE, ALERT, HANDSHAKE):
        assert read(server, client.seal(kind, b"ab"))[0] == [Event(kind, b"ab")]
    assert client.tx_seq == 3
    assert len(list(records(client.seal(DATA, b"")))) == 2
    assert client.tx_seq == 1


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("start", range(8))
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_any_number_of_updates_fits_into_what_is_sealed(name: str, start: int, limit: int) -> None:
    for size in range(20):
        client = begin(name, SOME, server=False, tx_seq=start, rekey_at=3, limit=limit)
        kinds = len(list(records(client.seal(DATA, noise(size)))))
        data = max(1, -(-size // limit))
        left_under_this_key = max(0, 3 - start)
        assert kinds == data + -(-max(0, data - left_under_this_key) // 3)


@settings(max_examples=300, deadline=None)
@given(
    suite=st.sampled_from(NATIVE_KINDS),
    start=st.one_of(st.integers(0, 50), st.integers(2**64 - 60, 2**64 - 30)),
    rekey_at=st.one_of(st.integers(1, 50), st.integers(2**64 - 60, 2**64 - 1)),
    limit=st.integers(1, 40),
    size=st.integers(0, 1000),
)
def test_both_implementations_seal_the_same_whatever_the_numbers(
    suite: Suite, start: int, rekey_at: int, limit: int, size: int
) -> None:
    told = []
    for name in BOTH:
        layer = begin(name, suite, server=True, tx_seq=start, rekey_at=rekey_at, limit=limit)
        try:
            told.append(layer.seal(DATA, noise(size)).hex())
        except TlsError as error:
            told.append(str(error.alert))
    assert told[0] == told[1]


# ---- what a handshake has to give


@pytest.mark.parametrize(("name", "suite"), ALL, ids=named)
def test_keys_prove_what_was_sealed_under_them(name: str, suite: Suite) -> None:
    client, server = pair(name, suite, tx_seq=4, rx_seq=4)
    record = server.seal(HANDSHAKE, b"ticket")
    assert client.proves(record, ours=False, seq=4) == server.proves(record, ours=True, seq=4) == b"ticket"
    assert client.proves(record, ours=True, seq=4) is None
    assert client.proves(record, ours=False, seq=5) is None
    assert client.proves(record[:-1], ours=False, seq=4) is None
    assert client.proves(record + b"x", ours=False, seq=4) is None
    assert client.proves(b"", ours=False, seq=4) is None
    assert (client.rx_seq, server.tx_seq) == (4, 5)
    assert read(client, record)[0] == [Event(HANDSHAKE, b"ticket")]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"limit": 16385},
        {"limit": -1},
        {"rekey_at": 0},
        {"tx_seq": -1},
        {"rx_seq": 2**64},
        {"tx_explicit": 2**64},
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"limit|64 bits"):
        begin(name, SOME, server=True, **wrong)


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_the_last_sequence_number_is_not_used(name: str, suite: Suite) -> None:
    client, server = pair(name, suite, tx_seq=2**64 - 2, rx_seq=2**64 - 2, rekey_at=2**64 - 1)
    last = client.seal(HANDSHAKE, b"last")
    assert read(server, last)[0] == [Event(HANDSHAKE, b"last")]
    explicit = client.tx_explicit
    with pytest.raises(TlsError, match="sequence numbers are used up"):
        client.seal(HANDSHAKE, b"one more")
    assert client.tx_explicit == explicit
    for record in (last, b"\x17\x03\x03\x00\x00"):
        again = begin(name, suite, server=True, rx_seq=2**64 - 1)
        with pytest.raises(TlsError, match="sequence numbers are used up"):
            again.open(record, 0)
