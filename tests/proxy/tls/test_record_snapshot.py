"""The golden bytes of states of record layers: read by both implementations, and still what is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.tls import twin
from proxy.tls.suites import BY_NAME, Suite
from tests.proxy.tls.records import DATA, EACH_KIND, KINDS, PYTHON, begin, granted, implementation, named

FILE = Path(__file__).parents[2] / "snapshots" / "tls-records-1.txt"
GOLDEN = {name: bytes.fromhex(content) for name, content in map(str.split, FILE.read_text().splitlines())}
LIMIT, TX_SEQ, RX_SEQ, EXPLICIT = 1024, 70_000, 3, 2**63 + 5


def layer(name: str, suite: Suite) -> twin.RecordLayer:
    """What each of them is a state of."""
    return begin(name, suite, server=True, limit=LIMIT, tx_seq=TX_SEQ, rx_seq=RX_SEQ, tx_explicit=EXPLICIT)


def written(suite: Suite) -> bytes:
    """By the twin, whose vault can be given a key."""
    vault = twin.Vault()
    vault._cipher = AESGCM(GOLDEN["vault"])
    return layer(PYTHON, suite).save(vault)


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_states_of_every_release_are_read(name: str, suite: Suite) -> None:
    module = implementation(name)
    fd = os.memfd_create("vault", os.MFD_CLOEXEC)
    try:
        os.write(fd, GOLDEN["vault"])
        restored = module.RecordLayer.restore(GOLDEN[suite.name], module.Vault.read(fd), granted(module))
    finally:
        os.close(fd)
    assert (restored.suite, restored.version) == (BY_NAME[suite.name], suite.version)
    assert (restored.limit, restored.tx_seq, restored.rx_seq) == (LIMIT, TX_SEQ, RX_SEQ)
    assert restored.seal(DATA, b"x" * 2000) == layer(name, suite).seal(DATA, b"x" * 2000)


@pytest.mark.parametrize("suite", KINDS, ids=named)
def test_states_are_written_as_they_always_were(suite: Suite) -> None:
    assert written(suite) == GOLDEN[suite.name]


def test_nothing_else_is_in_the_file() -> None:
    assert set(GOLDEN) == {"vault", *(suite.name for suite in KINDS)}
