"""The kinds of single values a key can have: how each is read, and how it is described.

A kind knows one thing in three forms: what it takes from the file (`read`), what it tells an editor
(`schema`, a piece of JSON Schema), and what it tells a person (`name`, `show`). Reading is at least as
strict as the schema: what `read` takes, the schema takes too (a test holds them together).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from hotswap.address import Address
from hotswap.errors import ConfigError
from proxy.accesslog.template import FIELDS, Unknown, names_of
from proxy.config.document import Mapping, Node, Scalar, Sequence, described, text_of
from proxy.config.problems import Unfit, nearest, shown
from proxy.route import normal_path

Schema = dict[str, Any]

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZES = {"": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
YEAR = 365 * UNITS["d"]

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?")
_COUNT = re.compile(r"0|[1-9][0-9]{0,17}")
_SIZE = re.compile(r"([1-9][0-9]{0,11})(KB|MB|GB)")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_FIELD_VALUE = re.compile(r"[^\x00-\x20\x7f]([^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?")  # RFC 9110, 5.5
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_TARGET = re.compile(r"/[!-\"$->@-~]*")  # a path as it stands in a request: no space, no "?", no "#"


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


@dataclass(frozen=True, slots=True)
class Duration:
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


@dataclass(frozen=True, slots=True)
class Size:
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


@dataclass(frozen=True, slots=True)
class Count:
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


@dataclass(frozen=True, slots=True)
class Name:
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


@dataclass(frozen=True, slots=True)
class Names:
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


@dataclass(frozen=True, slots=True)
class Choice:
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


@dataclass(frozen=True, slots=True)
class SocketAddress:
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


@dataclass(frozen=True, slots=True)
class Text:
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


@dataclass(frozen=True, slots=True)
class RequestPath:
    """A path in the normal form in which routes compare it, so that it means what it says."""

    name: str = "path"

    def read(self, node: Node) -> str:
        """See `Kind`."""
        text = text_of(node, "a path such as /v1")
        if not _TARGET.fullmatch(text):
            raise Unfit(f"{shown(text)} does not fit; write a path such as /v1, percent-encoded, without a query")
        normal = normal_path(text.encode()).decode()
        if normal != text:
            raise Unfit(f"{shown(text)} is not the normal form, in which paths are compared; write {normal}")
        return text

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "string", "pattern": f"^{_TARGET.pattern}$"}

    def show(self, value: str) -> str:
        """See `Kind`."""
        return value


LOG_TARGET = Text(
    "`stdout` \\| `journald` \\| path",
    re.compile(r"stdout|journald|/[^\0]*[^\0/]"),
    "stdout, journald or an absolute path such as /var/log/edge.log",
)
DIRECTORY = Text("absolute path", re.compile(r"/[^\0]*"), "an absolute path such as /run/hotswap")
SERVICE = Text("service", re.compile(r"[!-~]{1,256}"), "a service such as com.acme.Orders:1.0 or com.acme.*")
HOST = Text("host", _HOST, "a host name without scheme and port, such as api.example.com or *.example.com", lower=True)


@dataclass(frozen=True, slots=True)
class LogTemplate:
    """A text with fields in braces."""

    name: str = "text"

    def read(self, node: Node) -> str:
        """See `Kind`."""
        text = text_of(node, "a template such as {time} {status}")
        try:
            names = names_of(text)
        except Unknown as error:
            meant = nearest(error.args[0], list(FIELDS))
            remedy = f"did you mean {meant}?" if meant else f"the fields are {', '.join(FIELDS)} and header.NAME"
            raise Unfit(f"{shown(error.args[0])} is not a field of the access log; {remedy}") from None
        except ValueError as error:
            raise Unfit(f"{error}; write fields as {{status}}, and no other braces") from None
        if not names or not text.isprintable():
            raise Unfit(f"{shown(text)} does not fit; write one line with at least one field, such as {{status}}")
        return text

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "string", "pattern": "^[^{}]*(\\{[^{}]*\\}[^{}]*)+$"}

    def show(self, value: str) -> str:
        """See `Kind`."""
        return value


@dataclass(frozen=True, slots=True)
class HeaderValues:
    """Header names with the exact value each must have."""

    name: str = "mapping of header name to value"

    def read(self, node: Node) -> tuple[tuple[str, str], ...]:
        """See `Kind`."""
        if not isinstance(node, Mapping) or not node.entries:
            raise Unfit(f"{described(node)} stands here; write names and values such as {{x-version: beta}}")
        values: dict[str, str] = {}
        for name, (_, value) in node.entries.items():
            lowered = name.lower()
            if not _TOKEN.fullmatch(name):
                raise Unfit(f"{shown(name)} is not a header name; write letters, digits and - only")
            if lowered in values:
                raise Unfit(f"{shown(name)} stands here twice; header names have no case, write each once")
            try:
                text = text_of(value, "the value of the header")
            except Unfit as error:
                raise Unfit(f"{name}: {error}") from None
            if not _FIELD_VALUE.fullmatch(text):
                raise Unfit(
                    f"{name}: {shown(text)} cannot be a header value; remove spaces at its ends and control characters"
                )
            values[lowered] = text
        return tuple(sorted(values.items()))

    def schema(self) -> Schema:
        """See `Kind`."""
        value = {"type": "string", "minLength": 1}
        return {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": f"^{_TOKEN.pattern}$"},
            "additionalProperties": value,
        }

    def show(self, value: tuple[tuple[str, str], ...]) -> str:
        """See `Kind`."""
        return "{" + ", ".join(f"{name}: {text}" for name, text in value) + "}"
