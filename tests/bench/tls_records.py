"""What a record costs: sealed and opened by C, by its twin, and by Python's ssl over memory BIOs; a state as well.

    python -m tests.bench.tls_records [--quick]

Nanoseconds a call, the median of rounds in which all take turns. One record a call; at 64 KB it is four.
"""

from __future__ import annotations

import argparse
import os
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from proxy.tls import layer, twin
from proxy.tls.suites import BY_ID, BY_NAME, TLS12
from tests.kit.certificates import Authority

SIZES = (100, 1000, 16384, 65536)
SUITES = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
)
ROUNDS, CALLS = 15, 2000

Costs = dict[str, list[float]]
"""Nanoseconds a call in each round, by what was measured."""


def clocked(use: Callable[[], object], calls: int) -> float:
    began = time.perf_counter_ns()
    for _ in range(calls):
        use()
    return (time.perf_counter_ns() - began) / calls


def ours(module: Any, suite: str) -> tuple[Any, Any]:
    """Client and server under the keys of a handshake that never was."""
    known = BY_ID[BY_NAME[suite]]
    randoms = os.urandom(32), os.urandom(32)
    labels = ("CLIENT_RANDOM",) if known.version == TLS12 else ("CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0")
    size = 48 if known.version == TLS12 else known.hash_size
    secrets, permit = module.Secrets(), module.Permit()
    for label in labels:
        secrets.line(f"{label} {randoms[0].hex()} {os.urandom(size).hex()}".encode())
    permit.grant()
    client, server = (
        module.RecordLayer.begin(
            secrets, permit, server=server, version=known.version, suite=known.number, client_random=randoms[0],
            server_random=randoms[1], tx_seq=0, rx_seq=0,
        )
        for server in (False, True)
    )  # fmt: skip
    return client, server


def measure_ours(module: Any, name: str, suite: str, calls: int, costs: Costs) -> None:
    client, server = ours(module, suite)
    for size in SIZES:
        data = os.urandom(size)
        sealed: list[bytes] = []
        costs.setdefault(f"{suite} seal {size} {name}", []).append(
            clocked(lambda: sealed.append(client.seal(23, data)), calls)  # noqa: B023  # used up within the round
        )
        waiting = iter(sealed)
        costs.setdefault(f"{suite} open {size} {name}", []).append(
            clocked(lambda: server.open(next(waiting), 0), calls)  # noqa: B023  # the same
        )


def theirs(suite: str, authority: Authority) -> Iterator[Any]:
    """Client and server of Python's ssl after a handshake, each with what comes in and what goes out."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(*authority.issue("edge"))
    client.load_verify_locations(authority.file)
    if not suite.startswith("TLS_"):
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers(suite)
    bios = [(ssl.MemoryBIO(), ssl.MemoryBIO()) for _ in range(2)]
    ends = [client.wrap_bio(*bios[0], server_hostname="edge.test"), server.wrap_bio(*bios[1], server_side=True)]
    done = [False, False]
    while not all(done):
        for side in (0, 1):
            try:
                ends[side].do_handshake()
                done[side] = True
            except ssl.SSLWantReadError:
                pass
            bios[1 - side][0].write(bios[side][1].read())
    for end, (into, out) in zip(ends, bios, strict=True):
        yield end, into, out


def measure_theirs(suite: str, authority: Authority, calls: int, costs: Costs) -> None:
    (client, _, out), (server, into, _) = theirs(suite, authority)
    if client.cipher()[0] != suite:
        return  # before Python 3.15 it does not let us choose among those of TLS 1.3
    for size in SIZES:
        data = os.urandom(size)
        sealed: list[bytes] = []

        def seal(data: bytes = data, sealed: list[bytes] = sealed) -> None:
            client.write(data)
            sealed.append(out.read())

        costs.setdefault(f"{suite} seal {size} ssl", []).append(clocked(seal, calls))
        waiting = iter(sealed)

        def open_(size: int = size, waiting: Iterator[bytes] = waiting) -> None:
            into.write(next(waiting))
            while size > 0:
                size -= len(server.read(65536))

        costs.setdefault(f"{suite} open {size} ssl", []).append(clocked(open_, calls))


def measure_states(module: Any, name: str, suite: str, calls: int, costs: Costs) -> None:
    """Saved, restored, restored and used once in each direction."""
    layers = [ours(module, suite)[1] for _ in range(calls)]
    saving, fd = module.Vault(), os.memfd_create("vault", os.MFD_CLOEXEC)
    saving.write(fd)
    restoring, permit = module.Vault.read(fd), module.Permit()
    os.close(fd)
    states: list[bytes] = []
    waiting = iter(layers)
    costs.setdefault(f"{suite} save {name}", []).append(
        clocked(lambda: states.append(next(waiting).save(saving)), calls)
    )
    again: list[Any] = []
    saved = iter(states)
    costs.setdefault(f"{suite} restore {name}", []).append(
        clocked(lambda: again.append(module.RecordLayer.restore(next(saved), restoring, permit)), calls)
    )
    permit.grant()
    fresh = iter(again)
    costs.setdefault(f"{suite} first seal {name}", []).append(clocked(lambda: next(fresh).seal(23, b"x"), calls))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the calls")
    calls = CALLS // 10 if parser.parse_args().quick else CALLS
    modules = {"twin": twin} | ({"c": layer} if layer.IMPLEMENTATION == "c" else {})
    costs: Costs = {}
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        for _ in range(ROUNDS):
            for suite in SUITES:
                measure_theirs(suite, authority, calls // 4, costs)
                for name, module in modules.items():
                    measure_ours(module, name, suite, calls // 4, costs)
                    measure_states(module, name, suite, calls // 10, costs)
    for what, rounds in costs.items():
        print(f"{what:<50} {statistics.median(rounds):>10.0f} ns   {min(rounds):>10.0f} at best")


if __name__ == "__main__":
    main()
