"""The record layer in Python, the twin of `proxy.tls._record` in C: what both offer, and how they behave.

    handshake --secrets--> RecordLayer.begin --.                .--> seal: plaintext to records
                                               |--> a layer ----+--> open: records to plaintext
    another process --state--> .restore -------'                `--> save: the state, at any time

`twin_record` has the records, `twin_state` the state, `twin_vault` what both stand on: who may use keys, and how they
travel. Beside C the twin carries the suites with AES-CCM, and it is what tests hold C against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.tls import keys, twin_state
from proxy.tls.errors import RECORD_OVERFLOW, UNEXPECTED_MESSAGE, NotOwner, TlsError
from proxy.tls.form import FORMAT, LARGEST_PLAIN, REKEY_AT, suite_of
from proxy.tls.suites import TLS13, find
from proxy.tls.twin_record import ALERT, APPLICATION, HANDSHAKE, HEADER, Direction, Opened
from proxy.tls.twin_state import State
from proxy.tls.twin_vault import Permit, Secrets, Unshared, Vault

if TYPE_CHECKING:
    from proxy.tls.suites import Suite

__all__ = ["FORMAT", "LARGEST_PLAIN", "REKEY_AT", "Permit", "RecordLayer", "Secrets", "Vault", "suite_of"]

NOTHING_LEFT, CALL_AGAIN = 0, -1
"""What `open` returns instead of a type."""

MOST_EMPTY: Final = 32
"""Records in a row that carry nothing: they cost us time, and the peer next to none."""
MOST_RECORDS: Final = 64
"""Records that one call opens: native/traffic.c says why."""

_LARGEST: Final = (1 << 64) - 1
_NEWER_THAN_ANY: Final = _LARGEST
"""An owner's layer instead of the count of a state: it may have used nonces that no state knows of."""
_KEY_UPDATE: Final = bytes((24, 0, 0, 1, 0))  # update_not_requested, RFC 8446 section 4.6.3


