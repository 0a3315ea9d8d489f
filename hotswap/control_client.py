"""The blocking client of the control socket: what `hotswap` the command and scripts use.

    client = ControlClient(Path("/run/hotswap"), "edge")
    client.get("/status")
    for event in client.events("/upgrade", {"timeout": 30.0}, timeout=45.0): ...

Every failure is a `HotswapError` that says what to do. The client speaks HTTP/1.1 over the unix
socket by itself, since `http.client` takes longer to import than all of the rest to run.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from hotswap import errors

CONTROL_SOCKET = "control.sock"
ANSWER_SECONDS = 10.0  # to connect, and between two pieces of an answer
ANSWER_LIMIT = 256 * 1024 * 1024
HEAD_LIMIT = 64 * 1024
TEXT_LIMIT = 1000  # bytes of a refusal that is no JSON
BUSY_WAIT_SECONDS = 0.02  # between attempts while the socket's queue is full, as it is during a freeze
PATH_LIMIT = 107  # sockaddr_un.sun_path less its NUL, unix(7)


class AnswerLost(errors.HotswapError):
    """The connection broke before the answer was complete: what was asked may or may not have happened."""


class SocketClient:
    """Asks whoever serves HTTP and JSON on a unix socket. One connection a request; not for several threads at once.

    `name` is how people know it, `about` what their messages begin with.
    """

    def __init__(self, path: Path, name: str, timeout: float = ANSWER_SECONDS, *, about: str = "") -> None:
        self.name = name
        self.timeout = timeout
        self._path = path
        self._about = about

    def get(self, path: str) -> dict[str, Any]:
        """Ask `path`. Raises `NotRunning`, `PermissionDenied`, `OwnerHung`, `AnswerLost`, or what the server says."""
        return self._ask("GET", path, None)

    def fetch(self, path: str, accept: str) -> bytes:
        """Ask `path` for a text of that media type, or for one of several. Raises like `get`."""
        return self._answer("GET", path, None, f"Accept: {accept}\r\n")

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Order something. Raises like `get`."""
        return self._ask("POST", path, body)

    def events(self, path: str, body: dict[str, Any], timeout: float) -> Iterator[dict[str, Any]]:
        """Order something and watch it: one dict a line of the answer.

        `timeout` bounds the whole exchange, in seconds. Raises like `get`; `AnswerLost` also when the
        connection breaks, or the time is over, after the order was sent.
        """
        deadline = time.monotonic() + timeout
        with self._connect() as sock:
            answer = _Answer(sock, self.name, deadline)
            answer.send(_request("POST", path, body))
            self._check(answer)
            rest = b""
            for piece in answer.pieces():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield _decode(line, self.name)
            if rest:
                yield _decode(rest, self.name)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        return _decode(self._answer(method, path, body), self.name)

    def _answer(self, method: str, path: str, body: dict[str, Any] | None, fields: str = "") -> bytes:
        with self._connect() as sock:
            answer = _Answer(sock, self.name, time.monotonic() + self.timeout)
            answer.send(_request(method, path, body, fields))
            self._check(answer)
            return b"".join(answer.pieces())

    def _check(self, answer: _Answer) -> None:
        """Raise what a status other than 200 stands for."""
        status = answer.read_head()
        if status == 200:
            return
        body = b"".join(answer.pieces())
        try:
            refusal = _decode(body, self.name)
        except AnswerLost:
            words = body[:TEXT_LIMIT].decode(errors="replace").strip()
            refusal = {"error": words} if words else {}
        said = refusal.get("error", f"the control socket answered with HTTP status {status}")
        message = f"{self._about}{said}"
        if status == 403:
            raise errors.PermissionDenied(f"{message}; run this as the user that runs {self.name}, or as root")
        raise errors.error_of(refusal.get("exit_code", 1), message)

    def _connect(self) -> socket.socket:
        if len(os.fsencode(self._path)) > PATH_LIMIT:
            raise errors.UsageError(f"{self._path} is too long for a unix socket: choose a shorter runtime directory")
        deadline = time.monotonic() + self.timeout
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._dial(sock, deadline)
        except BaseException:
            sock.close()
            raise
        return sock

    def _dial(self, sock: socket.socket, deadline: float) -> None:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(str(self._path))
            except BlockingIOError:  # the queue is full: connect(2) on unix sockets does not wait then
                if time.monotonic() >= deadline:
                    raise self._hung() from None
                time.sleep(BUSY_WAIT_SECONDS)
            except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
                raise self._not_running() from None
            except PermissionError:
                raise errors.PermissionDenied(
                    f"no permission to connect to {self._path}: run this as the user that runs {self.name}, or as root"
                ) from None
            else:
                return

    def _hung(self) -> errors.HotswapError:
        """Somebody listens and takes no connection."""
        return errors.OwnerHung(f"{self.name} does not answer within {self.timeout:g} s: it hangs or is stopped")

    def _not_running(self) -> errors.HotswapError:
        """Nobody listens."""
        return errors.NotRunning(f"nobody answers on {self._path}")


