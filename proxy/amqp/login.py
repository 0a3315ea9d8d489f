"""The login of a cluster: with it connections of clients that logged in the same way can change their broker.

Credentials of clients are compared with it as they pass, and kept nowhere. These are read from a file when they are
wanted, and again whenever it has changed.
"""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.config.model import BrokerConfig

MAX_PASSWORD: Final = 4096


class Login:
    """User and password."""

    __slots__ = ("_config",)

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config

    def response(self) -> bytes | None:
        """What SASL's PLAIN wants to hear; None if there is no password to be had."""
        path = self._config.password_file
        if self._config.username is None or path is None:
            return None
        try:
            with Path(path).open("rb") as file:
                password = file.read(MAX_PASSWORD + 1)
        except OSError:
            return None
        password = password.removesuffix(b"\n").removesuffix(b"\r")
        if not password or len(password) > MAX_PASSWORD:
            return None
        return b"\0" + self._config.username.encode() + b"\0" + password

    def is_that_of(self, response: bytes | bytearray) -> bool:
        """A client that says this is the same user. An identity to act for (before the first 0) makes it another."""
        own = self.response()
        return own is not None and hmac.compare_digest(own, bytes(response))
