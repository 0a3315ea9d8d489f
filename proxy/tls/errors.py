"""What can go wrong in TLS.

    TlsError     the peer broke the protocol, or what it sent cannot be opened: `alert` is what it is told
    NotOwner     a record layer that may not seal or open: its generation does not own, or gave it away
"""

from __future__ import annotations

from typing import Final

# Alerts, RFC 8446 section 6.
CLOSE_NOTIFY: Final = 0
UNEXPECTED_MESSAGE: Final = 10
BAD_RECORD_MAC: Final = 20
RECORD_OVERFLOW: Final = 22
HANDSHAKE_FAILURE: Final = 40
ACCESS_DENIED: Final = 49
DECODE_ERROR: Final = 50
INTERNAL_ERROR: Final = 80
USER_CANCELED: Final = 90
NO_RENEGOTIATION: Final = 100

NOT_ACCEPTED: Final = "the certificate of the peer is not accepted"
"""How the reason begins of a handshake that we ended for that."""


class TlsError(Exception):
    """The connection cannot go on. `alert` is sent to the peer if that is still possible (RFC 8446 section 6.2)."""

    def __init__(self, alert: int, text: str) -> None:
        super().__init__(text)
        self.alert = alert


class NotOwner(Exception):
    """Sealing or opening without ownership: two writers under one key would use a nonce twice."""
