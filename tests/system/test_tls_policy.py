"""What the proxy offers to clients that speak TLS, and what it never does, asked by OpenSSL and byte by byte."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.kit.certificates import Authority
from tests.kit.client import Client
from tests.kit.client_hello import (
    FALLBACK,
    HEARTBEAT_EXTENSION,
    RENEGOTIATION_EXTENSION,
    SUITES,
    USUAL,
    Alert,
    ServerHello,
    answer_to,
    client_hello,
    is_refused,
    read_answer,
    record,
)
from tests.kit.ports import loopback
from tests.kit.processes import Config
from tests.kit.programs import PATIENCE, Piped, program
from tests.kit.stage import Stage
from tests.kit.tls import HOST, VERSIONS, TlsClient, Version, client_context
from tests.kit.tls_peers import SUITES_12, SUITES_13, OpensslClient
from tests.kit.waiting import eventually

PROTOCOL_VERSION, INAPPROPRIATE_FALLBACK, NO_APPLICATION_PROTOCOL = 70, 86, 120  # alerts, RFC 8446 section 6.2
CHOSEN_WITHOUT_WORDS = {suite for suite in SUITES_12 if "CCM" not in suite}


class Door:
    """A running proxy; the addresses of its listeners: `usual`, and `every` for every suite it can carry."""

    def __init__(self, stage: Stage, authority: Authority) -> None:
        self.authority = authority
        self.usual, self.every, self.hasty = loopback(), loopback(), loopback()
        certificates = [
            authority.issue("ecdsa").config,
            authority.issue("rsa", algorithm="rsa").config,
            authority.issue("other", "DNS:other.test").config,
            authority.issue("wild", "DNS:*.wild.test", "DNS:wild.test").config,
        ]
        (behind,) = stage.upstreams(("http", "127.0.0.1:0")).addresses
        tls: Config = {"certificates": certificates}
        changes: dict[str, Config] = {
            self.usual: {},
            self.every: {"ciphers": [*SUITES_12, *SUITES_13]},
            self.hasty: {"handshake_timeout": "1s"},
        }
        listeners = [
            {
                "name": f"l{number}",
                "address": address,
                "protocol": "http1",
                "cluster": "app",
                "tls": tls | change,
            }
            for number, (address, change) in enumerate(changes.items())
        ]
        clusters = [{"name": "app", "endpoints": [behind]}]
        self.instance = stage.instance({"name": "door", "listeners": listeners, "clusters": clusters})
        self.instance.start()

    def client(self, version: Version = "1.3", *, host: str = HOST, alpn: tuple[str, ...] = ()) -> TlsClient:
        """One whose handshake is done."""
        return TlsClient(self.usual, client_context(self.authority.file, version, alpn=alpn), host)

    def handshakes(self, address: str) -> dict[str, int]:
        """What became of those of one listener."""
        listeners = self.instance.status().server["listeners"]
        counts: dict[str, int] = next(one["handshakes"] for one in listeners if one["address"] == address)
        return counts


@pytest.fixture(scope="module")
def door(authority: Authority) -> Iterator[Door]:
    with closing(Stage()) as stage:
        yield Door(stage, authority)
        stage.show()


def s_client(address: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A handshake of the least careful client there is, and its end."""
    argv = s_client_argv(address, *options)
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)


def s_client_argv(address: str, *options: str) -> list[str]:
    return [program("openssl"), "s_client", "-connect", address, "-servername", HOST, *options]


# -- versions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_openssl_cannot_connect_with_an_old_version(door: Door, version: str) -> None:
    done = s_client(door.usual, version, "-cipher", "ALL:@SECLEVEL=0")
    assert done.returncode != 0
    assert "alert protocol version" in done.stderr, done.stderr


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_can_connect_with_a_new_one(door: Door, version: str) -> None:
    """A control."""
    assert s_client(door.usual, version).returncode == 0


@pytest.mark.parametrize("version", [0x0002, 0x0200, 0x0300, 0x0301, 0x0302])
def test_an_old_version_is_answered_by_an_alert(door: Door, version: int) -> None:
    assert is_refused(door.usual, client_hello(version=version))


def test_ssl_2_is_refused(door: Door) -> None:
    """A CLIENT-HELLO of 1995: a length with its top bit set, type 1, version 2, specs, no session id, a challenge."""
    body = bytes.fromhex("01 0002 0003 0000 0010 0700c0") + bytes(range(16))
    assert is_refused(door.usual, (0x8000 | len(body)).to_bytes(2, "big") + body)


