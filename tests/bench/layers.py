"""Where the microseconds of a request go: how many are the kernel's, and whose the others are.

The former the kernel tells of every proxy. For the latter ours looks at itself under load, see sampled.py; its
functions are gathered in layers by their files.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.bench import h2load
from tests.bench.machine import cpu_us, ticks
from tests.bench.proxies import Hall, Proxy
from tests.bench.sampled import SAMPLES
from tests.kit.companion import ROOT
from tests.kit.offspring import Offspring
from tests.kit.processes import Config, Instance
from tests.kit.waiting import eventually

LAYERS = {
    "system calls, and the loop around them": (
        *("reactor", "roster", "connection", "kernel", "ticker", "timers", "guests"),
    ),
    "TLS": ("tls/",),
    "frames, streams, windows": (
        *("http2/frame", "http2/incoming", "http2/outgoing", "http2/controls", "http2/session", "http2/settings"),
        *("http2/stream", "http2/downstream", "http2/budget"),
    ),
    "HPACK, and what is a head": ("http2/hpack", "http2/literals", "http2/huffman", "http2/heads"),
    "heads as text of HTTP/1.1, and back": (
        "http2/text",
        "http1/parser",
        "http1/head",
        "http1/fields",
        "http1/forward",
    ),
    "the exchange": (
        *("http2/exchange", "http1/downstream", "http1/exchange", "http1/ending", "http1/upload", "http1/filtered"),
        *("route", "sides", "relay", "listener"),
    ),
    "the endpoint's side": ("http1/", "cluster", "endpoint", "pool", "balance", "health/", "encryption/", "limits"),
}
"""By how their files begin, below proxy/; the first that fits."""
OTHER = "all else"


class Layer(msgspec.Struct):
    """A part of all time."""

    name: str
    share: float
    top: list[tuple[str, float]] = []
    """Its functions with the most of it."""


class Split(msgspec.Struct):
    """Microseconds of a request, by who spends them."""

    proxy: str
    own: float
    kernel: float


class Result(msgspec.Struct):
    """A profile."""

    microseconds: float
    """A request, while it looked at itself."""
    samples: int
    layers: list[Layer]


class Sampled(Instance):
    """A generation that looks at itself, interpreted."""

    def __init__(self, directory: Path, offspring: Offspring, config: Config, tree: Path = ROOT) -> None:
        super().__init__(directory, offspring, config, tree)
        self.results = directory / "samples.json"
        self.environment[SAMPLES] = str(self.results)
        self.environment["HOTSWAP_PLANE"] = "python"  # what looks is Python, and sees nothing of what is compiled

    def command(self, *options: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "tests.bench.sampled", *self.run_arguments(*options)]


def split(load: h2load.Load, proxy: Proxy, requests: int) -> Split:
    """What is the kernel's, and what the program's own."""
    with h2load.upstream_of(proxy):
        h2load.ask(load, proxy, max(1, requests // 10))
        spent, before = cpu_us(proxy.pid), ticks(proxy.pid)
        h2load.ask(load, proxy, requests)
        spent, after = cpu_us(proxy.pid) - spent, ticks(proxy.pid)
    user, system = after[0] - before[0], after[1] - before[1]
    kernel = spent / requests * system / (user + system) if user + system else 0.0
    return Split(proxy.name, spent / requests - kernel, kernel)


def profile(load: h2load.Load, requests: int) -> Result:
    """A profile of ours under this load."""
    with Hall(tls=load.tls, http2=load.http2) as hall:
        proxy = hall.hotswap(run=Sampled)
        with h2load.upstream_of(proxy):
            h2load.ask(load, proxy, max(1, requests // 10))
            spent = cpu_us(proxy.pid)
            seen = looked(proxy, lambda: h2load.ask(load, proxy, requests))
            spent = cpu_us(proxy.pid) - spent
    return Result(spent / requests, sum(seen.values()), layers_of(seen))


def looked(proxy: Proxy, work: Callable[[], object]) -> dict[tuple[str, str], int]:
    """How often a proxy that looks at itself was in which function (file and name) while the work was done."""
    instance = proxy.instance
    assert isinstance(instance, Sampled)
    os.kill(proxy.pid, signal.SIGUSR2)
    work()
    os.kill(proxy.pid, signal.SIGUSR2)
    eventually(instance.results.exists, within=10, what="the samples are written")
    return {(file, function): count for file, function, count in json.loads(instance.results.read_text())}


def layers_of(seen: dict[tuple[str, str], int]) -> list[Layer]:
    """Functions by file and name, gathered in layers; the most expensive first."""
    total = sum(seen.values())
    by_layer: dict[str, Counter[str]] = {}
    for (file, function), count in seen.items():
        by_layer.setdefault(layer_of(file), Counter())[function] += count
    layers = [
        Layer(name, sum(functions.values()) / total, [(one, count / total) for one, count in functions.most_common(4)])
        for name, functions in by_layer.items()
    ]
    return sorted(layers, key=lambda layer: -layer.share)


def layer_of(file: str) -> str:
    """The name of the layer that a file belongs to."""
    below = file.removeprefix(f"{ROOT / 'proxy'}/")
    for name, beginnings in LAYERS.items():
        if below.startswith(beginnings):
            return name
    return OTHER
