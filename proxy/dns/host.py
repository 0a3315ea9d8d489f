"""``name:port`` as the address of an endpoint."""

from __future__ import annotations

import re
from typing import NamedTuple

from hotswap.errors import ConfigError

LONGEST_NAME = 253  # characters without a dot at the end, RFC 1035 section 2.3.4: 255 bytes on the wire
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)\.?")


class HostName(NamedTuple):
    """A name that is looked up, and the port at each of its addresses. `str()` of it is canonical."""

    host: str
    """In lower case. A dot at its end says that no search list applies."""
    port: int

    @classmethod
    def parse(cls, text: str) -> HostName:
        """Read ``name:port``. Raises `ConfigError` with the remedy."""
        host, colon, port = text.lower().rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or len(port) > 5 or not 0 < int(port) <= 65535:
            raise ConfigError(f"{text!r} is not a name with a port: write name:port, with a port from 1 to 65535")
        if not _NAME.fullmatch(host) or len(host.removesuffix(".")) > LONGEST_NAME or numeric(host):
            raise ConfigError(f"{text!r} has no host name: write labels of a-z 0-9 - _ such as app.internal:9000")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def numeric(host: str) -> bool:
    """Whether it looks like an IPv4 address, so that a mistyped one is no name (WHATWG URL: "ends in a number")."""
    return _NUMERIC.fullmatch(host.removesuffix(".").rpartition(".")[2]) is not None
