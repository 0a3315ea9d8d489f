"""How much of what the configuration allows is for this process: all of it, unless it is one of several workers.

Set once, when a process learns which worker it is (`proxy.workers`), and a fact of it from then on.
"""

from __future__ import annotations

from typing import Final


class Portion:
    """Which worker this is, of how many."""

    number = 0
    workers = 1

    def be(self, number: int, workers: int) -> None:
        """This process is that worker."""
        self.number, self.workers = number, workers

    def of(self, limit: int) -> int:
        """Its part of a number; the parts of all workers make the whole."""
        return limit // self.workers + (self.number < limit % self.workers)


PORTION: Final = Portion()
