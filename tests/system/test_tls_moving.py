"""TLS connections that move, one at a time, cut where it hurts: inside records, between keys, in handshakes."""

from __future__ import annotations

import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.kit.certificates import Authority
from tests.kit.client import Client
from tests.kit.conversation import Conversation
from tests.kit.frames import FrameReader
from tests.kit.processes import PATIENCE
from tests.kit.stage import Edge, Stage
from tests.kit.tls import NEWEST_FIRST, TlsClient, Version, client_context
from tests.kit.tls_peers import OpensslClient, OpensslServer
from tests.kit.upstreams import Kind, Upstreams
from tests.kit.waiting import eventually

PLACES: tuple[tuple[Kind, str], ...] = (("http", "127.0.0.1:0"), ("raw", "127.0.0.1:0"))
BOTH = [True, pytest.param(False, marks=pytest.mark.all)]
REQUEST = b"GET /bytes?n=77 HTTP/1.1\r\nhost: edge.test\r\nx-padding: is longer than the others\r\n\r\n"


@pytest.fixture(scope="module")
def upstreams(authority: Authority) -> Iterator[Upstreams]:
    with Upstreams(*PLACES, tls=authority.issue("behind")) as running:
        yield running


@pytest.fixture
def edge(stage: Stage, authority: Authority, upstreams: Upstreams) -> Edge:
    return stage.edge(upstreams, authority=authority)


@pytest.fixture(params=NEWEST_FIRST)
def version(request: pytest.FixtureRequest) -> Version:
    chosen: Version = request.param
    return chosen


@pytest.fixture
def client(edge: Edge, authority: Authority, version: Version) -> Iterator[TlsClient]:
    """One that has been served."""
    with TlsClient(edge.web, client_context(authority.file, version)) as connected:
        assert connected.ask("/bytes?n=10").status == 200
        yield connected


def upgrade(edge: Edge, count: int = 1) -> None:
    for _ in range(count):
        done = edge.instance.upgrade("--require-all")
        assert done.exit_code == 0, done.text


def assert_crc(fields: dict[str, str], body: bytes) -> None:
    assert fields["x-crc"] == f"{zlib.crc32(body):08x}"


# -- records ------------------------------------------------------------------------------------------


@pytest.mark.all
def test_an_idle_connection_serves_on_after_several_upgrades_in_a_row(edge: Edge, client: TlsClient) -> None:
    upgrade(edge, 3)
    assert client.ask("/bytes?n=10").status == 200


def test_a_half_sent_record_is_completed(edge: Edge, client: TlsClient) -> None:
    """Cut in its header, at its beginning, in the middle, before its last byte; each time another one."""
    for cut in (1, 4, 5, 40, -1):
        sealed = client.seal(REQUEST)
        client.send_raw(sealed[:cut])
        upgrade(edge)
        client.send_raw(sealed[cut:])
        assert len(client.response().body) == 77


@pytest.mark.all
def test_a_record_that_is_cut_twice_is_completed(edge: Edge, client: TlsClient) -> None:
    """What came first is taken along twice, and a whole record before it is not opened again."""
    sealed = client.seal(REQUEST[:20]) + client.seal(REQUEST[20:])
    client.send_raw(sealed[:50])
    upgrade(edge)
    client.send_raw(sealed[50:90])
    upgrade(edge)
    client.send_raw(sealed[90:])
    assert len(client.response().body) == 77


def test_records_smaller_than_a_line_are_put_together(edge: Edge, client: TlsClient) -> None:
    """One upgrade in the middle of a head of which every byte comes in a record of its own."""
    middle = len(REQUEST) // 2
    for byte in REQUEST[:middle]:
        client.send(bytes([byte]))
    upgrade(edge)
    for byte in REQUEST[middle:]:
        client.send(bytes([byte]))
    assert len(client.response().body) == 77


def test_a_slow_reader_gets_every_byte(edge: Edge, client: TlsClient) -> None:
    """Records that are sealed and only half written: no other byte may come behind the half."""
    client.get("/bytes?n=12000000")
    first, body = client.head(), b""
    for _ in range(3):
        upgrade(edge)
        body += client.take(1_000_000)
    body += client.take(int(first.fields["content-length"]) - len(body))
    assert_crc(first.fields, body)
    assert client.ask("/bytes?n=10").status == 200


