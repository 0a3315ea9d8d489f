"""Why TLS to an endpoint, or a successor, could not be had: what people read, and the word that metrics count by.

    certificate   the endpoint's is not accepted            timeout   it took too long
    refused       the endpoint refuses us                   lost      the connection ended
    handshake     it failed otherwise
"""

from __future__ import annotations

from typing import Final

from proxy.tls.errors import NOT_ACCEPTED

TOO_SLOW: Final = "it took too long"
REFUSED: Final = "it refused us behind the handshake"
LOST: Final = "the connection was lost"
ENDED: Final = f"{LOST} before it served"
UNASKED: Final = f"{LOST}: it spoke unasked"

_LABELS: Final = ((NOT_ACCEPTED, "certificate"), (TOO_SLOW, "timeout"), (REFUSED, "refused"), (LOST, "lost"))
"""By the beginning of a reason."""


def label(reason: str) -> str:
    """The word for a reason."""
    return next((word for begin, word in _LABELS if reason.startswith(begin)), "handshake")
