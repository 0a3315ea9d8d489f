"""From a spec to the rules that lead traffic to its sidecar, and from rules that are there to a transaction. Pure.

One table for each sidecar, ``inet hotswap_NAME``, with the chains that it needs of these:

    chain        type, hook, priority      leads
    redirected   nat prerouting -100       redirect, inbound: connections to this machine's own addresses
    sent         nat output -100           redirect, outbound: connections of programs on this machine
    tproxied     filter prerouting -150    tproxy: packets that came in, and those that `marked` turned round
    marked       route output -150         tproxy, outbound: its packets are routed to lo, and so come in
    tracked      filter prerouting 0       nothing; it needs connection tracking, which so never stops. When the last
                                           rule that needs it goes, the kernel forgets all that was redirected

Rules are replaced inside chains that stay: a packet sees the rules of a chain all before or all after a transaction.
A chain that is replaced by another could be missed by a packet that is under way. Every rule has a comment with the
digest of its text, which tells what is there without comparing syntax that the kernel writes in its own way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vm_agent.errors import SpecError
from vm_agent.spec.model import Redirect, Spec

ROUTE_MARK: Final = 0x4854
"""SO_MARK of packets that are delivered to this machine whatever their address: a policy rule looks for it."""

_PREFIX: Final = "hotswap_"
_ORDINARY: Final = re.compile(r"[a-zA-Z0-9]")
_ESCAPED: Final = re.compile(r"_([0-9a-f]{2})")
# Else a connection that was there before would be new to connection tracking at its next packet, and led away.
_FIRST: Final = "tcp flags & (fin | syn | rst | ack) == syn"
_MARKS: Final = {"CAP_NET_ADMIN", "CAP_NET_RAW"}  # SO_MARK of socket(7)
_NFPROTO: Final = {"ipv4": ("ipv4", "ip"), "ipv6": ("ipv6", "ip6")}


@dataclass(frozen=True)
class Chain:
    """A base chain: type, hook and priority as nft(8) lists them."""

    name: str
    kind: str
    hook: str
    priority: int
    rules: tuple[str, ...] = ()

    @property
    def marked_rules(self) -> tuple[tuple[str, str], ...]:
        """Each rule with its comment."""
        return tuple((rule, f"hotswap {hashlib.sha256(rule.encode()).hexdigest()[:16]}") for rule in self.rules)


@dataclass(frozen=True)
class Ruleset:
    """All rules of one sidecar."""

    sidecar: str
    chains: tuple[Chain, ...] = ()
    routed: tuple[str, ...] = ()
    """The address families that need policy routes for `ROUTE_MARK`."""
    targets: tuple[tuple[str, int], ...] = ()
    """Address families and ports that somebody has to listen at."""

    @property
    def table(self) -> str:
        """The name of its table."""
        return table_of(self.sidecar)


@dataclass(frozen=True)
class Present:
    """A chain that is there. Without a comment of ours a rule is somebody else's, or was changed."""

    kind: str
    hook: str
    priority: int
    comments: tuple[str, ...]


Found = Mapping[str, Present]
"""Chains of one table, by name."""

_LAYOUT: Final = {
    "redirected": ("nat", "prerouting", -100),
    "sent": ("nat", "output", -100),
    "tproxied": ("filter", "prerouting", -150),
    "marked": ("route", "output", -150),
    "tracked": ("filter", "prerouting", 0),
}
# What was turned round on its first packet is on all others, also when the rule for first packets is gone.
_GOES_ON: Final = f'oifname != "lo" ct direction original ct mark {ROUTE_MARK:#x} meta mark set {ROUTE_MARK:#x}'
_TRACKS: Final = "ct state established accept"


def table_of(sidecar: str) -> str:
    """Another name, another table: what nft takes no names with is written as ``_`` and two hexadecimal digits."""
    name = "".join(one if _ORDINARY.match(one) else "".join(f"_{b:02x}" for b in one.encode()) for one in sidecar)
    return _PREFIX + name


def sidecar_of(table: str) -> str:
    """The way back; empty if the table belongs to no sidecar."""
    if not table.startswith(_PREFIX):
        return ""
    name = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), table.removeprefix(_PREFIX))
    return name if table_of(name) == table else ""


# -- what is wanted -------------------------------------------------------------------------------


def plan(spec: Spec) -> Ruleset:
    """The rules of a spec. Raises `SpecError` if they contradict each other."""
    _refuse_contradictions(spec)
    rules: dict[str, list[str]] = {}
    for redirect in spec.intercept:
        for chain, rule in _rules(redirect, spec.run.user):
            rules.setdefault(chain, []).append(rule)
    if "marked" in rules:
        rules["marked"].append(_GOES_ON)
    if rules:
        rules["tracked"] = [_TRACKS]
    return Ruleset(
        sidecar=spec.name,
        chains=_chains(rules),
        routed=_union(*(families_of(one) for one in spec.intercept if one.mode == "tproxy")),
        targets=tuple(dict.fromkeys((family, one.to) for one in spec.intercept for family in families_of(one))),
    )


def _rules(redirect: Redirect, user: str) -> Iterator[tuple[str, str]]:
    outbound = redirect.direction == "outbound"
    ports = "tcp dport { " + ", ".join(map(str, sorted(set(redirect.ports)))) + " }"
    # Whoever talks to this machine itself sends nothing out; its own connections are known by mark or by user.
    others = f'oifname != "lo" meta mark != {redirect.exempt_mark:#x}'
    if user:
        others += f" meta skuid != {user if user.isdigit() else _quoted(user)}"
    for family in families_of(redirect):
        protocol, version = _NFPROTO[family]
        if redirect.mode == "redirect":
            which = others if outbound else "fib daddr type local"
            chain = "sent" if outbound else "redirected"
            yield chain, f"{which} meta nfproto {protocol} {ports} {_FIRST} redirect to :{redirect.to}"
            continue
        which = f'iifname "lo" meta mark {ROUTE_MARK:#x}' if outbound else 'iifname != "lo" fib daddr type local'
        done = f"tproxy {version} to :{redirect.to} meta mark set {ROUTE_MARK:#x} accept"
        yield "tproxied", f"{which} meta nfproto {protocol} {ports} {done}"
        if outbound:
            yield "marked", f"{others} meta nfproto {protocol} {ports} {_FIRST} ct mark set {ROUTE_MARK:#x}"


