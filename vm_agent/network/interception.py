"""The rules of a sidecar, made so: applied, looked at, removed. `rules.py` says which they are.

They are applied once the sidecar is ready and again at any time, and an upgrade does not touch them: what is as it
should be is not written. They go with the spec's wish and not with a process, so a crash leaves them where they are;
the listener that they lead to is held meanwhile. Who wants none needs neither nft nor a right to it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final, TypeVar

from hotswap.address import Address
from vm_agent.errors import InterceptionFailed
from vm_agent.network import nft, policy_routes, rules
from vm_agent.network.namespaces import inside
from vm_agent.network.rules import Ruleset, plan
from vm_agent.network.sockets import listeners

__all__ = ["apply", "plan", "present", "remove", "sidecars"]

T = TypeVar("T")

_BY_NUMBER: Final = {int(socket.AF_INET): "ipv4", int(socket.AF_INET6): "ipv6"}
_FAMILIES: Final = tuple(_BY_NUMBER.values())


def apply(wanted: Ruleset, pid: int = 0) -> bool:
    """Have these rules, and no others, lead to the sidecar. True if anything had to be changed.

    Blocks for some 10 ms, and for as long as the kernel is busy with other networks; at most a minute a step.

    `pid` is a process in the network namespace that is meant; 0: the agent's. Raises `InterceptionFailed` with the
    kernel's words and the remedy, and then everything is as before: also if nobody listens where new rules would lead.
    Connections that were led here by rules that are dropped go on; for them a table without effect on others remains
    until `remove`.
    """
    return _inside(pid, lambda: _apply(wanted))


def present(wanted: Ruleset, pid: int = 0) -> bool:
    """Whether `apply` would have nothing to do. Raises `InterceptionFailed`."""
    return _inside(pid, lambda: _present(wanted))


def remove(sidecar: str, pid: int = 0) -> bool:
    """Take all rules of a sidecar away; False if there were none. For one that is gone: its connections would break.

    Raises `InterceptionFailed`.
    """
    return _inside(pid, lambda: _remove(sidecar))


def sidecars(pid: int = 0) -> tuple[str, ...]:
    """The names of sidecars that have a table here. Raises `InterceptionFailed`."""
    return _inside(pid, _sidecars)


def _apply(wanted: Ruleset) -> bool:
    if not wanted.chains and not nft.usable():
        return False
    there = _found(wanted.table)
    settled = rules.settled(wanted, there)
    commands = rules.transaction(settled, there)
    if commands:
        _refuse_closed_ports(settled)
    # Routes come before the rules that need them, and go after them.
    added = policy_routes.ensure(settled.routed) if settled.routed else []
    if commands:
        try:
            nft.run(commands)
        except InterceptionFailed:
            if added:
                policy_routes.remove(added)
            raise
    return bool(commands or added)


def _present(wanted: Ruleset) -> bool:
    if not wanted.chains and not nft.usable():
        return True
    there = _found(wanted.table)
    settled = rules.settled(wanted, there)
    return not rules.transaction(settled, there) and not (settled.routed and policy_routes.missing(settled.routed))


def _remove(sidecar: str) -> bool:
    if not nft.usable():
        return False
    table = rules.table_of(sidecar)
    tables = _tables()
    if table in tables:
        nft.run(f"delete table inet {table}\n")
    others = [name for name in tables if name != table and rules.sidecar_of(name)]
    if not any("tproxied" in chains or "marked" in chains for chains in map(_chains, others)):
        policy_routes.remove(_FAMILIES)
    return table in tables


def _sidecars() -> tuple[str, ...]:
    return tuple(sorted(filter(None, map(rules.sidecar_of, _tables())))) if nft.usable() else ()


def _found(table: str) -> rules.Found | None:
    return _chains(table) if table in _tables() else None


def _chains(table: str) -> rules.Found:
    return rules.found(nft.listing("table", "inet", table), table) or {}


def _tables() -> list[str]:
    entries = nft.listing("tables").get("nftables", ())
    tables = [entry["table"] for entry in entries if "table" in entry]
    return [str(one["name"]) for one in tables if one["family"] == "inet"]


def _refuse_closed_ports(wanted: Ruleset) -> None:
    if not wanted.targets:
        return
    served = set()
    for one in listeners():
        if not one.address.startswith("unix:"):
            address = Address.parse(one.address)
            served |= {(family, address.port) for family in (_FAMILIES if one.dual else [_BY_NUMBER[address.family]])}
    for family, port in wanted.targets:
        if (family, port) not in served:
            other = "ipv6" if family == "ipv4" else "ipv4"
            raise InterceptionFailed(
                f"nobody listens at port {port} by {family}, so rules would lead connections nowhere: add the listener "
                f"to the sidecar's configuration, or write `family: {other}`"
            )


def _inside(pid: int, work: Callable[[], T]) -> T:
    try:
        return inside(pid, work)
    except OSError as error:
        raise InterceptionFailed(
            f"the network namespace of process {pid} cannot be entered: {error.strerror}; the agent needs "
            "CAP_SYS_ADMIN for it, and the process has to live"
        ) from None