@pytest.mark.all
def test_a_half_sent_upload_is_completed(edge: Edge, client: TlsClient) -> None:
    body = bytes(range(256)) * 1200
    client.send(f"POST /sink HTTP/1.1\r\nhost: edge.test\r\ncontent-length: {len(body)}\r\n\r\n")
    for start in range(0, len(body), 102_400):
        sealed = client.seal(body[start : start + 102_400])
        client.send_raw(sealed[:60_001])
        upgrade(edge)
        client.send_raw(sealed[60_001:])
    assert msgspec.json.decode(client.response().body) == {"length": len(body), "crc": zlib.crc32(body)}


def test_plaintext_that_nobody_takes_waits(stage: Stage, authority: Authority, version: Version) -> None:
    """The endpoint does not read until two upgrades are done: what is opened waits, and what is not, too."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        places = [{"name": name, "endpoints": [address]} for name in ("app", "db")]
        edge = Edge(stage, stage.upstreams(), clusters=places, authority=authority)
        edge.instance.start()
        with TlsClient(edge.raw, client_context(authority.file, version)) as client, server.accept()[0] as behind:
            behind.settimeout(PATIENCE)
            piece = bytes(range(256)) * 400
            rest, count = fill(client, piece)
            upgrade(edge, 2)
            sending = threading.Thread(target=client.send_raw, args=(rest,))
            sending.start()
            received = crc = 0
            while received < count * len(piece):
                data = behind.recv(1 << 20)
                received, crc = received + len(data), zlib.crc32(data, crc)
            sending.join()
            assert (received, crc) == (count * len(piece), zlib.crc32(piece * count))


def fill(client: TlsClient, piece: bytes) -> tuple[bytes, int]:
    """Send this again and again until nothing more is taken; what is left of the records of the last, and how many."""
    client.socket.settimeout(0.5)
    count = 0
    while True:
        count += 1
        rest = client.seal(piece)
        try:
            while rest:
                rest = rest[client.socket.send(rest) :]
        except TimeoutError:
            client.socket.settimeout(PATIENCE)
            return rest, count


@pytest.mark.all
def test_a_response_that_waits_for_the_upstream_is_completed(
    edge: Edge, client: TlsClient, upstreams: Upstreams, version: Version
) -> None:
    client.get(f"/half?token=half-{version}&n=64")
    upstreams.held(f"half-{version}")
    upgrade(edge)
    upstreams.release(f"half-{version}")
    assert len(FrameReader().feed(client.response().body)) == 64


def test_a_direction_that_ended_stays_ended(
    edge: Edge, client: TlsClient, upstreams: Upstreams, version: Version
) -> None:
    """The client said close_notify and waits for the rest of an answer (RFC 8446 section 6.1)."""
    client.get(f"/half?token=ended-{version}&n=64")
    upstreams.held(f"ended-{version}")
    client.end_sending()
    upgrade(edge)
    upstreams.release(f"ended-{version}")
    assert len(FrameReader().feed(client.response().body)) == 64


def test_a_connection_that_ends_moves(edge: Edge, client: TlsClient) -> None:
    """The proxy said close_notify and waits a while for the client's end; so does the next generation."""
    client.get("/bytes?n=100", "connection: close")
    assert client.response().body == bytes(range(100))
    assert client.more() == b""
    assert clients_of(edge)
    upgrade(edge)
    client.end_sending()
    client.close()
    eventually(lambda: not clients_of(edge), within=PATIENCE, what="the connection is over")


def clients_of(edge: Edge) -> list[dict[str, Any]]:
    return [one for one in edge.instance.connections() if "listener" in one]


def test_the_record_layers_take_over_from_each_other(edge: Edge, client: TlsClient, authority: Authority) -> None:
    """That in C from the one in Python and back, with half a record under way, and a stream of the other version."""
    other: Version = "1.2" if client.tls.version() == "TLSv1.3" else "1.3"
    with (
        TlsClient(edge.raw, client_context(authority.file, other)) as second,
        Conversation(second) as talk,
    ):
        for record in ("python", "c", "python"):
            sealed = client.seal(REQUEST)
            client.send_raw(sealed[:33])
            command = ["env", f"HOTSWAP_TLS_RECORD={record}", *edge.instance.command()]
            done = edge.instance.upgrade("--require-all", command=command)
            assert done.exit_code == 0, done.text
            client.send_raw(sealed[33:])
            assert len(client.response().body) == 77
            talk.turn()


