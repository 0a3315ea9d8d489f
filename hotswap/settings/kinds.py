"""The kinds of single values a key can have: how each is read, and how it is described.

A kind knows one thing in three forms: what it takes from the file (`read`), what it tells an editor
(`schema`, a piece of JSON Schema), and what it tells a person (`name`, `show`). Reading is at least as
strict as the schema: what `read` takes, the schema takes too (a test holds them together).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from hotswap.address import Address
from hotswap.errors import ConfigError
from hotswap.settings.document import Node, Scalar, Sequence, described, text_of
from hotswap.settings.problems import Unfit, nearest, shown

if TYPE_CHECKING:
    from collections.abc import Callable

Schema = dict[str, Any]

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZES = {"": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
YEAR = 365 * UNITS["d"]

MOST_ITEMS = 100
"""Of a list: nobody means more."""

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?")
_COUNT = re.compile(r"0|-?[1-9][0-9]{0,17}")
_SIZE = re.compile(r"([1-9][0-9]{0,11})(KB|MB|GB)")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


class Kind(Protocol):
    """What a key takes."""

    @property
    def name(self) -> str:
        """What the reference calls it."""

    def read(self, node: Node) -> Any:
        """The value. Raises `Unfit` with what to write instead."""

    def schema(self) -> Schema:
        """The JSON Schema of what may be written."""

    def show(self, value: Any) -> str:
        """How `value` is written in the file."""


class Duration(msgspec.Struct, frozen=True):
    """Seconds. A bare number is refused: the next reader would have to guess its unit."""

    shortest: float = 0.001
    name: str = "duration"

    def read(self, node: Node) -> float:
        """See `Kind`."""
        text = (
            node.text
            if isinstance(node, Scalar) and node.type in ("int", "float")
            else text_of(node, "a duration such as 30s")
        )
        if _NUMBER.fullmatch(text):
            raise Unfit(f"{text} has no unit; write {text}s, or another of {', '.join(UNITS)}")
        found = _DURATION.fullmatch(text)
        if found is None:
            raise Unfit(f"{shown(text)} is not a duration; write a number and one of {', '.join(UNITS)}, such as 30s")
        seconds = float(found[1]) * UNITS[found[2]]
        if not self.shortest <= seconds <= YEAR:
            raise Unfit(f"{text} is out of range; write a duration from {self.show(self.shortest)} to 365d")
        return seconds

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "string", "pattern": f"^{_DURATION.pattern}$"}

    def show(self, value: float) -> str:
        """See `Kind`."""
        if not value:
            return "0s"
        for unit in ("d", "h", "m", "s", "ms"):
            if value >= UNITS[unit] and round(value / UNITS[unit], 6).is_integer():
                return f"{round(value / UNITS[unit])}{unit}"
        return f"{value / UNITS['ms']:g}ms"


class Size(msgspec.Struct, frozen=True):
    """Bytes, written as a number or with a unit (1KB is 1024 bytes)."""

    smallest: int = 1
    largest: int = 1 << 50
    name: str = "size"

    def read(self, node: Node) -> int:
        """See `Kind`."""
        plain = isinstance(node, Scalar) and node.type == "int"
        text = node.text if isinstance(node, Scalar) and plain else text_of(node, "a size such as 64KB")
        found = _SIZE.fullmatch(text)
        if found is not None:
            size = int(found[1]) * SIZES[found[2]]
        elif plain and _COUNT.fullmatch(text):
            size = int(text)
        else:
            raise Unfit(f"{shown(text)} is not a size; write a number of bytes, or one with KB, MB or GB, such as 64KB")
        if not self.smallest <= size <= self.largest:
            raise Unfit(
                f"{text} is out of range; write a size from {self.show(self.smallest)} to {self.show(self.largest)}"
            )
        return size

    def schema(self) -> Schema:
        """See `Kind`."""
        number = {"type": "integer", "minimum": self.smallest, "maximum": self.largest}
        return {"oneOf": [number, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}]}

    def show(self, value: int) -> str:
        """See `Kind`."""
        unit = next(unit for unit in ("GB", "MB", "KB", "") if value >= SIZES[unit] and value % SIZES[unit] == 0)
        return f"{value // SIZES[unit]}{unit}"


class Count(msgspec.Struct, frozen=True):
    """A whole number."""

    lowest: int
    highest: int
    name: str = "number"

    def read(self, node: Node) -> int:
        """See `Kind`."""
        wanted = f"a whole number from {self.lowest} to {self.highest}"
        if not isinstance(node, Scalar) or node.type == "null":
            raise Unfit(f"{described(node)} stands here; write {wanted}")
        if node.type != "int" or not _COUNT.fullmatch(node.text) or not self.lowest <= int(node.text) <= self.highest:
            raise Unfit(f"{shown(node.text)} does not fit; write {wanted}, without quotes")
        return int(node.text)

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "integer", "minimum": self.lowest, "maximum": self.highest}

    def show(self, value: int) -> str:
        """See `Kind`."""
        return str(value)


class Name(msgspec.Struct, frozen=True):
    """A name that can stand in a path, a log line and a metric."""

    name: str = "name"

    def read(self, node: Node) -> str:
        """See `Kind`."""
        text = text_of(node, "a name")
        if not _NAME.fullmatch(text):
            raise Unfit(
                f"{shown(text)} is not a name; write 1 to 64 of A-Z a-z 0-9 _ . -, the first a letter, digit or _"
            )
        return text

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "string", "pattern": f"^{_NAME.pattern}$"}

    def show(self, value: str) -> str:
        """See `Kind`."""
        return value


class Names(msgspec.Struct, frozen=True):
    """One or several names, each once."""

    name: str = "list of names"

    def read(self, node: Node) -> tuple[str, ...]:
        """See `Kind`."""
        if not isinstance(node, Sequence) or not node.items:
            raise Unfit(f"{described(node)} stands here; write a list of names such as [web]")
        names = tuple(Name().read(item) for item in node.items)
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise Unfit(f"{repeated} stands here twice; write each name once")
        return names

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "array", "minItems": 1, "uniqueItems": True, "items": Name().schema()}

    def show(self, value: tuple[str, ...]) -> str:
        """See `Kind`."""
        return f"[{', '.join(value)}]"


class Choice(msgspec.Struct, frozen=True):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """See `Kind`."""
        return " \\| ".join(f"`{word}`" for word in self.words)

    def read(self, node: Node) -> str:
        """See `Kind`."""
        wanted = ", ".join(self.words)
        text = text_of(node, f"one of {wanted}")
        if text not in self.words:
            meant = nearest(text, self.words)
            raise Unfit(
                f"{shown(text)} is not known; " + (f"did you mean {meant}?" if meant else f"write one of {wanted}")
            )
        return text

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"enum": list(self.words)}

    def show(self, value: str) -> str:
        """See `Kind`."""
        return value


class SocketAddress(msgspec.Struct, frozen=True):
    """An address with a fixed port: listeners are matched by address when one generation takes over from another."""

    name: str = "address"

    def read(self, node: Node) -> Address:
        """See `Kind`."""
        text = text_of(node, "an address such as 127.0.0.1:8080")
        try:
            address = Address.parse(text)
        except ConfigError as error:
            raise Unfit(str(error)) from None
        if not address.port and not text.startswith("unix:"):
            raise Unfit(f"{text} has no fixed port; write a port from 1 to 65535")
        return address

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "string", "pattern": "^(unix:/.+|(localhost|[0-9.]+|\\[.+\\]):[0-9]+)$"}

    def show(self, value: Address) -> str:
        """See `Kind`."""
        return str(value)


class Text(msgspec.Struct, frozen=True):
    """A text of a certain form. `lower` for what compares without regard to case."""

    name: str
    form: re.Pattern[str]
    wanted: str
    lower: bool = False

    def read(self, node: Node) -> str:
        """See `Kind`."""
        text = text_of(node, self.wanted)
        if not self.form.fullmatch(text.lower() if self.lower else text):
            raise Unfit(f"{shown(text)} does not fit; write {self.wanted}")
        return text.lower() if self.lower else text

    def schema(self) -> Schema:
        """See `Kind`."""
        pattern = (
            self.form.pattern.replace("a-z", "A-Za-z").replace("a-f", "A-Fa-f") if self.lower else self.form.pattern
        )
        return {"type": "string", "pattern": f"^({pattern})$"}

    def show(self, value: str) -> str:
        """See `Kind`."""
        return value


class FilePath(Text, frozen=True):
    """A path that is relative to the directory of the file it stands in; `loader.build` makes it absolute."""


DIRECTORY = Text("absolute path", re.compile(r"/[^\0]*"), "an absolute path such as /run/hotswap")


class Flag(msgspec.Struct, frozen=True):
    """Yes or no."""

    name: str = "`true` \\| `false`"

    def read(self, node: Node) -> bool:
        """See `Kind`."""
        if not isinstance(node, Scalar) or node.type != "bool":
            raise Unfit(f"{described(node)} stands here; write true or false, without quotes")
        return node.text.lower() in ("true", "yes", "on")

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "boolean"}

    def show(self, value: bool) -> str:
        """See `Kind`."""
        return "true" if value else "false"


class TextList(msgspec.Struct, frozen=True):
    """A list of texts, each once. `canonical` makes the form that is compared; it raises `ValueError`."""

    name: str
    wanted: str
    form: re.Pattern[str]
    canonical: Callable[[str], str] = str

    def read(self, node: Node) -> tuple[str, ...]:
        """See `Kind`."""
        if not isinstance(node, Sequence) or not node.items:
            raise Unfit(f"{described(node)} stands here; write a list of {self.wanted}")
        if len(node.items) > MOST_ITEMS:
            raise Unfit(f"the list has {len(node.items)} items; write {MOST_ITEMS} at most")
        found = tuple(self._one(text_of(item, self.wanted)) for item in node.items)
        repeated = next((one for one in found if found.count(one) > 1), None)
        if repeated is not None:
            raise Unfit(f"{shown(repeated)} stands here twice; write each once")
        return found

    def _one(self, text: str) -> str:
        try:
            if self.form.fullmatch(text):
                return self.canonical(text)
        except ValueError:
            pass
        raise Unfit(f"{shown(text)} does not fit; write {self.wanted}")

    def schema(self) -> Schema:
        """See `Kind`."""
        items: dict[str, Any] = {"type": "string", "pattern": f"^({self.form.pattern})$"}
        return {"type": "array", "minItems": 1, "maxItems": MOST_ITEMS, "uniqueItems": True, "items": items}

    def show(self, value: tuple[str, ...]) -> str:
        """See `Kind`."""
        return f"[{', '.join(value)}]"
