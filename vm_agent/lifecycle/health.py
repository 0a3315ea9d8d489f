"""Whether a sidecar works, by what its health checks found one after the other. A value; nothing here asks.

no answer at all        silent; so many times in a row: it hangs, and is to be started anew
an answer that says no  not ready: reported and nothing more, since it may be starting, draining, or right
an answer that says yes ready, whatever was before
"""

from __future__ import annotations

from typing import Literal

import msgspec

from vm_agent.lifecycle.probe import Answer

Word = Literal["unknown", "ready", "not ready", "silent", "hangs"]


class Health(msgspec.Struct, frozen=True):
    """Of one sidecar, from the first check on."""

    failures: int = 3
    """So many checks in a row without an answer: it hangs."""
    silent: int = 0
    """Checks in a row without an answer."""
    unready: int = 0
    """Checks in a row that were answered by a no."""
    checks: int = 0
    text: str = ""
    """What the last check found, for people."""

    def after(self, answer: Answer) -> Health:
        """With one check more."""
        silent = 0 if answer.reachable else self.silent + 1
        unready = self.unready + 1 if answer.reachable and not answer.ready else 0
        return Health(self.failures, silent, unready, self.checks + 1, answer.text)

    @property
    def hangs(self) -> bool:
        """It did not answer that many times in a row, once at least."""
        return self.silent >= max(self.failures, 1)

    @property
    def word(self) -> Word:
        """In a word or two."""
        if self.hangs:
            return "hangs"
        if self.silent:
            return "silent"
        if self.unready:
            return "not ready"
        return "ready" if self.checks else "unknown"
