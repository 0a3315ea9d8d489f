"""Where connections come from and go to, as far as no single key knows whether that can be; and what is permitted."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from hotswap import privileges
from proxy.config.route_keys import BOLT, DUBBO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hotswap.settings.problems import Problems
    from hotswap.settings.reader import Part
    from proxy.config.model import Config

_REMEDY = "run it as root, or give it CAP_NET_ADMIN (systemd: AmbientCapabilities=CAP_NET_ADMIN)"


def check_reach(listeners: list[Part], clusters: list[Part], problems: Problems) -> None:
    """Listeners and clusters that do not go together, or with their own other keys."""
    known = {cluster.value("name"): cluster for cluster in clusters if "name" in cluster.fields}
    for cluster in clusters:
        if _goes_anywhere(cluster):
            for key in ("balance", "outlier", "health_check"):
                if key in cluster.fields:
                    problems.error(
                        *cluster.place(key), f"{key} has no meaning for endpoints: original_dst; remove one of both"
                    )
    of_http1 = {part.value(key) for one in listeners if one.value("protocol") == "http1" for part, key in named(one)}
    for cluster in clusters:
        health: Part | None = cluster.value("health_check")
        if cluster.value("http2") and cluster.value("name") not in of_http1:
            problems.warn(*cluster.place("http2"), "no listener of http1 uses this cluster; remove http2, or add one")
        elif cluster.value("http2") and health is not None and health.value("check") == "http":
            problems.error(*health.place("check"), "the endpoints speak HTTP/2; write check: http2, or grpc")
    for listener in listeners:
        address = listener.value("address")
        if "original_dst" in listener.fields and address is not None and address.family == socket.AF_UNIX:
            problems.error(
                *listener.place("original_dst"), "no rule sends connections to a unix socket; listen on host:port"
            )
        for part, key in named(listener):
            cluster_part = known.get(part.value(key))
            if cluster_part is not None:
                _goes_together(listener, part, key, cluster_part, problems)


def _goes_anywhere(cluster: Part) -> bool:
    return bool(cluster.value("endpoints") == ())  # the word; a list without a readable item is []


def named(listener: Part) -> Iterator[tuple[Part, str]]:
    """Every place at which a listener names a cluster."""
    yield listener, "cluster"
    for route in listener.parts("routes"):
        yield route, "cluster"
        for share in route.parts("clusters"):
            yield share, "name"


def _goes_together(listener: Part, part: Part, key: str, cluster: Part, problems: Problems) -> None:
    place, name, there = part.place(key), cluster.value("name"), listener.value("name")
    protocol = listener.value("protocol")
    over_http2 = protocol == "http1" and cluster.value("http2")
    shares = protocol in BOLT + DUBBO or over_http2
    calls = "requests over HTTP/2" if over_http2 else f"calls of {protocol}"
    if _goes_anywhere(cluster):
        if shares:
            problems.error(
                *place,
                f"{calls} share connections, so {name} cannot go where each client wanted; list endpoints",
            )
        elif "original_dst" not in listener.fields:
            problems.error(
                *place,
                f"{name} goes where the client wanted to go, which nobody asks here; add original_dst: redirect to "
                f"the listener {there}, or tproxy",
            )
        if "subset" in part.fields:
            problems.error(*part.place("subset"), f"{name} has no endpoints with labels; remove the subset")
    if not cluster.value("transparent_source"):
        return
    address = listener.value("address")
    if shares:
        problems.error(*place, f"{calls} share connections, which cannot come from each client; see {name}")
    elif address is not None:
        for endpoint in cluster.parts("endpoints") or [listener]:
            target = endpoint.value("address")
            family = getattr(target, "family", address.family)
            if family != address.family or address.family == socket.AF_UNIX:
                problems.error(
                    *cluster.place("transparent_source"),
                    f"clients of {address} have no address from which {target} could be reached; use IPv4 on both "
                    "sides, or IPv6",
                )
                break


def capabilities(config: Config) -> set[str]:
    """What it takes beyond any process's rights. See `proxy.plumbing`."""
    foreign = any(one.original_dst == "tproxy" for one in config.listeners) or any(
        one.transparent_source or one.mark is not None for one in config.clusters
    )
    if not foreign:
        return set()
    return {"CAP_NET_ADMIN" if privileges.has("CAP_NET_ADMIN") else "CAP_NET_RAW"}


def check_rights(
    listeners: list[Part], clusters: list[Part], forbidden: Mapping[str, str], problems: Problems, *, starting: bool
) -> None:
    """What the process may not do. Only a warning unless it is `starting`: another one may."""
    report = problems.error if starting else problems.warn
    wanted = [
        *((one, "original_dst", "transparent") for one in listeners if one.value("original_dst") == "tproxy"),
        *((one, "transparent_source", "transparent") for one in clusters if one.value("transparent_source")),
        *((one, "mark", "mark") for one in clusters if one.value("mark") is not None),
    ]
    for part, key, right in wanted:
        if right in forbidden:
            option = "SO_MARK" if right == "mark" else "IP_TRANSPARENT"
            report(*part.place(key), f"this process may not set {option}, {forbidden[right]}; {_REMEDY}")
