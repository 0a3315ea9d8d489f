"""The kind of key that takes whatever a plug-in takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hotswap.settings.document import Mapping, Scalar, described
from hotswap.settings.kinds import Flag
from hotswap.settings.problems import Unfit, shown

if TYPE_CHECKING:
    from hotswap.settings.document import Node
    from hotswap.settings.kinds import Schema


class Plain(msgspec.Struct, frozen=True):
    """A mapping of whatever the filter takes: its own types judge it."""

    name: str = "mapping"

    def read(self, node: Node) -> dict[str, Any]:
        """See `Kind`."""
        if not isinstance(node, Mapping):
            raise Unfit(f"{described(node)} stands here; write a mapping of what the filter takes")
        return {name: _plain(value) for name, (_, value) in node.entries.items()}

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "object"}

    def show(self, value: dict[str, Any]) -> str:
        """See `Kind`."""
        return str(value)


def _plain(node: Node) -> Any:
    if isinstance(node, Mapping):
        return {name: _plain(value) for name, (_, value) in node.entries.items()}
    if not isinstance(node, Scalar):
        return [_plain(item) for item in node.items]
    try:
        if node.type == "int":
            return int(node.text)
        if node.type == "float":
            return float(node.text)
    except ValueError:
        raise Unfit(f"{shown(node.text)} is not a plain number; write it in decimal, or in quotes") from None
    if node.type == "null":
        return None
    return Flag().read(node) if node.type == "bool" else node.text
