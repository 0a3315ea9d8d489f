"""Stands for the time between two looks of a command that watches."""

from __future__ import annotations

import pytest

from proxy.cli import watching


class Looks:
    """Stands for the pauses between looks: does what the test wants in each, and ends the command after the last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *steps: object) -> None:
        self.steps = [*steps]
        self.seconds: list[float] = []
        self.clock = 100.0
        monkeypatch.setattr(watching, "time", self)

    def monotonic(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.clock += seconds
        if not self.steps:
            raise KeyboardInterrupt
        step = self.steps.pop(0)
        if callable(step):
            step()
