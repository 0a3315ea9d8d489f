"""The servers behind the proxy: a process of their own that never closes first and records what it saw.

An `http` upstream answers (query parameters in brackets, bodies of requests are always read):

    /echo           the request's body; `x-crc` is the CRC-32 of what arrived
    /bytes          [n] bytes, `x-crc`
    /chunked        [n] bytes in chunks, `x-crc` as a trailer
    /stream         CRC-chained frames for [seconds], one [every] so many seconds, payloads of [size]; [chunked]=1
    /sink           JSON: length and CRC-32 of the request's body
    /early          103 Early Hints, then 200
    /hold           [token]: answers when the test releases the token
    /half           [token]: half of a framed body of [n] frames, the other half when the token is released
    /headers        JSON: the fields of the request as they arrived
    /chat           Upgrade: websocket, echoes messages

`Expect: 100-continue` is answered on every path. A `tcp` upstream checks CRC-chained frames and sends each
payload back in a chain of its own; a `raw` one echoes bytes as they are, half-close included. A `bolt` one is described
in `tests.kit.bolt_upstream`, a `dubbo` one in `tests.kit.dubbo_upstream`. Any of them may speak TLS.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self

import msgspec

from tests.kit.certificates import Pair
from tests.kit.companion import Companion
from tests.kit.tls import Version

Kind = Literal["http", "tcp", "raw", "bolt", "dubbo"]


class Secure(msgspec.Struct):
    """How a listener speaks TLS: certificate chain and key as PEM files, and its one version, or both."""

    cert: str
    key: str
    version: Version | None = None


class Place(msgspec.Struct):
    """One listener of the upstream process: `host:port` (port 0 for any) or `unix:/path`."""

    kind: Kind
    address: str
    tls: Secure | None = None


class Spec(msgspec.Struct):
    """What the upstream process shall listen on."""

    places: list[Place]


class Listening(msgspec.Struct):
    """Its first line: the addresses in the order of the places."""

    addresses: list[str]


class Ended(msgspec.Struct):
    """A connection that the proxy ended. `busy` names what it was in the middle of, if anything."""

    kind: Kind
    busy: str


class Record(msgspec.Struct):
    """What the upstreams saw since they were started. `versions` counts the handshakes, `TLSv1.3` or `TLSv1.2`."""

    accepted: int = 0
    versions: dict[str, int] = {}
    requests: dict[str, int] = {}
    ended: list[Ended] = []
    wrong: list[str] = []
    held: list[str] = []

    @property
    def busy_ends(self) -> list[Ended]:
        """Connections that were ended in the middle of something."""
        return [end for end in self.ended if end.busy]


class Upstreams:
    """The running process. A context manager. With `tls` it shows this certificate on every listener."""

    def __init__(
        self,
        *places: tuple[Kind, str],
        tls: Pair | None = None,
        version: Version | None = None,
        through: Sequence[str] = (),
    ) -> None:
        secure = Secure(str(tls.cert), str(tls.key), version) if tls else None
        wanted = [Place(kind, address, secure) for kind, address in places]
        self._companion = Companion("tests.kit.upstream_process", Spec(wanted), through)
        self.addresses: list[str] = []
        self.secure = tls is not None

    def wait(self) -> Self:
        """Until it listens."""
        self.addresses = msgspec.json.decode(self._companion.line(within=20), type=Listening).addresses
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._companion.pid

    def record(self) -> Record:
        """What it saw so far."""
        return msgspec.json.decode(self._companion.ask({"do": "record"}, within=10), type=Record)

    def held(self, token: str, *, within: float = 10) -> None:
        """Wait until a request is held by this token."""
        self._companion.ask({"do": "held", "token": token, "within": within}, within=within + 5)
        assert token in self.record().held, f"no request came that is held by {token!r}"

    def release(self, token: str) -> None:
        """Let everything go on that is held by this token."""
        self._companion.ask({"do": "release", "token": token}, within=10)

    def stop(self) -> None:
        """End the process."""
        self._companion.stop()

    def __enter__(self) -> Self:
        return self.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
