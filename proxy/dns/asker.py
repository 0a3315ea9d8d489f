"""The sockets of lookups: `proxy.dns.names.Asker` in the control plane's loop, beside the ticks.

A lookup is not a value: it is cancelled by a freeze, and made again by whoever owns afterwards. Every attempt has a
socket of its own that is connected to its server, so that the kernel chooses a random port and drops what others send.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.dns.lookup import Lookup, from_hosts
from proxy.dns.system import Setup, in_hosts, setup_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.model import DnsConfig
    from proxy.dns.names import Outcomes
    from proxy.dns.query import Attempt, Query

LONGEST_DATAGRAM: Final = 65535
LONGEST_FILE: Final = 8 << 20
"""Bytes that are read of a file of the system."""


class SystemFile:
    """A text that is read again when the file changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._text = ""

    def text(self) -> str:
        """In lower case; empty if it cannot be read."""
        try:
            stat = self._path.stat()
            seen = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen != self._seen:
                with self._path.open("rb") as file:
                    self._text = file.read(LONGEST_FILE).decode("utf-8", "replace").lower()
                self._seen = seen
        except OSError:
            self._seen, self._text = (), ""
        return self._text


class Files(NamedTuple):
    """Those of one system."""

    resolv_conf: SystemFile
    hosts: SystemFile


SYSTEM = Files(SystemFile(Path("/etc/resolv.conf")), SystemFile(Path("/etc/hosts")))


def setup(config: DnsConfig, files: Files) -> Setup:
    """How names are looked up now: as configured, the rest as the system says."""
    known = setup_of(files.resolv_conf.text())
    return known._replace(servers=config.nameservers or known.servers, timeout=config.timeout or known.timeout)


class NetworkAsker:
    """Implements `Asker`. Made by the running loop's thread."""

    def __init__(self, files: Files = SYSTEM) -> None:
        self._files = files
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, host: str, family: str, config: DnsConfig, told: Callable[[Outcomes], None]) -> None:
        """See `Asker`."""
        task = asyncio.get_running_loop().create_task(self._ask(host, family, config, told))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def plan(self, at: float, due: Callable[[], None]) -> None:
        """See `Asker`. The clock of the loop is that of the data plane, CLOCK_MONOTONIC."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at == inf else asyncio.get_running_loop().call_at(at, due)

    def stop(self) -> None:
        """See `Asker`."""
        self.plan(inf, self.stop)
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    async def _ask(self, host: str, family: str, config: DnsConfig, told: Callable[[Outcomes], None]) -> None:
        told(await look_up(host, family, config, self._files))


async def look_up(host: str, family: str, config: DnsConfig, files: Files = SYSTEM) -> Outcomes:
    """One lookup, from the files of the system or the servers. Raises nothing: failures are outcomes."""
    found = from_hosts(in_hosts(files.hosts.text(), host), family)
    if found is not None:
        return found
    lookup = Lookup(host, family, setup(config, files), secrets.randbits)
    while lookup.outcomes is None:
        await asyncio.gather(*(_carry_out(query) for query in lookup.queries.values()))
        lookup.told()
    return lookup.outcomes


async def _carry_out(query: Query) -> None:
    clock = asyncio.get_running_loop().time
    query.begin(clock())
    while (attempt := query.attempt) is not None:
        try:
            async with asyncio.timeout_at(attempt.due):
                await (_by_tcp if attempt.tcp else _by_udp)(query, attempt)
        except TimeoutError:
            query.late(clock())
        except OSError as error:
            query.unreachable(os.strerror(error.errno).lower() if error.errno else str(error), clock())


async def _by_udp(query: Query, attempt: Attempt) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(attempt.server.family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(attempt.server.sockaddr)
        sock.send(attempt.message)
        while query.attempt is attempt:
            query.heard(await loop.sock_recv(sock, LONGEST_DATAGRAM), loop.time())


async def _by_tcp(query: Query, attempt: Attempt) -> None:
    """RFC 1035 section 4.2.2: each message after its length in two bytes."""
    loop = asyncio.get_running_loop()
    with socket.socket(attempt.server.family, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, attempt.server.sockaddr)
        await loop.sock_sendall(sock, len(attempt.message).to_bytes(2, "big") + attempt.message)
        data = b""
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
            piece = await loop.sock_recv(sock, LONGEST_DATAGRAM)
            if not piece:
                raise ConnectionError("it closed the connection without an answer")
            data += piece
        query.heard(data[2 : 2 + int.from_bytes(data[:2], "big")], loop.time())
