"""Looks into the files that TLS names, as part of the checks: the same that a proxy would meet at its start.

Nothing of them is kept; `proxy.tls.contexts` reads them again. How they are looked at: `proxy.config.tls_looks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy.ondemand import look

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hotswap.settings.problems import Problems
    from hotswap.settings.reader import Part


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
        look(with_tls, base, self.wall(), problems)
