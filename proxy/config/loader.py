"""File -> `Config`, or every problem in it. See `hotswap.settings.loader`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hotswap.settings.loader import build, read_file, read_text
from proxy.config.broker_checks import check_passwords
from proxy.config.checks import check
from proxy.config.cluster_keys import CLUSTER
from proxy.config.keys import FORM
from proxy.config.listener_keys import LISTENER
from proxy.config.model import Config, MatchConfig, RouteConfig
from proxy.config.reach import check_rights
from proxy.config.route_keys import ROUTE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hotswap.settings.problems import Problem, Problems
    from hotswap.settings.reader import Part
    from hotswap.settings.sections import Section
    from proxy.config.tls_files import TlsFiles

    Forbidden = Callable[[], Mapping[str, str]]


class Loaded(msgspec.Struct, frozen=True):
    """A usable configuration, and what should be looked at."""

    config: Config
    warnings: tuple[Problem, ...]


def load(path: Path) -> Config:
    """Read a file. Raises `InvalidConfig` with all problems."""
    return load_with_warnings(path).config


def load_with_warnings(
    path: Path, forbidden: Forbidden | None = None, *, starting: bool = False, files: TlsFiles | None = None
) -> Loaded:
    """Read a file and keep its warnings. Raises `InvalidConfig`.

    `forbidden` tells what this process may not do (see `proxy.plumbing`): an error for one that is `starting` with
    this configuration, else a warning. `files` looks into those that TLS names; without it they are not opened.
    """
    text = read_file(path, remedy="name a readable file after -c")
    return loads(text, str(path), forbidden, starting=starting, base=path.absolute().parent, files=files)


def loads(
    text: str,
    source: str = "config",
    forbidden: Forbidden | None = None,
    *,
    starting: bool = False,
    base: Path = Path(),
    files: TlsFiles | None = None,
) -> Loaded:
    """Read a text; `source` is what its problems call it. Raises `InvalidConfig`. See `load_with_warnings`.

    `base` is the directory of the files that it names.
    """

    def look(root: Part, problems: Problems) -> None:
        check(root, problems)
        listeners, clusters = root.parts("listeners"), root.parts("clusters")
        if forbidden is not None:
            check_rights(listeners, clusters, forbidden(), problems, starting=starting)
        if files is not None:
            files.check(listeners, clusters, base.absolute(), problems)
            check_passwords(clusters, base.absolute(), problems)

    root, warnings = read_text(text, source, FORM, look)
    return Loaded(build(root, base.absolute(), _complete), warnings)


def _complete(section: Section, fields: dict[str, Any]) -> None:
    """What follows from other keys where it is not written."""
    if section is LISTENER:
        _complete_listener(fields)
    if section is CLUSTER and fields.get("http2") and fields.get("tls") is not None and not fields["tls"].alpn:
        fields["tls"] = msgspec.structs.replace(fields["tls"], alpn=("h2",))
    if section is ROUTE and "clusters" in fields:
        fields["cluster"] = fields["clusters"][0].name


def _complete_listener(listener: dict[str, Any]) -> None:
    if "cluster" in listener:
        listener["routes"] = (RouteConfig(cluster=listener.pop("cluster"), match=MatchConfig()),)
    tls = listener.get("tls")
    if tls is not None and not tls.alpn and listener["protocol"] == "http1":
        spoken = ("h2", "http/1.1") if listener.get("http2") else ("http/1.1",)
        listener["tls"] = msgspec.structs.replace(tls, alpn=spoken)
    by_name = any(route.match.sni is not None for route in listener["routes"])
    if by_name and "first_bytes_timeout" not in listener:
        listener["first_bytes_timeout"] = 5.0
