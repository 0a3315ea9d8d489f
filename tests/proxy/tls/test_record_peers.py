"""Our layer takes over from OpenSSL on either side of a real handshake, and the other side does not notice.

The peers are OpenSSL as pyOpenSSL brings it, for every suite, and the one of Python's ssl.
"""

from __future__ import annotations

import ssl
from base64 import encodebytes
from math import factorial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from OpenSSL import SSL

from proxy.tls.suites import BY_ID, TLS12, TLS13, Suite
from tests.proxy.tls.records import (
    ALERT,
    ALL,
    BOTH,
    DATA,
    HANDSHAKE,
    Event,
    granted,
    implementation,
    moved,
    named,
    noise,
    read,
    records,
)

if TYPE_CHECKING:
    from proxy.tls.twin import RecordLayer
    from tests.kit.certificates import Authority

CHANGE_CIPHER = 20


class Opposed:
    """OpenSSL on both sides, over memory BIOs, to the end of the handshake. What each side said is in `said`."""

    def __init__(self, client: SSL.Context, server: SSL.Context) -> None:
        self.lines: list[bytes] = []
        # Copies: the one in C overwrites what it gets.
        server.set_keylog_callback(lambda _connection, line: self.lines.append(bytes(line)))
        self.ends = {True: SSL.Connection(server, None), False: SSL.Connection(client, None)}
        self.ends[True].set_accept_state()
        self.ends[False].set_connect_state()
        self.said = {True: b"", False: b""}
        self.last_flight = {True: b"", False: b""}
        done = {True: False, False: False}
        while not all(done.values()):
            for side in (False, True):
                done[side] = self._step(side)

    def _step(self, side: bool) -> bool:
        end = self.ends[side]
        try:
            end.do_handshake()
            done = True
        except SSL.WantReadError:
            done = False
        self.last_flight[side] = drain(end)
        self.said[side] += self.last_flight[side]
        if self.last_flight[side]:
            self.ends[not side].bio_write(self.last_flight[side])
        return done

    def takes_over(self, name: str, suite: Suite, *, server: bool) -> RecordLayer:
        """Ours in the place of that side."""
        module = implementation(name)
        secrets = module.Secrets()
        for line in self.lines:
            secrets.line(bytes(bytearray(line)))
        end = self.ends[server]
        tx_seq = rx_seq = explicit = 0
        if suite.version == TLS12:
            tx_seq = rx_seq = 1
            if suite.explicit_size:
                explicit = int.from_bytes(list(records(self.said[server]))[-1][5:13], "big") + 1
        elif server:
            tx_seq = sum(record[0] == DATA for record in records(self.last_flight[True]))
        layer: RecordLayer = module.RecordLayer.begin(
            secrets,
            granted(module),
            server=server,
            version=suite.version,
            suite=suite.number,
            client_random=end.client_random(),
            server_random=end.server_random(),
            tx_seq=tx_seq,
            rx_seq=rx_seq,
            tx_explicit=explicit,
        )
        secrets.end()
        return layer


def drain(end: SSL.Connection) -> bytes:
    output = b""
    try:
        while True:
            output += end.bio_read(65536)
    except SSL.WantReadError:
        return output


def take(end: SSL.Connection) -> bytes:
    plain = b""
    try:
        while True:
            plain += end.recv(65536)
    except SSL.WantReadError:
        return plain


