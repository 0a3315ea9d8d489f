"""The kinds of single values in specs and settings that no other file has. See `hotswap.settings.kinds`."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from hotswap.settings.document import Node, Scalar, text_of
from hotswap.settings.kinds import FilePath, Kind, Schema, SocketAddress, Text
from hotswap.settings.problems import Unfit, shown
from vm_agent.spec.model import Window

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_MEMORY = re.compile(r"([1-9][0-9]{0,11})([KMGT])(iB|B)?")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%")
_FACTOR = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?)x")
_DECIMAL = re.compile(r"[0-9]{1,4}(\.[0-9]{1,3})?")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)")
_RELEASE = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_MARK = re.compile(r"0x[0-9a-fA-F]{1,8}|[1-9][0-9]{0,9}")
_NUMBERS = ("int", "float")


def literal(node: Node, wanted: str) -> str:
    """The text of a scalar as it stands in the file, also where YAML 1.1 reads a number (``1.10``, ``02:00``)."""
    return node.text if isinstance(node, Scalar) and node.type in _NUMBERS else text_of(node, wanted)


class Release(msgspec.Struct, frozen=True):
    """A version: one component of a path. Taken literally, so ``1.10`` is not 1.1."""

    name: str = "release"

    def read(self, node: Node) -> str:
        """See `Kind`."""
        dated = isinstance(node, Scalar) and node.type == "timestamp"
        text = node.text if isinstance(node, Scalar) and dated else literal(node, "a release such as 1.4.2")
        if not _RELEASE.fullmatch(text):
            raise Unfit(
                f"{shown(text)} is not a release; write 1 to 64 of A-Z a-z 0-9 . _ + -, the first a letter or digit, "
                "and no two dots in a row"
            )
        return text

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"anyOf": [{"type": "string", "pattern": f"^{_RELEASE.pattern}$"}, {"type": "number", "minimum": 0}]}

    def show(self, value: str) -> str:
        """See `Kind`."""
        return value


class Share(msgspec.Struct, frozen=True):
    """A part of a whole, 0 to 1, written in percent. A bare number is refused: 1 could be all or a hundredth."""

    lowest: float = 0.0
    name: str = "percentage"

    def read(self, node: Node) -> float:
        """See `Kind`."""
        wanted = f"a percentage from {self.show(self.lowest)} to 100%"
        text = literal(node, wanted)
        found = _SHARE.fullmatch(text)
        if found is None:
            raise Unfit(f"{shown(text)} is not a percentage; write {wanted}, such as 25%")
        if not self.lowest <= float(found[1]) / 100 <= 1:
            raise Unfit(f"{text} is out of range; write {wanted}")
        return float(found[1]) / 100

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "string", "pattern": f"^{_SHARE.pattern}$"}

    def show(self, value: float) -> str:
        """See `Kind`."""
        return f"{value * 100:g}%"


class Memory(msgspec.Struct, frozen=True):
    """Bytes as an int, or a share of the machine's memory as a float."""

    smallest: int = 1 << 24
    name: str = "size \\| percentage"

    def read(self, node: Node) -> int | float:
        """See `Kind`."""
        text = literal(node, "a size such as 512M, or a percentage such as 25%")
        if text.endswith("%"):
            return Share(0.01).read(node)
        found = _MEMORY.fullmatch(text)
        if found is None and not re.fullmatch(r"[1-9][0-9]{0,17}", text):
            raise Unfit(
                f"{shown(text)} is not a size; write one with K, M, G or T such as 512M, or a percentage such as 25%"
            )
        size = int(text) if found is None else int(found[1]) * _UNITS[found[2]]
        if not self.smallest <= size <= 1 << 50:
            raise Unfit(f"{text} is out of range; write a size from {self.show(self.smallest)} to 1024T")
        return size

    def schema(self) -> Schema:
        """See `Kind`."""
        pattern = f"^({_MEMORY.pattern}|{_SHARE.pattern})$"
        return {"oneOf": [{"type": "integer", "minimum": self.smallest}, {"type": "string", "pattern": pattern}]}

    def show(self, value: Any) -> str:
        """See `Kind`."""
        if isinstance(value, float):
            return Share().show(value)
        unit = next((unit for unit in "TGMK" if value % _UNITS[unit] == 0), "")
        return f"{value // _UNITS.get(unit, 1)}{unit}"


class Cores(msgspec.Struct, frozen=True):
    """Processor time in cores; 0.5 is half of one."""

    name: str = "cores"

    def read(self, node: Node) -> float:
        """See `Kind`."""
        wanted = "a number of cores from 0.01 to 4096, such as 0.5 or 2"
        text = literal(node, wanted)
        percent, milli = re.fullmatch(r"([0-9]{1,6})%", text), re.fullmatch(r"([0-9]{1,7})m", text)
        if percent or milli:
            cores = int(percent[1]) / 100 if percent else int(text[:-1]) / 1000
            raise Unfit(f"{shown(text)} does not fit; cores have no unit here, write {cores:g}")
        if not isinstance(node, Scalar) or node.type not in _NUMBERS or not _DECIMAL.fullmatch(text):
            raise Unfit(f"{shown(text)} does not fit; write {wanted}, without quotes")
        if not 0.01 <= float(text) <= 4096:
            raise Unfit(f"{text} is out of range; write {wanted}")
        return float(text)

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "number", "minimum": 0.01, "maximum": 4096}

    def show(self, value: float) -> str:
        """See `Kind`."""
        return f"{value:g}"


