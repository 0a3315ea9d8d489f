"""The kinds of keys that only TLS has: files, cipher suites, protocols, names in certificates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxy.config.document import Scalar, Sequence, described, text_of
from proxy.config.kinds import HOST, Text
from proxy.config.problems import Unfit, nearest, shown
from proxy.tls.names import LONGEST, pattern
from proxy.tls.policy import KNOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.document import Node
    from proxy.config.kinds import Schema

MOST = 100
"""Items of a list: nobody means more."""


@dataclass(frozen=True, slots=True)
class TextList:
    """A list of texts, each once. `canonical` makes the form that is compared; it raises `ValueError`."""

    name: str
    wanted: str
    form: re.Pattern[str]
    canonical: Callable[[str], str] = str

    def read(self, node: Node) -> tuple[str, ...]:
        """See `Kind`."""
        if not isinstance(node, Sequence) or not node.items:
            raise Unfit(f"{described(node)} stands here; write a list of {self.wanted}")
        if len(node.items) > MOST:
            raise Unfit(f"the list has {len(node.items)} items; write {MOST} at most")
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
        return {"type": "array", "minItems": 1, "maxItems": MOST, "uniqueItems": True, "items": items}

    def show(self, value: tuple[str, ...]) -> str:
        """See `Kind`."""
        return f"[{', '.join(value)}]"


@dataclass(frozen=True, slots=True)
class Switch:
    """One of a few words, of which ``on`` and ``off`` are booleans where YAML 1.1 is spoken."""

    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """See `Kind`."""
        return " \\| ".join(f"`{word}`" for word in self.words)

    def read(self, node: Node) -> str:
        """See `Kind`."""
        text = node.text if isinstance(node, Scalar) and node.type == "bool" else text_of(node, self._wanted)
        if text not in self.words:
            raise Unfit(f"{shown(text)} is not known; write {self._wanted}")
        return text

    @property
    def _wanted(self) -> str:
        return f"one of {', '.join(self.words)}"

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"enum": [*self.words, True, False]}

    def show(self, value: str) -> str:
        """See `Kind`."""
        return value


FILE = Text("path", re.compile(r"[^\0-\x1f\x7f]{1,4096}"), "the path of a file such as edge.pem or /etc/tls/edge.pem")
"""Relative to the directory of the configuration file: `loader` makes it absolute."""
ONE_HOST = Text(
    "host", re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?"), "a host name such as db.example.com", lower=True
)
SNI = Text(
    "host",
    re.compile(HOST.form.pattern.partition("|")[0]),  # without addresses, which no client may name (RFC 6066)
    "a host name such as db.example.com or *.example.com",
    lower=True,
)
PROTOCOLS = TextList("list of protocols", "names of protocols such as http/1.1", re.compile(r"[!-~]{1,255}"))
"""RFC 7301 section 3.1."""
CERTIFICATE_NAMES = TextList(
    "list of names",
    "names such as app.example.com, *.example.com, spiffe://prod/web, ops@example.com or 10.0.0.1",
    re.compile(rf"[!-~]{{1,{LONGEST}}}"),
    pattern,
)
_SUITES = TextList("list of cipher suites", "cipher suites such as TLS_AES_128_GCM_SHA256", re.compile(r"[!-~]{1,255}"))


@dataclass(frozen=True, slots=True)
class Ciphers:
    """Cipher suites by OpenSSL's names."""

    name: str = "list of cipher suites"

    def read(self, node: Node) -> tuple[str, ...]:
        """See `Kind`."""
        found = _SUITES.read(node)
        for text in found:
            if text not in KNOWN:
                meant = nearest(text, KNOWN)
                remedy = f"did you mean {meant}?" if meant else f"write names such as {KNOWN[0]}"
                raise Unfit(f"{shown(text)} is no cipher suite that can be used here; {remedy}")
        return found

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"enum": list(KNOWN)}}

    def show(self, value: tuple[str, ...]) -> str:
        """See `Kind`."""
        return f"[{', '.join(value)}]"