def ffdhe2048() -> bytes:
    """The group of RFC 7919 appendix A.1 as PEM: p = 2^2048 - 2^1984 + (floor(2^1918 * e) + 560316) * 2^64 - 1."""
    e = sum((1 << 2500) // factorial(k) for k in range(500)) >> (2500 - 1918)
    p = 2**2048 - 2**1984 + (e + 560316) * 2**64 - 1
    sequence = b"\x30\x82\x01\x08\x02\x82\x01\x01\x00" + p.to_bytes(256, "big") + b"\x02\x01\x02"  # of p and 2
    return b"-----BEGIN DH PARAMETERS-----\n" + encodebytes(sequence) + b"-----END DH PARAMETERS-----\n"


@pytest.fixture(scope="module")
def dh_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dh") / "ffdhe2048.pem"
    path.write_bytes(ffdhe2048())
    return path


def context(method: int, suite: Suite) -> SSL.Context:
    made = SSL.Context(method)
    version = SSL.TLS1_3_VERSION if suite.version == TLS13 else SSL.TLS1_2_VERSION
    made.set_min_proto_version(version)
    made.set_max_proto_version(version)
    # Level 0: the tags of CCM_8 count as 64 bits.
    if suite.version == TLS13:
        made.set_cipher_list(b"ALL:@SECLEVEL=0")
        made.set_tls13_ciphersuites(suite.name.encode())
    else:
        made.set_cipher_list(f"{suite.name}:@SECLEVEL=0".encode())
    return made


@pytest.fixture(scope="module")
def identities(authority: Authority) -> list[Any]:
    return [authority.issue(f"records-{algorithm}", algorithm=algorithm) for algorithm in ("ecdsa", "rsa")]


@pytest.fixture
def opposed(identities: list[Any], dh_file: Path) -> Any:
    def build(suite: Suite) -> Opposed:
        server = context(SSL.TLS_SERVER_METHOD, suite)
        for pair in identities:
            server.use_certificate_chain_file(str(pair.cert))
            server.use_privatekey_file(str(pair.key))
        server.load_tmp_dh(str(dh_file))
        both = Opposed(context(SSL.TLS_CLIENT_METHOD, suite), server)
        assert both.ends[False].get_cipher_name() == suite.name
        return both

    return build


@pytest.mark.parametrize("server", [True, False], ids=["as server", "as client"])
@pytest.mark.parametrize(("name", "suite"), ALL, ids=named)
def test_every_suite_goes_on_with_a_peer_of_openssl(name: str, suite: Suite, opposed: Any, *, server: bool) -> None:
    both = opposed(suite)
    layer = both.takes_over(name, suite, server=server)
    peer = both.ends[not server]
    if suite.version == TLS13 and not server:
        tickets, rest = read(layer, both.last_flight[True])
        assert {event.kind for event in tickets} == {HANDSHAKE}
        assert rest == b""
    for size in (1, 100, 16384, 50_000):
        peer.bio_write(layer.seal(DATA, noise(size)))
        assert take(peer) == noise(size)
        peer.sendall(noise(size, 2))
        assert b"".join(event.content for event in read(layer, drain(peer))[0]) == noise(size, 2)
        layer = moved(layer)
    peer.bio_write(layer.seal(ALERT, b"\x01\x00"))
    with pytest.raises(SSL.ZeroReturnError):
        peer.recv(1)
    peer.shutdown()
    assert read(layer, drain(peer)) == ([Event(ALERT, b"\x01\x00")], b"")


@pytest.mark.parametrize("server", [True, False], ids=["as server", "as client"])
@pytest.mark.parametrize(
    ("name", "suite"), [one for one in ALL if one[1].number in (0xC02B, 0xC0AC, 0xCCA8)], ids=named
)
def test_finished_prove_the_keys(name: str, suite: Suite, opposed: Any, *, server: bool) -> None:
    both = opposed(suite)
    layer = both.takes_over(name, suite, server=server)
    for side in (True, False):
        finished = list(records(both.said[side]))
        place = next(index for index, record in enumerate(finished) if record[0] == CHANGE_CIPHER) + 1
        plain = layer.proves(finished[place], ours=side is server, seq=0)
        assert plain is not None
        assert (plain[:4], len(plain)) == (b"\x14\x00\x00\x0c", 16)
    stranger = opposed(suite).takes_over(name, suite, server=server)
    assert stranger.proves(finished[place], ours=False is server, seq=0) is None


@pytest.mark.parametrize(("name", "suite"), [one for one in ALL if one[1].version == TLS13], ids=named)
def test_key_updates_of_ours_are_understood(name: str, suite: Suite, opposed: Any) -> None:
    both = opposed(suite)
    layer = both.takes_over(name, suite, server=True)
    peer = both.ends[False]
    for turn in range(3):
        peer.bio_write(layer.seal(HANDSHAKE, b"\x18\x00\x00\x01\x01"))  # update_requested
        layer.update_tx()
        peer.bio_write(layer.seal(DATA, noise(1000, turn)))
        assert take(peer) == noise(1000, turn)
        peer.send(b"answer")
        at, plain, kind, payload = layer.open(stream := drain(peer), 0)
        assert (plain, kind, payload) == (b"", HANDSHAKE, b"\x18\x00\x00\x01\x00")
        layer.update_rx()
        layer = moved(layer)
        assert read(layer, stream[at:])[0] == [Event(DATA, b"answer")]


@pytest.mark.parametrize("name", BOTH)
def test_a_layer_that_rekeys_by_itself_is_understood(name: str, opposed: Any) -> None:
    suite = BY_ID[0x1301]
    both = opposed(suite)
    module = implementation(name)
    secrets = module.Secrets()
    for line in both.lines:
        secrets.line(bytes(bytearray(line)))
    peer = both.ends[True]
    layer = module.RecordLayer.begin(
        secrets, granted(module), server=False, version=TLS13, suite=suite.number, client_random=peer.client_random(),
        server_random=peer.server_random(), tx_seq=0, rx_seq=0, rekey_at=3, limit=100,
    )  # fmt: skip
    peer.bio_write(layer.seal(DATA, noise(2000)))
    assert take(peer) == noise(2000)


# ---- Python's ssl, of another OpenSSL


@pytest.mark.parametrize("server", [True, False], ids=["as server", "as client"])
@pytest.mark.parametrize(
    "cipher", ["", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES256-GCM-SHA384"]
)
@pytest.mark.parametrize("name", BOTH)
def test_pythons_ssl_goes_on_with_us(
    name: str, cipher: str, server: bool, identities: list[Any], authority: Authority, tmp_path: Path
) -> None:
    accepting, calling = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for pair in identities:
        accepting.load_cert_chain(pair.cert, pair.key)
    calling.load_verify_locations(authority.file)
    if cipher:
        calling.set_ciphers(cipher)
        calling.maximum_version = ssl.TLSVersion.TLSv1_2
    calling.keylog_filename = str(tmp_path / "keys")
    bios = {side: (ssl.MemoryBIO(), ssl.MemoryBIO()) for side in (True, False)}
    ends = {
        True: accepting.wrap_bio(*bios[True], server_side=True),
        False: calling.wrap_bio(*bios[False], server_hostname="edge.test"),
    }
    said, flight, done = {True: b"", False: b""}, {True: b"", False: b""}, {True: False, False: False}
    while not all(done.values()):
        for side in (False, True):
            try:
                ends[side].do_handshake()
                done[side] = True
            except ssl.SSLWantReadError:
                pass
            flight[side] = bios[side][1].read()
            said[side] += flight[side]
            bios[not side][0].write(flight[side])

    suite = next(one for one in BY_ID.values() if one.name == ends[False].cipher()[0])  # type: ignore[index]
    module = implementation(name)
    secrets = module.Secrets()
    for line in (tmp_path / "keys").read_bytes().splitlines():
        secrets.line(bytes(bytearray(line)))
    mine = list(records(said[server]))
    v12 = suite.version == TLS12
    layer = module.RecordLayer.begin(
        secrets,
        granted(module),
        server=server,
        version=suite.version,
        suite=suite.number,
        client_random=said[False][11:43],
        server_random=said[True][11:43],
        tx_seq=1 if v12 else sum(record[0] == DATA for record in records(flight[True])) if server else 0,
        rx_seq=1 if v12 else 0,
        tx_explicit=int.from_bytes(mine[-1][5:13], "big") + 1 if suite.explicit_size else 0,
    )
    peer, (into, out) = ends[not server], bios[not server]
    if not v12 and not server:
        assert {event.kind for event in read(layer, flight[True])[0]} == {HANDSHAKE}
    for size in (1, 1000, 40_000):
        into.write(layer.seal(DATA, noise(size)))
        received = b""
        while len(received) < size:
            received += peer.read(65536)
        assert received == noise(size)
        peer.write(noise(size, 2))
        assert b"".join(event.content for event in read(layer, out.read())[0]) == noise(size, 2)
        layer = moved(layer, to="python" if size == 1 else name)
