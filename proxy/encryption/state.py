"""What moves of a cluster's encryption with an upgrade. Rules of compatibility: `proxy.state`.

Times are seconds that remain, or seconds since.
"""

from __future__ import annotations

import msgspec

from proxy.config.tls_model import Announced, Wanted


class Order(msgspec.Struct, array_like=True, frozen=True):
    """What somebody asked for on the control socket, in place of the configuration."""

    wanted: Wanted
    percent: int = 100
    ramp: float = 0.0


class TroubleState(msgspec.Struct, array_like=True, frozen=True):
    """See `proxy.encryption.wishes.Trouble`."""

    failures: int
    left: float
    reason: str


class WishesState(msgspec.Struct, array_like=True, frozen=True):
    """See `proxy.encryption.wishes.Wishes`."""

    order: Order | None = None
    over: Order = Order("off")
    """What the configuration wants. Where that is something else by now, the order is over."""
    announced: dict[str, Announced] = {}
    """By endpoint, on the control socket."""
    began: float = 0.0
    """Seconds since the share began to grow."""
    base: int = 0
    """The share that it began at."""
    share: int = 0
    """That which it has reached."""
    troubles: dict[str, TroubleState] = {}
    file: dict[str, Announced] = {}
    """What the file of announcements said."""
