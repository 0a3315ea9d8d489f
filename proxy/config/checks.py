"""What no single key can know: names that refer to each other, addresses that collide, keys that contradict.

Works on what could be read, so that these problems are reported together with those of single values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from hotswap.address import MAX_UNIX_PATH, Address
from hotswap.settings.problems import Problems, nearest, shown
from proxy.config.broker_checks import check_brokers
from proxy.config.model import MatchConfig, Protocol
from proxy.config.reach import check_reach
from proxy.config.route_keys import ROUTED
from proxy.config.tls_checks import check_tls
from proxy.config.worker_checks import check_workers
from proxy.filters.registry import FILTERS, build, looks_at

if TYPE_CHECKING:
    from hotswap.settings.reader import Found, Part

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound
PATTERNS = ("service", "interface", "method", "version", "group")
"""Conditions that are texts with * and ?."""
MOST_ROUTES_COMPARED = 1000
LONGEST_SOCKET_NAME = len("/handover.sock")


def check(root: Part, problems: Problems) -> None:
    """All checks."""
    listeners, clusters = root.parts("listeners"), root.parts("clusters")
    _unique_names(listeners, problems)
    _unique_names(clusters, problems)
    _addresses(root, listeners, problems)
    copies: list[tuple[Part, str]] = []
    for listener in listeners:
        _protocol(listener, problems)
        _routes(listener.parts("routes"), problems)
        for part in (listener, *listener.parts("routes")):
            copies += _filters(part, listener.value("protocol"), problems)
    for cluster in clusters:
        _endpoints(cluster, problems)
    _references(listeners, clusters, copies, root, problems)
    _app(root, listeners, problems)
    check_reach(listeners, clusters, problems)
    check_tls(listeners, clusters, problems)
    check_brokers(clusters, problems)
    check_workers(root, listeners, clusters, problems)
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
    """Listeners and admin address that cannot be bound at a time."""
    seen: dict[tuple[int, int], list[Found]] = {}
    for part, key in [*((listener, "address") for listener in listeners), (root, "admin")]:
        found = part.fields.get(key)
        if found is None:
            continue
        same_port = seen.setdefault((found.value.family, found.value.port), [])
        rival = next((other for other in same_port if _collide(found.value.host, other.value.host)), None)
        if rival is not None:
            how = "is taken" if found.value == rival.value else f"collides with {rival.value}"
            taken = f"{found.value} {how} by {rival.path} in line {rival.line}"
            problems.error(found.line, found.path, f"{taken}; choose another port")
        same_port.append(found)


def _collide(one: str, other: str) -> bool:
    """Whether two hosts cannot be bound on one port: the same, or one is the wildcard."""
    return one == other or not WILDCARDS.isdisjoint((one, other))


def _protocol(listener: Part, problems: Problems) -> None:
    """Keys that do not go with the protocol, or are missing for it."""
    protocol = listener.value("protocol")
    if protocol is None:
        return
    written = listener.written
    if {"routes", "cluster"} <= written:
        remedy = "keep routes, or cluster for one route that takes every request"
        problems.error(*listener.place("cluster"), f"cluster and routes stand together; {remedy}")
    elif not {"routes", "cluster"} & written:
        missing = (
            "routes are missing; add routes, or cluster: NAME for all requests"
            if protocol in ROUTED
            else "cluster is missing; add cluster: NAME, where connections go"
        )
        problems.error(listener.line, listener.path, missing)
    _foreign(listener, protocol, problems)
    for route in listener.parts("routes"):
        match: Part | None = route.value("match")
        if match is not None:
            _foreign(match, protocol, problems)
        _foreign(route, protocol, problems)


def _foreign(part: Part, protocol: str, problems: Problems) -> None:
    """Keys that have no meaning for the protocol."""
    for key in part.section.keys:
        if key.only and protocol not in key.only and key.name in part.fields:
            one = " or ".join(key.only)
            remedy = f"remove it, or write protocol: {one}"
            problems.error(*part.place(key.name), f"{key.name} has no meaning for protocol {protocol}; {remedy}")


def _filters(owner: Part, protocol: str | None, problems: Problems) -> list[tuple[Part, str]]:
    """Filters that are not there, do not take their config, or have nothing to look at. Returns their mirrors."""
    copies: list[tuple[Part, str]] = []
    for part in owner.parts("filters"):
        name = part.value("name")
        if name is None:
            continue
        kind = FILTERS.get(name)
        if kind is None:
            meant = nearest(name, list(FILTERS))
            remedy = f"did you mean {meant}?" if meant else f"the filters are {', '.join(sorted(FILTERS))}"
            problems.error(*part.place("name"), f"there is no filter {shown(name)}; {remedy}")
            continue
        try:
            copies += [(part, cluster) for cluster in build(name, part.value("config") or {}).clusters()]
        except ValueError as error:
            problems.error(*part.place("config"), f"{name}: {error}")
        except Exception as bug:  # noqa: BLE001 - strangers write filters
            problems.error(
                *part.place("config"), f"{name} cannot be made: {bug!r}; change its config, or mend the filter"
            )
        if owner.section.title == "route" and not (kind.has("request") or kind.has("response")):
            problems.error(*part.place("name"), f"{name} does not look at requests; write it at the listener")
        elif protocol is not None and not looks_at(kind, protocol):
            others = " or ".join(one for one in get_args(Protocol) if looks_at(kind, one)) or "nothing"
            problems.error(*part.place("name"), f"{name} looks at {others}, not at {protocol}; remove it")
    return copies


def _routes(routes: list[Part], problems: Problems) -> None:
    earlier: list[tuple[Part, MatchConfig]] = []
    for route in routes:
        shares = route.parts("clusters")
        if "cluster" in route.written and "clusters" in route.written:
            problems.error(*route.place("clusters"), "cluster and clusters stand together; keep the one that is meant")
        elif not {"cluster", "clusters"} & route.written:
            problems.error(route.line, route.path, "cluster is missing; add cluster: NAME, where its requests go")
        names = [share.value("name") for share in shares]
        for number, share in enumerate(shares):
            if names[number] in names[:number]:
                problems.error(
                    *share.place("name"), f"{names[number]} has a share already; give it the sum of the weights"
                )
        part: Part | None = route.value("match")
        if part is not None and {"path", "prefix"} <= part.written:
            problems.error(*part.place("path"), "path and prefix stand together; keep the one that is meant")
        if problems.errors or len(earlier) > MOST_ROUTES_COMPARED:
            continue  # warnings are shown only if there are no errors
        match = (
            MatchConfig() if part is None else MatchConfig(**{key: found.value for key, found in part.fields.items()})
        )
        before = next((other for other, taken in earlier if covers(taken, match)), None)
        if before is not None:
            place = f"{before.path} in line {before.line}"
            problems.warn(route.line, route.path, f"never reached: {place} takes all of its requests; move this one up")
        earlier.append((route, match))


def covers(one: MatchConfig, other: MatchConfig) -> bool:
    """Whether `one` takes every request that `other` takes. May miss a case, never invents one."""
    if not _below(one.host, other.host):
        return False
    if one.path is not None and one.path != other.path:
        return False
    if one.prefix not in (None, "/"):
        inside = (other.path or other.prefix or "") + "/"
        if not inside.startswith(one.prefix.removesuffix("/") + "/"):
            return False
    if any(getattr(one, name) not in (None, "*", getattr(other, name)) for name in PATTERNS):
        return False
    if not _below(one.sni, other.sni):
        return False
    return set(one.headers) <= set(other.headers)


def _below(one: str | None, other: str | None) -> bool:
    """Whether the host, or the pattern of hosts, `one` takes every host that `other` takes."""
    if one is None or one == other:
        return True
    return one.startswith("*.") and other is not None and other.endswith(one[1:])


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


def _references(
    listeners: list[Part], clusters: list[Part], copies: list[tuple[Part, str]], root: Part, problems: Problems
) -> None:
    """Clusters that are named and not there, or there and not named."""
    known = {cluster.value("name"): cluster for cluster in clusters if "name" in cluster.fields}
    used: set[str] = set()
    routes = [route for listener in listeners for route in listener.parts("routes")]
    named = [(part, "cluster") for part in [*listeners, *routes]]
    named += [(share, "name") for route in routes for share in route.parts("clusters")]
    wanted = [(part, key, part.value(key)) for part, key in named]
    wanted += [(part, "config", name) for part, name in copies]
    for part, key, name in wanted:
        if name is None:
            continue
        used.add(name)
        if name not in known and "clusters" in root.fields:
            problems.error(*part.place(key), f"there is no cluster {shown(name)}; {_instead(name, list(known))}")
    for part, name in copies:
        if name in known and known[name].value("http2"):
            problems.error(
                *part.place("config"), f"copies are sent in HTTP/1.1, and {name} says http2; take another one"
            )
    for name, cluster in known.items():
        if name not in used:
            problems.warn(
                *cluster.place("name"), f"no listener uses the cluster {name}; remove it, or add a route to it"
            )


def _app(root: Part, listeners: list[Part], problems: Problems) -> None:
    """What the app's section says of the listeners, and of its own check."""
    app: Part | None = root.value("app")
    if app is None:
        return
    known = [listener.value("name") for listener in listeners if "name" in listener.fields]
    for name in app.value("listeners") or ():
        if name not in known and "listeners" in root.fields:
            meant = nearest(name, known)
            remedy = f"did you mean {meant}?" if meant else f"the listeners are {', '.join(known[:10])}"
            problems.error(*app.place("listeners"), f"there is no listener {shown(name)}; {remedy}")
    if "path" in app.fields and app.value("check") not in {"http", "http2"}:
        problems.warn(*app.place("path"), "the path is not used; write check: http, or http2")
    if "listeners" in app.fields and app.value("when_dead") in (None, "announce"):
        problems.warn(*app.place("listeners"), "these are not closed; write when_dead: close, or reset")


def _instead(name: str, known: list[str]) -> str:
    meant = nearest(name, known)
    if meant:
        return f"did you mean {meant}?"
    return f"the clusters are {', '.join(known[:10])}" if known else "add it to clusters"


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
