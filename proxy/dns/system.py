"""What the system says about names: /etc/resolv.conf and /etc/hosts, from their texts.

resolv.conf(5):  nameserver ADDRESS   search NAME...   domain NAME   options ndots:N timeout:N attempts:N
hosts(5):        ADDRESS NAME...
Both: one entry a line, ``#`` (and ``;`` in the first) begins a comment. What is not understood is ignored, as by libc.
"""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

from hotswap.address import Address
from hotswap.errors import ConfigError
from proxy.dns.host import HostName

PORT: Final = 53
MOST_SERVERS: Final = 3
MOST_SUFFIXES: Final = 16


class Setup(NamedTuple):
    """How names are looked up."""

    servers: tuple[Address, ...] = (Address.parse(f"127.0.0.1:{PORT}"),)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: float = 5.0
    """Seconds for one server to answer."""
    attempts: int = 2
    """How often each server is asked."""

    def candidates(self, host: str) -> tuple[str, ...]:
        """The names that `host` may stand for, in the order in which they are tried."""
        if host.endswith("."):
            return (host,)
        searched = tuple(f"{host}.{suffix}." for suffix in self.search if len(host) + len(suffix) < 253)
        return (f"{host}.", *searched) if host.count(".") >= self.ndots else (*searched, f"{host}.")


def server(text: str) -> Address:
    """``host`` or ``host:port``, numeric. Raises `ConfigError`."""
    try:
        version = ipaddress.ip_address(text).version
    except ValueError:
        return Address.parse(text)
    return Address.parse(f"[{text}]:{PORT}" if version == 6 else f"{text}:{PORT}")


def setup_of(text: str) -> Setup:
    """Read resolv.conf."""
    servers: list[Address] = []
    fields: dict[str, int] = {}
    search: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.partition("#")[0].partition(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver" and len(servers) < MOST_SERVERS:
            try:
                ipaddress.ip_address(words[1])
                servers.append(server(words[1]))
            except (ValueError, ConfigError):
                continue
        elif words[0] in ("search", "domain"):
            search = tuple(word.lower().strip(".") for word in words[1 : 1 + MOST_SUFFIXES] if _is_name(word))
        elif words[0] == "options":
            fields |= _options(words[1:])
    known = Setup(
        search=search,
        ndots=fields.get("ndots", 1),
        timeout=fields.get("timeout", 5),
        attempts=fields.get("attempts", 2),
    )
    return known._replace(servers=tuple(servers)) if servers else known


def _is_name(word: str) -> bool:
    try:
        HostName.parse(f"{word}:1")
    except ConfigError:
        return False
    return True


def _options(words: list[str]) -> dict[str, int]:
    found = {}
    for word in words:
        name, _, value = word.partition(":")
        bounds = {"ndots": (0, 15), "timeout": (1, 30), "attempts": (1, 5)}.get(name)
        if bounds is not None and value.isascii() and value.isdigit() and len(value) < 10:
            found[name] = min(max(int(value), bounds[0]), bounds[1])
    return found


def in_hosts(text: str, host: str) -> tuple[str, ...]:
    """The addresses of a name in the text of /etc/hosts (in lower case), each once.

    Such files can be long (lists of what is to be blocked), so only lines in which the name occurs are read.
    """
    wanted = host.removesuffix(".")
    found: dict[str, None] = {}
    at = text.find(wanted)
    while at >= 0:
        begin, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
        end = len(text) if end < 0 else end
        words = text[begin:end].partition("#")[0].split()
        if wanted in words[1:]:
            try:
                found[str(ipaddress.ip_address(words[0]))] = None
            except ValueError:
                pass
        at = text.find(wanted, end)
    return tuple(found)
