"""What a serving generation is told to do about its successor: one value on both ends of the control socket."""

from __future__ import annotations

import msgspec

from hotswap.chain import Bake


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST /upgrade."""

    command: list[str] | None = None
    cwd: str = ""
    timeout: float = 30.0  # seconds
    dry_run: bool = False
    require_all: bool = False
    rollback: bool = False
    force: bool = False  # whatever the preflight says
    why: str = ""  # of a rollback, for the history
    bake: Bake | None = None
