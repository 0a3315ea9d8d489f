"""The blocking client of the agent's socket: what `hotswap-agent` and scripts use.

    client = AgentClient(Path("/run/hotswap/agent.sock"))
    client.get("/status")
    for event in client.events("/upgrade", {"name": "edge", "watch": True}, timeout=3600.0): ...

Every failure is a `HotswapError` that says what to do; what the agent refuses has the exit code that it says.
"""

from __future__ import annotations

from pathlib import Path

from hotswap.control_client import SocketClient
from hotswap.errors import HotswapError, OwnerHung
from vm_agent.errors import AgentNotRunning

ANSWER_SECONDS = 30.0
"""To connect, and between two pieces of an answer: a status asks systemd for each sidecar."""
WATCH_SECONDS = 14 * 86400.0
"""An upgrade may bake for days, and the end of the agent is noticed at once."""


class AgentClient(SocketClient):
    """Asks the agent behind one socket."""

    def __init__(self, path: Path, timeout: float = ANSWER_SECONDS) -> None:
        super().__init__(path, "the agent", timeout)
        self.path = path

    def _hung(self) -> HotswapError:
        return OwnerHung(
            f"the agent does not answer on {self._path} within {self.timeout:g} s: it hangs or is stopped; "
            f"its sidecars go on, so 'systemctl restart hotswap-agent' hurts nobody"
        )

    def _not_running(self) -> HotswapError:
        return AgentNotRunning(
            f"nobody answers on {self._path}: start the agent with 'systemctl start hotswap-agent' or 'hotswap-agent "
            f"run'; if it runs elsewhere, say so with --socket, --settings or HOTSWAP_AGENT_SOCKET"
        )
