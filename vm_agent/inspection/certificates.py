"""Certificates that expire: those that proxies say they show (``GET /status``), files of theirs, and the agent's own.

A proxy that does not answer tells nothing; then the files count that its configuration names by the key ``cert``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from cryptography import x509

from vm_agent.inspection.findings import Finding, span
from vm_agent.inspection.subject import Subject
from vm_agent.spec.model import HttpSettings

SOON: Final = 30 * 86400.0
URGENT: Final = 7 * 86400.0
"""Seconds before the end, from which it is a warning, and an error."""
_LIMIT: Final = 1 << 20  # bytes of a file
_DEPTH: Final = 20


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of ``server.certificates``."""

    file: str
    expires: datetime
    serial: str = ""
    listener: str = ""
    cluster: str = ""


@dataclass(frozen=True)
class Certificate:
    """One that somebody shows, or is to show."""

    file: str
    where: str
    """By whom, for people."""
    until: float
    """Seconds since the epoch; of a chain that which ends first."""
    serial: str = ""
    """Hexadecimal."""
    on_disk: str = ""
    """The serial number of what is in the file by now; empty: not known."""
    read: float = 0.0
    """When that was written, seconds since the epoch."""


@dataclass(frozen=True)
class Unreadable:
    """A file that should have one."""

    file: str
    where: str
    why: str


def look(one: Subject) -> list[Certificate | Unreadable]:
    """Of one sidecar."""
    if one.told is None:
        files = [] if one.spec is None else named(one.spec.config)
        return [_of_file(path, "the configuration") for path in files]
    found: list[Certificate | Unreadable] = []
    for entry in one.told.of_server("certificates"):
        with contextlib.suppress(msgspec.ValidationError):
            shown = msgspec.convert(entry, Shown)
            there = _of_file(Path(shown.file), "")
            found.append(
                Certificate(
                    file=shown.file,
                    where=f"listener {shown.listener}" if shown.listener else f"cluster {shown.cluster}",
                    until=shown.expires.timestamp(),
                    serial=shown.serial,
                    on_disk=there.serial if isinstance(there, Certificate) else "",
                    read=there.read if isinstance(there, Certificate) else 0.0,
                )
            )
    return found


def look_at_own(http: HttpSettings | None) -> list[Certificate | Unreadable]:
    """Of the agent's HTTPS: what it shows, and whose signature it believes."""
    if http is None:
        return []
    return [
        _of_file(Path(http.certificate), "the agent's HTTPS"),
        _of_file(Path(http.client_ca), "the agent's clients"),
    ]


def named(config: str) -> list[Path]:
    """The files that a configuration names by ``cert``; none if it cannot be read."""
    try:
        with Path(config).open("rb") as stream:
            tree = yaml.safe_load(stream.read(_LIMIT))
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return []
    return sorted({Path(config).parent / text for text in _certs(tree, _DEPTH)})


def _certs(tree: Any, depth: int) -> Iterator[str]:
    if depth and isinstance(tree, dict):
        for key, value in tree.items():
            if key == "cert" and isinstance(value, str):
                yield value
            else:
                yield from _certs(value, depth - 1)
    elif depth and isinstance(tree, list):
        for value in tree:
            yield from _certs(value, depth - 1)


def _of_file(path: Path, where: str) -> Certificate | Unreadable:
    try:
        with path.open("rb") as stream:
            chain = x509.load_pem_x509_certificates(stream.read(_LIMIT))
            read = path.stat().st_mtime
    except (OSError, ValueError) as error:
        return Unreadable(str(path), where, getattr(error, "strerror", None) or str(error))
    serial = f"{chain[0].serial_number:x}"
    until = min(one.not_valid_after_utc.timestamp() for one in chain)
    return Certificate(str(path), where, until, serial, on_disk=serial, read=read)


def judge(sidecar: str, found: Iterable[Certificate | Unreadable], now: float) -> Iterator[Finding]:
    """`sidecar` empty: of the agent. `now`: seconds since the epoch."""
    for one in found:
        if isinstance(one, Unreadable):
            yield Finding(
                sidecar=sidecar,
                severity="error",
                what="certificate",
                place=one.file,
                text=f"{one.file} ({one.where}) cannot be read: {one.why}",
                remedy=f"restore {one.file}: without it nothing can be started that shows it",
            )
            continue
        left = one.until - now
        renewed = one.serial and one.on_disk and one.serial != one.on_disk
        if renewed and now - one.read > 60.0:
            yield Finding(
                sidecar=sidecar,
                severity="error" if left < URGENT else "warning",
                what="certificate",
                place=one.file,
                text=f"{one.file} was renewed, and {one.where} still shows the one before, which {_ends(left)}",
                remedy=f"see why in its log, most likely the key does not belong to it; then hotswap reload {sidecar}",
            )
        elif left < SOON:
            yield Finding(
                sidecar=sidecar,
                severity="error" if left < URGENT else "warning",
                what="certificate",
                place=one.file,
                text=f"{one.file} ({one.where}) {_ends(left)}",
                remedy="renew it and put it there: it is taken by itself",
            )


def _ends(left: float) -> str:
    return f"expires in {span(left)}" if left > 0 else f"expired {span(-left)} ago"
