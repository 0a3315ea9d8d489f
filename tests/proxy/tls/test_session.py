"""A session between two ends that know its secrets: what opens, what is answered, and what breaks it."""

from __future__ import annotations

import pytest

from proxy.tls.errors import BAD_RECORD_MAC, UNEXPECTED_MESSAGE, NotOwner
from proxy.tls.hello import records
from proxy.tls.layer import Permit, Vault
from proxy.tls.session import ALERT, HANDSHAKE, KEY_UPDATE, MOST_UPDATES, NEW_TICKET, PORTION, Session, restored
from proxy.tls.suites import BY_ID, BY_NAME
from tests.proxy.tls.pairs import Writing, cuts, granted, moved, pair, reader, seal, session

GCM = BY_NAME["TLS_AES_128_GCM_SHA256"]
GCM12 = BY_NAME["ECDHE-ECDSA-AES128-GCM-SHA256"]
EVERY = pytest.mark.parametrize("suite", BY_ID, ids=lambda suite: BY_ID[suite].name)
BOTH = pytest.mark.parametrize("suite", [GCM, GCM12], ids=["1.3", "1.2"])


@EVERY
def test_law_a_stream_cut_at_any_byte_and_moved_there_says_the_same(suite: int) -> None:
    """Both directions: what is half received moves with the receiver, what is half sent with the sender."""
    server, client = pair(suite)
    sealed = seal(client, b"first") + seal(client, b"") + seal(client, b"second")
    for before, after in cuts(sealed):
        server, client = pair(suite)
        assert seal(client, b"first") + seal(client, b"second") == sealed
        plain = server.receive(before)
        server = moved(server)
        assert plain + server.receive(after) == b"firstsecond"
        assert client.receive(seal(moved(server, times=2), b"answer")) == b"answer"


@EVERY
def test_law_what_is_half_written_goes_on_elsewhere(suite: int) -> None:
    for taken in (0, 1, 5, 20, 30):
        server, client = pair(suite)
        sent = b""

        def write(_fd: int, portion: bytes | bytearray, taken: int = taken) -> int:
            nonlocal sent
            sent += portion[:taken]
            return min(taken, len(portion))

        assert server.write(Writing(write), 0, b"a question") == 10
        server = moved(server)
        sent += seal(server, b" and more")
        assert client.receive(sent) == b"a question and more"


@EVERY
def test_both_ends_move_again_and_again(suite: int) -> None:
    server, client = pair(suite)
    for number in range(20):
        data = bytes([number]) * (number * 997 + 1)
        assert server.receive(seal(client, data)) == data
        assert client.receive(seal(server, data)) == data
        server, client = moved(server), moved(client)


@BOTH
def test_large_outboxes_are_sealed_in_portions_as_the_socket_takes_them(suite: int) -> None:
    server, client = pair(suite)
    data = bytes(3 * PORTION + 100)
    room = PORTION + 30_000
    sent = b""

    def write(_fd: int, portion: bytes | bytearray) -> int:
        nonlocal sent
        count = min(len(portion), room - len(sent))
        if not count:
            raise BlockingIOError(11, "full")
        sent += portion[:count]
        return count

    assert server.write(Writing(write), 0, data) == 2 * PORTION
    room = 1 << 30
    sent += seal(server, data[2 * PORTION :])
    assert client.receive(sent) == data


def test_what_left_before_the_connection_broke_is_known_to_have_left() -> None:
    """Else a call among it would be made once more elsewhere."""
    server, client = pair(GCM)
    sent: list[bytes] = []

    def write(_fd: int, portion: bytes | bytearray) -> int:
        if sent:
            raise BrokenPipeError(32, "gone")
        sent.append(bytes(portion))
        return len(portion)

    outbox = bytes(3 * PORTION)
    count = server.write(Writing(write), 0, outbox)
    assert len(client.receive(b"".join(sent))) == PORTION <= count < len(outbox)
    with pytest.raises(BrokenPipeError):
        server.write(Writing(write), 0, outbox[count:])
    with pytest.raises(BrokenPipeError):
        pair(GCM)[0].write(Writing(write), 0, outbox)


# -- KeyUpdate ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [False, True])
def test_key_updates_are_followed_and_answered_if_asked(ask: bool) -> None:
    server, client = pair(GCM)
    client.update(ask=ask)
    assert server.receive(seal(client, b"under the next key")) == b"under the next key"
    assert bool(server.sealed) is ask
    server = moved(server)
    assert client.receive(seal(server, b"answer")) == b"answer"


