"""What an agent refuses before it does anything."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hotswap.errors import PermissionDenied
from vm_agent.daemon import Daemon
from vm_agent.spec.model import AgentSettings


def test_whoever_may_not_write_the_state_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refused)
    daemon = Daemon(AgentSettings(state=str(tmp_path / "state")))
    with pytest.raises(PermissionDenied, match=r"state cannot be used: .*; run it as root, or set state, specs and"):
        asyncio.run(daemon.run())