class RecordLayer(Unshared):
    """The keys and the sequence numbers of one connection.

    It seals and opens only while its permit is granted: all else raises `NotOwner`, also in a child after a fork, and
    everything does so after `end`.
    """

    __slots__ = (
        "_alerted",
        "_broken",
        "_empty",
        "_ended",
        "_permit",
        "_rekey_at",
        "_rx",
        "_saved_at",
        "_suite",
        "_tx",
        "limit",
        "server",
        "tx_explicit",
    )

    def __init__(self, permit: Permit, suite: Suite, *, server: bool) -> None:
        """By `begin` and `restore`: the keys come afterwards."""
        super().__init__()
        self._permit = permit
        self._suite = suite
        self.server = server
        self._tx = self._rx = Direction(suite, b"", 0)
        self.tx_explicit = 0
        """The explicit nonce of the next record that we seal."""
        self.limit = LARGEST_PLAIN
        self._rekey_at = REKEY_AT
        self._saved_at = 0
        """The vault's count in the state that this came from, or `_NEWER_THAN_ANY`."""
        self._broken = 0
        self._empty = 0
        self._alerted = False
        self._ended = False

    @property
    def version(self) -> int:
        """0x0303 or 0x0304."""
        return self._suite.version

    @property
    def suite(self) -> int:
        """The number of the cipher suite."""
        return self._suite.number

    @property
    def tx_seq(self) -> int:
        """The sequence number of the next record that we seal."""
        return self._tx.seq

    @property
    def rx_seq(self) -> int:
        """The sequence number of the next record of the peer."""
        return self._rx.seq

    def __repr__(self) -> str:
        version = "1.3" if self.version == TLS13 else "1.2"
        return f"<RecordLayer TLS {version} {self._suite.name} {'server' if self.server else 'client'}>"

    # ---- from a handshake ----

    @staticmethod
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
        limit: int = LARGEST_PLAIN,
        rekey_at: int = REKEY_AT,
    ) -> RecordLayer:
        """Go on where a handshake ended. `secrets` are read, and not ended.

        `tx_seq` and `rx_seq`: records sealed under the new keys already, by us and by the peer. `tx_explicit`: the
        next explicit nonce. `limit`: bytes of plaintext that the peer takes in a record. `rekey_at`: the sequence
        number at which a KeyUpdate is sent. Raises `ValueError` if the suite is unknown or a secret is missing.
        """
        chosen = find(version, suite)
        if not 1 <= limit <= LARGEST_PLAIN or rekey_at < 1:
            raise ValueError("limit has to be 1 to 16384, rekey_at at least 1")
        if not all(0 <= number <= _LARGEST for number in (tx_seq, rx_seq, tx_explicit, rekey_at)):
            raise ValueError("a sequence number has 64 bits")
        if len(client_random) != 32 or len(server_random) != 32 or secrets.client_random != client_random:
            raise ValueError("the secrets are missing, or of another handshake")
        if version == TLS13:
            client, theirs = (secrets.take(f"{side}_TRAFFIC_SECRET_0") for side in ("CLIENT", "SERVER"))
            if not len(client) == len(theirs) == chosen.hash_size:
                raise ValueError("the traffic secrets of the handshake are of another suite")
        else:
            pairs = keys.key_block(chosen, secrets.take("CLIENT_RANDOM"), client_random, server_random)
            client, theirs = (key + iv for key, iv in pairs)
        ours, peers = (theirs, client) if server else (client, theirs)
        layer = RecordLayer(permit, chosen, server=server)
        layer._tx, layer._rx = Direction(chosen, ours, tx_seq), Direction(chosen, peers, rx_seq)
        layer.tx_explicit = tx_explicit
        layer.limit = limit
        layer._rekey_at = rekey_at
        layer._saved_at = _NEWER_THAN_ANY
        return layer

    # ---- ownership ----

    def _alive(self) -> None:
        if self._ended:
            raise NotOwner("this record layer has ended: its keys are gone")
        self.check_epoch()

    def _owns(self) -> None:
        self._alive()
        if not self._permit.granted:
            raise NotOwner("this generation does not own the connection: nothing is sealed or opened")
        self._saved_at = _NEWER_THAN_ANY

    def assign(self, permit: Permit) -> None:
        """Another permit decides from now on."""
        self._alive()
        self._permit = permit

    def end(self) -> None:
        """For good: the connection is over, or lives elsewhere."""
        self._ended = True
        self._tx = Direction(self._suite, b"", self._tx.seq)
        self._rx = Direction(self._suite, b"", self._rx.seq)

    # ---- seal ----

    def seal(self, kind: int, data: bytes | bytearray | memoryview) -> bytes:
        """As many records of type `kind` as `data` takes, at least one.

        TLS 1.3: a KeyUpdate comes between when there were enough records under one key. Raises `NotOwner`; `TlsError`
        if the connection is broken, where a single alert can still be sealed; `ValueError` for another type.
        """
        if not ALERT <= kind <= APPLICATION:
            raise ValueError("the type of a record is 21, 22 or 23")
        plain = bytes(memoryview(data))  # of a number bytes() would make zeros
        self._owns()
        if self._broken:
            if kind != ALERT or self._alerted:
                raise TlsError(self._broken, "the connection is broken: nothing but an alert can be sent")
            self._alerted = True
        rekeys = kind == APPLICATION and self._suite.version == TLS13
        records = []
        try:
            for at in range(0, len(plain) or 1, self.limit):
                if rekeys and self._tx.seq >= self._rekey_at:
                    records.append(self._seal(HANDSHAKE, _KEY_UPDATE))
                    self._tx = self._tx.following()
                records.append(self._seal(kind, plain[at : at + self.limit]))
        except TlsError as error:
            self._broken = error.alert
            raise
        return records[0] if len(records) == 1 else b"".join(records)

    def _seal(self, kind: int, plain: bytes) -> bytes:
        tx, explicit = self._tx, 0
        seq = tx.spend()
        if self._suite.explicit_size:
            explicit = self.tx_explicit
            self.tx_explicit = (explicit + 1) % (1 << 64)  # before use, and without a call between, as `spend`
        return tx.seal(kind, plain, seq, explicit)

    # ---- open ----

    def open(self, buffer: bytes | bytearray, at: int) -> tuple[int, bytes, int, bytes | None]:
        """Open the records in `buffer` from `at` on. Returns (position behind them, plaintext, type, payload).

        Records of application data become one plaintext; the first of another type ends it, and is returned with its
        type and payload. Type 0: no complete record is left. Type -1: call again; it stopped behind 64 records, or in
        front of a bad one, for which the next call raises: so what was opened is not lost. Raises `TlsError` with the
        alert, and the connection is broken then; `NotOwner`; `ValueError` for a position outside of the buffer.
        """
        if not isinstance(buffer, (bytes, bytearray)):
            raise TypeError("open takes bytes or a bytearray, and a position")
        self._owns()
        if self._broken:
            raise TlsError(self._broken, "the connection is broken: nothing more is opened")
        if not 0 <= at <= len(buffer):
            raise ValueError("the position is outside of the buffer")
        with memoryview(buffer) as view:
            return self._open(view, at)

    def _open(self, view: memoryview, at: int) -> tuple[int, bytes, int, bytes | None]:
        start = at
        pieces: list[bytes] = []
        kind, payload = NOTHING_LEFT, None
        try:
            for _ in range(MOST_RECORDS):
                size = self._complete(view, at)
                if not size:
                    break
                opened = self._rx.open(self._rx.seq, bytes(view[at : at + size]))
                self._check_empty(opened)
                self._rx.seq += 1
                at += size
                if opened.kind != APPLICATION:
                    kind, payload = opened
                    break
                pieces.append(opened.plain)
            else:
                kind = CALL_AGAIN if at < len(view) else NOTHING_LEFT
        except TlsError as error:
            if at == start:
                self._broken = error.alert
                raise
            kind = CALL_AGAIN
        return at, pieces[0] if len(pieces) == 1 else b"".join(pieces), kind, payload

    def _complete(self, buffer: memoryview, at: int) -> int:
        """Bytes of the record at `at`, 0 if it is not complete. A record that is too long is not waited for."""
        if len(buffer) - at < HEADER:
            return 0
        kind, length = buffer[at], buffer[at + 3] << 8 | buffer[at + 4]
        if kind != APPLICATION and (self._suite.version == TLS13 or not ALERT <= kind < APPLICATION):
            raise TlsError(UNEXPECTED_MESSAGE, "a record has an unexpected type")
        if length > LARGEST_PLAIN + self._suite.expansion:
            raise TlsError(RECORD_OVERFLOW, "a record is too long")
        return HEADER + length if len(buffer) - at >= HEADER + length else 0

    def _check_empty(self, opened: Opened) -> None:
        if opened.kind != APPLICATION or opened.plain:
            self._empty = 0
        elif self._empty >= MOST_EMPTY:
            raise TlsError(UNEXPECTED_MESSAGE, "too many empty records in a row")
        else:
            self._empty += 1

    # ---- KeyUpdate ----

    def update_tx(self) -> None:
        """Our next key, behind a KeyUpdate that was sealed (RFC 8446 section 4.6.3). `ValueError` with TLS 1.2."""
        self._updates()
        self._tx = self._tx.following()

    def update_rx(self) -> None:
        """The peer's next key, behind its KeyUpdate. `ValueError` with TLS 1.2."""
        self._updates()
        self._rx = self._rx.following()

    def _updates(self) -> None:
        self._owns()
        if self._suite.version != TLS13:
            raise ValueError("only TLS 1.3 has KeyUpdates")

    def proves(self, record: bytes, *, ours: bool, seq: int) -> bytes | None:
        """The plaintext of a record that OpenSSL sealed (`ours`) or opened under our keys; None if they differ.

        Changes nothing, and needs no permit.
        """
        self._alive()
        if len(record) < HEADER or len(record) != HEADER + int.from_bytes(record[3:HEADER], "big"):
            return None
        try:
            return (self._tx if ours else self._rx).open(seq, bytes(record)).plain
        except TlsError:
            return None

    # ---- the value ----

    def save(self, vault: Vault) -> bytes:
        """The state, for another process. Changes nothing, and needs no permit."""
        self._alive()
        state = State(
            suite=self._suite,
            server=self.server,
            alerted=self._alerted,
            limit=self.limit,
            tx_seq=self._tx.seq,
            rx_seq=self._rx.seq,
            tx_explicit=self.tx_explicit,
            broken=self._broken,
            empty=self._empty,
            tx_secret=self._tx.secret,
            rx_secret=self._rx.secret,
        )
        return twin_state.wrap(state, vault)

    @staticmethod
    def restore(state: bytes, vault: Vault, permit: Permit) -> RecordLayer:
        """The layer of a state: inert until the permit is granted. `ValueError` if malformed, or the wrong vault."""
        saved = twin_state.unwrap(state, vault)
        layer = RecordLayer(permit, saved.suite, server=saved.server)
        layer._load(saved)
        return layer

    def reload(self, state: bytes, vault: Vault) -> None:
        """Go on from a later state of the same connection. Raises `ValueError` as `restore` does.

        Also where it would lead back: for an older state, and in a layer of who owns or once did, for it may have used
        nonces that the state does not know.
        """
        self._alive()
        if self._permit.granted or self._saved_at == _NEWER_THAN_ANY:
            raise ValueError("an owner's layer is newer than any state")
        saved = twin_state.unwrap(state, vault)
        if saved.suite != self._suite or saved.server != self.server:
            raise ValueError("the state is one of another connection")
        if saved.saved_at < self._saved_at:
            raise ValueError("the state is older than what is there")
        self._load(saved)

    def _load(self, saved: State) -> None:
        self._tx = Direction(saved.suite, saved.tx_secret, saved.tx_seq)
        self._rx = Direction(saved.suite, saved.rx_secret, saved.rx_seq)
        self.tx_explicit, self.limit = saved.tx_explicit, saved.limit
        self._broken, self._empty, self._alerted = saved.broken, saved.empty, saved.alerted
        self._saved_at = saved.saved_at