def test_the_source_goes_on_with_the_same_keys_after_failed_attempts(edge: Edge, client: TlsClient) -> None:
    """What is under way, half a record, is there again after each."""
    for fault in ("destination.send_prepared.before:raise", "source.send_final.before:raise"):
        sealed = client.seal(REQUEST)
        client.send_raw(sealed[:30])
        edge.instance.arm(fault)
        assert edge.instance.upgrade().exit_code != 0
        edge.instance.disarm()
        client.send_raw(sealed[30:])
        assert len(client.response().body) == 77
    upgrade(edge)
    assert client.ask("/bytes?n=10").status == 200


class Witness(TlsClient):
    """It keeps what came over the wire."""

    wire = b""

    def hear(self) -> bytes:
        data = super().hear()
        self.wire += data
        return data

    def nonces(self) -> list[int]:
        """The part of the nonce that each record of TLS 1.2 with GCM carries (RFC 5288 section 3)."""
        found, at = [], 0
        while at < len(self.wire):
            if self.wire[at] == 23:
                found.append(int.from_bytes(self.wire[at + 5 : at + 13], "big"))
            at += 5 + int.from_bytes(self.wire[at + 3 : at + 5], "big")
        return found


def test_no_nonce_comes_twice_whoever_owns_in_the_end(edge: Edge, authority: Authority) -> None:
    """Through upgrades, attempts that are taken back, and a destination that took the byte and died."""
    with Witness(edge.web, client_context(authority.file, "1.2")) as client:
        cipher = client.tls.cipher()
        assert cipher is not None
        assert "GCM" in cipher[0]
        for fault in ("", "destination.send_prepared.before:raise", "destination.take_byte.after:kill", ""):
            if fault:
                edge.instance.arm(fault)
            assert (edge.instance.upgrade().exit_code == 0) == (not fault)
            edge.instance.disarm()
            for _ in range(3):
                assert client.ask("/bytes?n=20000").status == 200
        seen = client.nonces()
    assert len(seen) >= 24
    assert seen == list(range(seen[0], seen[0] + len(seen)))


# -- keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("both", BOTH, ids=["asking for one", "asking for none"])
def test_an_upgrade_comes_between_a_key_update_and_the_first_byte_under_the_new_key(
    edge: Edge, authority: Authority, tmp_path: Path, both: bool
) -> None:
    with OpensslClient(edge.raw, authority.file, tmp_path / "log") as client, Conversation(client) as talk:
        for _ in range(2):
            talk.turn()

            def update_and_upgrade() -> None:
                client.update_keys(both=both)
                upgrade(edge)

            talk.between(update_and_upgrade)
        talk.turn()


@pytest.mark.parametrize("both", BOTH, ids=["asking for one", "asking for none"])
def test_an_upgrade_comes_between_a_key_update_of_an_endpoint_and_its_first_byte_under_the_new_key(
    stage: Stage, authority: Authority, tmp_path: Path, both: bool
) -> None:
    with OpensslServer(authority.issue("behind"), tmp_path / "log") as server:
        places = [
            {"name": name, "endpoints": [server.address], "tls": {"ca": str(authority.file)}} for name in ("app", "db")
        ]
        edge = stage.edge(stage.upstreams(), clusters=places)
        with Client(edge.raw) as client, Conversation(client) as talk:
            for _ in range(2):
                talk.turn()

                def update_and_upgrade() -> None:
                    server.update_keys(both=both)
                    upgrade(edge)

                talk.between(update_and_upgrade)
            talk.turn()
        assert server.handshakes == 1


def test_a_ticket_of_an_earlier_generation_does_no_harm(
    edge: Edge, client: TlsClient, authority: Authority, version: Version
) -> None:
    """It is resumed or is not; it is served either way."""
    session = client.tls.session
    assert session is not None
    upgrade(edge)
    context = client.tls.context
    with TlsClient(edge.web, context, shake_hands=False) as again:
        again.tls.session = session
        again.shake_hands()
        assert again.ask("/bytes?n=10").status == 200
