"""Certificates that are renewed on disk are taken while serving: the part of the control plane that notices.

    a file changed --PAUSE--> every context whose files have other contents is made anew
                                 good: new connections use it    broken: told once, the old one stays

Who owns does this: a freeze stops it, and whoever owns afterwards compares first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hotswap.filewatch import Watching
from proxy.tls.contexts import renew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hotswap.filewatch import Watch
    from proxy.cluster import Cluster
    from proxy.listener import Listener


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
