"""Record layers of both implementations, under keys of handshakes that never were, and states moved between them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from proxy.tls import twin
from proxy.tls.suites import BY_ID, TLS13, Suite
from proxy.tls.twin import CALL_AGAIN, NOTHING_LEFT, Permit, RecordLayer, Secrets, Vault

try:
    from proxy.tls import _record
except ImportError as error:
    NATIVE: ModuleType | None = None
    WHY = f"proxy.tls._record is not built: {error}"
else:
    NATIVE = _record
    WHY = ""

ALERT, HANDSHAKE, DATA = 21, 22, 23

C, PYTHON = "c", "python"
BOTH = (C, PYTHON)


def implementation(name: str) -> Any:
    """The module. Without the one in C the test is skipped."""
    if name == PYTHON:
        return twin
    if NATIVE is None:
        pytest.skip(WHY)
    return NATIVE


def carries(name: str, suite: Suite) -> bool:
    """Whether that implementation knows the suite."""
    return name == PYTHON or suite.cipher != "ccm"


ALL = tuple((name, suite) for name in BOTH for suite in BY_ID.values() if carries(name, suite))
"""Every suite in every implementation that carries it."""

_ONE_OF_A_KIND: dict[tuple[int, str, int], Suite] = {}
for _suite in BY_ID.values():
    _ONE_OF_A_KIND.setdefault((_suite.version, _suite.cipher, _suite.key_size + _suite.tag_size), _suite)
KINDS = tuple(_ONE_OF_A_KIND.values())
"""One suite for each version, cipher and size."""

EACH_KIND = tuple((name, suite) for name in BOTH for suite in KINDS if carries(name, suite))
NATIVE_KINDS = tuple(suite for suite in KINDS if suite.cipher != "ccm")
"""Those that both implementations carry."""


def named(value: object) -> str:
    """The id of a parameter."""
    return value.name if isinstance(value, Suite) else str(value)


@cache
def noise(size: int, seed: int = 1) -> bytes:
    """Bytes without a pattern, the same in every run."""
    return random.Random(seed).randbytes(size)


class Shaken(NamedTuple):
    """What a handshake leaves behind."""

    suite: Suite
    client_random: bytes
    server_random: bytes
    lines: tuple[tuple[str, bytes], ...]

    def secrets(self, module: Any) -> Secrets:
        """By lines that are made for this call, as they are overwritten."""
        made: Secrets = module.Secrets()
        for label, secret in self.lines:
            made.line(key_log_line(label, self.client_random, secret))
        return made


def key_log_line(label: str, client_random: bytes, secret: bytes) -> bytes:
    return f"{label} {client_random.hex()} {secret.hex()}".encode()


def shaken(suite: Suite, seed: int = 1) -> Shaken:
    """A handshake that agreed on this suite."""
    bits = random.Random(seed)
    client_random, server_random = bits.randbytes(32), bits.randbytes(32)
    if suite.version == TLS13:
        labels = ("CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0")
        lines = tuple((label, bits.randbytes(suite.hash_size)) for label in labels)
    else:
        lines = (("CLIENT_RANDOM", bits.randbytes(48)),)
    return Shaken(suite, client_random, server_random, lines)


def granted(module: Any) -> Permit:
    permit: Permit = module.Permit()
    permit.grant()
    return permit


def begin(
    name: str, suite: Suite, *, server: bool, permit: Permit | None = None, seed: int = 1, **more: Any
) -> RecordLayer:
    """One side of a connection: an owner's unless a permit is given."""
    module = implementation(name)
    hello = shaken(suite, seed)
    settings = {"tx_seq": 0, "rx_seq": 0, **more}
    layer: RecordLayer = module.RecordLayer.begin(
        hello.secrets(module),
        permit or granted(module),
        server=server,
        version=suite.version,
        suite=suite.number,
        client_random=hello.client_random,
        server_random=hello.server_random,
        **settings,
    )
    return layer


def pair(name: str, suite: Suite, other: str = "", **more: Any) -> tuple[RecordLayer, RecordLayer]:
    """Client and server of one connection; the server is of the `other` implementation."""
    return begin(name, suite, server=False, **more), begin(other or name, suite, server=True, **more)


def vaults(source: Any, destination: Any) -> tuple[Vault, Vault]:
    """The two ends of one handover attempt: the one that saves, the one that restores."""
    saving: Vault = source.Vault()
    fd = os.memfd_create("vault", os.MFD_CLOEXEC)
    try:
        saving.write(fd)
        return saving, destination.Vault.read(fd)
    finally:
        os.close(fd)


def module_of(layer: RecordLayer) -> Any:
    return implementation(PYTHON if type(layer).__module__ == twin.__name__ else C)


def moved(layer: RecordLayer, to: str = "", permit: Permit | None = None) -> RecordLayer:
    """The layer in another process, so to speak: an owner's unless a permit is given."""
    source = module_of(layer)
    destination = implementation(to) if to else source
    saving, restoring = vaults(source, destination)
    restored: RecordLayer = destination.RecordLayer.restore(
        layer.save(saving), restoring, permit or granted(destination)
    )
    return restored


class Event(NamedTuple):
    """Something that `open` brought: plaintext in one piece, or a record of another type."""

    kind: int
    content: bytes


def read(layer: RecordLayer, buffer: bytes) -> tuple[list[Event], bytes]:
    """Everything in `buffer`, and what is left: the beginning of a record."""
    events: list[Event] = []
    at = 0
    while True:
        at, plain, kind, payload = layer.open(buffer, at)
        if plain:
            events.append(Event(DATA, plain))
        if payload is not None:
            events.append(Event(kind, payload))
        elif kind == NOTHING_LEFT:
            return events, buffer[at:]
        else:
            assert kind == CALL_AGAIN


def joined(events: list[Event]) -> list[Event]:
    """Neighbouring plaintexts in one: how they were cut depends on how bytes arrived."""
    result: list[Event] = []
    for event in events:
        if result and result[-1].kind == event.kind == DATA:
            result[-1] = Event(DATA, result[-1].content + event.content)
        else:
            result.append(event)
    return result


def records(stream: bytes) -> Iterator[bytes]:
    """Cut where records end."""
    at = 0
    while at < len(stream):
        size = 5 + int.from_bytes(stream[at + 3 : at + 5], "big")
        yield stream[at : at + size]
        at += size


def plaintext(layer: RecordLayer, stream: bytes) -> bytes:
    """Of a stream that carries nothing else."""
    events, rest = read(layer, stream)
    assert rest == b""
    assert all(event.kind == DATA for event in events)
    return b"".join(event.content for event in events)
