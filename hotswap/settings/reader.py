"""Reads a document by the table of keys, and goes on after a problem so that one run finds them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from hotswap.settings.document import Mapping, Scalar, Sequence, described
from hotswap.settings.problems import Problems, Unfit, nearest, shown
from hotswap.settings.sections import Items, Section

if TYPE_CHECKING:
    from collections import abc

    from hotswap.settings.document import Node
    from hotswap.settings.sections import Key


class Found(NamedTuple):
    """A value with its place. The value is what the kind reads, a `Part`, or a list of `Part`."""

    value: Any
    line: int
    path: str


class Part(msgspec.Struct):
    """What could be read of one section: `fields` lacks keys with problems, `written` has them too."""

    section: Section
    line: int
    path: str
    fields: dict[str, Found] = msgspec.field(default_factory=dict)
    written: set[str] = msgspec.field(default_factory=set)

    def value(self, name: str) -> Any:
        """The value of a key, or None."""
        found = self.fields.get(name)
        return None if found is None else found.value

    def parts(self, name: str) -> list[Part]:
        """The readable items of a list."""
        found = self.fields.get(name)
        return [] if found is None else found.value

    def place(self, name: str) -> tuple[int, str]:
        """Line and path of a key; of the section if the key is not there."""
        found = self.fields.get(name)
        return (self.line, self.path) if found is None else (found.line, found.path)


class Reader(msgspec.Struct, frozen=True):
    """Reads sections and collects `problems`. `elsewhere`: see `Form`."""

    problems: Problems
    elsewhere: abc.Mapping[str, str] = msgspec.field(default_factory=dict)

    def section(self, section: Section, node: Node, line: int, path: str) -> Part | None:
        """Read what can be read; None if the node is no mapping at all."""
        part = Part(section, line, path)
        shorthand = section.key(section.shorthand)
        if shorthand is not None and isinstance(node, Scalar) and node.type != "null":
            self._key(part, shorthand, node, line, path)
            return part
        if not isinstance(node, Mapping):
            names = ", ".join(key.name for key in section.keys if key.required) or ", ".join(
                key.name for key in section.keys
            )
            self.problems.error(line, path, f"{described(node)} stands here; write a mapping with the keys {names}")
            return None
        for repeated_line, name, first in node.repeated:
            self.problems.error(
                repeated_line, _join(path, name), f"this key stands in line {first} already; keep one of them"
            )
        for name, (key_line, value) in node.entries.items():
            key = section.key(name)
            if key is None:
                meant = self._meant(section, name)
                part.written.add(meant)
                self.problems.error(key_line, _join(path, name), _unknown(section, name, meant))
            else:
                self._key(part, key, value, key_line, _join(path, name))
        for key in section.keys:
            if key.required and key.name not in part.written:
                example = f", for example {key.name}: {key.example}" if key.example else ""
                self.problems.error(line, path, f"{key.name} is missing; add it{example}")
        return part

    def _key(self, part: Part, key: Key, node: Node, line: int, path: str) -> None:
        value: Any
        part.written.add(key.name)
        if isinstance(key.kind, Section):
            value = self.section(key.kind, node, line, path)
        elif isinstance(key.kind, Items):
            value = self._items(key.kind, node, line, path)
        else:
            try:
                part.fields[key.name] = Found(key.kind.read(node), line, path)
            except Unfit as error:
                self.problems.error(node.line, path, str(error))
            return
        if value is not None:
            part.fields[key.name] = Found(value, line, path)

    def _items(self, items: Items, node: Node, line: int, path: str) -> list[Part] | tuple[()] | None:
        if items.word and isinstance(node, Scalar) and node.text == items.word:
            return ()
        if not isinstance(node, Sequence):
            remedy = f", or {items.word}" if items.word else ""
            self.problems.error(
                line, path, f"{described(node)} stands here; write a list, each item with a leading -{remedy}"
            )
            return None
        if not node.items:
            self.problems.error(line, path, f"the list is empty; add at least one {items.section.title}")
            return None
        parts = [
            self.section(items.section, item, item.line, f"{path}[{index}]") for index, item in enumerate(node.items)
        ]
        return [part for part in parts if part is not None]

    def _meant(self, section: Section, name: str) -> str:
        """The key that somebody who wrote this probably meant, or nothing."""
        known = [key.name for key in section.keys]
        elsewhere = self.elsewhere.get(name.lower(), "")
        return elsewhere if elsewhere in known else nearest(name, known)


def _unknown(section: Section, name: str, meant: str) -> str:
    known = [key.name for key in section.keys]
    remedy = f"did you mean {meant}?" if meant else f"the keys of {section.a_title} are {', '.join(known)}"
    return f"{shown(name)} is not a key of {section.a_title}; {remedy}"


def _join(path: str, name: str) -> str:
    """Keys of strangers go into the path shortened and without control characters."""
    word = name if name.isprintable() and len(name) <= 64 else shown(name)
    return f"{path}.{word}" if path else word