class ControlClient(SocketClient):
    """Asks the generation that serves `name`."""

    def __init__(self, runtime_dir: Path, name: str, timeout: float = ANSWER_SECONDS) -> None:
        super().__init__(runtime_dir / name / CONTROL_SOCKET, name, timeout, about=f"{name}: ")
        self.runtime_dir = runtime_dir

    def _connect(self) -> socket.socket:
        if not self.name or "/" in self.name or self.name in (".", ".."):
            raise errors.UsageError(f"{self.name!r} is not a name: it is one path component, such as edge")
        return super()._connect()

    def _hung(self) -> errors.OwnerHung:
        return errors.OwnerHung(
            f"{self.name}: the generation that serves it does not answer within {self.timeout:g} s: it hangs or is "
            f"stopped; look at it with 'hotswap doctor', and kill it if it does not come back"
        )

    def _not_running(self) -> errors.HotswapError:
        try:
            others = running_names(self.runtime_dir)
        except errors.PermissionDenied as error:
            return error
        there = f"these run there: {', '.join(others)}" if others else "nothing runs there"
        return errors.NotRunning(
            f"{self.name} does not run in {self.runtime_dir}: {there}; "
            f"if it runs elsewhere, say so with --runtime-dir or HOTSWAP_RUNTIME_DIR"
        )


def names(runtime_dir: Path) -> list[str]:
    """All names that have, or had, a control socket in this runtime directory. Raises `PermissionDenied`."""
    try:
        return sorted(entry.name for entry in os.scandir(runtime_dir) if (Path(entry) / CONTROL_SOCKET).exists())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        raise errors.PermissionDenied(
            f"no permission to read {runtime_dir}: run this as the user that owns it, or as root"
        ) from None


def running_names(runtime_dir: Path) -> list[str]:
    """The names among `names` whose control socket somebody holds."""
    return [name for name in names(runtime_dir) if is_held(runtime_dir / name / CONTROL_SOCKET)]


def is_held(path: Path) -> bool:
    """Whether a process listens on this unix socket, be it frozen or out of our reach."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        try:
            sock.connect(str(path))
        except (BlockingIOError, PermissionError):
            return True
        except OSError:
            return False
        return True


def _request(method: str, path: str, body: dict[str, Any] | None, fields: str = "") -> bytes:
    payload = b"" if body is None else msgspec.json.encode(body)
    length = "" if body is None else "Content-Type: application/json\r\n"
    length += f"Content-Length: {len(payload)}\r\n" if method == "POST" else ""
    return f"{method} {path} HTTP/1.1\r\nHost: hotswap\r\n{length}{fields}Connection: close\r\n\r\n".encode() + payload


def _decode(data: bytes, name: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError:
        raise AnswerLost(f"{name}: the control socket answered with something else than JSON") from None


class _Answer:
    """Reads one response; everything it waits for ends at the deadline."""

    __slots__ = ("_buffer", "_chunked", "_deadline", "_left", "_name", "_sock")

    def __init__(self, sock: socket.socket, name: str, deadline: float) -> None:
        self._sock = sock
        self._name = name
        self._deadline = deadline
        self._buffer = b""
        self._chunked = False
        self._left: int | None = None  # of the body, if the head says

    def send(self, data: bytes) -> None:
        self._limit()
        try:
            self._sock.sendall(data)
        except TimeoutError:
            raise self._late() from None
        except OSError:
            pass  # the answer may be there all the same: a refusal comes before the request is read

    def read_head(self) -> int:
        """The status code."""
        status = 100
        while status == 100:
            head = self._until(b"\r\n\r\n", HEAD_LIMIT).decode("latin-1")
            line, *headers = head.split("\r\n")
            version, _, rest = line.partition(" ")
            if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
                raise AnswerLost(f"{self._name}: what listens on the control socket does not speak HTTP")
            status = int(rest[:3])
            for header in headers:
                field, _, value = header.partition(":")
                if field.lower() == "content-length":
                    self._left = self._number(value.strip(), 10)
                elif field.lower() == "transfer-encoding":
                    self._chunked = value.strip().lower() == "chunked"
        return status

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes. Raises `AnswerLost` if it ends too early."""
        if not self._chunked:
            yield self._exactly(self._left or 0)
            return
        while True:
            size = self._number(self._until(b"\r\n", HEAD_LIMIT).decode("latin-1"), 16)
            if size == 0:
                return
            yield self._exactly(size)
            self._until(b"\r\n", 2)

    def _number(self, text: str, base: int) -> int:
        try:
            return int(text, base)
        except ValueError:
            raise AnswerLost(f"{self._name}: the answer of the control socket makes no sense") from None

    def _until(self, end: bytes, limit: int) -> bytes:
        while end not in self._buffer:
            if len(self._buffer) > limit:
                raise AnswerLost(f"{self._name}: the answer of the control socket makes no sense")
            self._fill()
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def _exactly(self, size: int) -> bytes:
        if size > ANSWER_LIMIT:
            raise AnswerLost(f"{self._name}: an answer of {size} bytes is too large")
        pieces = [self._buffer]
        have = len(self._buffer)
        while have < size:
            self._buffer = b""
            self._fill()
            pieces.append(self._buffer)
            have += len(self._buffer)
        whole = b"".join(pieces)
        self._buffer = whole[size:]
        return whole[:size]

    def _fill(self) -> None:
        self._limit()
        try:
            piece = self._sock.recv(262144)
        except TimeoutError:
            raise self._late() from None
        except OSError:
            piece = b""
        if not piece:
            raise AnswerLost(f"{self._name}: the connection to the control socket broke before the answer was complete")
        self._buffer += piece

    def _limit(self) -> None:
        """Let the next call wait until the deadline and no longer."""
        self._sock.settimeout(max(self._deadline - time.monotonic(), 0.001))

    def _late(self) -> errors.HotswapError:
        return AnswerTimeout(
            f"{self._name}: the control socket did not answer in time; the process hangs or is stopped"
        )


class AnswerTimeout(AnswerLost, errors.OwnerHung):
    """Connected, and then nothing came in time."""

    exit_code = errors.OwnerHung.exit_code
