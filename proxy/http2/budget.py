"""How much of what does nobody any good a peer may send: a bucket that fills again, with time and with work done.

    frames   PING, SETTINGS, WINDOW_UPDATE, PRIORITY, RST_STREAM, unknown frames, DATA and CONTINUATION without content;
             each frame that carries a message, in either direction, makes up for `EARNED` of them
    resets   streams that a client opened and reset (CVE-2023-44487), or had us reset ("MadeYouReset",
             CVE-2025-8671), or opened beyond their number

Real peers: grpc-go pings for each batch of DATA while it measures the path, hyper and node update two windows for a
frame, and a browser that leaves a page resets all of its requests at once.
"""

from __future__ import annotations

from typing import Final

import msgspec

EARNED: Final = 4
"""Frames of no use that one of use makes up for."""


class Limits(msgspec.Struct, frozen=True):
    """What we put up with. Configuration: not part of the value."""

    frames: int = 2048
    """Frames of no use at once."""
    frames_rate: float = 256.0
    """A second, beyond what is earned."""
    resets: int = 256
    """Streams reset at once."""
    resets_rate: float = 32.0
    """A second."""
    continuations: int = 32
    """CONTINUATION frames of one header block."""
    stall: float = 300.0
    """Seconds until a peer that keeps its windows shut while we have something to send is taken for hostile."""


class Bucket:
    """Tokens: `most` at first and at most, `rate` more a second."""

    __slots__ = ("at", "left", "most", "rate")

    def __init__(self, most: int, rate: float) -> None:
        self.most = most
        self.rate = rate
        self.left = float(most)
        self.at = 0.0  # monotonic seconds of the last look

    def spend(self, cost: float, now: float, earned: float = 0.0) -> bool:
        """Take so many, after adding those that time and work made up for. False: there are not as many."""
        left = self.left + (now - self.at) * self.rate + earned
        self.at = now
        left = min(left, float(self.most)) - cost  # a float also when it is full: states are the same in both modes
        self.left = max(left, 0.0)
        return left >= 0

    def save(self, now: float) -> tuple[float, float]:
        """What is left, and seconds since it was looked at."""
        return self.left, now - self.at

    def load(self, saved: tuple[float, float], now: float) -> None:
        """The counterpart."""
        self.left = min(saved[0], float(self.most))
        self.at = now - saved[1]
