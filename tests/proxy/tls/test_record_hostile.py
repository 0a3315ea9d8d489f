"""What a peer should not have sent: the alert it is told, and that nothing before it is lost."""

from __future__ import annotations

from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.tls import keys
from proxy.tls.errors import BAD_RECORD_MAC, RECORD_OVERFLOW, UNEXPECTED_MESSAGE, TlsError
from proxy.tls.suites import TLS12, TLS13, Suite
from proxy.tls.twin import CALL_AGAIN, MOST_EMPTY, MOST_RECORDS, RecordLayer
from tests.proxy.tls.records import (
    ALERT,
    ALL,
    BOTH,
    DATA,
    EACH_KIND,
    HANDSHAKE,
    KINDS,
    Event,
    begin,
    moved,
    named,
    noise,
    pair,
    read,
    shaken,
)

OF_13 = [(name, suite) for name, suite in EACH_KIND if suite.version == TLS13]
OF_12 = [(name, suite) for name, suite in EACH_KIND if suite.version == TLS12]


def refused(layer: RecordLayer, record: bytes) -> int:
    """The alert for a record that stands alone."""
    with pytest.raises(TlsError) as caught:
        layer.open(record, 0)
    return caught.value.alert


def changed(record: bytes, place: int) -> bytes:
    """With one bit of one byte turned."""
    result = bytearray(record)
    result[place] ^= 1 << place % 8
    return bytes(result)


def inner(suite: Suite, content: bytes, seq: int = 0, header: bytes = b"") -> bytes:
    """A record of the client, TLS 1.3, with this inside: type and padding are the caller's affair."""
    key, iv = keys.traffic_keys(suite, dict(shaken(suite).lines)["CLIENT_TRAFFIC_SECRET_0"])
    cipher: Any = {"gcm": AESGCM, "chacha20": ChaCha20Poly1305}.get(suite.cipher, lambda k: AESCCM(k, suite.tag_size))(
        key
    )
    header = header or b"\x17\x03\x03" + (len(content) + suite.tag_size).to_bytes(2, "big")
    sealed: bytes = cipher.encrypt((int.from_bytes(iv, "big") ^ seq).to_bytes(12, "big"), content, header)
    return header + sealed


@pytest.mark.parametrize(("name", "suite"), ALL, ids=named)
def test_a_record_that_was_changed_anywhere_is_refused(name: str, suite: Suite) -> None:
    client, _ = pair(name, suite)
    record = client.seal(DATA, b"0123456789")
    for place in range(5, len(record)):
        _, server = pair(name, suite)
        assert refused(server, changed(record, place)) == BAD_RECORD_MAC


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
@pytest.mark.parametrize("place", [1, 2])
def test_the_version_in_a_header_counts(name: str, suite: Suite, place: int) -> None:
    client, server = pair(name, suite)
    assert refused(server, changed(client.seal(DATA, b"0123456789"), place)) == BAD_RECORD_MAC


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_records_are_neither_repeated_nor_left_out_nor_swapped(name: str, suite: Suite) -> None:
    client, _ = pair(name, suite, tx_explicit=9)
    one, two, three = (client.seal(DATA, b"same") for _ in range(3))
    for stream in (one + one, two, one + three, one + three + two):
        _, server = pair(name, suite)
        with pytest.raises(TlsError) as caught:
            read(server, stream)
        assert caught.value.alert == BAD_RECORD_MAC


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_what_came_before_a_bad_record_is_not_lost(name: str, suite: Suite) -> None:
    client, server = pair(name, suite)
    good = client.seal(DATA, b"good") + client.seal(DATA, b" bytes")
    stream = good + changed(client.seal(DATA, b"bad"), -1)
    assert server.open(stream, 0) == (len(good), b"good bytes", CALL_AGAIN, None)
    with pytest.raises(TlsError) as caught:
        server.open(stream, len(good))
    assert caught.value.alert == BAD_RECORD_MAC


