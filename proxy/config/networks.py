"""The kind of keys that name networks."""

from __future__ import annotations

from ipaddress import ip_network

import msgspec

from hotswap.settings.document import Node, Sequence, described, text_of
from hotswap.settings.kinds import Schema
from hotswap.settings.problems import Unfit, shown
from proxy.proxy_protocol.header import UNIX


class Networks(msgspec.Struct, frozen=True):
    """Networks or single addresses, or ``unix``."""

    name: str = "list of networks"

    def read(self, node: Node) -> tuple[str, ...]:
        """See `Kind`."""
        if not isinstance(node, Sequence) or not node.items:
            raise Unfit(f"{described(node)} stands here; write a list of networks such as [10.0.0.0/8]")
        return tuple(self._one(item) for item in node.items)

    def _one(self, node: Node) -> str:
        text = text_of(node, "a network such as 10.0.0.0/8")
        if text == UNIX:
            return text
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            raise Unfit(f"{shown(text)} is not a network; write one such as 10.0.0.0/8, an address, or unix") from None
        if "/" in text and text.partition("/")[0] != str(network.network_address):
            raise Unfit(f"{shown(text)} has bits behind its length; write {network}")
        return str(network)

    def schema(self) -> Schema:
        """See `Kind`."""
        network = {"type": "string", "pattern": "^(unix|[0-9a-fA-F:.]+(/[0-9.]+)?)$"}
        return {"type": "array", "minItems": 1, "items": network}

    def show(self, value: tuple[str, ...]) -> str:
        """See `Kind`."""
        return f"[{', '.join(value)}]"
