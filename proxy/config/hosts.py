"""Kinds of keys that take names, or the servers that know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hotswap.errors import ConfigError
from hotswap.settings.document import Sequence, described, text_of
from hotswap.settings.kinds import SocketAddress
from hotswap.settings.problems import Unfit
from proxy.dns.host import HostName, numeric
from proxy.dns.system import server

if TYPE_CHECKING:
    from hotswap.address import Address
    from hotswap.settings.document import Node
    from hotswap.settings.kinds import Schema


class EndpointAddress(msgspec.Struct, frozen=True):
    """An address, or a name that is looked up."""

    name: str = "address or `name:port`"

    def read(self, node: Node) -> Address | HostName:
        """See `Kind`."""
        text = text_of(node, "an address such as 127.0.0.1:8080, or a name such as app.internal:8080")
        host, colon, _ = text.rpartition(":")
        if not colon or not host or text.startswith(("unix:", "[")) or ":" in host or host == "localhost":
            return SocketAddress().read(node)
        if numeric(host):
            return SocketAddress().read(node)
        try:
            return HostName.parse(text)
        except ConfigError as error:
            raise Unfit(str(error)) from None

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "string", "pattern": "^(unix:/.+|[A-Za-z0-9_.-]+:[0-9]+|\\[.+\\]:[0-9]+)$"}

    def show(self, value: Address | HostName) -> str:
        """See `Kind`."""
        return str(value)


class NameServers(msgspec.Struct, frozen=True):
    """Addresses of name servers; the port may be left out."""

    name: str = "list of addresses"

    def read(self, node: Node) -> tuple[Address, ...]:
        """See `Kind`."""
        if not isinstance(node, Sequence) or not node.items:
            raise Unfit(f"{described(node)} stands here; write a list of addresses such as [10.0.0.2]")
        found = []
        for item in node.items:
            text = text_of(item, "an address such as 10.0.0.2 or 127.0.0.1:5353")
            try:
                address = server(text)
            except ConfigError:
                raise Unfit(f"{text!r} is no name server; write a numeric address such as 10.0.0.2") from None
            if not address.port:
                raise Unfit(f"{text!r} is no name server; write a numeric address and a port, such as 127.0.0.1:5353")
            found.append(address)
        return tuple(dict.fromkeys(found))

    def schema(self) -> Schema:
        """See `Kind`."""
        pattern = "^([0-9.]+(:[0-9]+)?|localhost:[0-9]+|[0-9A-Fa-f:.]+(%.+)?|\\[.+\\]:[0-9]+)$"
        return {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": pattern}}

    def show(self, value: tuple[Address, ...]) -> str:
        """See `Kind`."""
        return f"[{', '.join(map(str, value))}]"
