"""File -> `Config`, or every problem in it.

    text --document.parse--> nodes --reader--> parts --checks--> parts --build--> Config

A problem names file, line, key, what is wrong and what to write instead. Nothing is applied by halves: the caller gets
a whole configuration or `InvalidConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.config import document
from proxy.config.checks import check
from proxy.config.keys import ROOT
from proxy.config.listener_keys import LISTENER
from proxy.config.model import Config, MatchConfig, RouteConfig
from proxy.config.problems import InvalidConfig, Problem, Problems
from proxy.config.reach import check_rights
from proxy.config.reader import Part, read_section
from proxy.config.route_keys import ROUTE
from proxy.config.tls_kinds import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.config.tls_files import TlsFiles

    Forbidden = Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Loaded:
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
    return loads(_text(path), str(path), forbidden, starting=starting, base=path.absolute().parent, files=files)


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
    problems = Problems()
    root = None
    try:
        node = document.parse(text)
    except document.Unreadable as error:
        problems.error(error.line, "", str(error))
    else:
        root = read_section(ROOT, node, node.line, "", problems)
        if root is not None:
            check(root, problems)
            listeners, clusters = root.parts("listeners"), root.parts("clusters")
            if forbidden is not None:
                check_rights(listeners, clusters, forbidden(), problems, starting=starting)
            if files is not None:
                files.check(listeners, clusters, base.absolute(), problems)
    if problems.errors or root is None:
        raise InvalidConfig(source, sorted(problems.errors, key=lambda problem: problem.line))
    return Loaded(_build(root, base.absolute()), tuple(sorted(problems.warnings, key=lambda problem: problem.line)))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(document.MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidConfig(
            str(path), [Problem(0, "", f"cannot be read: {reason}; name a readable file after -c")]
        ) from None
    if len(raw) > document.MAX_BYTES:
        raise InvalidConfig(
            str(path), [Problem(0, "", f"larger than {document.MAX_BYTES >> 20} MB; is this a configuration?")]
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidConfig(str(path), [Problem(line, "", "not UTF-8; save the file in that encoding")]) from None


def _build(part: Part, base: Path) -> Any:
    """The struct of a part without problems."""
    fields: dict[str, Any] = {}
    for name, found in part.fields.items():
        if isinstance(found.value, Part):
            fields[name] = _build(found.value, base)
        elif isinstance(found.value, list):
            fields[name] = tuple(_build(item, base) for item in found.value)
        elif part.section.kind(name) is FILE:
            fields[name] = str(base / found.value)
        else:
            fields[name] = found.value
    if part.section is LISTENER:
        _complete(fields)
    if part.section is ROUTE and "clusters" in fields:
        fields["cluster"] = fields["clusters"][0].name
    return part.section.struct(**fields)


def _complete(listener: dict[str, Any]) -> None:
    """What follows from other keys of a listener where it is not written."""
    if "cluster" in listener:
        listener["routes"] = (RouteConfig(cluster=listener.pop("cluster"), match=MatchConfig()),)
    tls = listener.get("tls")
    if tls is not None and not tls.alpn and listener["protocol"] == "http1":
        listener["tls"] = msgspec.structs.replace(tls, alpn=("http/1.1",))
    by_name = any(route.match.sni is not None for route in listener["routes"])
    if by_name and "first_bytes_timeout" not in listener:
        listener["first_bytes_timeout"] = 5.0