class Factor(msgspec.Struct, frozen=True):
    """A multiple of what was before."""

    name: str = "multiple"

    def read(self, node: Node) -> float:
        """See `Kind`."""
        wanted = "a multiple from 1.1x to 1000x, such as 2x"
        text = literal(node, wanted)
        found = _FACTOR.fullmatch(text)
        if found is None:
            raise Unfit(f"{shown(text)} is not a multiple; write {wanted}")
        if not 1.1 <= float(found[1]) <= 1000:
            raise Unfit(f"{text} is out of range; write {wanted}")
        return float(found[1])

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "string", "pattern": f"^{_FACTOR.pattern}$"}

    def show(self, value: float) -> str:
        """See `Kind`."""
        return f"{value:g}x"


class OrNever(msgspec.Struct, frozen=True):
    """What `kind` takes, or the word ``never``, which is None."""

    kind: Kind

    @property
    def name(self) -> str:
        """See `Kind`."""
        return f"{self.kind.name} \\| `never`"

    def read(self, node: Node) -> Any:
        """See `Kind`."""
        if isinstance(node, Scalar) and node.text == "never":
            return None
        try:
            return self.kind.read(node)
        except Unfit as error:
            raise Unfit(f"{error}; or never") from None

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"anyOf": [self.kind.schema(), {"const": "never"}]}

    def show(self, value: Any) -> str:
        """See `Kind`."""
        return "never" if value is None else self.kind.show(value)


class Hours(msgspec.Struct, frozen=True):
    """A window of a day."""

    name: str = "HH:MM-HH:MM"

    def read(self, node: Node) -> Window:
        """See `Kind`."""
        wanted = 'a time of day from and until, local time, such as "02:00-05:00"'
        text = literal(node, wanted)
        found = _HOURS.fullmatch(text)
        if found is None:
            raise Unfit(f"{shown(text)} is not a window; write {wanted}")
        begin = int(found[1]) * 60 + int(found[2])
        end = int(found[3] or 0) * 60 + int(found[4] or 0)
        if begin == end:
            raise Unfit(f"{text} is no time or all day; write two times that differ, or leave window out for all day")
        return Window(begin, end)

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "string", "pattern": f"^{_HOURS.pattern}$"}

    def show(self, value: Window) -> str:
        """See `Kind`."""
        return f"{value.begin // 60:02}:{value.begin % 60:02}-{value.end // 60:02}:{value.end % 60:02}"


class Mark(msgspec.Struct, frozen=True):
    """A mark of packets and sockets, 32 bits, 0 is none."""

    name: str = "number, also as `0x`..."

    def read(self, node: Node) -> int:
        """See `Kind`."""
        wanted = "a number from 1 to 0xffffffff"
        text = literal(node, wanted)
        value = int(text, 0) if _MARK.fullmatch(text) else 0
        if not isinstance(node, Scalar) or node.type != "int" or not 0 < value < 1 << 32:
            raise Unfit(f"{shown(text)} does not fit; write {wanted}, without quotes")
        return value

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "integer", "minimum": 1, "maximum": (1 << 32) - 1}

    def show(self, value: int) -> str:
        """See `Kind`."""
        return f"0x{value:x}"


class HttpAddress(msgspec.Struct, frozen=True):
    """Where to listen for HTTP: host and port, as a text."""

    name: str = "address"

    def read(self, node: Node) -> str:
        """See `Kind`."""
        address = str(SocketAddress().read(node))
        if address.startswith("unix:"):
            raise Unfit(f"{address} is no network address; write one such as 0.0.0.0:9443, agent.sock is there anyway")
        return address

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "string", "pattern": "^(localhost|[0-9.]+|\\[.+\\]):[0-9]+$"}

    def show(self, value: str) -> str:
        """See `Kind`."""
        return value


CONFIG = FilePath("path", re.compile(r"[^\0-\x1f\x7f]{1,4096}"), "the path of a file such as edge.yaml")
CERTIFICATE = FilePath("path", re.compile(r"[^\0-\x1f\x7f]{1,4096}"), "the path of a file such as /etc/tls/agent.pem")
SOURCE = FilePath("path", re.compile(r"[^\0-\x1f\x7f]{1,4096}"), "the path of a directory such as /srv/releases")
USER = Text("user", re.compile(r"[a-z_][a-z0-9_-]{0,30}\$?"), "the name of a user such as hotswap")
CHECK = Text(
    "path \\| URL",
    re.compile(
        r"/[!-\"$->@-~]*(\?[!-\"$-~]*)?|http://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?(/[!-\"$-~]*)?"
    ),
    "a path such as /ready, or a URL such as http://127.0.0.1:8080/healthz",
)
PROGRAM = Text("program", re.compile(r"[A-Za-z0-9_.+-]+|/[^\0-\x1f\x7f]+"), "an interpreter such as python3")
INDEX = Text("`default` \\| URL", re.compile(r"default|https?://[!-~]+"), "default, or the URL of an index")
