"""Fixtures of drivers over simulated sidecars."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.vm_agent.lifecycle.bed import Bed, Play, Scene


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    def run(scene: Scene) -> None:
        async def whole() -> None:
            async with Bed(tmp_path, monkeypatch) as bed:
                await scene(bed)

        asyncio.run(whole())

    return run
