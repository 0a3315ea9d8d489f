"""Several machines on one network: a namespace each, on a bridge, and a hub for upstreams and clients beside them.

    with Bridge(3) as bridge, Machine(netns=bridge.path(0)) as first: ...

The hub is 10.78.0.254, the machines are 10.78.0.1 and so on. The bridge itself stands in the hub.
"""

from __future__ import annotations

import uuid
from types import TracebackType
from typing import Self

from tests.kit.networks import Network, command, needed

HUB = "10.78.0.254"


def address(number: int) -> str:
    """That of a machine, counted from 0."""
    return f"10.78.0.{number + 1}"


class Bridge:
    """A context manager."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._unique = uuid.uuid4().hex[:7]
        self._made: list[Network] = []

    def __enter__(self) -> Self:
        needed()
        try:
            self._connect()
        except BaseException:
            self._remove()
            raise
        return self

    def _connect(self) -> None:
        self.hub = self._network("h")
        command("ip", "-n", self.hub.name, "link", "add", "hub", "type", "bridge")
        command("ip", "-n", self.hub.name, "addr", "add", f"{HUB}/24", "dev", "hub")
        command("ip", "-n", self.hub.name, "link", "set", "hub", "up")
        for number in range(self._count):
            machine = self._network(str(number))
            port = f"p{number}"
            pair = ["peer", "name", "net0", "netns", machine.name]
            command("ip", "link", "add", "name", port, "netns", self.hub.name, "type", "veth", *pair)
            command("ip", "-n", self.hub.name, "link", "set", port, "master", "hub", "up")
            command("ip", "-n", machine.name, "addr", "add", f"{address(number)}/24", "dev", "net0")
            command("ip", "-n", machine.name, "link", "set", "net0", "up")

    def _network(self, suffix: str) -> Network:
        made = Network(f"hs{self._unique}{suffix}")
        self._made.append(made)
        return made

    def path(self, number: int) -> str:
        """The namespace of a machine, for `Machine`."""
        return f"/run/netns/{self._made[number + 1].name}"

    def _remove(self) -> None:
        for network in self._made:
            command("ip", "netns", "del", network.name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()
