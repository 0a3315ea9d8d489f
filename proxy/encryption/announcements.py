"""The files in which endpoints announce what they accept, for clusters that follow them.

A file is YAML, one endpoint a line, `plaintext` for those that are not there; at most 1 MB:

    10.0.0.1:12200: tls
    10.0.0.2:12200: plaintext

It is read with the configuration and again when it changes. One that cannot be read, or has a mistake, changes
nothing: what it said before stays. One that is not there says nothing.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from hotswap.address import Address
from hotswap.errors import ConfigError
from hotswap.filewatch import Watching
from hotswap.log import fields
from hotswap.settings import document
from hotswap.settings.problems import Unfit, shown
from proxy.config.tls_model import Announced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hotswap.filewatch import Watch
    from proxy.cluster import Cluster

WORDS = get_args(Announced)

log = logging.getLogger("proxy")


class Announcements(Watching):
    """Those of all clusters of one server. A part of the control plane, like `proxy.tls.renewal.Renewal`."""

    def __init__(self, watch: Callable[[Callable[[], None]], Watch], changed: Callable[[], None]) -> None:
        """`changed` is called after a cluster was told something new."""
        super().__init__(watch(self.read))
        self._changed = changed
        self._clusters: tuple[Cluster, ...] = ()
        self._refused: dict[str, str] = {}
        """What is wrong with a file, so that it is told once."""

    def follow(self, clusters: Iterable[Cluster]) -> None:
        """These are the clusters now."""
        self._clusters = tuple(clusters)
        paths = [path for path in map(_path, self._clusters) if path is not None]
        self._watch.follow(paths)
        self._refused = {path: reason for path, reason in self._refused.items() if path in paths}
        for cluster in self._clusters:
            if _path(cluster) is None and cluster.switch.wishes.file is not None:
                cluster.switch.read(None)
        self.read()  # also before it owns: a handover waits for no file

    def read(self) -> None:
        """Files may have changed: tell the clusters what is new."""
        news = False
        for cluster in self._clusters:
            path = _path(cluster)
            if path is None:
                continue
            found = self._look(path)
            if found is not None and found != cluster.switch.wishes.file:
                if self._running:
                    log.info("endpoints announce", extra=fields(cluster=cluster.name, file=path, tls=_secure(found)))
                cluster.switch.read(found)
                news = True
        if news and self._running:
            self._changed()

    def _look(self, path: str) -> dict[str, Announced] | None:
        try:
            found = announced(_text(path))
        except (OSError, ValueError) as error:
            reason = str(error)
            if self._refused.get(path) != reason:
                self._refused[path] = reason
                text = "announcements cannot be used; what was announced before stays"
                log.error(text, extra=fields(file=path, reason=reason))  # noqa: TRY400 - the reason is all there is
            return None
        self._refused.pop(path, None)
        return found

    def problems(self) -> list[dict[str, str]]:
        """What is wrong with files, for status."""
        return [{"file": path, "reason": reason} for path, reason in self._refused.items()]


def _path(cluster: Cluster) -> str | None:
    return cluster.switch.wishes.config.announcements


def _secure(found: dict[str, Announced]) -> int:
    return sum(what == "tls" for what in found.values())


def _text(path: str) -> str:
    """Raises `OSError`, or `ValueError` if it is too long or not UTF-8."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(document.MAX_BYTES + 1)
    except FileNotFoundError:
        return ""
    if len(raw) > document.MAX_BYTES:
        raise ValueError(f"larger than {document.MAX_BYTES >> 20} MB")
    return raw.decode("utf-8-sig")


def announced(text: str) -> dict[str, Announced]:
    """What a file says, by the canonical name of the endpoint. Raises `ValueError` with line and remedy."""
    if not text.strip():
        return {}
    try:
        node = document.parse(text)
    except document.Unreadable as error:
        if all(line.lstrip().startswith("#") for line in text.splitlines() if line.strip()):
            return {}
        raise ValueError(f"line {error.line}: {error}") from None
    if not isinstance(node, document.Mapping):
        text = f"line {node.line}: write a line for each endpoint, such as 10.0.0.1:12200: tls"
        raise ValueError(text)  # noqa: TRY004 - of the file, not of a value here
    for line, key, first in node.repeated:
        raise ValueError(f"line {line}: {shown(key)} stands in line {first} already; keep one of them")
    found: dict[str, Announced] = {}
    for key, (line, value) in node.entries.items():
        try:
            what = document.text_of(value, " or ".join(WORDS))
            name = str(Address.parse(key))
            if name in found:
                raise Unfit(f"{shown(key)} is {name}, which stands above already; keep one of them")
            found[name] = _word(what)
        except (Unfit, ConfigError) as error:
            raise ValueError(f"line {line}: {error}") from None
    return found


def _word(text: str) -> Announced:
    if text not in WORDS:
        raise Unfit(f"{shown(text)} is not known; write {' or '.join(WORDS)}")
    return text  # type: ignore[return-value]
