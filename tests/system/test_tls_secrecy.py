"""Where the secrets of TLS are, and where they are not: memory, files, environment, the status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotswap import errors
from proxy.tls import layer
from tests.kit.certificates import Authority
from tests.kit.memory import copies, secrets
from tests.kit.ports import loopback
from tests.kit.processes import PATIENCE
from tests.kit.programs import program
from tests.kit.stage import Edge, Stage
from tests.kit.tls import VERSIONS, TlsClient, Version, client_context
from tests.kit.tls_peers import OpensslServer
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually

MANY = 6  # handshakes of each version that are under way at the same time


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with Upstreams(("http", "127.0.0.1:0"), ("raw", "127.0.0.1:0")) as running:
        yield running


class Known:
    """A connection whose secrets its client wrote down."""

    def __init__(self, address: str, authority: Authority, version: Version, keylog: Path) -> None:
        self.keylog = keylog
        self.address = address
        self.client = TlsClient(address, client_context(authority.file, version, keylog=keylog), shake_hands=False)
        self.client.send_raw(self.client.flight())

    def shake_hands(self) -> None:
        """The rest of the handshake."""
        first = self.client.hear()
        self.server_random = first[11:43]  # behind the headers of record and message, and the version
        self.client.shake_hands()

    @property
    def secrets(self) -> dict[str, bytes]:
        cipher = self.client.tls.cipher()
        assert cipher is not None
        return secrets(self.keylog, cipher[0], self.server_random)


class Scene:
    """A proxy with connections that move, on both sides, and one that stays with the source: its listener goes."""

    def __init__(self, edge: Edge, behind: OpensslServer, authority: Authority, folder: Path, record: str) -> None:
        self.edge = edge
        self.upstreams = edge.upstreams
        self.instance = edge.instance
        config = self.instance.config
        config["clusters"][1] = {"name": "db", "endpoints": [behind.address], "tls": {"ca": str(authority.file)}}
        old = {**config["listeners"][0], "name": "old", "address": loopback()}
        config["listeners"].append(old)
        self.instance.environment["HOTSWAP_TLS_RECORD"] = record
        self.instance.write_config()
        self.source = self.instance.start()
        places: list[tuple[str, str, Version]] = [("kept", old["address"], "1.3"), ("raw", edge.raw, "1.3")]
        places += [(f"web {version} {number}", edge.web, version) for version in VERSIONS for number in range(MANY)]
        self.known = {name: Known(address, authority, version, folder / name) for name, address, version in places}
        for one in self.known.values():
            one.shake_hands()
        self.kept = self.known.pop("kept")
        self.exchange()
        self.moving = {name: one.secrets for name, one in self.known.items()}
        self.moving["upstream"] = secrets(folder / "upstream", "TLS_AES_128_GCM_SHA256")

    def exchange(self) -> None:
        """One on each connection."""
        for one in self.known.values():
            if one.address == self.edge.raw:
                one.client.send(b"1234")
                assert one.client.take(4) == b"1234"
            else:
                assert one.client.ask("/bytes?n=10").status == 200

    def upgrade(self) -> int:
        """All but one move, and the source has let go of them. The new owner's pid."""
        self.kept.client.get(f"/hold?token={self.source}")
        self.upstreams.held(str(self.source))
        before = sockets(self.source)
        self.instance.config["listeners"].pop()
        self.instance.write_config()
        done = self.instance.upgrade()
        assert done.exit_code == 0, done.text
        assert [one["count"] for one in done.result["kept"]] == [2]  # the client's connection and the endpoint's
        gone = len(self.moving)
        eventually(lambda: sockets(self.source) <= before - gone, within=PATIENCE, what="the source lets go")
        return self.instance.status().pid

    def close(self) -> None:
        """End the clients."""
        self.upstreams.release(str(self.source))
        for one in (self.kept, *self.known.values()):
            one.client.close()


def sockets(pid: int) -> int:
    return sum(str(fd.readlink()).startswith("socket:") for fd in Path(f"/proc/{pid}/fd").iterdir())


@pytest.fixture
def record() -> str:
    """Which record layer; a test may say `python` by its parameter."""
    return "c"


@pytest.fixture
def scene(stage: Stage, authority: Authority, upstreams: Upstreams, tmp_path: Path, record: str) -> Iterator[Scene]:
    if record == "c" and layer.IMPLEMENTATION != "c":
        pytest.skip(f"the record layer in C is not on: {layer.WHY_PYTHON}")
    pair, log = authority.issue("behind"), tmp_path / "upstream"
    with OpensslServer(pair, tmp_path / "behind", "-keylogfile", str(log)) as behind:
        made = Scene(Edge(stage, upstreams, authority=authority), behind, authority, tmp_path, record)
        yield made
        made.close()


