"""TLS of a connection as it travels between generations, a part of `proxy.state.Transport`.

Secrets are in `layer` alone, wrapped under the key of the attempt (`proxy.tls.layer.Vault`): nothing else in a
snapshot, a message or a log that quotes one has any.
"""

from __future__ import annotations

from typing import Final

import msgspec

# The bits of `TlsState.flags`: append only.
HANDSHAKE: Final = 1
"""A handshake with an endpoint that is to be made anew; nothing but `preface` counts."""
CLOSED_IN: Final = 2
CLOSED_OUT: Final = 4
WAITING: Final = 8
CUT: Final = 16
ANSWERED: Final = 32
UNHEARD: Final = 64


class About(msgspec.Struct, array_like=True, frozen=True):
    """What the handshake found out."""

    sni: str = ""
    """The server name that the client asked for."""
    alpn: str = ""
    """The protocol that was agreed on; empty: none was."""
    peer: tuple[str, ...] = ()
    """The names in the verified certificate of the peer: ``DNS:``, ``URI:``, ``IP:`` and so on."""


class TlsState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """See `proxy.tls.session.Session`."""

    flags: int
    layer: bytes = b""
    """What `RecordLayer.save` wrote."""
    inbox: bytes = b""
    """Records, the last of them perhaps not complete, that are not opened yet."""
    partial: bytes = b""
    """The beginning of a handshake message."""
    sealed: bytes = b""
    """Records, the first of them perhaps begun, that are not written yet."""
    updates: int = 0
    about: About | None = None
    preface: bytes = b""
    """What a connection to an endpoint sends before its handshake."""