def test_a_version_of_the_future_is_answered_by_1_2(door: Door) -> None:
    answer = answer_to(door.usual, client_hello(version=0x0305))
    assert isinstance(answer, ServerHello)
    assert answer.version == 0x0303


def test_who_is_talked_down_to_1_2_can_see_it(door: Door) -> None:
    """RFC 8446 section 4.1.3: the end of the random; and RFC 7507, for clients that try again with an older version."""
    answer = answer_to(door.usual, client_hello())
    assert isinstance(answer, ServerHello)
    assert answer.random[-8:] == b"DOWNGRD\x01"
    refusal = answer_to(door.usual, client_hello(suites=(*SUITES, FALLBACK)))
    assert refusal == Alert(2, INAPPROPRIATE_FALLBACK)


# -- suites -------------------------------------------------------------------------------------------


def offered() -> list[str]:
    """Every suite before TLS 1.3 that the local OpenSSL knows, however weak."""
    everything = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
    argv = [program("openssl"), "ciphers", "-s", "-tls1_2", everything]
    names = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip().split(":")
    return [name for name in names if not name.startswith("TLS_")]


@pytest.mark.parametrize("certificate", ["ECDSA", "RSA"])
def test_no_suite_without_forward_secrecy_and_aead_is_taken(door: Door, certificate: str) -> None:
    """All at once: if there were one among them, the handshake would be done with it."""
    others = [name for name in offered() if name not in SUITES_12]
    assert {"AES128-SHA", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "NULL-SHA256", "ADH-AES128-GCM-SHA256"} <= {
        *others
    }
    sigalgs = f"{certificate}+SHA256"
    for address in (door.usual, door.every):
        done = s_client(address, "-tls1_2", "-sigalgs", sigalgs, "-cipher", ":".join(others) + ":@SECLEVEL=0")
        assert done.returncode != 0
        assert "alert handshake failure" in done.stderr, done.stderr


@pytest.mark.all
def test_exactly_the_suites_of_the_manual_are_taken(door: Door) -> None:
    """Each alone."""
    taken: dict[str, set[str]] = {door.usual: set(), door.every: set()}
    for address, names in taken.items():
        for name in offered():
            if s_client(address, "-tls1_2", "-cipher", f"{name}:@SECLEVEL=0").returncode == 0:
                names.add(name)
    assert taken == {door.usual: CHOSEN_WITHOUT_WORDS, door.every: set(SUITES_12)}


def test_ccm_is_taken_only_if_it_is_named(door: Door) -> None:
    for suite in SUITES_13:
        expected = 1 if "CCM" in suite else 0
        assert s_client(door.usual, "-tls1_3", "-ciphersuites", suite).returncode == expected, suite
        assert s_client(door.every, "-tls1_3", "-ciphersuites", suite).returncode == 0, suite


# -- what else a handshake may bring ------------------------------------------------------------------


def test_nothing_is_compressed(door: Door) -> None:
    answer = answer_to(door.usual, client_hello(compressions=(1, 0)))
    assert isinstance(answer, ServerHello)
    assert answer.compression == 0
    assert is_refused(door.usual, client_hello(compressions=(1,)))


def test_there_is_no_heartbeat(door: Door) -> None:
    answer = answer_to(door.usual, client_hello(extensions={**USUAL, HEARTBEAT_EXTENSION: b"\x01"}))
    assert isinstance(answer, ServerHello)
    assert HEARTBEAT_EXTENSION not in answer.extensions
    with Client(door.usual) as client:
        client.send(client_hello())
        read_answer(client)
        client.send(record(24, b"\x01\x40\x00"))  # what bled once: a request for 16 KB of which none were sent
        assert b"\x18\x03\x03" not in client.rest()


def test_renegotiation_is_secured_and_never_done(door: Door, tmp_path: Path) -> None:
    """RFC 5746: the extension says that it would be secure. A client that begins one hears that there is none."""
    answer = answer_to(door.usual, client_hello())
    assert isinstance(answer, ServerHello)
    assert answer.extensions[RENEGOTIATION_EXTENSION] == b"\0"
    with OpensslClient(door.usual, door.authority.file, tmp_path / "log", version="1.2") as client:
        client.wait_ready()
        client.send(b"GET /bytes?n=100 HTTP/1.1\r\nhost: edge.test\r\n\r\n")
        while not client.unread.endswith(bytes(range(100))):
            assert client.more()
        client.command("R", says="RENEGOTIATING")
        assert client.more() == b""
        client.wait_told("no renegotiation")
    assert door.instance.status().server["bugs"] == 0