def _quoted(user: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?", user):
        raise SpecError(f"run.user: {user!r} is no name of a user")
    return f'"{user}"'


def _refuse_contradictions(spec: Spec) -> None:
    taken: dict[tuple[str, str, int], int] = {}
    for number, one in enumerate(spec.intercept):
        where = f"{spec.file or spec.name}: intercept[{number}]"
        if one.exempt_mark == ROUTE_MARK:
            raise SpecError(f"{where}.exempt_mark: {ROUTE_MARK:#x} marks what is led to sidecars; take another")
        if not one.exempt_mark:
            raise SpecError(f"{where}.exempt_mark: 0 is what unmarked connections have; take another")
        if one.direction == "outbound" and not spec.run.user and not _MARKS & set(spec.run.capabilities):
            raise SpecError(
                f"{where}.direction: the sidecar's own connections could not be told apart; write run.user, or add "
                "CAP_NET_ADMIN to run.capabilities and the mark to its configuration"
            )
        for port in one.ports:
            if port == one.to and one.mode == "redirect":
                raise SpecError(f"{where}.ports: {port} is where the sidecar listens; take it out, or change `to`")
            for family in families_of(one):
                before = taken.setdefault((one.direction, family, port), number)
                if before != number:
                    raise SpecError(f"{where}.ports: {port} is led somewhere by intercept[{before}] already")


def _chains(rules: Mapping[str, list[str]]) -> tuple[Chain, ...]:
    return tuple(Chain(name, *layout, tuple(rules[name])) for name, layout in _LAYOUT.items() if name in rules)


def families_of(redirect: Redirect) -> tuple[str, ...]:
    """The address families that it concerns."""
    return tuple(_NFPROTO) if redirect.family == "both" else (redirect.family,)


def _union(*some: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({family for families in some for family in families}))


# -- what is there --------------------------------------------------------------------------------


def found(listing: Mapping[str, Any], table: str) -> dict[str, Present] | None:
    """The chains of a table, from ``list table`` or ``list ruleset`` in JSON, libnftables-json(5). None: no table."""
    there = False
    chains: dict[str, Mapping[str, Any]] = {}
    comments: dict[str, list[str]] = {}
    for entry in listing.get("nftables", ()):
        if (entry.get("table") or {}).get("name") == table and entry["table"].get("family") == "inet":
            there = True
        chain, rule = entry.get("chain"), entry.get("rule")
        if chain and (chain["family"], chain["table"]) == ("inet", table):
            chains[chain["name"]] = chain
        if rule and (rule["family"], rule["table"]) == ("inet", table):
            comments.setdefault(rule["chain"], []).append(str(rule.get("comment", "")))
    if not there:
        return None
    return {
        name: Present(
            str(chain.get("type", "")),
            str(chain.get("hook", "")),
            int(chain.get("prio", 0)),
            tuple(comments.get(name, ())),
        )
        for name, chain in chains.items()
    }


def settled(wanted: Ruleset, there: Found | None) -> Ruleset:
    """What is wanted, and what connections need that were led here by rules that are not wanted any more.

    They are tracked, translated and turned round until the table is removed with its sidecar: chains stay, empty.
    """
    if not there:
        return wanted
    rules = {name: list[str]() for name in _LAYOUT if name in there}
    rules |= {chain.name: list(chain.rules) for chain in wanted.chains}
    rules["tracked"] = [_TRACKS]
    if rules.get("marked") == []:
        rules["marked"] = [_GOES_ON]
    # Of which family they are is not known any more.
    routed = tuple(_NFPROTO) if "marked" in there else ()
    return Ruleset(wanted.sidecar, _chains(rules), _union(wanted.routed, routed), wanted.targets)


def transaction(wanted: Ruleset, there: Found | None) -> str:
    """The commands for nft(8) that make it so, to be run as one; empty if it is so."""
    there = there or {}
    changed = [chain for chain in wanted.chains if not _is(chain, there.get(chain.name))]
    extra = sorted(set(there) - {chain.name for chain in wanted.chains})
    if not changed and not extra:
        return ""
    table = f"inet {wanted.table}"
    lines = [f"add table {table}"]
    for chain in changed:
        before = there.get(chain.name)
        if before and (before.kind, before.hook, before.priority) != (chain.kind, chain.hook, chain.priority):
            lines += [f"flush chain {table} {chain.name}", f"delete chain {table} {chain.name}"]
        base = f"type {chain.kind} hook {chain.hook} priority {chain.priority}; policy accept;"
        lines += [f"add chain {table} {chain.name} {{ {base} }}", f"flush chain {table} {chain.name}"]
        lines += [f'add rule {table} {chain.name} {rule} comment "{mark}"' for rule, mark in chain.marked_rules]
    lines += [f"flush chain {table} {name}" for name in extra]
    lines += [f"delete chain {table} {name}" for name in extra]
    return "\n".join(lines) + "\n"


def _is(chain: Chain, there: Present | None) -> bool:
    comments = tuple(mark for _, mark in chain.marked_rules)
    return there == Present(chain.kind, chain.hook, chain.priority, comments)
