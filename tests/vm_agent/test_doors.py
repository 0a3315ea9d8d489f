"""The agent's socket: whose it is, who may use it, and what is in its place."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hotswap.errors import AlreadyRunning, BindFailed, ConfigError, PermissionDenied
from tests.kit.certificates import Authority
from tests.kit.ports import loopback
from tests.vm_agent.agent import FakeAgent
from vm_agent.client import AgentClient
from vm_agent.doors import Doors
from vm_agent.spec.model import AgentSettings, HttpSettings


def opened(settings: AgentSettings) -> None:
    async def scenario() -> None:
        doors = Doors(settings, {})
        await doors.open()
        await doors.close()

    asyncio.run(scenario())


def test_the_socket_is_for_its_owner(agent: FakeAgent) -> None:
    assert stat.S_IMODE(agent.socket.stat().st_mode) == 0o600
    assert AgentClient(agent.socket).get("/status")["runner"] == "children"


def test_another_user_is_refused_even_if_the_file_lets_it_in(agent: FakeAgent, directory: Path) -> None:
    if os.geteuid():
        pytest.skip("not root")
    directory.chmod(0o755)
    agent.socket.chmod(0o666)
    program = (
        "import os, socket; os.setgid(65534); os.setuid(65534)\n"
        f"s = socket.socket(socket.AF_UNIX); s.connect({str(agent.socket)!r})\n"
        "s.sendall(b'GET /status HTTP/1.1\\r\\n\\r\\n'); print(s.recv(100).decode())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("HTTP/1.1 403")


def test_the_runtime_directory_is_made(directory: Path) -> None:
    opened(AgentSettings(runtime_dir=str(directory / "a/b")))
    assert stat.S_IMODE((directory / "a/b").stat().st_mode) == 0o755
    assert [*(directory / "a/b").iterdir()] == []


def test_the_socket_of_one_that_died_is_replaced(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "agent.sock"))
    opened(AgentSettings(runtime_dir=str(directory)))


def test_one_that_answers_is_not(agent: FakeAgent) -> None:
    with pytest.raises(AlreadyRunning, match=r"another agent answers on .*: stop it"):
        opened(agent.settings)
    assert AgentClient(agent.socket).get("/status")


def test_a_socket_that_somebody_put_in_its_place_is_left_alone(directory: Path) -> None:
    with FakeAgent(directory) as agent:
        agent.socket.unlink()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(agent.socket))
    assert agent.socket.is_socket()


def test_what_is_no_socket_is_not_removed(directory: Path) -> None:
    (directory / "agent.sock").write_text("precious")
    with pytest.raises(BindFailed, match="is no socket: move it away"):
        opened(AgentSettings(runtime_dir=str(directory)))
    assert (directory / "agent.sock").read_text() == "precious"


def test_a_directory_that_cannot_be_made(directory: Path) -> None:
    (directory / "file").touch()
    with pytest.raises(PermissionDenied, match=r"cannot be made: .*set runtime_dir"):
        opened(AgentSettings(runtime_dir=str(directory / "file/run")))


def test_a_path_that_is_too_long(directory: Path) -> None:
    with pytest.raises(ConfigError, match="107 bytes at most"):
        opened(AgentSettings(runtime_dir=str(directory / ("x" * 120))))


def test_what_is_wrong_with_https_opens_nothing(directory: Path) -> None:
    authority = Authority(directory / "ca")
    pair = authority.issue("agent")
    address = loopback()
    http = HttpSettings(
        address=address, certificate=str(pair.cert), key=str(directory / "none.key"), client_ca=str(authority.file)
    )
    with pytest.raises(ConfigError, match=r"none\.key cannot be read"):
        opened(AgentSettings(runtime_dir=str(directory), http=http))
    host, _, port = address.rpartition(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        http = HttpSettings(
            address=address, certificate=str(pair.cert), key=str(pair.key), client_ca=str(authority.file)
        )
        with pytest.raises(BindFailed, match=f"{address} cannot be bound"):
            opened(AgentSettings(runtime_dir=str(directory), http=http))
    assert not (directory / "agent.sock").exists()
