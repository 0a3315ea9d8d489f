"""The kinds of single values that only the proxy's configuration has. See `hotswap.settings.kinds`."""

from __future__ import annotations

import re

import msgspec

from hotswap.settings.document import Mapping, Node, Sequence, described, text_of
from hotswap.settings.kinds import Count, Schema, Text
from hotswap.settings.problems import Unfit, nearest, shown
from proxy.accesslog.template import FIELDS, Unknown, names_of
from proxy.route import normal_path

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_FIELD_VALUE = re.compile(r"[^\x00-\x20\x7f]([^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?")  # RFC 9110, 5.5
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_TARGET = re.compile(r"/[!-\"$->@-~]*")  # a path as it stands in a request: no space, no "?", no "#"


class RequestPath(msgspec.Struct, frozen=True):
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
SERVICE = Text("service", re.compile(r"[!-~]{1,256}"), "a service such as com.acme.Orders:1.0 or com.acme.*")
PATTERN = Text("pattern", re.compile(r"[!-~]{1,256}"), "a name, or a pattern such as get*")
HOST = Text("host", _HOST, "a host name without scheme and port, such as api.example.com or *.example.com", lower=True)


class LogTemplate(msgspec.Struct, frozen=True):
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


class HeaderValues(msgspec.Struct, frozen=True):
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


MOST_UIDS = 16
"""Other users that take part: one for each image that runs under its own."""
_UID = Count(0, 2**32 - 2)  # 2**32 - 1 stands for none, chown(2)


class Uids(msgspec.Struct, frozen=True):
    """Users by their numbers, each once, in whatever order."""

    name: str = "list of uids"

    def read(self, node: Node) -> tuple[int, ...]:
        """See `Kind`. In ascending order, since that of the file means nothing."""
        if not isinstance(node, Sequence):
            raise Unfit(f"{described(node)} stands here; write a list of user numbers such as [1001, 1002]")
        if len(node.items) > MOST_UIDS:
            raise Unfit(f"the list has {len(node.items)} items; write {MOST_UIDS} at most")
        uids = [_UID.read(item) for item in node.items]
        repeated = next((uid for uid in uids if uids.count(uid) > 1), None)
        if repeated is not None:
            raise Unfit(f"{repeated} stands here twice; write each uid once")
        return tuple(sorted(uids))

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "array", "maxItems": MOST_UIDS, "uniqueItems": True, "items": _UID.schema()}

    def show(self, value: tuple[int, ...]) -> str:
        """See `Kind`."""
        return f"[{', '.join(map(str, value))}]"
