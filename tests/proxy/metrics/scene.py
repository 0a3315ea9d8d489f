"""A simulated proxy whose counts are read over all its generations, as readers of the shared memory see them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hotswap.handover.rounds import Limits
from proxy.config.loader import loads
from tests.proxy.http1.scene import exchange
from tests.proxy.simulation import World

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.server import ProxyServer
    from tests.proxy.simulation import SimulatedKernel, Socket

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SORRY = b"HTTP/1.1 500 Sorry\r\nContent-Length: 0\r\n\r\n"

COMMON = ("_bytes", "_accepted", "_connections", "_connect_duration")
"""What nearly everything that happens counts: tests of something else leave it out."""


class Counted(World):
    """A world that remembers all generations."""

    def __init__(self, config: Config, *, moving: bool = False) -> None:
        self.generations: list[ProxyServer] = []
        super().__init__(config, moving=moving)

    def _proxy(self, kernel: SimulatedKernel) -> ProxyServer:
        proxy = super()._proxy(kernel)
        self.generations.append(proxy)
        return proxy

    def everything(self) -> dict[str, float]:
        """All that any generation counted, as ``requests web * 2xx``. Of histograms the number of observations."""
        found: Counter[str] = Counter()
        for generation in self.generations:
            for text, value in cells(generation).items():
                found[text] += value  # type: ignore[assignment]  # whole numbers, all of them
        return {text: value for text, value in sorted(found.items()) if value}

    def told(self) -> dict[str, float]:
        """The same without what is `COMMON`."""
        return {text: value for text, value in self.everything().items() if not _of(COMMON, text)}

    def only(self, *parts: str) -> dict[str, float]:
        """The same of metrics with one of these in their names."""
        return {text: value for text, value in self.everything().items() if _of(parts, text)}


def _of(parts: tuple[str, ...], text: str) -> bool:
    return any(part in text.split(" ", 1)[0] for part in parts)


def cells(proxy: ProxyServer) -> dict[str, float]:
    """What one generation counted, and how often it observed."""
    found = {}
    for shape, members in proxy.metrics.collect():
        if shape.kind != "gauge":
            for values, numbers in members:
                name = shape.name.removeprefix("hotswap_").removesuffix("_total").removesuffix("_seconds")
                text = " ".join([name, *(value or "-" for value in values)])
                found[text] = sum(numbers[1:]) if shape.kind == "histogram" else numbers[0]
    return found


def gauges(proxy: ProxyServer, *, owns: bool = True) -> dict[str, float]:
    """Those that are not 0, as they are right before a scrape."""
    for _ in proxy.gauges.refresh(owns=owns):
        pass
    return {
        " ".join([shape.name.removeprefix("hotswap_"), *(value or "-" for value in values)]): numbers[0]
        for shape, members in proxy.metrics.collect()
        if shape.kind == "gauge" and shape.name.startswith(("hotswap_downstream", "hotswap_upstream", "hotswap_req"))
        for values, numbers in members
        if numbers[0]
    }


def names(proxy: ProxyServer) -> set[str]:
    """The values of all labels that readers see."""
    return {value for _, members in proxy.metrics.collect() for values, _ in members for value in values}


def edge(
    cluster: str = "", *, listener: str = "", rpc: str = "", endpoints: int = 1, metrics: str = "", more: str = ""
) -> Config:
    """Listeners "web" (http1), "raw" (tcp) and "rpc" (bolt), and the cluster "app".

    Further keys: `listener` of "web", `rpc` of that, each with where it leads; `more` clusters.
    """
    addresses = ", ".join(f"127.0.0.1:{9000 + number}" for number in range(endpoints))
    return loads(f"""\
name: edge
metrics: {{{metrics}}}
listeners:
  - {{name: web, address: 127.0.0.1:80, protocol: http1{listener or ", cluster: app"}}}
  - {{name: raw, address: 127.0.0.1:81, protocol: tcp, cluster: app}}
  - {{name: rpc, address: 127.0.0.1:82, protocol: bolt{rpc or ", cluster: app"}}}
clusters: [{{name: app, endpoints: [{addresses}]{cluster}}}{more}]
""").config


class _File:
    """A source of configurations that has this one."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self) -> Config:
        return self.config

    def limits(self, config: Config) -> Limits:
        return Limits()


def apply(world: World, config: Config) -> None:
    """A reload that adds no listener."""
    world.proxy._source = _File(config)
    world.proxy.reload().apply({})
    world.config = config
    world.settle()


def ask(world: World, request: bytes = GET) -> tuple[Socket, Socket]:
    """A client with a request under way at a server that took it."""
    return exchange(world, request)
