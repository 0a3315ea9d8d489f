"""What a serving generation is told about its successor: values on both ends of the control socket."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

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
    external: bool = False  # start nothing: wait for a successor that somebody else starts
    hand_over: bool = False  # to one that stands by, whichever


class Leave(msgspec.Struct, frozen=True):
    """The body of POST /leave. It is for the process that was looked at, and not for one that took over meanwhile."""

    life: str = ""  # see `hotswap.place`; empty: whoever it is


class GaveUp(msgspec.Struct, frozen=True):
    """The body of POST /gave_up: one that was started to take over cannot, and tells why before it ends."""

    code: int  # its exit code
    message: Annotated[str, Meta(max_length=8192)]
    version: Annotated[str, Meta(max_length=256)] = ""
    token: Annotated[str, Meta(max_length=256)] = ""  # of the upgrade that told it to come
