"""What the generation around an attempt does for it, what was asked of it, and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from hotswap.errors import HotswapError
from hotswap.handover import wire


class Holder(Protocol):
    """What the generation around an attempt does for it."""

    def resources(self) -> list[tuple[wire.ListenerEntry, int]]:
        """Every listening socket that travels."""

    def lock_fd(self) -> int:
        """The open, locked lock file."""

    def chain_state(self) -> bytes:
        """The history of generations, encoded."""

    def freeze(self) -> None:
        """Stop everything that does I/O for clients."""

    def thaw(self) -> None:
        """Undo it."""

    def retired(self, kept: list[int], wanted: frozenset[str]) -> None:
        """The destination owns; go on with what was kept and with the listeners it does not want."""

    def answering(self) -> bool:
        """Somebody is being answered who asked at the admin address."""

    def take_listeners(self) -> None:
        """The destination died as owner: serve on, without the connections."""

    def end_destination(self) -> None:
        """SIGKILL the destination if this process spawned it."""


class Wishes(msgspec.Struct, frozen=True):
    """What the caller of an upgrade asked for."""

    dry_run: bool = False
    require_all: bool = False


class Outcome(msgspec.Struct):
    """What an attempt did, in figures; filled in as it goes."""

    listeners: int = 0
    connections: int = 0
    in_flight: int = 0
    rounds: int = 0
    copied: int = 0
    kept: dict[str, int] = {}
    stragglers: int = 0  # TLS handshakes under way at the freeze; the rest of those that followed ended by themselves
    followed: int = 0
    phases: dict[str, float] = {}  # milliseconds: copy, check, byte; their sum is the downtime
    downtime_ms: float = 0.0
    rehearsed: bool = False

    def measured(self, at: Mapping[str, float]) -> None:
        """`at`: when it froze, had sent FINAL, was told PREPARED and OWNED, in seconds. One between may be missing."""
        frozen, owned = at["freeze"], at["owned"]
        # SEND_FINAL may have failed after FINAL had left, and PREPARED may not have been understood.
        final = at.get("final", at.get("checked", owned))
        checked = at.get("checked", final)
        times = {"copy": final - frozen, "check": checked - final, "byte": owned - checked}
        self.phases = {phase: seconds * 1e3 for phase, seconds in times.items()}
        self.downtime_ms = (owned - frozen) * 1e3


class Taker(Protocol):
    """What the generation around an attempt does for it."""

    def adopt(self, entries: list[tuple[wire.ListenerEntry, int]], lock: int, generation: int) -> None:
        """Resources came: bind what is missing, give the server its listeners. Raises `BindFailed`."""

    def restore_chain(self, chain: bytes, generation: int) -> None:
        """The history of generations so far."""

    def start(self) -> None:
        """Owner: listen on the listeners and tick. The first thing after OWNED."""

    def start_cold(self) -> None:
        """Owner of the listeners only: what was restored is void."""

    def told(self, figures: wire.Bye, lost: int) -> None:
        """The source says goodbye with what it measured; so many stragglers came and could not be restored."""

    def leave(self, failure: HotswapError | None, *, settled: bool) -> None:
        """Say why and end this process at once.

        `settled`: the source serves on, and waits for nothing. Else it may wait for the death of this process.
        """