@pytest.mark.parametrize("name", BOTH)
def test_a_bad_record_behind_empty_ones_is_found_as_well(name: str) -> None:
    client, server = pair(name, KINDS[0])
    good = client.seal(DATA, b"")
    assert server.open(good + b"\x16\x03\x03\x00\x01?", 0) == (len(good), b"", CALL_AGAIN, None)
    assert refused(server, b"\x16\x03\x03\x00\x01?") == UNEXPECTED_MESSAGE


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_a_broken_layer_seals_one_alert_and_nothing_else(name: str, suite: Suite) -> None:
    client, server = pair(name, suite)
    assert refused(server, changed(client.seal(DATA, b"x"), -1)) == BAD_RECORD_MAC
    for layer in (server, moved(server)):
        for method, arguments in ((layer.seal, (DATA, b"")), (layer.open, (b"", 0)), (layer.seal, (HANDSHAKE, b"x"))):
            with pytest.raises(TlsError) as caught:
                cast("Any", method)(*arguments)
            assert caught.value.alert == BAD_RECORD_MAC
    assert read(client, server.seal(ALERT, b"\x02\x14"))[0] == [Event(ALERT, b"\x02\x14")]
    for layer in (server, moved(server)):
        with pytest.raises(TlsError, match="broken"):
            layer.seal(ALERT, b"\x02\x14")


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
@pytest.mark.parametrize("kind", [0, 20, 21, 22, 24, 255])
def test_a_record_of_a_wrong_type_is_not_waited_for(name: str, suite: Suite, kind: int) -> None:
    header = bytes((kind, 3, 3, 0, 40))
    layer = begin(name, suite, server=True)
    if suite.version == TLS12 and kind in (21, 22):
        assert layer.open(header, 0) == (0, b"", 0, None)
    else:
        assert refused(layer, header) == UNEXPECTED_MESSAGE


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_a_record_that_is_too_long_is_not_waited_for(name: str, suite: Suite) -> None:
    largest = 16384 + suite.expansion
    fits = b"\x17\x03\x03" + largest.to_bytes(2, "big")
    longer = b"\x17\x03\x03" + (largest + 1).to_bytes(2, "big")
    layer = begin(name, suite, server=True)
    assert layer.open(fits, 0) == (0, b"", 0, None)
    assert refused(layer, longer) == RECORD_OVERFLOW


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_the_longest_record_is_opened(name: str, suite: Suite) -> None:
    client, server = pair(name, suite)
    record = client.seal(DATA, noise(16384))
    assert len(record) == 5 + 16384 + suite.expansion
    assert read(server, record)[0] == [Event(DATA, noise(16384))]


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_a_record_shorter_than_its_tag_is_refused(name: str, suite: Suite) -> None:
    shortest = suite.explicit_size + suite.tag_size
    for size in range(shortest):
        assert refused(begin(name, suite, server=True), bytes((23, 3, 3, 0, size)) + bytes(size)) == BAD_RECORD_MAC


@pytest.mark.parametrize(("name", "suite"), OF_13, ids=named)
def test_padding_is_taken_off(name: str, suite: Suite) -> None:
    server = begin(name, suite, server=True)
    contents = [b"data\x17", b"data\x00\x00\x17" + bytes(100), b"\x17" + bytes(300), b"m\x16" + bytes(3)]
    stream = b"".join(inner(suite, content, seq) for seq, content in enumerate(contents))
    assert server.open(stream, 0) == (len(stream), b"datadata\x00\x00", HANDSHAKE, b"m")


@pytest.mark.parametrize(("name", "suite"), OF_13, ids=named)
def test_padding_up_to_the_longest_record_is_fine(name: str, suite: Suite) -> None:
    record = inner(suite, b"x\x17" + bytes(16383))
    assert read(begin(name, suite, server=True), record)[0] == [Event(DATA, b"x")]
    assert refused(begin(name, suite, server=True), inner(suite, b"x\x17" + bytes(16384))) == RECORD_OVERFLOW


@pytest.mark.parametrize(("name", "suite"), OF_13, ids=named)
@pytest.mark.parametrize("content", [b"", bytes(1), bytes(50), bytes(16385), b"x\x14", b"x\x18", b"x\xff\x00", b"\x01"])
def test_plaintext_without_a_known_type_is_unexpected(name: str, suite: Suite, content: bytes) -> None:
    assert refused(begin(name, suite, server=True), inner(suite, content)) == UNEXPECTED_MESSAGE


