"""Endpoints as configured -> endpoints with numeric addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.address import Address
from proxy.dns.host import HostName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy.config.model import EndpointConfig


def expanded(
    endpoints: Iterable[EndpointConfig], answers: Mapping[str, tuple[str, ...]]
) -> list[tuple[Address, EndpointConfig]]:
    """Each address once, with the endpoint whose weight and labels it has. Names without an answer have none."""
    found: dict[Address, EndpointConfig] = {}
    for one in endpoints:
        if isinstance(one.address, HostName):
            for host in answers.get(one.address.host, ()):
                numeric = f"[{host}]" if ":" in host else host
                found.setdefault(Address.parse(f"{numeric}:{one.address.port}"), one)
        else:
            found.setdefault(one.address, one)
    return list(found.items())


def hosts(endpoints: Iterable[EndpointConfig]) -> list[str]:
    """The names among them, each once."""
    return list(dict.fromkeys(one.address.host for one in endpoints if isinstance(one.address, HostName)))
