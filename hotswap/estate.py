"""What a serving generation is and has: its identity, and the descriptors that pass to the next one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from hotswap import listeners
from hotswap.chain import Record
from hotswap.handover import wire
from hotswap.place import here

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotswap.swappable import ListenerSpec


class Identity(msgspec.Struct, frozen=True):
    """Who this generation is."""

    name: str
    version: str
    build: str
    config_id: str
    command: list[str]
    cwd: str

    def record(self, number: int, how: str, now: float, *, restores: int, revision: int) -> Record:
        """For the history: generation `number`, which is this process, owns from now on, seconds since the epoch."""
        who = (self.version, self.build, self.config_id, self.command, self.cwd, os.getpid())
        return Record(number, *who, now, how, restores=restores, revision=revision, place=here())


class Estate(msgspec.Struct):
    """The descriptors that pass from generation to generation."""

    lock: int
    control: int
    handover: int
    admin: int = -1
    admin_address: str = ""
    server: dict[str, int] = msgspec.field(default_factory=dict)  # by address

    def listen(self, specs: Sequence[ListenerSpec]) -> None:
        """Listen for clients, or listen again. Raises `BindFailed`."""
        for spec in specs:
            listeners.listen(self.server[str(spec.address)], spec.backlog)

    def held(self) -> dict[str, int]:
        """What clients connect to, by address."""
        admin = {self.admin_address: self.admin} if self.admin >= 0 else {}
        return {**admin, **self.server}

    def resources(self) -> list[tuple[wire.ListenerEntry, int]]:
        """Every listening socket, with what it is for."""
        found = [
            (wire.ListenerEntry("control", "", ""), self.control),
            (wire.ListenerEntry("handover", "", ""), self.handover),
        ]
        if self.admin >= 0:
            found.append((wire.ListenerEntry("admin", "", self.admin_address), self.admin))
        found += [(wire.ListenerEntry("server", "", address), fd) for address, fd in self.server.items()]
        return found