@pytest.mark.parametrize(("name", "suite"), OF_13, ids=named)
@pytest.mark.parametrize("content", [b"\x15", b"\x16", b"\x16" + bytes(20)])
def test_alerts_and_handshake_messages_are_not_empty(name: str, suite: Suite, content: bytes) -> None:
    assert refused(begin(name, suite, server=True), inner(suite, content)) == UNEXPECTED_MESSAGE


@pytest.mark.parametrize(("name", "suite"), OF_12, ids=named)
@pytest.mark.parametrize("kind", [ALERT, HANDSHAKE])
def test_neither_are_they_with_tls_1_2(name: str, suite: Suite, kind: int) -> None:
    client, server = pair(name, suite)
    assert refused(server, client.seal(kind, b"")) == UNEXPECTED_MESSAGE


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_a_run_of_empty_records_has_an_end(name: str, suite: Suite) -> None:
    client, server = pair(name, suite)
    for _ in range(3):  # something else in between is the end of a run
        for turn in range(MOST_EMPTY):
            assert read(server, client.seal(DATA, b""))[0] == []
            if turn == MOST_EMPTY // 2:
                server = moved(server)
        read(server, client.seal(DATA, b"x"))
    run = b"".join(client.seal(DATA, b"") for _ in range(MOST_EMPTY + 1))
    at, plain, kind, payload = server.open(run, 0)
    assert (plain, kind, payload) == (b"", CALL_AGAIN, None)
    assert refused(server, run[at:]) == UNEXPECTED_MESSAGE


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_a_call_opens_so_many_records_and_no_more(name: str, suite: Suite) -> None:
    """What waits behind them is not measured again by each call, however types are mixed in it."""
    client, server = pair(name, suite)
    portion = b"".join(client.seal(DATA, b"x") for _ in range(MOST_RECORDS))
    others = client.seal(DATA, b"y") + client.seal(HANDSHAKE, b"message")
    assert server.open(portion, 0) == (len(portion), b"x" * MOST_RECORDS, 0, None)
    assert server.open(others, 0) == (len(others), b"y", HANDSHAKE, b"message")
    portion = b"".join(client.seal(DATA, b"x") for _ in range(MOST_RECORDS))
    for behind in (portion, portion + client.seal(DATA, b"y"), portion[:1]):
        _, server = pair(name, suite, tx_seq=client.tx_seq, rx_seq=MOST_RECORDS + 2)
        assert server.open(portion + behind, 0) == (len(portion), b"x" * MOST_RECORDS, CALL_AGAIN, None)


@pytest.mark.parametrize("name", BOTH)
def test_a_bad_record_behind_so_many_is_found_as_well(name: str) -> None:
    client, server = pair(name, KINDS[0])
    good = b"".join(client.seal(DATA, b"x") for _ in range(MOST_RECORDS))
    stream = good + changed(client.seal(DATA, b"bad"), -1)
    assert server.open(stream, 0) == (len(good), b"x" * MOST_RECORDS, CALL_AGAIN, None)
    with pytest.raises(TlsError) as caught:
        server.open(stream, len(good))
    assert caught.value.alert == BAD_RECORD_MAC


@pytest.mark.parametrize("name", BOTH)
@settings(max_examples=300, deadline=None)
@given(stream=st.binary(max_size=200), suite=st.sampled_from(KINDS[:3] + KINDS[-3:]), frame=st.booleans())
def test_noise_is_refused_or_waited_for(name: str, stream: bytes, suite: Suite, frame: bool) -> None:
    if name == "c" and suite.cipher == "ccm":
        return
    if frame:
        stream = b"\x17\x03\x03" + len(stream).to_bytes(2, "big") + stream
    layer = begin(name, suite, server=True)
    alert = 0
    try:
        assert layer.open(stream, 0) == (0, b"", 0, None)
    except TlsError as error:
        alert = error.alert
    assert alert in (0, BAD_RECORD_MAC, RECORD_OVERFLOW, UNEXPECTED_MESSAGE)
    assert layer.rx_seq == 0
