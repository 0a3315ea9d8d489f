"""What clients in Python count."""

from __future__ import annotations

import json
import sys
import threading


class Tally:
    """Numbered messages: which were confirmed, which came, and how."""

    def __init__(self) -> None:
        self.confirmed: set[int] = set()
        self.came: dict[int, int] = {}
        self.redelivered = 0
        self.failures: list[str] = []
        self.going = threading.Event()
        self.going.set()
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        sys.stdin.read()
        self.going.clear()

    def delivered(self, body: bytes, *, again: bool) -> None:
        """A message came."""
        number = int(body.partition(b" ")[0])
        self.came[number] = self.came.get(number, 0) + 1
        self.redelivered += again

    @property
    def complete(self) -> bool:
        """All that was confirmed came."""
        return len(self.came) >= len(self.confirmed)

    def report(self) -> None:
        """Print it."""
        report = {
            "published": len(self.confirmed),
            "delivered": len(self.came),
            "lost": len(self.confirmed.difference(self.came)),
            "doubled": sum(count - 1 for count in self.came.values()),
            "redelivered": self.redelivered,
            "failures": self.failures,
        }
        print(json.dumps(report), flush=True)
