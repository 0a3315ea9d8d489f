"""Certificates that are renewed on disk are taken while serving: the part of the control plane that notices.

    a file changed --PAUSE--> every context whose files have other contents is made anew
                                 good: new connections use it    broken: told once, the old one stays

Who owns does this: a freeze stops it, and whoever owns afterwards compares first.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hotswap.errors import ConfigError
from hotswap.filewatch import Watching
from hotswap.log import fields
from proxy.tls.files import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hotswap.filewatch import Watch
    from proxy.cluster import Cluster
    from proxy.listener import Listener
    from proxy.tls.contexts import ClientContexts, ServerContexts

_C = TypeVar("_C", "ServerContexts", "ClientContexts")
log = logging.getLogger("hotswap")

MOST_SHOWN: Final = 3
"""Names of a certificate in its line of the status."""


class Renewal(Watching):
    """The contexts of all listeners and clusters. Without TLS it costs nothing."""

    def __init__(self, watch: Callable[[Callable[[], None]], Watch]) -> None:
        super().__init__(watch(self.changed))
        self._listeners: tuple[Listener, ...] = ()
        self._clusters: tuple[Cluster, ...] = ()

    def follow(self, listeners: Iterable[Listener], clusters: Iterable[Cluster]) -> None:
        """These are the listeners and clusters now."""
        self._listeners, self._clusters = tuple(listeners), tuple(clusters)
        contexts = [*(one.tls for one in self._listeners), *(one.tls for one in self._clusters)]
        self._watch.follow(path for one in contexts if one is not None for path in one.files)

    def changed(self) -> None:
        """Something may have: take what is new and good."""
        for listener in self._listeners:
            if listener.tls is not None:
                listener.tls = renew(listener.tls) or listener.tls
        for cluster in self._clusters:
            if cluster.tls is not None:
                cluster.tls = renew(cluster.tls) or cluster.tls

    def status(self, wall: float) -> list[dict[str, Any]]:
        """One entry a certificate that is shown. `wall` is now, in Unix seconds."""
        told = [_told("listener", one, wall) for one in self._listeners]
        told += [_told("cluster", one, wall) for one in self._clusters]
        return [entry for entries in told for entry in entries]


def _told(what: str, one: Listener | Cluster, wall: float) -> list[dict[str, Any]]:
    shown = one.tls.describe(wall)["certificates"] if one.tls is not None else ()
    return [{what: one.name, **about, "line": _line(one.name, about)} for about in shown]


def _line(name: str, about: dict[str, Any]) -> str:
    names = [one.partition(":")[2] for one in about["names"]]
    whose = ", ".join([*names[:MOST_SHOWN], *(["..."] if len(names) > MOST_SHOWN else [])]) or about["subject"]
    day, left = about["expires"][:10], about["days_left"]
    when = f"expires {day}, in {left} days" if left >= 0 else f"EXPIRED {day}"
    return f"{name}: {whose}; {when}; {about['file']}"


def changed_files(old: ServerContexts | ClientContexts, new: ServerContexts | ClientContexts) -> list[str]:
    """The files of both that have other contents by now."""
    return [path for path, content in new.read.items() if old.read.get(path, content) != content]


def same(old: ServerContexts | ClientContexts, new: ServerContexts | ClientContexts) -> bool:
    """Whether both were made from the same: then the old one stays, whose tickets clients have."""
    return old.config == new.config and old.read == new.read


def renew(old: _C) -> _C | None:
    """The same made anew if its files changed and are good; what happened is logged. Else None: keep the old one."""
    now = {path: fingerprint(path) for path in old.files}
    if now in (old.read, old.refused):
        return None
    try:
        new = type(old)(old.config)
    except ConfigError as error:
        old.refused = now
        text = "files of TLS changed and cannot be used; what was read before stays"
        log.error(text, extra=fields(reason=str(error)))  # noqa: TRY400 - the reason is all there is to know
        return None
    for was, one in zip(old.certificates, new.certificates, strict=True):
        if was.chain != one.chain:
            leaf = one.chain[0]
            log.info(
                "a certificate was renewed",
                extra=fields(file=one.config.cert, serial=f"{leaf.serial:x}", expires=leaf.expiry()),
            )
    log.info("files of TLS were read again", extra=fields(changed=", ".join(changed_files(old, new))))
    return new
