"""What an answer says about a question: addresses, another name, that there is nothing, or that the server failed."""

from __future__ import annotations

from typing import Final, NamedTuple

from proxy.dns.message import CNAME, NOERROR, NS, NXDOMAIN, RCODES, SOA, Message, Question, dotted

LONGEST_CHAIN: Final = 8
"""Aliases that are followed for one question, in one answer and over several."""


class Found(NamedTuple):
    """The addresses, numeric, and for how many seconds they are good: the least TTL on the way to them."""

    addresses: tuple[str, ...]
    ttl: int


class Absent(NamedTuple):
    """There is no such name, or it has no address of this family. `ttl` by RFC 2308; None if nothing says how long."""

    ttl: int | None
    why: str


class Alias(NamedTuple):
    """The answer ends at another name, which is to be asked for."""

    name: tuple[bytes, ...]
    ttl: int
    hops: int


class Failed(NamedTuple):
    """Nobody said anything about the name."""

    why: str


Meaning = Found | Absent | Alias | Failed


def meaning(message: Message, asked: Question, hops: int = 0) -> Meaning:
    """Read an answer to `asked`, to which `hops` aliases have led already."""
    if message.rcode not in (NOERROR, NXDOMAIN):
        return Failed(f"the server answers {RCODES.get(message.rcode, message.rcode)}")
    name = asked.name
    ttl = (1 << 31) - 1
    while True:
        records = [record for record in message.answers if record.name == name]
        addresses = [record for record in records if record.type == asked.type]
        if addresses:
            texts = tuple(dict.fromkeys(str(record.data) for record in addresses))
            return Found(texts, min(ttl, *(record.ttl for record in addresses)))
        alias = next((record for record in records if record.type == CNAME), None)
        if alias is None or not isinstance(alias.data, tuple):
            break
        hops += 1
        if hops > LONGEST_CHAIN:
            return Failed(f"{dotted(asked.name)} leads through more than {LONGEST_CHAIN} aliases")
        name, ttl = alias.data, min(ttl, alias.ttl)
    negative = next((record for record in message.authority if record.type == SOA), None)
    if message.rcode == NXDOMAIN:
        return Absent(_negative_ttl(negative, ttl), f"{dotted(name)} does not exist")
    if negative is None and name != asked.name:
        return Alias(name, ttl, hops)
    if negative is None and any(record.type == NS for record in message.authority):
        return Failed("the server refers to others and asks none itself")
    return Absent(_negative_ttl(negative, ttl), f"{dotted(name)} has no address")


def _negative_ttl(soa: tuple[object, int, int, object] | None, chain: int) -> int | None:
    """RFC 2308 section 5: the lesser of the SOA's TTL and its minimum."""
    return None if soa is None or not isinstance(soa[3], int) else min(soa[2], soa[3], chain)