def test_the_answer_to_a_key_update_goes_under_the_old_key_and_what_follows_under_the_next() -> None:
    server, client = pair(GCM)
    assert client.receive(seal(server, b"before")) == b"before"
    client.update(ask=True)
    server.receive(seal(client, b""))
    answer = server.sealed
    server.sealed = b""
    after = seal(server, b"after")
    assert client.receive(answer) == b""
    assert client.layer.rx_seq == 0
    assert client.receive(after) == b"after"


def test_law_key_updates_cut_at_any_byte_and_moved_there() -> None:
    def stream() -> tuple[Session, Session, bytes]:
        server, client = pair(GCM)
        sent = seal(client, b"one")
        client.update(ask=True)
        sent += seal(client, b"two")
        client.update()
        return server, client, sent + seal(client, b"three")

    for at in range(len(stream()[2]) + 1):
        server, client, sent = stream()
        plain = server.receive(sent[:at])
        server = moved(server)
        assert plain + server.receive(sent[at:]) == b"onetwothree"
        assert client.receive(seal(moved(server), b"answer")) == b"answer"


def test_a_key_update_in_two_records_is_one() -> None:
    server, client = pair(GCM)
    message = bytes((KEY_UPDATE, 0, 0, 1, 0))
    sent = client.layer.seal(HANDSHAKE, message[:3])
    server.receive(sent)
    server = moved(server)
    sent = client.layer.seal(HANDSHAKE, message[3:])
    client.layer.update_tx()
    assert server.receive(sent + seal(client, b"data")) == b"data"


@pytest.mark.parametrize(
    "message",
    [
        bytes((KEY_UPDATE, 0, 0, 1, 2)),
        bytes((KEY_UPDATE, 0, 0, 2, 0, 0)),
        bytes((KEY_UPDATE, 0, 0, 1, 0)) * 2,
        bytes((NEW_TICKET, 0, 0, 0)),
        bytes((1, 0, 0, 0)),
        bytes((KEY_UPDATE, 0xFF, 0, 0)),
        b"",
    ],
    ids=["value", "length", "not last", "ticket to a server", "hello", "endless", "empty"],
)
def test_malformed_messages_after_the_handshake_break_it(message: bytes) -> None:
    server, client = pair(GCM)
    server.receive(client.layer.seal(HANDSHAKE, message))
    assert server.error is not None
    client.receive(server.sealed)
    assert client.error is not None
    assert client.error.alert == server.error.alert


def test_too_many_key_updates_without_data_break_it() -> None:
    server, client = pair(GCM)
    for _ in range(MOST_UPDATES):
        client.update()
    server.receive(seal(client, b""))
    assert server.error is None
    assert server.receive(seal(client, b"data")) == b"data"
    for _ in range(MOST_UPDATES + 1):
        client.update()
    server.receive(seal(client, b""))
    assert server.error is not None


def asked(client: Session, times: int) -> bytes:
    """So many KeyUpdates that ask for ours, with data in between."""
    sent = b""
    for _ in range(times):
        client.update(ask=True)
        sent += seal(client, b"x")
    return sent


def test_key_updates_of_a_peer_that_does_not_read_take_one_answer() -> None:
    server, client = pair(GCM)
    assert client.receive(seal(server, b"before")) == b"before"
    for _ in range(10):
        assert server.receive(asked(client, 100)) == b"x" * 100
        server = moved(server)
    assert len(list(records(server.sealed))) == 1
    assert client.receive(seal(server, b"after")) == b"after"
    assert server.receive(asked(client, 1)) == b"x"
    assert len(list(records(server.sealed))) == 1
    assert client.receive(seal(server, b"again")) == b"again"


def test_a_key_update_is_answered_also_by_who_has_said_nothing_yet() -> None:
    server, client = pair(GCM)
    assert client.layer.tx_seq == 0
    assert client.receive(asked(server, 1)) == b"x"
    assert len(list(records(client.sealed))) == 1
    assert server.receive(seal(client, b"answer")) == b"answer"


@pytest.mark.parametrize(
    ("suite", "kind", "size"), [(GCM, KEY_UPDATE, 2), (GCM, NEW_TICKET, 9), (GCM12, 0, 9), (GCM12, 1, 1 << 15)]
)
def test_a_message_that_must_not_come_is_not_waited_for(suite: int, kind: int, size: int) -> None:
    server, client = pair(suite)
    server.receive(client.layer.seal(HANDSHAKE, bytes((kind,)) + size.to_bytes(3, "big")))
    assert server.error is not None
    assert server.partial == b""


def test_tickets_of_a_server_are_dropped() -> None:
    server, client = pair(GCM)
    sent = server.layer.seal(HANDSHAKE, bytes((NEW_TICKET, 0, 0, 3, 1, 2, 3)))
    assert client.receive(sent + seal(server, b"data")) == b"data"


# -- TLS 1.2 --------------------------------------------------------------------------------------------------


