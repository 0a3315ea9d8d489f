"""Two proxies back to back: what `near` has under way with `far` is what changes from plaintext to TLS and back.

    clients --> near: web (http1), rpc (bolt) --> far: the same, TLS or plaintext on one port --> upstreams

`far` closes what is silent for IDLE seconds; `near` sends heartbeats more often, and gives idle HTTP up earlier.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tests.kit.certificates import Authority
from tests.kit.load import Load, Plan
from tests.kit.ports import loopback, port_of
from tests.kit.processes import Config, Instance
from tests.kit.stage import Stage
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually

IDLE = 2.0
"""Seconds."""
SERVICES = ("app", "calls")
"""The clusters of `near`: http1 and bolt."""


class Opposites:
    """Both, serving."""

    def __init__(self, stage: Stage, authority: Authority, *, idle: float | None = IDLE, **encryption: Any) -> None:
        """`encryption` as in the configuration of both clusters; `wanted: off` unless it says something else.

        No `idle`: as nobody configured anything, 75 seconds.
        """
        self.stage = stage
        self.behind: Upstreams = stage.upstreams(("http", "127.0.0.1:0"), ("bolt", "127.0.0.1:0"))
        self.far = stage.instance(far(self.behind.addresses, authority, idle))
        self.addresses = [listener["address"] for listener in self.far.config["listeners"]]
        self.near = stage.instance(near(self.addresses, authority, idle, {"wanted": "off"} | encryption))
        for instance in (self.far, self.near):
            instance.start()
        self.web, self.rpc = (listener["address"] for listener in self.near.config["listeners"])

    def load(self, plan: Plan) -> Load:
        """Running clients of `near`."""
        return self.stage.load(msgspec.structs.replace(plan, http=self.web, bolt_address=self.rpc))

    @property
    def ports(self) -> list[int]:
        """Those between both."""
        return [port_of(address) for address in self.addresses]

    @property
    def near_ports(self) -> list[int]:
        """Those of the clients."""
        return [port_of(address) for address in (self.web, self.rpc)]

    def order(self, wanted: str, *options: str, clusters: tuple[str, ...] = SERVICES) -> None:
        """`hotswap tls near --cluster ... WANTED`."""
        for cluster in clusters:
            done = self.near.hotswap("tls", self.near.name, "--cluster", cluster, wanted, *options)
            assert done.returncode == 0, done.stderr

    def entry(self, cluster: str) -> dict[str, Any]:
        """What the control socket tells of a cluster's encryption."""
        return entry(self.near, cluster)

    def wait_settled(self, *, within: float, clusters: tuple[str, ...] = SERVICES) -> None:
        """Until every connection is as wanted, and what was replaced is gone."""

        def done() -> bool:
            return all(one["settled"] and not one["retiring"] for one in map(self.entry, clusters))

        eventually(done, within=within, what="all connections are as wanted")

    def retired(self) -> dict[str, dict[str, int]]:
        """By cluster: how the connections ended that were replaced."""
        found: dict[str, dict[str, int]] = {}
        for name, value in self.near.figures("hotswap_upstream_retired_total").items():
            labels = dict(name)
            found.setdefault(labels["cluster"], {})[labels["how"]] = int(value)
        return found


def entry(instance: Instance, cluster: str) -> dict[str, Any]:
    """What the control socket of a proxy tells of a cluster's encryption."""
    clusters: list[dict[str, Any]] = instance.ask("/tls")["clusters"]
    return next(one for one in clusters if one["name"] == cluster)


def far(behind: list[str], authority: Authority, idle: float | None) -> Config:
    """The configuration of the proxy on the side of the servers."""
    both = {"tls": {"certificates": [authority.issue("edge").config]}, "tls_mode": "permissive"}
    both |= {} if idle is None else {"keepalive_timeout": f"{idle:g}s"}
    return {
        "name": "far",
        "listeners": [
            {"name": "web", "address": loopback(), "protocol": "http1", "cluster": "app"} | both,
            {"name": "rpc", "address": loopback(), "protocol": "bolt", "cluster": "calls"} | both,
        ],
        "clusters": [{"name": "app", "endpoints": behind[:1]}, {"name": "calls", "endpoints": behind[1:]}],
    }


def near(behind: list[str], authority: Authority, idle: float | None, encryption: Config) -> Config:
    """The configuration of the proxy on the side of the clients."""
    tls = {"tls": {"ca": str(authority.file), "sni": "edge.test"}, "encryption": encryption}
    patient = {"keepalive_timeout": "2h"}
    app = {} if idle is None else {"keepalive_timeout": f"{idle / 2:g}s"}
    calls = {} if idle is None else {"heartbeat_interval": f"{idle / 4:g}s"}
    return {
        "name": "near",
        "listeners": [
            {"name": "web", "address": loopback(), "protocol": "http1", "cluster": "app"} | patient,
            {"name": "rpc", "address": loopback(), "protocol": "bolt", "cluster": "calls"} | patient,
        ],
        "clusters": [
            {"name": "app", "endpoints": behind[:1], "max_idle": 1000} | app | tls,
            {"name": "calls", "endpoints": behind[1:]} | calls | tls,
        ],
    }
