"""A toy server: a `Swappable` in memory, whose connections are real socket pairs and whose state is a text."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Collection, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hotswap.address import Address
from hotswap.errors import CannotRestore
from hotswap.server import Server
from hotswap.swappable import ListenerSpec, Saved, Schema, Value

T = TypeVar("T")

Events = list[dict[str, Any]]

PATIENCE = 10.0  # seconds for anything that takes a fraction of one
ADDRESS = "127.0.0.1:7000"


def play(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario with a deadline; what the loop had to report makes it fail."""
    complaints: list[dict[str, Any]] = []

    async def bounded() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        return await asyncio.wait_for(scenario, 2 * PATIENCE)

    answer = asyncio.run(bounded())
    assert not complaints
    return answer


def open_descriptors() -> dict[str, str]:
    """What this process has open: number and what stands behind it."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found[entry.name] = str(entry.readlink())
    return found


@contextlib.contextmanager
def no_leak() -> Iterator[None]:
    """The block closes every descriptor it opens."""
    before = open_descriptors()
    yield
    after = open_descriptors()
    assert after.keys() <= before.keys(), {fd: after[fd] for fd in after.keys() - before.keys()}


class Line:
    """One connection: what was written to it last is its state."""

    kind = "line"

    def __init__(self, serial: int, fd: int, text: bytes) -> None:
        self.serial = serial
        self.fd = fd
        self.changes = 0
        self.text = text

    def save(self, now: float) -> bytes:
        return self.text


class Toy(Server):
    """Notes in `calls` what it was told, in order."""

    def __init__(self) -> None:
        self.lines: dict[int, Line] = {}
        self.clients: dict[int, socket.socket] = {}
        self.calls: list[str] = []
        self.shared_state = b""
        self.refusing: dict[int, str] = {}  # serials that it cannot restore
        self.reasons: dict[int, str] = {}  # serials that stay
        self.unfinished: set[int] = set()  # serials that are no value yet
        self.expected: set[int] = set()  # those that a source has still to send
        self.own: dict[str, int] = {}  # descriptors of its own, given or got
        self.ticking = False
        self.copies_elsewhere = False
        self.chosen: dict[str, int] = {}

    # -- for tests -----------------------------------------------------------------------------------

    def connect(self, *serials: int, text: bytes = b"") -> None:
        """Clients call."""
        for serial in serials:
            client, server = socket.socketpair()
            client.settimeout(PATIENCE)
            self.clients[serial] = client
            self.lines[serial] = Line(serial, server.detach(), text)

    def receive(self, serial: int, text: bytes) -> None:
        """Something comes in on a connection."""
        line = self.lines[serial]
        line.text = text
        line.changes += 1

    def answer(self, serial: int, text: bytes) -> None:
        """Write to a client."""
        os.write(self.lines[serial].fd, text)

    def texts(self) -> dict[int, bytes]:
        """The state of every connection."""
        return {serial: line.text for serial, line in self.lines.items()}

    def close(self) -> None:
        """Close everything."""
        for serial in list(self.lines):
            self.forget(serial)
        for client in self.clients.values():
            client.close()

    # -- Swappable -----------------------------------------------------------------------------------

    def schemas(self) -> Mapping[str, Schema]:
        return {"line": Schema(1, 1)}

    def agree(self, chosen: Mapping[str, int], wanted: Collection[str]) -> None:
        self.chosen = dict(chosen)

    def wanted(self) -> Sequence[ListenerSpec]:
        return [ListenerSpec("web", Address.parse(ADDRESS))]

    def adopt(self, listeners: Mapping[str, int]) -> None:
        self.calls.append("adopt")

    def values(self) -> Mapping[int, Value]:
        return self.lines

    def restore(self, saved: Saved, now: float) -> None:
        if saved.serial in self.refusing:
            if saved.fd >= 0:
                os.close(saved.fd)
            raise CannotRestore(self.refusing[saved.serial])
        line = self.lines.get(saved.serial)
        if line is None:
            assert saved.fd >= 0, "the first time a descriptor comes along"
            line = self.lines[saved.serial] = Line(saved.serial, saved.fd, b"")
        line.text, line.changes = saved.state, saved.changes

    def forget(self, serial: int) -> None:
        os.close(self.lines.pop(serial).fd)

    def save_shared(self, now: float) -> bytes:
        return self.shared_state

    def restore_shared(self, state: bytes, now: float) -> None:
        self.calls.append("restore_shared")
        self.shared_state = state

    def staying(self) -> Mapping[int, str]:
        return {serial: reason for serial, reason in self.reasons.items() if serial in self.lines}

    def keep(self, serials: Collection[int], reason: str) -> None:
        self.reasons.update(dict.fromkeys(serials, reason))

    def stragglers(self) -> Collection[int]:
        return sorted((self.unfinished & self.lines.keys()) | (self.expected - self.lines.keys()))

    def expect_stragglers(self, serials: Collection[int]) -> None:
        self.expected = set(serials)

    def descriptors(self) -> Mapping[str, int]:
        return {name: os.dup(fd) for name, fd in self.own.items()}

    def accept_descriptors(self, descriptors: Mapping[str, int]) -> None:
        self.calls.append("accept_descriptors")
        self.own = dict(descriptors)

    def sharing(self, shared: bool) -> None:
        self.copies_elsewhere = shared

    def freeze(self) -> None:
        self.calls.append("freeze")
        self.ticking = False

    def thaw(self) -> None:
        self.calls.append("thaw")
        self.ticking = True

    def start(self) -> None:
        self.calls.append("start")
        self.ticking = True

    def retire(self, kept: Collection[int], removed: Mapping[str, int]) -> None:
        self.calls.append("retire")
        self.retired = True
        for serial in self.lines.keys() - set(kept):
            self.forget(serial)

    def abandon(self) -> None:
        self.calls.append("abandon")
        super().abandon()

    def in_flight(self) -> int:
        return len(self.lines) // 2