def test_renegotiation_is_refused_by_a_warning_and_the_connection_goes_on() -> None:
    server, client = pair(GCM12)
    server.receive(client.layer.seal(HANDSHAKE, bytes((1, 0, 0, 0))))
    assert client.layer.open(server.sealed, 0)[2:] == (ALERT, b"\x01\x64")
    server.sealed = b""
    assert server.receive(seal(client, b"data")) == b"data"


def test_renegotiation_is_refused_once_to_a_peer_that_does_not_read() -> None:
    server, client = pair(GCM12)
    for _ in range(1000):
        hello = client.layer.seal(HANDSHAKE, bytes((1, 0, 0, 0)))
        assert server.receive(hello + seal(client, b"data")) == b"data"
    assert [record[0] for record in records(server.sealed)] == [ALERT]
    assert client.receive(seal(server, b"answer")) == b"answer"


# -- ends -----------------------------------------------------------------------------------------------------


@BOTH
def test_close_notify_ends_one_direction(suite: int) -> None:
    server, client = pair(suite)
    client.close()
    client.close()
    assert server.receive(seal(client, b"")) == b""
    assert server.closed_in
    assert not server.closed_out
    assert client.receive(seal(moved(server), b"the rest")) == b"the rest"


@BOTH
def test_what_follows_close_notify_does_not_count(suite: int) -> None:
    server, client = pair(suite)
    client.close()
    sent = seal(client, b"") + client.layer.seal(23, b"late")
    assert server.receive(sent) == b""
    assert server.receive(client.layer.seal(23, b"later")) == b""
    assert server.error is None


@BOTH
def test_what_came_before_a_forged_record_is_delivered_and_the_alert_is_the_last_word(suite: int) -> None:
    server, client = pair(suite)
    sent = bytearray(seal(client, b"good") + seal(client, b"bad"))
    sent[-1] ^= 1
    assert server.receive(bytes(sent)) == b"good"
    assert server.error is not None
    assert server.error.alert == BAD_RECORD_MAC
    client.receive(server.sealed)
    assert client.error is not None
    assert client.error.alert == BAD_RECORD_MAC
    assert client.sealed == b""  # no answer to a fatal alert


def test_data_in_the_middle_of_a_message_breaks_it() -> None:
    server, client = pair(GCM)
    sent = client.layer.seal(HANDSHAKE, bytes((KEY_UPDATE, 0)))
    server.receive(sent + seal(client, b"data"))
    assert server.error is not None
    assert server.error.alert == UNEXPECTED_MESSAGE


# -- who may seal ---------------------------------------------------------------------------------------------


@BOTH
def test_a_restored_session_is_inert_until_its_generation_owns(suite: int) -> None:
    server, client = pair(suite)
    vault, permit = Vault(), Permit()
    copy = restored(server.save(vault), reader(vault), permit)
    with pytest.raises(NotOwner):
        seal(copy, b"too early")
    with pytest.raises(NotOwner):
        copy.receive(seal(client, b"question"))
    permit.grant()
    assert client.receive(seal(copy, b"answer")) == b"answer"


@BOTH
def test_saving_in_a_round_does_not_end_it_and_the_later_round_counts(suite: int) -> None:
    server, client = pair(suite)
    vault, permit = Vault(), Permit()
    theirs = reader(vault)
    copy = restored(server.save(vault), theirs, permit)
    assert client.receive(seal(server, b"served on")) == b"served on"
    assert server.receive(seal(client, b"as well")) == b"as well"
    copy.load(server.save(vault), theirs)
    server.end()
    permit.grant()
    assert client.receive(seal(copy, b"answer")) == b"answer"
    assert copy.receive(seal(client, b"question")) == b"question"


@BOTH
def test_a_session_that_was_given_away_seals_nothing_more(suite: int) -> None:
    server, _ = pair(suite)
    server.end()
    with pytest.raises(NotOwner):
        seal(server, b"late")
    with pytest.raises(NotOwner):
        server.close()


@BOTH
def test_a_stale_value_is_not_taken_for_the_same_stream(suite: int) -> None:
    """What makes stale values harmless is the digest over change counts; should one get through, the peer notices."""
    server, client = pair(suite)
    vault = Vault()
    stale = server.save(vault)
    assert client.receive(seal(server, b"one")) == b"one"
    copy = restored(stale, reader(vault), granted())
    client.receive(seal(copy, b"two"))
    assert client.error is not None


def test_nothing_of_it_can_be_read_off() -> None:
    server = session(GCM, granted(), server=True)
    assert "ecret" not in repr(server.layer)
    assert server.describe() == {"version": "1.3", "cipher": "TLS_AES_128_GCM_SHA256"}
