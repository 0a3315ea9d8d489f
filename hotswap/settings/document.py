"""YAML text -> a tree that knows its line numbers.

Built from parser events rather than by a YAML loader, for three reasons: every node keeps its line, nothing
is ever constructed from a tag, and no input costs more than its size (depth and size are bounded, and
an alias, which can blow up a small file, is refused).

The types are those of YAML 1.1, as every Python, Ruby and Go reader of the last decade sees them:
``on`` is a boolean, ``1_000`` a number. A key that wants a text refuses them with the remedy (quotes), so that no
other tool reads the same file differently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from hotswap.settings.problems import Unfit, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 1 << 20
MAX_DEPTH = 16

# The parser of libyaml where PyYAML was built with it: ten times as fast, the same events.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER: Any = yaml.resolver.Resolver()


class Scalar(msgspec.Struct, frozen=True):
    """A single value: its text, and the YAML type ("str", "int", "bool", ...) that the text has."""

    line: int
    text: str
    type: str


class Sequence(msgspec.Struct, frozen=True):
    """A list."""

    line: int
    items: list[Node]


class Mapping(msgspec.Struct, frozen=True):
    """Keys with the line of the key, and values. `repeated` keys were there before: (line, key, line of the first)."""

    line: int
    entries: dict[str, tuple[int, Node]]
    repeated: list[tuple[int, str, int]]


Node = Scalar | Sequence | Mapping


class Unreadable(Exception):
    """The text is no YAML document that we take."""

    def __init__(self, line: int, text: str) -> None:
        self.line = line
        super().__init__(text)


def parse(text: str, page: str = "", least: str = "") -> Node:
    """Read one document. Raises `Unreadable`.

    `page` is the documentation that describes the form, for remedies. `least` names the keys that cannot be missing;
    without them an empty document is an empty mapping.
    """
    stray = text.find("\ufeff")
    if stray >= 0:  # YAML readers differ on what it means
        raise Unreadable(
            text.count("\n", 0, stray) + 1, "a byte order mark stands inside the file; remove the character"
        )
    try:
        return _Composer(text, page).document(least)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        if "nesting depth" in str(error.problem):  # libyaml has a limit of its own since PyYAML 6.0.4, far above ours
            raise _too_deep(line, page) from None
        raise Unreadable(line, f"not valid YAML: {error.problem or error.context}; {_remedy(text, line)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 0
        raise Unreadable(line, f"not valid YAML: {error.reason}; remove the character") from None


def _too_deep(line: int, page: str) -> Unreadable:
    remedy = f"see {page} for the form" if page else "keep it flatter"
    return Unreadable(line, f"nested deeper than {MAX_DEPTH} levels; {remedy}")


def _remedy(text: str, line: int) -> str:
    """What to try first: libyaml says what it expected, which seldom is what the author got wrong."""
    lines = text.splitlines()
    wrong = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\t" in wrong[: len(wrong) - len(wrong.lstrip())]:
        return "indent by spaces, not by tabs"
    if "[" in wrong and "]:" in wrong:
        return 'write an IPv6 address in quotes, "[::1]:8080"'
    return "check the indentation, brackets and quotes here and in the line above"


class _Composer:
    """Turns the events of one document into nodes."""

    __slots__ = ("_events", "_page")

    def __init__(self, text: str, page: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._page = page

    def document(self, least: str) -> Node:
        next(self._events)  # the start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            if least:
                raise Unreadable(0, f"the file is empty; write at least {least}")
            return Mapping(0, {}, [])
        root = self._node(next(self._events), 0)
        next(self._events)  # the end of the document
        extra = next(self._events)
        if not isinstance(extra, yaml.StreamEndEvent):
            raise Unreadable(
                extra.start_mark.line + 1, "a second document begins here; keep one configuration in a file"
            )
        return root

    def _node(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise _too_deep(line, self._page)
        if isinstance(event, yaml.AliasEvent):
            raise Unreadable(line, f"the alias *{event.anchor} is not supported; write the value out")
        if event.tag not in (None, "!"):
            raise Unreadable(line, f"the tag {shown(event.tag)} is not supported; remove it")
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(line, event.value, _type(event))
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(event, depth + 1))
            return Sequence(line, items)
        return self._mapping(line, depth)

    def _mapping(self, line: int, depth: int) -> Mapping:
        mapping = Mapping(line, {}, [])
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if not isinstance(key, Scalar):
                raise Unreadable(key.line, "a list or mapping stands where a key is expected; write key: value")
            if key.type == "merge":
                raise Unreadable(key.line, "the merge key << is not supported; write the keys out")
            if key.type != "str":
                raise Unreadable(
                    key.line,
                    f"YAML reads the key {shown(key.text)} as {_called(key)}; write a name, or quote it",
                )
            if key.text in mapping.entries:
                mapping.repeated.append((key.line, key.text, mapping.entries[key.text][0]))
            else:
                mapping.entries[key.text] = (key.line, value)
        return mapping


def _type(event: Any) -> str:
    tag: str = _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)
    return tag.rpartition(":")[2]


def text_of(node: Node, wanted: str) -> str:
    """The text of a scalar that YAML reads as a text. Raises `Unfit` for anything else."""
    if not isinstance(node, Scalar):
        raise Unfit(f"{described(node)} stands here; write {wanted}")
    if node.type == "null":
        raise Unfit(f"the value is missing; write {wanted}")
    if node.type != "str":
        raise Unfit(f'YAML reads {node.text[:60]} as {_called(node)}; write it in quotes, "{node.text[:60]}"')
    return node.text


def described(node: Node) -> str:
    """What a person would call this node."""
    if isinstance(node, Scalar):
        return "nothing" if node.type == "null" else shown(node.text)
    return "a list" if isinstance(node, Sequence) else "a mapping"


def _called(node: Scalar) -> str:
    """What a person would call the YAML type of a scalar."""
    return _TYPES.get(node.type, node.type)


_TYPES = {
    "null": "nothing",
    "int": "a number",
    "float": "a number",
    "bool": "a boolean",
    "timestamp": "a date",
    "merge": "a merge key",
    "value": "a default key",
}