def test_a_secret_is_in_memory_once_and_nowhere_after_it_was_given_away(scene: Scene) -> None:
    """Its key is so twice, while it is in use: OpenSSL's context for it holds it too."""
    for name, found in scene.moving.items():
        counts = copies(scene.source, found)
        counts.pop("master secret", None)  # OpenSSL may have left it where it made a ticket
        assert counts, name
        assert [label for label in counts if "in hex" in label] == [], name
        assert {label: count for label, count in counts.items() if count > (2 if "key of" in label else 1)} == {}, name
    owner = scene.upgrade()
    assert {name: left for name, found in scene.moving.items() if (left := copies(scene.source, found))} == {}
    assert copies(scene.source, scene.kept.secrets), "what stayed is found: so would be what moved"
    assert [name for name, found in scene.moving.items() if not copies(owner, found)] == []
    assert copies(owner, scene.kept.secrets) == {}
    scene.exchange()


@pytest.mark.parametrize("record", ["python"])
def test_the_record_layer_in_python_leaves_copies_behind(scene: Scene) -> None:
    """As the manual says: a control, too."""
    scene.upgrade()
    left = {name: copies(scene.source, found) for name, found in scene.moving.items()}
    print({name: counts for name, counts in left.items() if counts})
    assert any(left.values())
    scene.exchange()


def test_no_secret_is_in_a_file_in_the_environment_or_in_the_status(scene: Scene, stage: Stage) -> None:
    owner = scene.upgrade()
    told = json.dumps([scene.instance.ask(path) for path in ("/status", "/connections", "/history")]).encode()
    seen = {"what the control socket tells": told}
    seen |= {str(path): path.read_bytes() for path in stage.directory.rglob("*") if path.is_file()}
    assert any(path.endswith(".log") for path in seen)
    for pid in (scene.source, owner):
        for name in ("environ", "cmdline"):
            path = Path(f"/proc/{pid}/{name}")
            seen[str(path)] = path.read_bytes()
    for found in [*scene.moving.values(), scene.kept.secrets]:
        for label, secret in found.items():
            for form in (secret, secret.hex().encode(), secret.hex().upper().encode()):
                assert [place for place, text in seen.items() if form in text] == [], label


def test_no_core_is_dumped(scene: Scene) -> None:
    for pid in (scene.source, scene.upgrade()):
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        (core,) = [line.split()[4:6] for line in limits if line.startswith("Max core file size")]
        assert core == ["0", "0"]


def unprivileged(argv: list[str]) -> list[str]:
    """Without the capabilities that let root look into every process."""
    return [program("setpriv"), "--bounding-set", "-all", *argv] if os.getuid() == 0 else argv


@pytest.mark.parametrize("secure", [True, False])
def test_no_memory_is_shown_to_other_processes_of_the_user(
    stage: Stage, authority: Authority, upstreams: Upstreams, secure: bool
) -> None:
    """Without TLS in the configuration there is nothing to hide."""
    instance = Edge(stage, upstreams, authority=authority if secure else None).instance
    argv = unprivileged(instance.command())
    pid = stage.offspring.start(argv, env=instance.environment, cwd=instance.directory, stderr=instance.log_file)
    instance.wait_served_by(pid)
    peek = unprivileged([sys.executable, "-c", f"open('/proc/{pid}/environ').close()"])
    seen = subprocess.run(peek, capture_output=True, text=True, check=False)
    assert ("PermissionError" in seen.stderr) == secure, seen.stderr


# -- SSLKEYLOGFILE ------------------------------------------------------------------------------------


def test_a_key_log_is_refused(stage: Stage, authority: Authority, upstreams: Upstreams, tmp_path: Path) -> None:
    edge = Edge(stage, upstreams, authority=authority)
    keylog = tmp_path / "keylog"
    edge.instance.environment["SSLKEYLOGFILE"] = str(keylog)
    pid = edge.instance.launch()
    assert stage.offspring.status(pid, within=PATIENCE) == errors.ConfigError.exit_code
    assert "unset SSLKEYLOGFILE" in edge.instance.log_tail()
    assert not keylog.exists()


def test_a_generation_with_a_key_log_does_not_come_to_own(
    stage: Stage, authority: Authority, upstreams: Upstreams, tmp_path: Path
) -> None:
    edge = stage.edge(upstreams, authority=authority)
    source = edge.instance.status().pid
    with TlsClient(edge.web, client_context(authority.file, "1.3")) as client:
        assert client.ask("/bytes?n=10").status == 200
        command = ["env", f"SSLKEYLOGFILE={tmp_path / 'keylog'}", *edge.instance.command()]
        done = edge.instance.upgrade(command=command)
        assert done.exit_code != 0
        assert "unset SSLKEYLOGFILE" in edge.instance.log_tail() + done.text
        assert edge.instance.status().pid == source
        assert client.ask("/bytes?n=10").status == 200
    assert not (tmp_path / "keylog").exists()
