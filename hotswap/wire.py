"""One accepted connection of the control plane as bytes: as they are here, encrypted where somebody else makes it so.

    open()     whatever comes before the first byte of a request
    recv, send
    end()      says that nothing more comes; what the peer still sends is read and dropped

Nothing here has a deadline: whoever calls has one, and cancels.
"""

from __future__ import annotations

import asyncio
import socket


def _next(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class Wire:
    """A socket that does not block, as it is. Errors are OSError."""

    __slots__ = ("names", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.names: tuple[str, ...] = ()
        """What the peer has proved to be called; empty where nothing is proved."""

    async def open(self) -> None:
        """Nothing comes before the request."""

    async def recv(self, most: int) -> bytes:
        """Up to so many bytes; empty at the end."""
        return await asyncio.get_running_loop().sock_recv(self.sock, most)

    async def send(self, data: bytes) -> None:
        """All of it."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def end(self) -> None:
        """Say that we are done, and read on until the peer is too.

        Closing with unread input resets the connection, and the reset can overtake our answer (RFC 9112 9.6).
        """
        self.sock.shutdown(socket.SHUT_WR)
        loop = asyncio.get_running_loop()
        while await loop.sock_recv(self.sock, 65536):
            turn = loop.create_future()  # there may always be more: others have their turn, and the caller its deadline
            loop.call_soon(_next, turn)
            await turn
