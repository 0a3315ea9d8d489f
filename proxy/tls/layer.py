"""Which record layer is on: the one in C where it can be loaded, else its twin in Python. Both behave the same.

    proxy.tls._record   C: AES-GCM, ChaCha20-Poly1305; secrets stay out of Python objects, and are cleansed
    proxy.tls.twin      Python: these, and AES-CCM; leaves copies of secrets behind

`Permit`, `Vault` and `Secrets` are those of one of them; a layer with AES-CCM is the twin's even beside those of the
other. ``HOTSWAP_TLS_RECORD=python`` in the environment turns C off: for tests, and if it should ever be at fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.native import load
from proxy.ondemand import twin
from proxy.tls import form

VARIABLE: Final = "HOTSWAP_TLS_RECORD"

_native, WHY_PYTHON = load("proxy.tls._record", form.FORMAT, VARIABLE)
"""The second: why the C module is not on, empty if it is."""

if TYPE_CHECKING or _native is None:
    from proxy.tls.twin import Permit, RecordLayer, Secrets, Vault
else:
    Permit, Vault, Secrets, RecordLayer = _native.Permit, _native.Vault, _native.Secrets, _native.RecordLayer

IMPLEMENTATION: Final = "python" if _native is None else "c"
OPENSSL: Final[str] = "" if _native is None else _native.openssl_version()
"""Version of the OpenSSL that the C module uses."""
_NATIVE_SUITES: Final[frozenset[int]] = frozenset(() if _native is None else _native.SUITES)

__all__ = ["IMPLEMENTATION", "OPENSSL", "WHY_PYTHON", "Permit", "RecordLayer", "Secrets", "Vault", "begin", "restore"]


def begin(
    secrets: Secrets,
    permit: Permit,
    *,
    server: bool,
    version: int,
    suite: int,
    client_random: bytes,
    server_random: bytes,
    tx_seq: int,
    rx_seq: int,
    tx_explicit: int = 0,
    limit: int = form.LARGEST_PLAIN,
    rekey_at: int = form.REKEY_AT,
) -> RecordLayer:
    """The record layer that goes on where a handshake ended. See `proxy.tls.twin.RecordLayer.begin`."""
    chosen = RecordLayer if suite in _NATIVE_SUITES else twin().RecordLayer
    return chosen.begin(
        secrets,
        permit,
        server=server,
        version=version,
        suite=suite,
        client_random=client_random,
        server_random=server_random,
        tx_seq=tx_seq,
        rx_seq=rx_seq,
        tx_explicit=tx_explicit,
        limit=limit,
        rekey_at=rekey_at,
    )


def restore(state: bytes, vault: Vault, permit: Permit) -> RecordLayer:
    """The record layer of a saved state. See `proxy.tls.twin.RecordLayer.restore`."""
    chosen = RecordLayer if form.suite_of(state) in _NATIVE_SUITES else twin().RecordLayer
    return chosen.restore(state, vault, permit)
