"""Looks into the files that TLS names, as part of the checks: the same that a proxy would meet at its start.

Nothing of them is kept; `proxy.tls.contexts` reads them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy.tls.certificates import Unusable, age, concerns, exposed, read_chain
from proxy.tls.openssl import load_pair, new_context

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hotswap.settings.problems import Problems
    from hotswap.settings.reader import Part
    from proxy.tls.certificates import Certificate


class TlsFiles(NamedTuple):
    """How the files are looked at. `wall` tells Unix seconds; `guard` is called before a private key is read."""

    wall: Callable[[], float]
    guard: Callable[[], None]

    def check(self, listeners: list[Part], clusters: list[Part], base: Path, problems: Problems) -> None:
        """All files, those of relative paths in the directory `base`. What `guard` raises is passed on."""
        with_tls = [part for part in (one.value("tls") for one in (*listeners, *clusters)) if part is not None]
        if not with_tls:
            return
        self.guard()
        now = self.wall()
        for tls in with_tls:
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
