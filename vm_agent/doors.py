"""Where the agent can be spoken to.

<runtime_dir>/agent.sock    for its own user and root (SO_PEERCRED), mode 0600
`http` of its settings      HTTPS for a fleet controller, see `https.py`
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hotswap.address import Address
from hotswap.control import HttpServer, Route
from hotswap.control_client import is_held
from hotswap.errors import AlreadyRunning, BindFailed, PermissionDenied
from hotswap.filewatch import FileWatch
from hotswap.listeners import bind, listen
from vm_agent.https import Identity, guarded
from vm_agent.routes import READS

if TYPE_CHECKING:
    from vm_agent.spec.model import AgentSettings, HttpSettings

SOCKET: Final = "agent.sock"
FAREWELL_SECONDS: Final = 2.0
"""For answers under way at the end."""
_BACKLOG = 128


class Doors:
    """Those of one agent. Open them under the agent's lock only."""

    def __init__(self, settings: AgentSettings, routes: Mapping[tuple[str, str], Route]) -> None:
        self._path = Path(settings.runtime_dir) / SOCKET
        self._http = settings.http
        self._routes = routes
        self._server = HttpServer(routes)
        self._inode = 0
        """Of our socket: another agent's in its place is not removed."""
        self._remote: HttpServer | None = None
        self._identity: Identity | None = None
        self._watch: FileWatch | None = None

    async def open(self) -> None:
        """Answer. Raises `HotswapError`, and then nothing is open."""
        identity = None if self._http is None else Identity(self._http)
        descriptor = self._bind()
        try:
            self._inode = self._path.stat().st_ino
            if self._http is not None and identity is not None:
                self._open_remote(self._http, identity)
            self._server.start(descriptor)
        except BaseException:
            await self.close()
            raise
        finally:
            os.close(descriptor)

    def _bind(self) -> int:
        address = Address.parse(f"unix:{self._path.absolute()}")
        try:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise PermissionDenied(
                f"{self._path.parent} cannot be made: {error.strerror}; run the agent as root, or set runtime_dir"
            ) from None
        if self._path.exists() and not self._path.is_socket():
            raise BindFailed(f"{self._path} is no socket: move it away, or set another runtime_dir")
        if is_held(self._path):
            raise AlreadyRunning(
                f"another agent answers on {self._path}: stop it, or give this one another runtime_dir and state"
            )
        mask = os.umask(0o177)
        try:
            descriptor = bind(address, reuse=False)
        finally:
            os.umask(mask)
        listen(descriptor, _BACKLOG)
        return descriptor

    def _open_remote(self, settings: HttpSettings, identity: Identity) -> None:
        descriptor = bind(Address.parse(settings.address), reuse=True)
        try:
            listen(descriptor, _BACKLOG)
            self._remote = HttpServer(guarded(self._routes, settings.allow, READS), wire=identity.wire)
            self._remote.start(descriptor)
        finally:
            os.close(descriptor)
        self._identity = identity
        self._watch = FileWatch(identity.renew, "SIGHUP to the agent reads them")
        self._watch.follow(str(Path(file).absolute()) for file in identity.files)
        self._watch.start()

    def renew(self) -> None:
        """Read certificates anew, where nothing tells of their change."""
        if self._identity is not None:
            self._identity.renew()

    async def close(self) -> None:
        """Answer nobody any more. Sidecars have nothing to do with it."""
        servers = [self._server] if self._remote is None else [self._server, self._remote]
        for server in servers:
            server.stop()
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        self._identity = None
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        await asyncio.gather(*(server.finish(FAREWELL_SECONDS) for server in servers))
        self._remote = None
