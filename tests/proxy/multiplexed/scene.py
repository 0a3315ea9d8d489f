"""Configurations of protocols that carry many calls on one connection."""

from __future__ import annotations

from typing import Any, Literal

from hotswap.address import Address
from proxy.config.model import ClusterConfig, Config, EndpointConfig, ListenerConfig, RouteConfig

EVERYTHING = (RouteConfig(cluster="app"),)


def calls(
    protocol: Literal["bolt", "dubbo"],
    address: str,
    *,
    endpoints: int,
    routes: tuple[RouteConfig, ...],
    listener: dict[str, Any] | None,
    cluster: dict[str, Any],
) -> Config:
    """One listener "rpc", the clusters "app" and "other"; one shared connection unless said otherwise."""
    return Config(
        name="edge",
        listeners=(
            ListenerConfig(
                name="rpc",
                address=Address.parse(address),
                protocol=protocol,
                routes=routes,
                **(listener or {}),
            ),
        ),
        clusters=tuple(
            ClusterConfig(
                name=name,
                endpoints=tuple(
                    EndpointConfig(address=Address.parse(f"127.0.0.1:{first + n}")) for n in range(endpoints)
                ),
                **({"connect_timeout": 1.0, "shared_connections": 1} | cluster),
            )
            for name, first in (("app", 9000), ("other", 9500))
        ),
    )
