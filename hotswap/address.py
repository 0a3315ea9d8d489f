"""Addresses of listeners and endpoints: ``host:port``, ``[ipv6]:port``, ``unix:/path``."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple

from hotswap.errors import ConfigError

SockAddr = tuple[str, int] | tuple[str, int, int, int] | str

MAX_UNIX_PATH = 107  # sockaddr_un.sun_path less its NUL, unix(7)


class Address(NamedTuple):
    """A numeric socket address. `str()` of it is canonical: equal addresses, equal text."""

    family: int
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read one address. Raises `ConfigError` with the remedy; host names are not looked up."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path.startswith("/") or "\0" in path or len(path.encode()) > MAX_UNIX_PATH:
                raise ConfigError(
                    f"{text!r} is not a unix address: write unix:/absolute/path, {MAX_UNIX_PATH} bytes at most"
                )
            return cls(socket.AF_UNIX, path, 0)
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
            raise ConfigError(
                f"{text!r} is not an address: write host:port, [ipv6]:port or unix:/path, with a port from 0 to 65535"
            )
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            ip = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host[1:-1] if bracketed else host)
        except ValueError:
            raise ConfigError(
                f"{text!r} has no numeric host: write an IPv4 address, an IPv6 address in brackets, or localhost"
            ) from None
        if (ip.version == 6) is not bracketed:
            raise ConfigError(f"{text!r}: an IPv6 address stands in brackets, [::1]:8080, and only that")
        return cls(socket.AF_INET6 if ip.version == 6 else socket.AF_INET, str(ip), int(port))

    @property
    def sockaddr(self) -> SockAddr:
        """The form the socket module takes."""
        if self.family == socket.AF_UNIX:
            return self.host
        return (self.host, self.port, 0, 0) if self.family == socket.AF_INET6 else (self.host, self.port)

    def __str__(self) -> str:
        if self.family == socket.AF_UNIX:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if self.family == socket.AF_INET6 else f"{self.host}:{self.port}"
