"""A watch of files for tests that say themselves when one changed. Implements `hotswap.filewatch.Watch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class ManualWatch:
    """Says that something changed when a test says so."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.paths: list[str] = []
        self.running = False

    def follow(self, paths: Iterable[str]) -> None:
        self.paths = list(paths)

    def start(self) -> None:
        assert not self.running, "started once"
        self.running = True

    def stop(self) -> None:
        assert self.running, "stopped once"
        self.running = False
