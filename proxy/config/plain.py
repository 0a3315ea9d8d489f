"""The kinds of keys that take yes or no, or whatever a plug-in takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxy.config.document import Mapping, Scalar, described
from proxy.config.problems import Unfit, shown

if TYPE_CHECKING:
    from proxy.config.document import Node
    from proxy.config.kinds import Schema


@dataclass(frozen=True, slots=True)
class Plain:
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


@dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""

    name: str = "`true` \\| `false`"

    def read(self, node: Node) -> bool:
        """See `Kind`."""
        if not isinstance(node, Scalar) or node.type != "bool":
            raise Unfit(f"{described(node)} stands here; write true or false, without quotes")
        return node.text.lower() in _YES

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "boolean"}

    def show(self, value: bool) -> str:
        """See `Kind`."""
        return "true" if value else "false"


_YES = frozenset({"true", "yes", "on"})


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
    return node.text.lower() in _YES if node.type == "bool" else node.text
