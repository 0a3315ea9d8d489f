"""The same comparison with a load generator that nobody here wrote: h2load, speaking HTTP/1.1 or HTTP/2.

It makes its connections anew each time, so they and their handshakes are in the figures, a thousandth of one a request
or less. What it gets is compared by its status codes only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import msgspec

from tests.bench.configurations import HOST
from tests.bench.cpu import CONNECTIONS, Comparison, Row
from tests.bench.loadgen import LoadGenerator
from tests.bench.machine import cpu_us
from tests.bench.proxies import Proxy

REQUESTS = 1000 * CONNECTIONS  # a window
PATIENCE = 120.0  # seconds for a window
SUITE = ["--tls13-ciphers", "TLS_AES_128_GCM_SHA256", "--groups", "X25519"]
REMEDY = "apt package nghttp2-client"


class Load(msgspec.Struct, frozen=True):
    """What it asks."""

    what: str
    tls: bool = True
    http2: bool = False
    connections: int = CONNECTIONS
    streams: int = 1
    """Requests under way on a connection."""
    paths: int = 1
    """That are asked for in turn."""

    def options(self, port: int, requests: int) -> list[str]:
        """Those of the program; without `--h1` it speaks HTTP/2, by ALPN or at once. URIs are read from stdin."""
        spoken = [] if self.http2 else ["--h1"]
        number = ["-n", str(requests), "-c", str(self.connections), "-m", str(self.streams)]
        suite = SUITE if self.tls else []
        return [*spoken, *number, *suite, "--connect-to", f"127.0.0.1:{port}", "-i", "-"]

    def uris(self) -> str:
        """One a line."""
        site = f"{'https' if self.tls else 'http'}://{HOST}"
        return "".join(f"{site}/api/v1/items?id={12345 + number}\n" for number in range(self.paths))


def installed() -> bool:
    """Whether there is an h2load."""
    return shutil.which("h2load") is not None


def upstream_of(proxy: Proxy) -> LoadGenerator:
    """The upstream of the other load, with one client that asked it once, past the proxy, and stays idle."""
    port = proxy.upstreams["http"]
    return LoadGenerator("http", port, port, 1)


def compare(
    load: Load, proxies: Mapping[str, Proxy], rounds: int, requests: int, say: Callable[[str], None]
) -> Comparison:
    """A row for each proxy, named by its key; a round is so many requests."""
    rows = [Row(name, proxy.version) for name, proxy in proxies.items()]
    stands = list(zip(rows, proxies.values(), strict=True))
    with ExitStack() as exits:
        for proxy in proxies.values():
            exits.enter_context(upstream_of(proxy))
        for number in range(rounds):
            first = number % len(stands)  # nobody always comes after the same one
            for row, proxy in [*stands[first:], *stands[:first]]:
                before = cpu_us(proxy.pid)
                rate, succeeded = ask(load, proxy, requests)
                row.rounds.append((cpu_us(proxy.pid) - before) / requests)
                row.rates.append(rate)
                row.errors += requests - succeeded
            figures = ", ".join(f"{row.proxy} {row.rounds[-1]:.1f}" for row in rows)
            say(f"{load.what}, round {number + 1} of {rounds}: {figures} us")
    return Comparison(load.what, rows)


def ask(load: Load, proxy: Proxy, requests: int) -> tuple[float, int]:
    """So many requests. Returns how many a second there were, and how many were answered by 2xx."""
    done = subprocess.run(
        ["h2load", *load.options(proxy.ports["http"], requests)],
        input=load.uris(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    finished = re.search(r"([\d.]+) req/s", done.stdout)
    succeeded = re.search(r"status codes: (\d+) 2xx", done.stdout)
    assert finished is not None, done.stdout
    assert succeeded is not None, done.stdout
    return float(finished[1]), int(succeeded[1])
