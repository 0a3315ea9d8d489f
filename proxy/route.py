"""Which cluster serves a request: the first route, in the order of the configuration, that matches.

    host      the name without its port, any case: exact, or ``*.example.com`` for every name below example.com
    path      the whole path
    prefix    the path or its beginning, cut at a segment: ``/v1`` takes /v1, /v1/ and /v1/x, but not /v10
    headers   every one of them is there with exactly this value

What is compared is the normal form of the path (RFC 3986 section 6.2.2): ``/v1/../admin`` and ``/%61dmin`` are
/admin, as they are for the upstream, so that no spelling slips past a route. Forwarded is what the client wrote.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from proxy.split import identity, label

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.config.model import ClusterConfig, RouteConfig
    from proxy.metrics.meters import RouteMeters
    from proxy.split import Split, Splits

MAX_MEMO: Final = 2048
MAX_MEMO_KEY: Final = 512

_UNRESERVED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_PORT: Final = re.compile(rb":[0-9]*\Z")
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def host_name(authority: bytes) -> bytes:
    """The name in a Host value: lower case, without port and final dot."""
    return _PORT.sub(b"", authority).lower().removesuffix(b".")


def normal_path(path: bytes) -> bytes:
    """The path without dot segments, doubled slashes and needless percent-encoding."""
    if b"%" not in path and b"//" not in path and b"/." not in path:
        return path
    path = _UNRESERVED.sub(_decode, path)
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment not in {b"", b"."}:
            kept.append(segment)
    directory = segments[-1:] in ([b""], [b"."], [b".."])
    return b"/" + b"/".join(kept) + (b"/" if directory and kept else b"")


def _decode(match: re.Match[bytes]) -> bytes:
    octet = int(match[1], 16)
    return bytes((octet,)) if octet in _PLAIN else b"%" + match[1].upper()


class Terms(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a route says itself, as it travels with a request. Times are seconds."""

    request_timeout: float
    idle_timeout: float
    retries: int
    subset: tuple[tuple[str, str], ...] = ()


class Route:
    """One compiled route. Conditions that are not there are None."""

    __slots__ = (
        "_below",
        "_config",
        "_headers",
        "_host",
        "_path",
        "_prefix",
        "_segment",
        "cluster",
        "lane",
        "meters",
        "plain",
        "split",
    )

    def __init__(self, config: RouteConfig, split: Split | None, meters: RouteMeters) -> None:
        match = config.match
        self.meters = meters
        self._config = config
        self.cluster = config.cluster
        self.lane = identity(config) if config.filters else ""
        """Its name among the filters of routes (`proxy.listener.Listener.lanes`); empty if it has none."""
        self.split = split
        """Chooses the cluster, if there are several."""
        own = (config.request_timeout, config.idle_timeout, config.retries)
        self.plain = not config.subset and own == (None, None, None)
        """It has no terms of its own."""
        host = None if match.host is None else match.host.encode()
        self._below = host[1:] if host is not None and host.startswith(b"*.") else None
        self._host = host if self._below is None else None
        self._path = None if match.path is None else normal_path(match.path.encode())
        self._prefix = None if match.prefix in {None, "/", ""} else normal_path(str(match.prefix).encode())
        self._segment = b"" if self._prefix is None else self._prefix.removesuffix(b"/") + b"/"
        self._headers = tuple((name.lower().encode(), value.encode()) for name, value in match.headers)

    @property
    def needs_headers(self) -> bool:
        """The decision depends on more than host and path."""
        return bool(self._headers)

    def terms(self, cluster: ClusterConfig) -> Terms | None:
        """What holds for a request to that cluster, None if that is what the cluster says."""
        if self.plain:
            return None
        one = self._config
        return Terms(
            cluster.request_timeout if one.request_timeout is None else one.request_timeout,
            cluster.idle_timeout if one.idle_timeout is None else one.idle_timeout,
            cluster.retries if one.retries is None else one.retries,
            one.subset,
        )

    def matches(self, host: bytes, path: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """True if every condition holds. ``host`` and ``path`` are in normal form, names in lower case."""
        if self._host is not None and host != self._host:
            return False
        if self._below is not None and not (host.endswith(self._below) and len(host) > len(self._below)):
            return False
        if self._path is not None and path != self._path:
            return False
        if self._prefix is not None and path != self._prefix and not path.startswith(self._segment):
            return False
        return all(header in headers for header in self._headers)


class RouteTable:
    """The routes of one listener.

    Decisions that hang on host and path alone are remembered, bounded in number and size; a table in which any
    route looks at headers remembers nothing.
    """

    __slots__ = ("_remember", "known", "routes")

    def __init__(self, routes: Sequence[RouteConfig], splits: Splits, meters: Callable[[str], RouteMeters]) -> None:
        self.routes = tuple(Route(route, splits.of(route), meters(label(route))) for route in routes)
        self._remember = not any(route.needs_headers for route in self.routes)
        self.known: dict[tuple[bytes, bytes], Route] = {}
        """What is remembered, by authority and path. Who asks for every request looks here before it calls `find`."""

    def of_lane(self, lane: str) -> Route | None:
        """The route of that lane, None if there is none any more."""
        return next((route for route in self.routes if route.lane == lane), None)

    def find(self, authority: bytes, path: bytes, lines: Sequence[bytes]) -> Route | None:
        """The route of a request, None if no route matches.

        ``authority`` is the Host value as it came, ``path`` the target without its query, ``lines`` the head's lines.
        """
        key = (authority, path)
        found = self.known.get(key)
        if found is not None:
            return found
        headers = () if self._remember else tuple(_split(line) for line in lines[1:])
        host, normal = host_name(authority), normal_path(path)
        for route in self.routes:
            if route.matches(host, normal, headers):
                found = route
                break
        if found is not None and self._remember and len(authority) + len(path) <= MAX_MEMO_KEY:
            if len(self.known) >= MAX_MEMO:
                self.known.clear()
            self.known[key] = found
        return found


def _split(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")
