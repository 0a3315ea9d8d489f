"""The same comparison with a load generator that nobody here wrote: h2load, speaking HTTP/1.1 over TLS.

It makes its connections anew each time, so their handshakes are in the figures, a thousandth of one a request. What
it gets is compared by its status codes only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from tests.bench.configurations import HOST
from tests.bench.cpu import CONNECTIONS, Comparison, Row
from tests.bench.loadgen import LoadGenerator, Tls
from tests.bench.machine import cpu_us
from tests.bench.proxies import Proxy

REQUESTS = 1000 * CONNECTIONS  # a window
PATIENCE = 120.0  # seconds for a window
SUITE = ["--tls13-ciphers", "TLS_AES_128_GCM_SHA256", "--groups", "X25519"]


def installed() -> bool:
    """Whether there is an h2load."""
    return shutil.which("h2load") is not None


def compare(
    what: str, proxies: Mapping[str, Proxy], rounds: int, requests: int, say: Callable[[str], None]
) -> Comparison:
    """A row for each proxy, named by its key; a round is so many requests."""
    rows = [Row(name, proxy.version) for name, proxy in proxies.items()]
    stands = list(zip(rows, proxies.values(), strict=True))
    with ExitStack() as exits:
        for proxy in proxies.values():  # an upstream behind each, with a client that stays idle
            exits.enter_context(LoadGenerator("http", proxy.upstreams["http"], proxy.ports["http"], 1, tls=Tls()))
        for number in range(rounds):
            first = number % len(stands)  # nobody always comes after the same one
            for row, proxy in [*stands[first:], *stands[:first]]:
                _window(proxy, row, requests)
            figures = ", ".join(f"{row.proxy} {row.rounds[-1]:.1f}" for row in rows)
            say(f"{what}, round {number + 1} of {rounds}: {figures} us")
    return Comparison(what, rows)


def _window(proxy: Proxy, row: Row, requests: int) -> None:
    to = ["--connect-to", f"127.0.0.1:{proxy.ports['http']}", f"https://{HOST}/api/v1/items?id=12345"]
    before = cpu_us(proxy.pid)
    done = subprocess.run(
        ["h2load", "--h1", "-n", str(requests), "-c", str(CONNECTIONS), *SUITE, *to],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    spent = cpu_us(proxy.pid) - before
    finished = re.search(r"([\d.]+) req/s", done.stdout)
    succeeded = re.search(r"(\d+) succeeded", done.stdout)
    assert finished is not None, done.stdout
    assert succeeded is not None, done.stdout
    row.rounds.append(spent / requests)
    row.rates.append(float(finished[1]))
    row.errors += requests - int(succeeded[1])
