"""Who is at the other end of a unix socket, and who may be: unix(7), SO_PEERCRED."""

from __future__ import annotations

import os
import socket
import struct

CREDENTIALS = struct.Struct("iII")
"""struct ucred: pid, uid, gid."""


def peer_uid(sock: socket.socket) -> int:
    """Who connected; of the listener that one has connected to, who called listen(2) on it last."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return int(CREDENTIALS.unpack(credentials)[1])


def admitted(peers: frozenset[int]) -> frozenset[int]:
    """Our own user, root, and those who may take part besides: nobody, unless somebody says so."""
    return peers | {0, os.geteuid()}
