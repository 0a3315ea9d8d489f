"""A handshake under way: OpenSSL's, over memory BIOs. It is no value; what comes of it is a `Session`.

    wire --> inbox --one whole record at a time--> OpenSSL --> sealed --> wire
                                                      | done
                                                      v
             secrets from the key log, sequence numbers from counting records --> Session

OpenSSL is fed one record at a time, and asked after each, so it never holds a byte that belongs to what comes after
the handshake, and the records written under the new keys can be counted:

    TLS 1.3   client: none in either direction
              server: those of the step that took the client's Finished, its tickets; none from the client
    TLS 1.2   one in each direction, the Finished. AES-GCM and AES-CCM have an explicit nonce that OpenSSL starts at a
              random number (RFC 5288 section 3): ours go on from that of its Finished

Before the switch our keys are proven: they open the tickets (1.3, server) or both Finished (1.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy.tls import layer
from proxy.tls.errors import (
    ACCESS_DENIED,
    HANDSHAKE_FAILURE,
    INTERNAL_ERROR,
    RECORD_OVERFLOW,
    UNEXPECTED_MESSAGE,
    TlsError,
)
from proxy.tls.guard import Guard
from proxy.tls.hello import HEADER, LARGEST_PLAIN, NotHello, read_hello, records
from proxy.tls.layer import Secrets
from proxy.tls.session import Session
from proxy.tls.state import HANDSHAKE as UNFINISHED
from proxy.tls.state import About, TlsState
from proxy.tls.suites import BY_NAME, TLS12, TLS13, explicit_nonce

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.calls import Calls
    from proxy.connection import Connection
    from proxy.tls.contexts import Handshaking
    from proxy.tls.layer import Permit, Vault

    Identity = Callable[[Handshaking], tuple[str, ...]]
    Refusal = Callable[[Handshaking], str]

CHANGE_CIPHER, HANDSHAKE, APPLICATION = 20, 22, 23
"""Types of records."""
MOST_BYTES: Final = 1 << 18
"""Bytes of the peer's part of a handshake: certificate chains are long, but not without bound."""
MOST_RECORDS: Final = 256
"""Records of the peer's part: each is a step of OpenSSL, some 20 us, however small it is."""
_VERSIONS: Final = {"TLSv1.2": TLS12, "TLSv1.3": TLS13}


class Track:
    """The records of one direction as far as they matter: those behind the ChangeCipherSpec of TLS 1.2."""

    __slots__ = ("_changed", "finished")

    def __init__(self) -> None:
        self._changed = False
        self.finished: list[bytes] = []

    def add(self, record: bytes) -> None:
        """The next one."""
        if record[0] == CHANGE_CIPHER:
            self._changed = True
        elif self._changed and record[0] == HANDSHAKE:
            self.finished.append(record)


