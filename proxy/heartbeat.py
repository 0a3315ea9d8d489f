"""The I/O of `proxy.app`: one short-lived connection a check, in the control plane's loop.

A check is not a value: it is cancelled by a freeze, and repeated by whoever owns afterwards.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from proxy.app import answer, question

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.model import AppConfig

_CHUNK = 4096


class Heartbeat:
    """Implements `proxy.app.Heart`."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self, config: AppConfig, told: Callable[[str], None]) -> None:
        """See `Heart`."""
        self._task = asyncio.get_running_loop().create_task(_beat(config, told))

    def stop(self) -> None:
        """See `Heart`."""
        if self._task is not None:
            self._task.cancel()
            self._task = None


async def _beat(config: AppConfig, told: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        next_at = loop.time() + config.interval
        told(await _check(config))
        await asyncio.sleep(max(next_at - loop.time(), 0.0))


async def _check(config: AppConfig) -> str:
    """Ask once. Empty for alive, else the reason."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(config.timeout):
            with socket.socket(config.address.family, socket.SOCK_STREAM) as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, config.address.sockaddr)
                if config.check == "tcp":
                    return ""
                await loop.sock_sendall(sock, question(config))
                data = b""
                while True:
                    piece = await loop.sock_recv(sock, _CHUNK)
                    data += piece
                    verdict = answer(config, data, ended=not piece)
                    if verdict is not None:
                        return verdict
    except TimeoutError:
        return f"no answer within {config.timeout:g} s"
    except OSError as error:
        return os.strerror(error.errno).lower() if error.errno else str(error)
