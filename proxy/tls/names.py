"""The names in certificates (subjectAltName, RFC 5280 section 4.2.1.6), as texts: ``DNS:app.example.com``.

    DNS:    host name, in lower case; in patterns ``*.example.com`` too
    URI:    as it stands, such as spiffe://cluster.local/ns/prod/sa/web
    IP:     address in its canonical form
    email:  as it stands

Common names are not looked at: they were never meant for this, and no client does any more (RFC 9525 section 2).
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 1024
_KINDS = {"dns": "DNS", "uri": "URI", "ip": "IP", "email": "email"}
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_EMAIL = re.compile(r"[!-?A-~]+@[A-Za-z0-9.-]+")


def pattern(text: str) -> str:
    """A name as people write it, with its kind in front or not. Raises `ValueError` if it is none of the four kinds."""
    kind, colon, rest = text.partition(":")
    if colon and kind.lower() in _KINDS and not rest.startswith("//"):
        kind, text = _KINDS[kind.lower()], rest
    else:
        kind = _kind_of(text)
    if len(text) > LONGEST:
        raise ValueError("too long")
    if kind == "IP":
        return f"IP:{ip_address(text)}"
    if kind == "DNS":
        text = text.lower()
    form = {"DNS": _HOST, "URI": _URI, "email": _EMAIL}[kind]
    if not form.fullmatch(text):
        raise ValueError(f"no {kind}")
    return f"{kind}:{text}"


def _kind_of(text: str) -> str:
    try:
        ip_address(text)
    except ValueError:
        if "@" in text and "/" not in text:
            return "email"
        return "URI" if ":" in text else "DNS"
    return "IP"


def is_name(host: str) -> bool:
    """Whether it is a host name, so that it may be sent as one (RFC 6066 section 3); else an address or a path."""
    return _kind_of(host) == "DNS" and "/" not in host


def expected(host: str) -> str:
    """What must be in the certificate of an endpoint that is called `host`: a name or the text of an address."""
    try:
        return f"IP:{ip_address(host)}"
    except ValueError:
        return f"DNS:{host.lower().removesuffix('.')}"


def names_host(names: Iterable[str], wanted: str) -> bool:
    """Whether a certificate with these names is one for `wanted`, which `expected` made.

    A wildcard in a certificate stands for exactly one label, the first (RFC 9525 section 6.3).
    """
    label, _, parent = wanted.removeprefix("DNS:").partition(".")
    wild = f"DNS:*.{parent}" if wanted.startswith("DNS:") and label and "." in parent else None
    return any(name in (wanted, wild) for name in names)


def admitted(names: Iterable[str], allowed: Iterable[str]) -> bool:
    """Whether one of the names is on a list of patterns. ``DNS:*.example.com`` admits every name below example.com."""
    exact = set(allowed)
    below = tuple(entry.removeprefix("DNS:*") for entry in exact if entry.startswith("DNS:*."))
    return any(name in exact or (bool(below) and name.startswith("DNS:") and name.endswith(below)) for name in names)
