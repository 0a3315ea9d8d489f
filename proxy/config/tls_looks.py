"""The eyes of `proxy.config.tls_files`: whether files can be used, and what is odd about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.tls.certificates import age, concerns, read_chain
from proxy.tls.files import Unusable, exposed
from proxy.tls.openssl import load_pair, new_context

if TYPE_CHECKING:
    from pathlib import Path

    from hotswap.settings.problems import Problems
    from hotswap.settings.reader import Part
    from proxy.tls.certificates import Certificate


def look(parts: list[Part], base: Path, now: float, problems: Problems) -> None:
    """All files of these settings of TLS; `now` in Unix seconds. See `TlsFiles.check`."""
    for tls in parts:
        pairs = tls.parts("certificates")
        shown = [_pair(pair, base, now, problems) for pair in pairs]
        _repeated(pairs, shown, problems)
        own: Part | None = tls.value("certificate")
        if own is not None:
            _pair(own, base, now, problems)
        clients: Part | None = tls.value("client_certificates")
        for part in (tls, clients):
            if part is not None and "ca" in part.fields:
                _roots(part, base, now, problems)


def _pair(part: Part, base: Path, now: float, problems: Problems) -> Certificate | None:
    """A certificate and its key. Returns the leaf."""
    if not {"cert", "key"} <= part.fields.keys():
        return None
    cert, key = (str(base / part.value(name)) for name in ("cert", "key"))
    try:
        chain = read_chain(cert)
        load_pair(new_context(server=True, min_version="1.2", ciphers=()), cert, key)
    except Unusable as error:
        problems.error(*part.place("key" if error.path == key else "cert"), str(error))
        return None
    for text in concerns(chain, now):
        problems.warn(*part.place("cert"), text)
    danger = exposed(key)
    if danger:
        problems.warn(*part.place("key"), danger)
    return chain[0]


def _repeated(pairs: list[Part], shown: list[Certificate | None], problems: Problems) -> None:
    """Certificates that are never chosen, since earlier ones with the same kind of key have all of their names."""
    taken: set[tuple[str, str]] = set()
    for number, (part, leaf) in enumerate(zip(pairs, shown, strict=True)):
        if leaf is None:
            continue
        names = {(name, leaf.kind) for name in leaf.names}
        if number and names <= taken:
            problems.warn(*part.place("cert"), f"never shown: certificates before it have {leaf.short()}; remove it")
        taken |= names


def _roots(part: Part, base: Path, now: float, problems: Problems) -> None:
    path = str(base / part.value("ca"))
    try:
        roots = read_chain(path)
    except Unusable as error:
        problems.error(*part.place("ca"), str(error))
        return
    for root in roots:
        for text in age(root, now):
            problems.warn(*part.place("ca"), text)