class Handshake(Guard):
    """One handshake. `Connection.tls` holds it meanwhile."""

    __slots__ = (
        "_identity",
        "_refusal",
        "_secrets",
        "_ssl",
        "_steps",
        "_taken",
        "come",
        "first",
        "flight",
        "gone",
        "inbox",
        "preface",
        "server",
    )

    def __init__(self, ssl: Handshaking, *, server: bool, refusal: Refusal, identity: Identity) -> None:
        super().__init__()
        self._ssl = ssl
        self._refusal = refusal
        self._identity = identity
        self._secrets = Secrets()
        ssl.set_app_data(self._secrets)
        self.server = server
        self.inbox = b""
        self.first = b""
        """What a client began with: its ClientHello, and perhaps more."""
        self.come, self.gone = Track(), Track()
        self.flight: list[bytes] = []
        """What OpenSSL wrote in its last step."""
        self.preface = b""
        self._taken = self._steps = 0

    def begin(self, preface: bytes = b"") -> None:
        """For a client: say hello, behind the `preface`."""
        self.preface = self.sealed = preface
        self._step()

    def arrived(self, connection: Connection, data: bytes) -> None:
        """Bytes of the wire came. At the end the plane is told."""
        try:
            done = self.receive(data)
        except TlsError as error:
            connection.plane.tls.failed(connection, error)
            return
        if self.sealed:
            connection.plane.unflushed.append(connection)
        if done:
            connection.plane.tls.done(connection, self)

    def receive(self, data: bytes) -> bool:
        """Go on. True once it is done; what follows is in `inbox` then. Raises `TlsError`."""
        self._taken += len(data)
        if self._taken > MOST_BYTES:
            raise TlsError(HANDSHAKE_FAILURE, "the handshake is too long")
        buffer = self.inbox + data if self.inbox else data
        at = 0
        done = False
        while not done and len(buffer) - at >= HEADER:
            size = HEADER + (buffer[at + 3] << 8 | buffer[at + 4])
            if not CHANGE_CIPHER <= buffer[at] <= APPLICATION or buffer[at + 1] != 3:
                raise TlsError(UNEXPECTED_MESSAGE, "what came is not TLS")
            if size > HEADER + LARGEST_PLAIN + 2048:
                raise TlsError(RECORD_OVERFLOW, "a record that is too long")
            if len(buffer) - at < size:
                break
            self._steps += 1
            if self._steps > MOST_RECORDS:
                raise TlsError(HANDSHAKE_FAILURE, "the handshake is cut into too many records")
            record = buffer[at : at + size]
            at += size
            self.come.add(record)
            self._ssl.bio_write(record)
            if self.server and len(self.first) < LARGEST_PLAIN:
                self.first += record
            done = self._step()
        self.inbox = buffer[at:]
        return done

    def _step(self) -> bool:
        try:
            return self._ssl.advance()
        finally:  # an alert may be in it
            output = self._ssl.written()
            self.flight = records(output)
            for record in self.flight:
                self.gone.add(record)
            self.sealed += output

    def write(self, calls: Calls, fd: int, outbox: bytes | bytearray) -> int:
        """Write what OpenSSL wrote; nothing of the outbox before the handshake is done."""
        if self.sealed:
            self.sealed = self.sealed[calls.write(fd, self.sealed) :]
        return 0

    # ---- the end ----

    def finish(self, permit: Permit) -> Session:
        """Cut over. Raises `TlsError` if our keys do not fit OpenSSL's records.

        A peer that is not admitted gets a session that is broken already: it learns so under the new keys.
        """
        ssl = self._ssl
        version = _VERSIONS.get(ssl.get_protocol_version_name(), 0)
        suite = BY_NAME.get(ssl.get_cipher_name() or "", 0)
        if not version or not suite:
            raise TlsError(INTERNAL_ERROR, f"{ssl.get_cipher_name()} was agreed on, which cannot move")
        ours, theirs, explicit = 0, 0, 0
        if version == TLS12:
            ours, theirs = len(self.gone.finished), len(self.come.finished)
            if explicit_nonce(suite):
                explicit = (int.from_bytes(self.gone.finished[-1][5:13], "big") + 1) % (1 << 64)
        elif self.server:
            ours = sum(record[0] == APPLICATION for record in self.flight)
        try:
            made = layer.begin(
                self._secrets,
                permit,
                server=self.server,
                version=version,
                suite=suite,
                client_random=ssl.client_random() or b"",
                server_random=ssl.server_random() or b"",
                tx_seq=ours,
                rx_seq=theirs,
                tx_explicit=explicit,
                limit=self._limit(),
            )
        except ValueError as error:
            raise TlsError(INTERNAL_ERROR, f"no keys of our own: {error}") from None
        self._prove(made, version)
        session = Session(made, self._about(ssl))
        session.inbox, session.sealed = self.inbox, self.sealed
        session.waiting = bool(self.inbox)
        refusal = self._refusal(ssl)
        if refusal:
            session.break_off(TlsError(ACCESS_DENIED, refusal))
        self.end()
        return session

    def _limit(self) -> int:
        """Bytes of plaintext in a record that the peer takes."""
        if not self.server:
            return LARGEST_PLAIN  # OpenSSL asks for no other
        try:
            hello = read_hello(self.first)
        except NotHello:
            hello = None
        return LARGEST_PLAIN if hello is None else hello.limit

    def _prove(self, made: layer.RecordLayer, version: int) -> None:
        """The records that OpenSSL sealed under the new keys open under ours."""
        if version == TLS12:
            pairs = [(record, True, number) for number, record in enumerate(self.gone.finished)]
            pairs += [(record, False, number) for number, record in enumerate(self.come.finished)]
        elif self.server:
            tickets = [record for record in self.flight if record[0] == APPLICATION]
            pairs = [(record, True, number) for number, record in enumerate(tickets)]
        else:
            pairs = []
        for record, ours, number in pairs:
            if made.proves(record, ours=ours, seq=number) is None:
                made.end()
                raise TlsError(INTERNAL_ERROR, "our keys do not open what OpenSSL sealed")

    def _about(self, ssl: Handshaking) -> About:
        name = (ssl.get_servername() or b"").decode("ascii", "replace") if self.server else ""
        return remembered(About(name, ssl.get_alpn_proto_negotiated().decode("ascii", "replace"), self._identity(ssl)))

    def pass_on(self, other: Connection) -> None:
        """Nothing came yet that could have been passed on."""

    def end(self) -> None:
        """Give the handshake up, or let go of what is not needed any more."""
        self._secrets.end()
        self._ssl.set_app_data(None)

    def save(self, _vault: Vault) -> TlsState:
        """Of an endpoint's side: enough to begin anew. A client's is never asked, it is a straggler."""
        return TlsState(UNFINISHED, preface=self.preface)

    def describe(self) -> dict[str, Any]:
        """For people."""
        return {"handshake": "under way"}


class Anew(Guard):
    """A handshake with an endpoint that was under way in the generation before: the dial is made once more."""

    __slots__ = ("preface",)

    def __init__(self, preface: bytes) -> None:
        super().__init__()
        self.dialling = True
        self.preface = preface

    def arrived(self, connection: Connection, data: bytes) -> None:
        """Never: it is not read."""

    def write(self, calls: Calls, fd: int, outbox: bytes | bytearray) -> int:
        """Nothing goes this way any more."""
        return 0

    def pass_on(self, other: Connection) -> None:
        """Nothing came yet."""

    def end(self) -> None:
        """No keys."""

    def save(self, _vault: Vault) -> TlsState:
        """As it came."""
        return TlsState(UNFINISHED, preface=self.preface)

    def describe(self) -> dict[str, Any]:
        """For people."""
        return {"handshake": "to be made anew"}


_known: dict[About, About] = {}


def remembered(about: About) -> About:
    """One object for all that are equal: most connections found out the same."""
    if len(_known) > 1000:
        _known.clear()
    return _known.setdefault(about, about)
