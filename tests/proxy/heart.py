"""Checks of an application that happen when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from proxy.config.model import AppConfig


class ManualHeart:
    """Implements `proxy.app.Heart`. `beating` are those that may speak now."""

    beating: ClassVar[list[ManualHeart]] = []

    def __init__(self) -> None:
        self.told: Callable[[str], None] | None = None

    def start(self, config: AppConfig, told: Callable[[str], None]) -> None:
        assert self.told is None
        self.told = told
        self.beating.append(self)

    def stop(self) -> None:
        assert self.told is not None
        self.told = None
        self.beating.remove(self)


def checked(failure: str = "") -> None:
    """A check is over. Exactly one generation may check at a time."""
    (heart,) = ManualHeart.beating
    assert heart.told is not None
    heart.told(failure)
