"""The client of the agent's socket: answers, refusals, and an agent that is not there, or hangs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hotswap.control_client import AnswerLost
from hotswap.errors import OwnerHung, UsageError
from tests.vm_agent.agent import DONE, EDGE, PATIENCE, PROGRESS, FakeAgent
from vm_agent.client import AgentClient
from vm_agent.errors import AgentNotRunning, InterceptionFailed, NotPossible, ReleaseError, UnknownSidecar


def test_answers(agent: FakeAgent) -> None:
    client = AgentClient(agent.socket)
    assert client.get("/status")["sidecars"] == [EDGE]
    assert client.post("/pause", {"name": "edge"}) == {"paused": True}
    assert [*client.events("/upgrade", {"name": "edge", "watch": True}, PATIENCE)] == [*PROGRESS, DONE]


@pytest.mark.parametrize("kind", [ReleaseError, UnknownSidecar, NotPossible, InterceptionFailed])
def test_refusals_keep_their_kind_and_their_words(agent: FakeAgent, kind: type[ReleaseError]) -> None:
    agent.failure = kind("so it is")
    with pytest.raises(kind, match=r"^so it is$"):
        AgentClient(agent.socket).post("/upgrade", {"name": "edge"})


def test_a_body_that_makes_no_sense(agent: FakeAgent) -> None:
    with pytest.raises(Exception, match="unknown field `nmae`"):
        AgentClient(agent.socket).post("/pause", {"nmae": "edge"})


def test_nobody_is_there(directory: Path) -> None:
    with pytest.raises(AgentNotRunning, match="start the agent with 'systemctl start hotswap-agent'"):
        AgentClient(directory / "agent.sock").get("/status")


def test_an_agent_that_died(directory: Path) -> None:
    path = directory / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    with pytest.raises(AgentNotRunning):
        AgentClient(path).get("/status")


def test_an_agent_that_hangs(directory: Path) -> None:
    path = directory / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        with pytest.raises(OwnerHung):
            AgentClient(path, 0.05).get("/status")  # it connects, and nobody answers
        with pytest.raises(OwnerHung, match="restart hotswap-agent' hurts nobody"):
            AgentClient(path, 0.05).get("/status")  # the queue is full


def test_an_agent_that_ends_in_the_middle(agent: FakeAgent) -> None:
    agent.events, agent.break_off = PROGRESS, True
    with pytest.raises(AnswerLost, match=r"^the agent: the connection"):
        for _ in AgentClient(agent.socket).events("/upgrade", {"name": "edge", "watch": True}, PATIENCE):
            pass


def test_a_path_that_is_too_long_for_a_socket() -> None:
    with pytest.raises(UsageError, match="too long"):
        AgentClient(Path("/run") / ("x" * 120)).get("/status")


def test_strangers_are_told_whom_to_be(agent: FakeAgent, directory: Path) -> None:
    if os.geteuid():
        pytest.skip("not root")
    directory.chmod(0o755)
    program = (
        "import os; from pathlib import Path; from vm_agent.client import AgentClient\n"
        "from hotswap.errors import PermissionDenied\n"
        "os.setgid(65534); os.setuid(65534)\n"
        f"try: AgentClient(Path({str(agent.socket)!r})).get('/status')\n"
        "except PermissionDenied as error: print(error)\n"
    )
    for mode in (0o600, 0o666):  # the kernel says no, or the agent
        agent.socket.chmod(mode)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert "run this as the user that runs the agent, or as root" in done.stdout
