"""HTTPS with certificates on both sides: who gets in, who may order, and who is slow."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotswap.control import CLIENT_LIMIT
from hotswap.errors import ConfigError
from tests.hotswap.serving import received
from tests.kit.certificates import Authority, Pair
from tests.kit.client import Client
from tests.kit.ports import loopback
from tests.kit.tls import VERSIONS, Version, client_context
from tests.kit.waiting import eventually
from tests.vm_agent.agent import DONE, PATIENCE, PROGRESS, FakeAgent
from vm_agent.https import context_of, names_of
from vm_agent.spec.model import HttpSettings

REFUSED = (ssl.SSLError, ConnectionError)
ALLOWED, SPIFFE = "controller.test", "spiffe://test/controller"


class Fleet:
    """An agent with HTTPS, and who signs its clients."""

    def __init__(self, directory: Path) -> None:
        self.servers, self.clients = Authority(directory / "servers"), Authority(directory / "clients", "fleet")
        self.pair = self.servers.issue("agent")
        self.settings = HttpSettings(
            address=loopback(),
            certificate=str(self.pair.cert),
            key=str(self.pair.key),
            client_ca=str(self.clients.file),
            allow=(ALLOWED.upper(), SPIFFE),
        )

    def client(self, *names: str) -> Pair:
        return self.clients.issue("client", *names, client=True)

    def ask(self, pair: Pair | None, path: str = "/status", body: Any = None, version: Version = "1.3") -> Any:
        """Status and answer. Raises OSError, of which `ssl.SSLError` is one."""
        context = client_context(self.servers.file, version, pair=pair)
        host, _, port = self.settings.address.rpartition(":")
        connection = HTTPSConnection(host, int(port), context=context, timeout=PATIENCE)
        try:
            if body is None:
                connection.request("GET", path)
            else:
                connection.request("POST", path, msgspec.json.encode(body))
            answer = connection.getresponse()
            return answer.status, [msgspec.json.decode(line) for line in answer.read().splitlines()]
        finally:
            connection.close()


@pytest.fixture
def fleet(directory: Path) -> Fleet:
    return Fleet(directory)


@pytest.fixture
def agent(directory: Path, fleet: Fleet) -> Iterator[FakeAgent]:
    with FakeAgent(directory, fleet.settings) as made:
        yield made


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [f"DNS:{ALLOWED}", f"URI:{SPIFFE}"])
def test_a_controller_looks_and_orders(fleet: Fleet, version: Version, name: str) -> None:
    pair = fleet.client(name)
    status, (answer,) = fleet.ask(pair, version=version)
    assert (status, answer["runner"]) == (200, "children")
    assert fleet.ask(pair, "/pause", {"name": "edge"}, version) == (200, [{"paused": True}])
    assert fleet.ask(pair, "/upgrade", {"name": "edge", "watch": True}, version) == (200, [*PROGRESS, DONE])


@pytest.mark.parametrize("name", ["DNS:other.test", "URI:spiffe://test/CONTROLLER", "IP:127.0.0.1"])
def test_others_may_only_look(agent: FakeAgent, fleet: Fleet, name: str) -> None:
    pair = fleet.client(name)
    for path in ("/status", "/history", "/inspect"):
        assert fleet.ask(pair, path)[0] == 200
    for path in ("/apply", "/upgrade", "/rollback", "/pause", "/resume"):
        status, (answer,) = fleet.ask(pair, path, {"name": "edge"})
        assert status == 403
        assert "may only look: `http.allow`" in answer["error"]
    assert agent.orders == []


def test_without_a_list_everybody_may_whom_the_authority_signed(directory: Path, fleet: Fleet) -> None:
    fleet.settings = msgspec.structs.replace(fleet.settings, allow=())
    with FakeAgent(directory, fleet.settings):
        assert fleet.ask(fleet.client("DNS:anybody.test"), "/pause", {"name": "edge"})[0] == 200


def nobody(_fleet: Fleet) -> Pair | None:
    return None


def of_another_authority(fleet: Fleet) -> Pair | None:
    return fleet.servers.issue("client", f"DNS:{ALLOWED}", client=True)


def for_servers(fleet: Fleet) -> Pair | None:
    return fleet.clients.issue("client", f"DNS:{ALLOWED}")


def expired(fleet: Fleet) -> Pair | None:
    return fleet.clients.issue("client", f"DNS:{ALLOWED}", client=True, days=-1)


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("who", [nobody, of_another_authority, for_servers, expired])
def test_who_proves_nothing_learns_nothing(fleet: Fleet, version: Version, who: Callable[[Fleet], Pair | None]) -> None:
    with pytest.raises(REFUSED):
        fleet.ask(who(fleet), version=version)
    assert fleet.ask(fleet.client(f"DNS:{ALLOWED}"))[0] == 200


@pytest.mark.usefixtures("agent")
def test_old_versions_of_tls_are_refused(fleet: Fleet) -> None:
    context = client_context(fleet.servers.file, "1.2", pair=fleet.client(f"DNS:{ALLOWED}"))
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    host, _, port = fleet.settings.address.rpartition(":")
    with pytest.raises(REFUSED):
        HTTPSConnection(host, int(port), context=context, timeout=PATIENCE).connect()


@pytest.mark.usefixtures("agent")
def test_who_speaks_no_tls_is_hung_up_on(fleet: Fleet) -> None:
    with Client(fleet.settings.address) as client:
        client.send(b"GET /status HTTP/1.1\r\n\r\n")
        assert b"HTTP/1.1" not in client.rest()


@pytest.mark.usefixtures("agent")
def test_no_session_is_resumed(fleet: Fleet) -> None:
    context = client_context(fleet.servers.file, "1.3", pair=fleet.client(f"DNS:{ALLOWED}"))
    host, _, port = fleet.settings.address.rpartition(":")
    connection = HTTPSConnection(host, int(port), context=context, timeout=PATIENCE)
    connection.request("GET", "/status")
    session = connection.sock.session
    assert connection.getresponse().read()
    assert session is None or not session.has_ticket
    connection.close()


@pytest.mark.usefixtures("agent")
def test_slow_handshakes_keep_nobody_out(fleet: Fleet) -> None:
    """As many as there is room for: the oldest gives way."""
    clients = [Client(fleet.settings.address) for _ in range(CLIENT_LIMIT + 5)]
    try:
        for client in clients:
            client.send(b"\x16\x03\x01")
        assert fleet.ask(fleet.client(f"DNS:{ALLOWED}"))[0] == 200
        assert received(clients[0].socket) == b""
    finally:
        for client in clients:
            client.close()


def test_a_handshake_has_a_deadline(agent: FakeAgent, fleet: Fleet) -> None:
    remote = agent.doors._remote
    assert remote is not None
    remote._request_seconds = 0.1
    with Client(fleet.settings.address) as client:
        client.send(b"\x16\x03\x01")
        assert client.rest() == b""
    eventually(lambda: remote.clients == 0, within=PATIENCE, what="it is forgotten")


def serial(fleet: Fleet, pair: Pair) -> str:
    """Of the certificate that the agent shows."""
    context = client_context(fleet.servers.file, "1.3", pair=pair)
    host, _, port = fleet.settings.address.rpartition(":")
    connection = HTTPSConnection(host, int(port), context=context, timeout=PATIENCE)
    connection.connect()
    shown = connection.sock.getpeercert()
    connection.close()
    assert shown
    return str(shown["serialNumber"])


def replace(file: Path, text: bytes) -> None:
    """As a renewal does."""
    fresh = file.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(text)
    fresh.replace(file)


@pytest.mark.usefixtures("agent")
def test_a_renewed_certificate_is_shown_without_a_restart(directory: Path, fleet: Fleet) -> None:
    pair = fleet.client(f"DNS:{ALLOWED}")
    before = serial(fleet, pair)
    renewed = fleet.servers.issue("renewed")
    replace(fleet.pair.key, renewed.key.read_bytes())
    replace(fleet.pair.cert, renewed.cert.read_bytes())
    eventually(lambda: serial(fleet, pair) == f"{renewed.serial:040X}", within=PATIENCE, what="it is taken")
    assert before != serial(fleet, pair)


def test_who_is_trusted_changes_without_a_restart(agent: FakeAgent, fleet: Fleet) -> None:
    mine, others = fleet.client(f"DNS:{ALLOWED}"), of_another_authority(fleet)
    replace(fleet.clients.file, fleet.servers.file.read_bytes())

    async def renew() -> None:
        agent.doors.renew()

    agent.call(renew())
    assert fleet.ask(others)[0] == 200
    with pytest.raises(REFUSED):
        fleet.ask(mine)


def test_a_broken_renewal_is_told_once_and_changes_nothing(
    agent: FakeAgent, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    pair = fleet.client(f"DNS:{ALLOWED}")
    before = serial(fleet, pair)
    fleet.pair.cert.write_text("nonsense")

    async def renew() -> None:
        agent.doors.renew()
        agent.doors.renew()

    agent.call(renew())
    assert serial(fleet, pair) == before
    assert [record.message for record in caplog.records].count("not taken, the one from before stays in use") == 1


@pytest.mark.parametrize(
    ("field", "text", "told"),
    [
        ("certificate", None, "cannot be read"),
        ("key", None, "cannot be read"),
        ("client_ca", None, "cannot be read"),
        ("certificate", "nonsense", "give a chain in PEM"),
        ("key", "nonsense", "give a chain in PEM"),
        ("client_ca", "nonsense", "give certificates in PEM"),
    ],
)
def test_files_that_cannot_be_used(fleet: Fleet, directory: Path, field: str, text: str | None, told: str) -> None:
    file = directory / "file"
    if text is not None:
        file.touch(mode=0o600)
        file.write_text(text)
    with pytest.raises(ConfigError, match=told) as refused:
        context_of(msgspec.structs.replace(fleet.settings, **{field: str(file)}))
    assert str(file) in str(refused.value)


def test_a_key_that_everybody_may_use(fleet: Fleet) -> None:
    fleet.pair.key.chmod(0o644)
    with pytest.raises(ConfigError, match=r"everybody may use .*\(mode 0644\): chmod 0600 it"):
        context_of(fleet.settings)


def test_a_key_of_another_certificate(fleet: Fleet) -> None:
    other = fleet.servers.issue("other")
    with pytest.raises(ConfigError, match="key values mismatch"):
        context_of(msgspec.structs.replace(fleet.settings, key=str(other.key)))


@pytest.mark.parametrize(
    ("alternatives", "names"),
    [
        ([("DNS", "A.test"), ("URI", "spiffe://X/y"), ("IP Address", "::1")], ("a.test", "spiffe://X/y")),
        ([("IP Address", "::1")], ()),
        ([], ("Common")),
    ],
)
def test_names_of_certificates(alternatives: list[tuple[str, str]], names: tuple[str, ...] | str) -> None:
    subject = ((("organizationName", "x"),), (("commonName", "Common"),))
    found = names_of({"subject": subject, "subjectAltName": tuple(alternatives)})
    assert found == ((names,) if isinstance(names, str) else names)


@pytest.mark.all
def test_curl(agent: FakeAgent, fleet: Fleet) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl")

    def curl(pair: Pair | None, path: str, *options: str) -> subprocess.CompletedProcess[str]:
        mine = ["--cert", str(pair.cert), "--key", str(pair.key)] if pair else []
        url = f"https://{fleet.settings.address}{path}"
        command = ["curl", "-sS", "--cacert", str(fleet.servers.file), *mine, "-w", "%{http_code}", *options, url]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)

    pair = fleet.client(f"DNS:{ALLOWED}")
    assert curl(pair, "/status").stdout.endswith("200")
    assert curl(pair, "/pause", "-d", '{"name": "edge"}').stdout.endswith('{"paused":true}\n200')
    assert curl(fleet.client("DNS:other.test"), "/pause", "-d", '{"name": "edge"}').stdout.endswith("403")
    assert curl(None, "/status").returncode == 56  # what it received is an alert
    assert curl(of_another_authority(fleet), "/status").returncode == 56

    pair = fleet.client(f"DNS:{ALLOWED}")  # in the same file again
    agent.events, agent.hold = PROGRESS, True
    streams = agent.streams
    watching = threading.Thread(target=lambda: curl(pair, "/upgrade", "-d", '{"name": "edge", "watch": true}'))
    watching.start()
    eventually(lambda: streams, within=PATIENCE, what="it is watched")

    async def end() -> None:
        streams[0].end()

    agent.call(end())
    watching.join(PATIENCE)
    assert not watching.is_alive()
