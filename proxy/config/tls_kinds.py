"""The kinds of keys that only TLS has: files, cipher suites, protocols, names in certificates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from hotswap.settings.document import Scalar, text_of
from hotswap.settings.kinds import FilePath, Text, TextList
from hotswap.settings.problems import Unfit, nearest, shown
from proxy.config.kinds import HOST
from proxy.tls.names import LONGEST, pattern
from proxy.tls.policy import KNOWN

if TYPE_CHECKING:
    from hotswap.settings.document import Node
    from hotswap.settings.kinds import Schema


class Switch(msgspec.Struct, frozen=True):
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


FILE = FilePath(
    "path", re.compile(r"[^\0-\x1f\x7f]{1,4096}"), "the path of a file such as edge.pem or /etc/tls/edge.pem"
)
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


class Ciphers(msgspec.Struct, frozen=True):
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
