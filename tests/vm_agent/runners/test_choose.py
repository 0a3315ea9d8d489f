from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hotswap.errors import HotswapError
from vm_agent.runners import choose, dbus


@pytest.fixture(autouse=True)
def nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbus, "PRIVATE", tmp_path / "private")
    monkeypatch.setattr(dbus, "SYSTEM_BUS", tmp_path / "bus")


def kind(wanted: choose.Wanted) -> str:
    async def scene() -> str:
        runner = await choose.chosen(wanted, lambda _name: None)
        await runner.close()
        return runner.kind

    return asyncio.run(scene())


def test_without_systemd_the_agent_does_it_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(choose, "BOOTED", tmp_path / "none")
    assert kind("auto") == "children"


def test_a_systemd_that_does_not_let_us_in_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(choose, "BOOTED", tmp_path)
    assert kind("auto") == "children"
    assert kind("children") == "children"


def test_who_asks_for_systemd_gets_it_or_is_told_why_not() -> None:
    with pytest.raises(HotswapError, match=r"does not answer on .*bus: .*No such file.*runner: children"):
        kind("systemd")
