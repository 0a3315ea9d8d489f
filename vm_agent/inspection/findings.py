"""What a patrol finds: values for people and for programs. docs/agent-inspect.md has a section for each word."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

Severity = Literal["error", "warning", "notice"]
"""Clients are refused or will be at the next crash; it comes to that if nobody looks; as somebody wanted it to be."""

What = Literal[
    "accept_queue",
    "broken_spec",
    "cannot_take_back",
    "certificate",
    "condemned",
    "config_drift",
    "disk_full",
    "interception",
    "launch_drift",
    "leftover_generation",
    "limits",
    "listener",
    "log_volume",
    "no_answer",
    "not_held",
    "patrol",
    "paused",
    "release_damaged",
    "stale_segment",
    "version_drift",
    "waits",
]
"""In a word, for programs: these do not change."""

_RANK: Final[dict[Severity, int]] = {"error": 0, "warning": 1, "notice": 2}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it should be, or that will not be for long."""

    sidecar: str = ""
    """Its name; empty: the machine or the agent."""
    severity: Severity
    what: What
    place: str = ""
    """Which one, where there may be several of a kind: a path, an address, a process. It does not change either."""
    text: str
    """What is so, with figures."""
    remedy: str
    """The command or the edit that mends it."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Two findings with the same key are the same thing, looked at twice."""
        return self.sidecar, self.what, self.place


def ordered(found: Iterable[Finding]) -> list[Finding]:
    """The worst first, then by sidecar. Of two with the same key the worse one stays."""
    worst: dict[tuple[str, str, str], Finding] = {}
    for one in found:
        there = worst.get(one.key)
        if there is None or _RANK[one.severity] < _RANK[there.severity]:
            worst[one.key] = one
    return sorted(worst.values(), key=lambda one: (_RANK[one.severity], *one.key))


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def span(seconds: float) -> str:
    """A time span for people, by its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"
