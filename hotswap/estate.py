"""What a serving generation is and has: its identity, and the descriptors that pass to the next one."""

from __future__ import annotations

from dataclasses import dataclass, field

from hotswap.handover import wire


@dataclass(frozen=True)
class Identity:
    """Who this generation is."""

    name: str
    version: str
    build: str
    config_id: str
    command: list[str]
    cwd: str


@dataclass
class Estate:
    """The descriptors that pass from generation to generation."""

    lock: int
    control: int
    handover: int
    admin: int = -1
    admin_address: str = ""
    server: dict[str, int] = field(default_factory=dict)  # by address

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
