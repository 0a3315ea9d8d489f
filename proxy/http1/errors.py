"""Why a message is refused. The codec raises these; the sessions answer and close.

BadMessage              the peer broke the grammar or a limit; carries the status of the answer
"""

from __future__ import annotations


class BadMessage(Exception):
    """A message that is not taken.

    ``status`` is what a downstream peer is answered with. What an upstream sends is answered 502 to
    the downstream whatever the status here. ``reason`` is for people.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason
