"""An encrypted connection after its handshake: records in, plaintext out, and back.

    wire --> inbox --open--> plaintext --> received()          outbox --seal--> sealed --> wire
                       |--> KeyUpdate: the peer's next key; ours too, if it asks      ^
                       |--> alert: close_notify ends this direction, others all ------'
                       `--> TLS 1.2: renegotiation is refused; TLS 1.3: tickets of a server are dropped

`Connection.tls` holds it; the connection's own outbox stays plaintext until the socket has room, so that layers see
the same watermarks, and the same bytes that never left, as without TLS. What it is made of is a value: `save` writes it
down at any byte, without side effects. It seals and opens only while its generation owns (`proxy.tls.layer.Permit`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hotswap.errors import CannotRestore
from proxy.tls import layer
from proxy.tls.errors import CLOSE_NOTIFY, DECODE_ERROR, NO_RENEGOTIATION, UNEXPECTED_MESSAGE, USER_CANCELED, TlsError
from proxy.tls.guard import Guard
from proxy.tls.state import ANSWERED, CLOSED_IN, CLOSED_OUT, CUT, UNHEARD, WAITING, About, TlsState
from proxy.tls.suites import TLS13, named

if TYPE_CHECKING:
    from proxy.calls import Calls
    from proxy.connection import Connection
    from proxy.tls.layer import Permit, RecordLayer, Vault

ALERT, HANDSHAKE, APPLICATION = 21, 22, 23
"""Types of records, RFC 8446 section 5.1."""
HELLO_REQUEST, CLIENT_HELLO, NEW_TICKET, KEY_UPDATE = 0, 1, 4, 24
"""Types of handshake messages, RFC 8446 section 4 and RFC 5246 section 7.4."""

PORTION: Final = 65536
"""Bytes of plaintext that are sealed at a time: what a socket may not take must wait as ciphertext."""
MOST_UPDATES: Final = 64
"""KeyUpdates without a byte of data in between, and refused renegotiations, that a peer may send."""
LONGEST: Final = {HELLO_REQUEST: 0, CLIENT_HELLO: 1 << 14, NEW_TICKET: 1 << 17, KEY_UPDATE: 1}
"""Bytes of the handshake messages that may come: a part of one is kept until the rest is there."""

REFUSALS: Final = frozenset((40, 42, 43, 44, 45, 46, 48, 49, 51, 116))
"""Alerts by which a server says no to a client or its certificate, handshake_failure to certificate_required (RFC 8446
section 6.2). Others may come after it has worked."""
_WARNING, _FATAL = 1, 2
_UNKNOWN = About()


class Session(Guard):
    """The state of an encrypted connection. `layer` has the keys."""

    __slots__ = (
        "about",
        "answered",
        "closed_out",
        "cut",
        "error",
        "inbox",
        "layer",
        "partial",
        "rejected",
        "updates",
    )

    def __init__(self, records: RecordLayer, about: About = _UNKNOWN) -> None:
        super().__init__()
        self.layer = records
        self.about = about
        self.inbox = b""
        self.partial = b""
        self.updates = 0
        self.answered = False
        """Our key came of a KeyUpdate that the peer asked for: at least as long as nothing was sealed under it."""
        self.closed_out = False
        """Ours is sealed, or our FIN went out without: nothing is sealed any more."""
        self.cut = False
        """There will be none of ours: what goes this way was cut off where it came from."""
        self.unheard = not records.server and records.version == TLS13
        """Of a client of TLS 1.3: the peer has sent nothing that follows our Finished, neither data nor a ticket. Until
        then it may refuse us, RFC 8446 section 4.4.2.4."""
        self.rejected = False
        """It did: it has looked at nothing."""
        self.error: TlsError | None = None
        """Why it cannot go on."""

    # ---- opening ----

    def arrived(self, connection: Connection, data: bytes) -> None:
        """Bytes of the wire came. Calls `received` and `ended`; a broken one is closed, and `failed` is called."""
        unheard = self.unheard
        plain = self.receive(data)
        if unheard and (plain or not self.unheard):
            self.unheard = False
            connection.plane.tls.heard(connection)
        if plain:
            connection.tally(connection.count_in, len(plain))
            connection.received(plain)
        if self.sealed:
            connection.plane.unflushed.append(connection)
        if self.error is not None or self.closed_in:
            self._conclude(connection)

    def _conclude(self, connection: Connection) -> None:
        if connection.fd < 0:
            return
        if self.error is not None:
            connection.plane.tls.failed(connection, self.error)
        elif connection.paused:
            self.waiting = True
        elif not connection.eof:
            connection.plane.at_end(connection)

    def receive(self, data: bytes) -> bytes:
        """Open what is complete. Returns the plaintext; `closed_in` and `error` tell of an end behind it."""
        buffer = self.inbox + data if self.inbox else data
        if self.error is not None or self.closed_in:
            return b""
        opened = self.layer.open
        at = 0
        plain = b""
        try:
            while True:
                at, piece, kind, payload = opened(buffer, at)
                if payload is None and at == len(buffer) and not plain and not self.partial:  # nearly always
                    self.inbox = b""
                    if piece:
                        self.updates = 0
                    return piece
                if piece:
                    self.updates = 0
                    plain = plain + piece if plain else piece
                    if self.partial:
                        raise TlsError(UNEXPECTED_MESSAGE, "data within a handshake message")
                if payload is None:
                    if kind:
                        continue  # there may be more; or a record that does not open: hear why
                    break
                if self._control(kind, payload):
                    at = len(buffer)  # nothing behind a close_notify counts (RFC 8446 section 6.1)
                    break
        except TlsError as error:
            self.break_off(error)
            at = len(buffer)
        self.inbox = bytes(buffer[at:]) if at < len(buffer) else b""
        return plain

    def break_off(self, error: TlsError) -> None:
        """It cannot go on: seal the alert, once."""
        self.error = error
        self.partial = b""
        if not self.closed_out:
            self.sealed += self.layer.seal(ALERT, bytes((_FATAL, error.alert)))
            self.closed_out = True

    def _control(self, kind: int, payload: bytes) -> bool:
        """A record that is no data. True if it is the last one. Raises `TlsError`."""
        if kind == ALERT:
            self._alert(payload)
        elif kind == HANDSHAKE:
            self._handshake(payload)
        else:
            raise TlsError(UNEXPECTED_MESSAGE, f"a record of type {kind}")
        return self.closed_in

    def _alert(self, payload: bytes) -> None:
        if len(payload) != 2:
            raise TlsError(DECODE_ERROR, "an alert of a wrong length")
        level, number = payload
        if number == CLOSE_NOTIFY:
            self.closed_in = True
        elif number != USER_CANCELED and (self.layer.version == TLS13 or level != _WARNING):
            self.rejected = self.unheard and number in REFUSALS
            self.closed_out = True  # nothing is answered to a fatal alert
            raise TlsError(number, f"the peer sent alert {number}")
        else:
            self._count()

    def _count(self) -> None:
        self.updates += 1
        if self.updates > MOST_UPDATES:
            raise TlsError(UNEXPECTED_MESSAGE, "too many messages without data")

    def _handshake(self, payload: bytes) -> None:
        if not payload:
            raise TlsError(UNEXPECTED_MESSAGE, "an empty handshake record")
        buffer = self.partial + payload
        at = 0
        while len(buffer) - at >= 4:
            size = int.from_bytes(buffer[at + 1 : at + 4], "big")
            if size > LONGEST[self._expected(buffer[at])]:
                raise TlsError(DECODE_ERROR, "a handshake message that is too long")
            if len(buffer) - at < 4 + size:
                break
            end = at + 4 + size
            self._message(buffer[at], buffer[at + 4 : end], last=end == len(buffer))
            at = end
        self.partial = buffer[at:]

    def _expected(self, kind: int) -> int:
        """The type of a handshake message. Raises `TlsError` for one that does not come after the handshake."""
        records = self.layer
        if records.version != TLS13:
            expected = kind == (CLIENT_HELLO if records.server else HELLO_REQUEST)
        else:
            expected = kind == KEY_UPDATE or (kind == NEW_TICKET and not records.server)
        if not expected:
            raise TlsError(UNEXPECTED_MESSAGE, f"a handshake message of type {kind} after the handshake")
        return kind

    def _message(self, kind: int, body: bytes, *, last: bool) -> None:
        records = self.layer
        self._count()
        if records.version != TLS13:
            # No renegotiation (RFC 5246 section 7.2.2). To one that does not read it is said once: it would pile up.
            if not self.closed_out and not self.sealed:
                self.sealed += records.seal(ALERT, bytes((_WARNING, NO_RENEGOTIATION)))
        elif kind == NEW_TICKET:
            self.unheard = False
        elif kind == KEY_UPDATE:
            if not last or len(body) != 1 or body[0] > 1:
                raise TlsError(DECODE_ERROR if last else UNEXPECTED_MESSAGE, "a malformed KeyUpdate")
            records.update_rx()
            # One answer, however often it asks while we are silent (RFC 8446 section 4.6.3): they would pile up, too.
            if body[0] and not self.closed_out and not (self.answered and records.tx_seq == 0):
                self.update()
                self.answered = True

    # ---- sealing ----

    def write(self, calls: Calls, fd: int, outbox: bytes | bytearray) -> int:
        """Seal from the outbox as much as the socket takes. Returns the bytes that are sealed, for good.

        What is sealed and not written stays in `sealed`. `OSError` only as long as nothing of the outbox was written.
        """
        if self.sealed:
            count = calls.write(fd, self.sealed)
            if count < len(self.sealed):
                self.sealed = self.sealed[count:]
                return 0
            self.sealed = b""
            if not outbox:
                return 0
        if self.closed_out:
            return len(outbox)  # nobody may be told any more
        size = len(outbox)
        if size <= PORTION:  # the loop spelled out for nearly all
            sealed = self.layer.seal(APPLICATION, outbox)
            try:
                count = calls.write(fd, sealed)
            except BlockingIOError:
                count = 0
            if count < len(sealed):
                self.sealed = sealed[count:]
            return size
        taken = 0
        while taken < size and not self.sealed:
            with memoryview(outbox)[taken : taken + PORTION] as portion:
                sealed = self.layer.seal(APPLICATION, portion)
            try:
                count = calls.write(fd, sealed)
            except BlockingIOError:
                count = 0
            except OSError:
                if not taken:
                    raise
                count = 0  # the next write tells: what went before is known to have left
            taken = min(taken + PORTION, size)
            if count < len(sealed):
                self.sealed = sealed[count:]
        return taken

    def update(self, *, ask: bool = False) -> None:
        """Go on under our next key (TLS 1.3), and ask the peer to do so, too."""
        self.sealed += self.layer.seal(HANDSHAKE, bytes((KEY_UPDATE, 0, 0, 1, ask)))
        self.layer.update_tx()

    def close(self) -> None:
        """Seal our close_notify: nothing follows it."""
        if not self.closed_out:
            self.sealed += self.layer.seal(ALERT, bytes((_WARNING, CLOSE_NOTIFY)))
            self.closed_out = True

    def pass_on(self, other: Connection) -> None:
        """The stream has ended and so will `other`, which it was passed on to: by our close_notify only after one."""
        if not self.closed_in and isinstance(other.tls, Session):
            other.tls.cut = True
            other.changes += 1

    def end(self) -> None:
        """The connection is over, or lives elsewhere: the keys are overwritten."""
        self.layer.end()

    # ---- the value ----

    def save(self, vault: Vault) -> TlsState:
        """See `proxy.tls.state.TlsState`. No side effects."""
        flags = self.closed_in * CLOSED_IN | self.closed_out * CLOSED_OUT | self.waiting * WAITING
        flags |= self.cut * CUT | self.answered * ANSWERED | self.unheard * UNHEARD
        about = None if self.about is _UNKNOWN else self.about
        return TlsState(
            flags, self.layer.save(vault), bytes(self.inbox), self.partial, self.sealed, self.updates, about
        )

    def load(self, saved: TlsState, vault: Vault) -> None:
        """Take over a later state of the same connection. Raises `CannotRestore`."""
        try:
            self.layer.reload(saved.layer, vault)
        except ValueError as error:
            raise CannotRestore(f"its TLS cannot be restored: {error}") from None
        self.fill(saved)

    def fill(self, saved: TlsState) -> None:
        """Everything but the keys."""
        self.inbox, self.partial, self.sealed = saved.inbox, saved.partial, saved.sealed
        self.updates = saved.updates
        self.about = saved.about or _UNKNOWN
        self.closed_in, self.closed_out = bool(saved.flags & CLOSED_IN), bool(saved.flags & CLOSED_OUT)
        self.waiting, self.cut = bool(saved.flags & WAITING), bool(saved.flags & CUT)
        self.answered, self.unheard = bool(saved.flags & ANSWERED), bool(saved.flags & UNHEARD)

    def describe(self) -> dict[str, Any]:
        """For people."""
        about = self.about
        words = {"version": "1.3" if self.layer.version == TLS13 else "1.2", "cipher": named(self.layer.suite)}
        return words | {
            name: value for name, value in (("sni", about.sni), ("alpn", about.alpn), ("peer", about.peer)) if value
        }


def restored(saved: TlsState, vault: Vault, permit: Permit) -> Session:
    """The session of a saved state, inert until the permit is granted. Raises `CannotRestore`."""
    try:
        records = layer.restore(saved.layer, vault, permit)
    except ValueError as error:
        raise CannotRestore(f"its TLS cannot be restored: {error}") from None
    session = Session(records)
    session.fill(saved)
    return session
