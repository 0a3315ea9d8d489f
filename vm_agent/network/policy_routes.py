"""Packets with `ROUTE_MARK` are delivered to this machine, whatever their address: what tproxy rules need beside them.

    18516: from all fwmark 0x4854 lookup 18516 proto 72
    local default dev lo table 18516 proto 72     with scope host for IPv4, which pyroute2 has to be told

One rule and one route for each address family, shared by all sidecars, since the nft rule says which port it is.
Protocol 72 (rtnetlink(7), RTA_PROTOCOL and FRA_PROTOCOL) says whose they are, and the kernel keeps that longer than any
file. What has another protocol is never touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Collection, Iterator
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from vm_agent.errors import InterceptionFailed
from vm_agent.network.rules import ROUTE_MARK

TABLE: Final = 18516
PRIORITY: Final = 18516
PROTOCOL: Final = 72

_FAMILIES: Final = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
_LOCAL: Final = 2  # RTN_LOCAL, linux/rtnetlink.h
_HOST: Final = 254  # RT_SCOPE_HOST
_RULE: Final = {"priority": PRIORITY, "fwmark": ROUTE_MARK, "table": TABLE, "protocol": PROTOCOL}


def ensure(families: Collection[str]) -> list[str]:
    """Add what is missing for these (``ipv4``, ``ipv6``), and tell which.

    Raises `InterceptionFailed`, after it took back what it had added.
    """
    added: list[str] = []
    with _routing() as routing:
        for family in families:
            number = _FAMILIES[family]
            if _rules(routing, number) and _routes(routing, number):
                continue
            added.append(family)
            try:
                _add(routing, number)
            except NetlinkError:
                for one in added:
                    _remove(routing, _FAMILIES[one])
                raise
    return added


def missing(families: Collection[str]) -> list[str]:
    """Those that `ensure` would add. Raises `InterceptionFailed`."""
    with _routing() as routing:
        return [one for one in families if not (_rules(routing, _FAMILIES[one]) and _routes(routing, _FAMILIES[one]))]


def remove(families: Collection[str]) -> None:
    """Remove them, as far as they are the agent's. Raises `InterceptionFailed`."""
    with _routing() as routing:
        for family in families:
            _remove(routing, _FAMILIES[family])


@contextlib.contextmanager
def _routing() -> Iterator[Any]:
    try:
        with IPRoute() as routing:
            yield routing
    except NetlinkError as error:
        raise InterceptionFailed(_explained(error.code)) from None
    except OSError as error:
        raise InterceptionFailed(_explained(error.errno or 0)) from None


def _explained(number: int) -> str:
    remedy = f"see `ip rule` and `ip route show table {TABLE}`"
    if number in {errno.EPERM, errno.EACCES}:
        remedy = "the agent needs CAP_NET_ADMIN"
    elif number in {errno.EAFNOSUPPORT, errno.EOPNOTSUPP}:
        remedy = "this machine has no IPv6, or no policy routing: write `family: ipv4` in the spec"
    elif number == errno.EEXIST:
        remedy = f"somebody else has a default route in table {TABLE}: see `ip route show table {TABLE}`"
    return f"policy routes: {os.strerror(number)}; {remedy}"


def _add(routing: Any, family: int) -> None:
    if not _routes(routing, family):
        routing.route("add", **_route(family, routing.link_lookup(ifname="lo")[0]))
    if not _rules(routing, family):
        routing.rule("add", family=family, **_RULE)


def _remove(routing: Any, family: int) -> None:
    # The rule first: without its route it would do nothing, without the rule the route does nothing.
    for _ in _rules(routing, family):
        routing.rule("del", family=family, **_RULE)
    for route in _routes(routing, family):
        routing.route("del", **_route(family, route.get_attr("RTA_OIF")))


def _route(family: int, interface: int) -> dict[str, Any]:
    scope = {"scope": _HOST} if family == socket.AF_INET else {}
    route = {"family": family, "dst": "default", "type": "local", "oif": interface, "table": TABLE, "proto": PROTOCOL}
    return route | scope


def _rules(routing: Any, family: int) -> list[Any]:
    wanted = {
        "FRA_PRIORITY": PRIORITY,
        "FRA_FWMARK": ROUTE_MARK,
        "FRA_FWMASK": 0xFFFFFFFF,
        "FRA_TABLE": TABLE,
        "FRA_PROTOCOL": PROTOCOL,
    }
    return [
        one
        for one in routing.get_rules(family=family)
        if all(one.get_attr(key) == value for key, value in wanted.items())
    ]


def _routes(routing: Any, family: int) -> list[Any]:
    return [
        one
        for one in routing.get_routes(family=family, table=TABLE)
        if (one["type"], one["proto"], one["dst_len"]) == (_LOCAL, PROTOCOL, 0)
    ]
