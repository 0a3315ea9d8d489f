"""What no single key can know: names that refer to each other, addresses that collide, keys that contradict.

Works on what could be read, so that these problems are reported together with those of single values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.address import MAX_UNIX_PATH, Address
from proxy.config.problems import Problems, nearest, shown

if TYPE_CHECKING:
    from proxy.config.reader import Found, Part

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound
LONGEST_SOCKET_NAME = len("/handover.sock")


def check(root: Part, problems: Problems) -> None:
    """All checks."""
    listeners, clusters = root.parts("listeners"), root.parts("clusters")
    _unique_names(listeners, problems)
    _unique_names(clusters, problems)
    _addresses(root, listeners, problems)
    for listener in listeners:
        _protocol(listener, problems)
        _routes(listener.parts("routes"), problems)
    for cluster in clusters:
        _endpoints(cluster, problems)
    _references(listeners, clusters, root, problems)
    _socket_path(root, problems)


def _unique_names(parts: list[Part], problems: Problems) -> None:
    first: dict[str, int] = {}
    for part in parts:
        name = part.value("name")
        if name in first:
            problems.error(
                *part.place("name"),
                f"the {part.section.title} in line {first[name]} is called {name} too; choose another name",
            )
        elif name is not None:
            first[name] = part.place("name")[0]


def _addresses(root: Part, listeners: list[Part], problems: Problems) -> None:
    seen: list[Found] = []
    for part, key in [*((listener, "address") for listener in listeners), (root, "admin")]:
        found = part.fields.get(key)
        if found is None:
            continue
        rival = next((other for other in seen if _collide(found.value, other.value)), None)
        if rival is not None:
            same = "is taken" if found.value == rival.value else f"collides with {rival.value}"
            problems.error(
                found.line,
                found.path,
                f"{found.value} {same} by {rival.path} in line {rival.line}; choose another port",
            )
        seen.append(found)


def _collide(one: Address, other: Address) -> bool:
    """Whether both cannot be bound at a time: the same, or one is the wildcard on the same port."""
    if (one.family, one.port) != (other.family, other.port):
        return False
    return one.host == other.host or not WILDCARDS.isdisjoint((one.host, other.host))


def _protocol(listener: Part, problems: Problems) -> None:
    """Keys that do not go with the protocol, or are missing for it."""
    protocol = listener.value("protocol")
    written = listener.written
    if protocol == "http1":
        if {"routes", "cluster"} <= written:
            remedy = "keep routes, or cluster for one route that takes every request"
            problems.error(*listener.place("cluster"), f"cluster and routes stand together; {remedy}")
        elif not {"routes", "cluster"} & written:
            problems.error(
                listener.line, listener.path, "routes are missing; add routes, or cluster: NAME for all requests"
            )
    elif protocol is not None:
        for key in listener.section.keys:
            if key.http1_only and key.name in listener.fields:
                remedy = (
                    "write cluster: NAME instead" if key.name == "routes" else "remove it, or write protocol: http1"
                )
                problems.error(
                    *listener.place(key.name), f"{key.name} has no meaning for protocol {protocol}; {remedy}"
                )
        if not {"routes", "cluster"} & written:
            problems.error(listener.line, listener.path, "cluster is missing; add cluster: NAME, where connections go")


def _routes(routes: list[Part], problems: Problems) -> None:
    catch_all: Part | None = None
    for route in routes:
        match: Part | None = route.value("match")
        if match is not None and {"path", "prefix"} <= match.written:
            problems.error(*match.place("path"), "path and prefix stand together; keep the one that is meant")
        if catch_all is not None:
            place = f"{catch_all.path} in line {catch_all.line}"
            problems.warn(route.line, route.path, f"never reached: {place} takes every request; move this one up")
        elif _takes_all(route, match):
            catch_all = route


def _takes_all(route: Part, match: Part | None) -> bool:
    if match is None:
        return "match" not in route.written
    return not match.written or (match.written == {"prefix"} and match.value("prefix") == "/")


def _endpoints(cluster: Part, problems: Problems) -> None:
    first: dict[Address, int] = {}
    for endpoint in cluster.parts("endpoints"):
        address = endpoint.value("address")
        if address in first:
            problems.error(
                *endpoint.place("address"),
                f"{address} stands in line {first[address]} already; for a larger share write a weight",
            )
        elif address is not None:
            first[address] = endpoint.place("address")[0]
        if "weight" in endpoint.fields and cluster.value("balance") in (None, "round_robin", "least_request"):
            problems.warn(*endpoint.place("weight"), "the weight is not used; write balance: weighted")


def _references(listeners: list[Part], clusters: list[Part], root: Part, problems: Problems) -> None:
    known = [cluster.value("name") for cluster in clusters if "name" in cluster.fields]
    used: set[str] = set()
    for part in [*listeners, *(route for listener in listeners for route in listener.parts("routes"))]:
        name = part.value("cluster")
        if name is None:
            continue
        used.add(name)
        if name not in known and "clusters" in root.fields:
            meant = nearest(name, known)
            remedy = (
                f"did you mean {meant}?"
                if meant
                else f"the clusters are {', '.join(known[:10])}"
                if known
                else "add it to clusters"
            )
            problems.error(*part.place("cluster"), f"there is no cluster {shown(name)}; {remedy}")
    for cluster in clusters:
        if "name" in cluster.fields and cluster.value("name") not in used:
            problems.warn(
                *cluster.place("name"),
                f"no listener uses the cluster {cluster.value('name')}; remove it, or add a route to it",
            )


def _socket_path(root: Part, problems: Problems) -> None:
    directory, name = root.value("runtime_dir"), root.value("name")
    if directory is not None and name is not None:
        length = len(directory.encode()) + 1 + len(name) + LONGEST_SOCKET_NAME
        if length > MAX_UNIX_PATH:
            excess = length - MAX_UNIX_PATH
            problems.error(
                *root.place("runtime_dir"),
                f"{directory} is too long for the path of a unix socket; shorten it or name by {excess} bytes",
            )
