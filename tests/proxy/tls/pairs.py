"""Two sessions that speak to each other without a handshake: their secrets are made up."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from proxy.calls import Calls
from proxy.tls import layer
from proxy.tls.layer import Permit, Secrets, Vault
from proxy.tls.session import Session, restored
from proxy.tls.suites import BY_ID, TLS13

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RANDOM = bytes(range(32))


class Writing(Calls):
    """A socket that a test writes for, as it likes."""

    def __init__(self, wrote: Callable[[int, bytes | bytearray], int]) -> None:
        super().__init__()
        self._wrote = wrote

    def write(self, fd: int, data: bytes | bytearray) -> int:
        """What the test says."""
        return self._wrote(fd, data)


def secrets(suite: int) -> Secrets:
    """Those of a handshake of which everybody knows the outcome."""
    found = Secrets()
    size = BY_ID[suite].hash_size
    labels = (
        ("CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0") if BY_ID[suite].version == TLS13 else ("CLIENT_RANDOM",)
    )
    for label in labels:
        secret = hashlib.sha512(label.encode()).digest()[: size if len(labels) > 1 else 48]
        found.line(f"{label} {RANDOM.hex()} {secret.hex()}".encode())
    return found


def session(suite: int, permit: Permit, *, server: bool) -> Session:
    """One end, right after its handshake."""
    start = 0 if BY_ID[suite].version == TLS13 else 1
    return Session(
        layer.begin(
            secrets(suite),
            permit,
            server=server,
            version=BY_ID[suite].version,
            suite=suite,
            client_random=RANDOM,
            server_random=RANDOM,
            tx_seq=start,
            rx_seq=start,
        )
    )


def granted() -> Permit:
    """That of a generation that owns."""
    permit = Permit()
    permit.grant()
    return permit


def pair(suite: int) -> tuple[Session, Session]:
    """A server and a client."""
    return session(suite, granted(), server=True), session(suite, granted(), server=False)


def seal(source: Session, data: bytes) -> bytes:
    """What goes out for it, records that waited included."""
    sent: list[bytes] = []

    def write(_fd: int, portion: bytes | bytearray) -> int:
        sent.append(bytes(portion))
        return len(portion)

    while data or source.sealed:
        data = data[source.write(Writing(write), 0, data) :]
    return b"".join(sent)


def moved(source: Session, *, times: int = 1) -> Session:
    """The session after so many handovers; the one before can do nothing any more."""
    for _ in range(times):
        vault = Vault()
        saved = source.save(vault)
        source.end()
        source = restored(saved, reader(vault), granted())
    return source


def reader(vault: Vault) -> Vault:
    """The vault as the destination has it."""
    import os

    fd = os.memfd_create("vault")
    try:
        vault.write(fd)
        return Vault.read(fd)
    finally:
        os.close(fd)


def cuts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every way to cut it in two."""
    for at in range(len(data) + 1):
        yield data[:at], data[at:]
