"""A record layer as a value: the state that moves to another process. C writes and reads the same (native/state.c).

Big-endian. The header is in clear; `proxy.tls.twin_vault.Vault` wraps the secrets, and binds them to the header.

     0       1       2           4         6         8
    +-------+-------+-----------+---------+---------+
    | format| flags | version   | suite   | limit   |
    +-------+-------+-----------+---------+---------+   8
    | tx_seq                                        |
    +-----------------------------------------------+  16
    | rx_seq                                        |
    +-----------------------------------------------+  24
    | tx_explicit                                   |
    +-------+-------+-------------------------------+  32
    | broken| empty | count of the vault            |
    +-------+-------+                 +-------------+  40
    |               |                 |             |
    +---------------+-----------------+             |  42
    | tx secret, rx secret: encrypted               |
    +-----------------------------------------------+
    | tag 16                                        |
    +-----------------------------------------------+

    format   1
    flags    1 we are the server, 2 the alert of a broken layer was sealed
    limit    bytes of plaintext in a record that we seal, 1 to 16384
    broken   the alert that ended the connection, 0 while all is well
    empty    records of application data without any, in a row
    secret   TLS 1.3: the traffic secret (32 or 48 bytes); TLS 1.2: key (16 or 32) and iv (4 or 12)

So a state has 122 bytes with TLS_AES_128_GCM_SHA256, and 154 at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy.tls.form import COUNT, FORMAT, HEADER, LARGEST_PLAIN, OVERHEAD, suite_of
from proxy.tls.suites import TLS13, Suite, find

if TYPE_CHECKING:
    from proxy.tls.twin_vault import Vault

_SERVER, _ALERTED = 1, 2


class State(NamedTuple):
    """What a state says. The numbers are as in the diagram."""

    suite: Suite
    server: bool
    alerted: bool
    limit: int
    tx_seq: int
    rx_seq: int
    tx_explicit: int
    broken: int
    empty: int
    tx_secret: bytes
    rx_secret: bytes
    saved_at: int = 0
    """The vault's count: a later state has a higher one."""

    def __repr__(self) -> str:
        return f"<State of a record layer, {self.suite.name}>"


def secret_size(suite: Suite) -> int:
    """Bytes of the secret of one direction."""
    return suite.hash_size if suite.version == TLS13 else suite.key_size + suite.iv_size


def wrap(state: State, vault: Vault) -> bytes:
    """Write it down."""
    header = HEADER.pack(
        FORMAT,
        state.server * _SERVER | state.alerted * _ALERTED,
        state.suite.version,
        state.suite.number,
        state.limit,
        state.tx_seq,
        state.rx_seq,
        state.tx_explicit,
        state.broken,
        state.empty,
    )
    return header + vault.wrap(header, state.tx_secret + state.rx_secret)


def unwrap(state: bytes, vault: Vault) -> State:
    """Read it. Raises `ValueError` if it is malformed, was changed, or belongs to another vault."""
    suite_of(state)  # that it is not cut off
    header, wrapped = bytes(state[: HEADER.size]), bytes(state[HEADER.size :])
    kind, flags, version, number, limit, tx_seq, rx_seq, tx_explicit, broken, empty = HEADER.unpack(header)
    if kind != FORMAT or flags & ~(_SERVER | _ALERTED):
        raise ValueError(f"the state has format {kind}, known is {FORMAT}")
    suite = find(version, number)
    if not 1 <= limit <= LARGEST_PLAIN:
        raise ValueError("the state limits records to nonsense")
    size = secret_size(suite)
    if len(wrapped) != OVERHEAD + 2 * size:
        raise ValueError("the state has a wrong size")
    secrets = vault.unwrap(header, wrapped)
    return State(
        suite=suite,
        server=bool(flags & _SERVER),
        alerted=bool(flags & _ALERTED),
        limit=limit,
        tx_seq=tx_seq,
        rx_seq=rx_seq,
        tx_explicit=tx_explicit,
        broken=broken,
        empty=empty,
        tx_secret=secrets[:size],
        rx_secret=secrets[size:],
        saved_at=int.from_bytes(wrapped[:COUNT], "big"),
    )
