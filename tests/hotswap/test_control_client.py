"""The blocking client, against servers that answer badly or not at all."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hotswap.control_client import AnswerLost, ControlClient, is_held, names, running_names
from hotswap.errors import Busy, HotswapError, NotRunning, OwnerHung, PermissionDenied, UsageError, error_of
from hotswap.http import Request, Response
from tests.hotswap.serving import PATIENCE, Serving, unix_listener

NOBODY = 65534


class OneAnswer:
    """Takes one connection and sends these bytes, then hangs up; or sends nothing and holds on."""

    def __init__(self, runtime_dir: Path, answer: bytes | None) -> None:
        self.listener = unix_listener(runtime_dir / "edge" / "control.sock")
        self._answer = answer
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        sock, _ = self.listener.accept()
        with sock:
            sock.recv(65536)
            if self._answer is None:
                self._done.wait(PATIENCE)
            else:
                sock.sendall(self._answer)

    def close(self) -> None:
        self._done.set()
        self._thread.join(PATIENCE)
        self.listener.close()


Start = Callable[[bytes | None], ControlClient]


@pytest.fixture
def answering(tmp_path: Path, request: pytest.FixtureRequest) -> Start:
    def start(answer: bytes | None) -> ControlClient:
        server = OneAnswer(tmp_path, answer)
        request.addfinalizer(server.close)
        return ControlClient(tmp_path, "edge", timeout=PATIENCE if answer is not None else 0.1)

    return start


def test_an_answer_in_pieces(answering: Start) -> None:
    body = b'3\r\n{"a\r\n4;x=y\r\n":1}\r\n0\r\n\r\n'.replace(b"4;x=y", b"4")
    client = answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n" + body)
    assert client.get("/status") == {"a": 1}


def test_events_arrive_one_by_one(answering: Start) -> None:
    lines = b'{"n":1}\n{"n":2}\n{"n":3}'
    client = answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(lines), lines)
    )
    assert [event["n"] for event in client.events("/upgrade", {}, PATIENCE)] == [1, 2, 3]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"x" * 200_000,
    ],
)
def test_what_is_no_answer_is_lost(answering: Start, answer: bytes) -> None:
    with pytest.raises(AnswerLost):
        answering(answer).get("/status")


def test_a_stream_that_breaks_off_is_lost_after_what_came(answering: Start) -> None:
    client = answering(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"n":1}\n\r\n')
    events = client.events("/upgrade", {}, PATIENCE)
    assert next(events) == {"n": 1}
    with pytest.raises(AnswerLost):
        next(events)


@pytest.mark.parametrize("ask", [lambda c: c.get("/status"), lambda c: list(c.events("/upgrade", {}, 0.1))])
def test_no_answer_in_time_is_a_hung_owner(answering: Start, ask: Callable[[ControlClient], object]) -> None:
    with pytest.raises(OwnerHung) as caught:
        ask(answering(None))
    assert isinstance(caught.value, AnswerLost)  # the order may have been carried out all the same


def test_a_full_queue_is_a_hung_owner(tmp_path: Path) -> None:
    listener = unix_listener(tmp_path / "edge" / "control.sock")
    listener.listen(0)
    with listener, socket.socket(socket.AF_UNIX) as first:
        first.connect(listener.getsockname())
        with pytest.raises(OwnerHung, match="kill"):
            ControlClient(tmp_path, "edge", timeout=0.1).get("/status")
        assert is_held(tmp_path / "edge" / "control.sock")


def test_refusals_come_as_the_errors_they_are(tmp_path: Path) -> None:
    async def busy(_request: Request) -> Response:
        raise Busy("another attempt")

    listener = unix_listener(tmp_path / "edge" / "control.sock")
    with Serving(listener, {("GET", "/busy"): busy}):
        client = ControlClient(tmp_path, "edge")
        with pytest.raises(Busy, match="edge: another attempt"):
            client.get("/busy")
        with pytest.raises(HotswapError, match="no such path"):
            client.post("/nowhere", {})


def test_a_stranger_is_told_who_may(tmp_path: Path) -> None:
    listener = unix_listener(tmp_path / "edge" / "control.sock")
    with (
        Serving(listener, {}, allow_uids=frozenset({4_000_000_000})),
        pytest.raises(PermissionDenied, match="as root"),
    ):
        ControlClient(tmp_path, "edge").post("/drain", {"fill": "x" * 1_000_000})


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_a_closed_runtime_directory_is_told(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from hotswap.control_client import *; from hotswap.errors import *\n"
        "path = Path(sys.argv[1])\n"
        "for ask in (lambda: ControlClient(path, 'edge').get('/status'), lambda: names(path)):\n"
        "    try: ask()\n"
        "    except PermissionDenied as error: print(error)\n"
    )
    (tmp_path / "edge").mkdir()
    tmp_path.chmod(0o700)
    argv = ["setpriv", "--reuid", str(NOBODY), "--clear-groups", sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if "Permission denied" in done.stderr:
        pytest.skip("the interpreter is out of reach for another user")
    assert done.stdout.count("no permission") == 2


def test_who_runs_is_told_from_who_ran(tmp_path: Path) -> None:
    with unix_listener(tmp_path / "edge" / "control.sock"), unix_listener(tmp_path / "stale" / "control.sock"):
        assert running_names(tmp_path) == ["edge", "stale"]
    unix_listener(tmp_path / "core" / "control.sock").close()
    with unix_listener(tmp_path / "new" / "control.sock"):
        assert names(tmp_path) == ["core", "edge", "new", "stale"]
        assert running_names(tmp_path) == ["new"]
        with pytest.raises(NotRunning, match="these run there: new"):
            ControlClient(tmp_path, "edge").get("/status")


def test_a_path_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="shorter"):
        ControlClient(tmp_path / ("x" * 100), "edge").get("/status")


def test_every_kind_of_error_is_found_by_its_exit_code() -> None:
    assert type(error_of(12, "x")) is Busy
    assert type(error_of(99, "x")) is HotswapError