def test_there_is_no_early_data(door: Door, tmp_path: Path) -> None:
    session, early = tmp_path / "session", tmp_path / "early"
    early.write_bytes(b"GET /bytes?n=1 HTTP/1.1\r\nhost: edge.test\r\n\r\n")
    with Piped(s_client_argv(door.usual, "-tls1_3", "-sess_out", str(session)), tmp_path / "log") as first:
        eventually(lambda: session.exists() and session.stat().st_size, within=PATIENCE, what="a ticket comes")
        first.send(b"Q\n")
        while first.more():
            pass
        assert b"Max Early Data: 0" in first.unread
    again = s_client(door.usual, "-tls1_3", "-sess_in", str(session), "-early_data", str(early))
    assert "Early data was not sent" in again.stdout, again.stdout + again.stderr


def test_alpn_is_agreed_upon_or_refused(door: Door) -> None:
    for version in VERSIONS:
        with door.client(version, alpn=("h2", "http/1.1")) as client:
            assert client.tls.selected_alpn_protocol() == "http/1.1"
            assert client.ask("/bytes?n=10").status == 200
        with door.client(version) as client:
            assert client.tls.selected_alpn_protocol() is None
            assert client.ask("/bytes?n=10").status == 200
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            door.client(version, alpn=("h2", "spdy/3"))
    extensions = {**USUAL, 16: b"\x00\x03\x02h2"}
    assert answer_to(door.usual, client_hello(extensions=extensions)) == Alert(2, NO_APPLICATION_PROTOCOL)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("edge.test", "edge.test"),
        ("EDGE.test", "edge.test"),
        ("other.test", "other.test"),
        ("wild.test", "*.wild.test"),
        ("a.wild.test", "*.wild.test"),
    ],
)
def test_the_certificate_is_chosen_by_the_host(door: Door, host: str, name: str, version: Version) -> None:
    with door.client(version, host=host) as client:
        shown = client.tls.getpeercert()
        assert shown is not None
        assert ("DNS", name) in shown["subjectAltName"]


@pytest.mark.parametrize("host", ["unknown.test", "a.b.wild.test", "127.0.0.1"])
def test_for_other_hosts_the_first_certificate_is_shown(door: Door, host: str) -> None:
    context = client_context(door.authority.file, "1.3")
    context.check_hostname = False
    with TlsClient(door.usual, context, host) as client:
        shown = client.tls.getpeercert()
        assert shown is not None
        assert shown["subjectAltName"][0] == ("DNS", "edge.test")


# -- what comes in place of a handshake, and after it --------------------------------------------------


def test_plaintext_gets_no_answer(door: Door) -> None:
    with Client(door.usual) as client:
        client.send(b"GET /bytes?n=10 HTTP/1.1\r\nhost: edge.test\r\n\r\n")
        assert b"HTTP" not in client.rest()


@pytest.mark.parametrize("said", [b"", client_hello()[:40], client_hello()], ids=["nothing", "half", "hello"])
def test_a_slow_handshake_is_given_up(door: Door, said: bytes) -> None:
    before = door.handshakes(door.hasty)["late"]
    with Client(door.hasty) as client:
        client.send(said)
        client.rest()
    assert door.handshakes(door.hasty)["late"] == before + 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "damage",
    [
        record(23, bytes(40)),
        record(23, bytes(16384 + 2049)),
        record(24, b"\x01\x40\x00"),
        record(22, b"\x01\x00\x00\x00"),
        record(21, b"\x02\x28"),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["forged", "too long", "heartbeat", "handshake", "alert", "plaintext"],
)
def test_an_unprotected_record_ends_the_connection(door: Door, damage: bytes, version: Version) -> None:
    """By an alert that is protected, where the other side is still listening: an SSLError with its name, not an end."""
    with door.client(version) as client:
        assert client.ask("/bytes?n=10").status == 200
        client.send_raw(damage)
        with pytest.raises(ssl.SSLError, match="ALERT"):
            client.more()
    assert door.instance.status().server["bugs"] == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_the_end_is_told(door: Door, version: Version) -> None:
    """By close_notify: without it the client could not know that nobody cut the connection."""
    with door.client(version) as client:
        client.send(b"GET /bytes?n=100 HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\n\r\n")
        assert client.rest().endswith(bytes(range(100)))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_resumed(door: Door, version: Version) -> None:
    context = client_context(door.authority.file, version)
    with TlsClient(door.usual, context) as client:
        assert client.ask("/bytes?n=10").status == 200
        session = client.tls.session
        assert session is not None
        assert session.has_ticket
    with TlsClient(door.usual, context, shake_hands=False) as again:
        again.tls.session = session
        again.shake_hands()
        assert again.tls.session_reused
        assert again.ask("/bytes?n=10").status == 200
