"""The HTTP server of the control plane, on real sockets and with clients that misbehave."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import msgspec
import pytest

from hotswap.control import CLIENT_LIMIT, EventStream, HttpError, HttpServer, Request, Response, Route
from hotswap.errors import Busy
from tests.hotswap.serving import PATIENCE, Serving, connected, exchange, received, tcp_listener, unix_listener
from tests.kit.waiting import eventually

GET = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"


class Stage:
    """Routes that tests can see into."""

    def __init__(self) -> None:
        self.held = asyncio.Event()
        self.holding = 0
        self.streams: list[EventStream] = []

    def routes(self) -> dict[tuple[str, str], Route]:
        return {
            ("GET", "/status"): self.status,
            ("POST", "/echo"): self.echo,
            ("GET", "/hold"): self.hold,
            ("POST", "/stream"): self.stream,
            ("GET", "/bug"): self.bug,
            ("GET", "/busy"): self.busy,
            ("GET", "/unready"): self.unready,
        }

    async def status(self, request: Request) -> Response:
        return Response.json({"uid": request.uid, "query": request.query})

    async def echo(self, request: Request) -> Response:
        return Response.json(request.json(dict[str, int]))

    async def hold(self, _request: Request) -> Response:
        self.holding += 1
        await self.held.wait()
        return Response.text("held")

    async def stream(self, _request: Request) -> EventStream:
        stream = EventStream()
        self.streams.append(stream)
        return stream

    async def bug(self, _request: Request) -> Response:
        raise RuntimeError("a bug")

    async def busy(self, _request: Request) -> Response:
        raise Busy("another attempt is under way")

    async def unready(self, _request: Request) -> Response:
        raise HttpError(503, "not ready")


@pytest.fixture(params=["unix", "tcp"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> socket.socket:
    return unix_listener(tmp_path / "control.sock") if request.param == "unix" else tcp_listener()


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def serving(listener: socket.socket, stage: Stage) -> Iterator[Serving]:
    with Serving(listener, stage.routes()) as running:
        yield running


def ask(serving: Serving, request: bytes) -> tuple[int, bytes]:
    with connected(serving.listener) as sock:
        answer = exchange(sock, request)
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def test_a_route_answers_with_json(serving: Serving) -> None:
    status, body = ask(serving, b"GET /status?a=1&b=%20 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 200
    uid = os.getuid() if serving.listener.family == socket.AF_UNIX else None
    assert msgspec.json.decode(body) == {"uid": uid, "query": {"a": "1", "b": " "}}


def test_head_gets_no_body(serving: Serving) -> None:
    assert ask(serving, b"HEAD /status HTTP/1.1\r\n\r\n") == (200, b"")


def test_a_body_arrives_whole_in_any_pieces(serving: Serving) -> None:
    request = b'POST /echo HTTP/1.1\r\nContent-Length: 7\r\n\r\n{"a":1}'
    with connected(serving.listener) as sock:
        for byte in request:
            sock.sendall(bytes([byte]))
        assert received(sock).endswith(b'{"a":1}\n')


def test_a_body_of_the_wrong_shape_is_a_bad_request(serving: Serving) -> None:
    status, body = ask(serving, b'POST /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"a":"x"}')
    assert status == 400
    assert b"not what /echo takes" in body


@pytest.mark.parametrize(
    ("request_line", "status", "word"),
    [
        (b"GET /nowhere HTTP/1.1", 404, b"/status"),
        (b"POST /status HTTP/1.1", 405, b"GET"),
        (b"POST /echo HTTP/1.1", 411, b"Content-Length"),
        (b"GET /unready HTTP/1.1", 503, b"not ready"),
        (b"GET /busy HTTP/1.1", 409, b'"exit_code":12'),
        (b"GET /status HTTP/2.0", 505, b"HTTP/1.1"),
        (b"GET status HTTP/1.1", 400, b"path"),
        (b"GET  /status HTTP/1.1", 400, b"METHOD"),
        (b"GET /status", 400, b"METHOD"),
        (b"\x16\x03\x01\x02\x00\x01 tls here", 400, b"not HTTP"),
        (b"GET /status HTTP/1.1\r\nContent-Length: 1048577", 413, b"1048576"),
        (b"GET /status HTTP/1.1\r\nContent-Length: 99999999999999999999999", 413, b"1048576"),
        (b"GET /status HTTP/1.1\r\nContent-Length: -1", 400, b"Content-Length"),
        (b"GET /status HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1", 400, b"twice"),
        (b"GET /status HTTP/1.1\r\nTransfer-Encoding: chunked", 411, b"Content-Length"),
        (b"GET /status HTTP/1.1\r\nno colon", 400, b"header"),
        (b"GET /status HTTP/1.1\r\nspace : x", 400, b"header"),
        (b"GET /status HTTP/1.1\r\nX: " + b"a" * 17000, 431, b"16384"),
        (b"GET /status HTTP/1.1\n\nx", 400, b"CR LF"),
    ],
)
def test_what_cannot_be_served_is_refused_in_json(
    serving: Serving, request_line: bytes, status: int, word: bytes
) -> None:
    answered, body = ask(serving, request_line + b"\r\n\r\n")
    assert answered == status
    assert word in msgspec.json.encode(msgspec.json.decode(body))


def test_a_bug_is_a_500_and_a_logged_traceback(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    status, body = ask(serving, b"GET /bug HTTP/1.1\r\n\r\n")
    assert status == 500
    assert b"RuntimeError: a bug" in body
    assert caplog.records[0].exc_info is not None
    assert ask(serving, GET)[0] == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_works(serving: Serving, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b'{"a":' + b" " * 1_000_000 + b"1}")  # curl asks for 100 Continue
    name = serving.listener.getsockname()
    where = ["--unix-socket", name, "http://x"] if isinstance(name, str) else [f"http://{name[0]}:{name[1]}"]
    url = f"{where.pop()}/echo"
    argv = ["curl", "-sS", "--max-time", "10", "-H", "Expect: 100-continue", "-d", f"@{large}", *where, url]
    done = subprocess.run(argv, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b'{"a":1}\n', b"")


# -- streams ---------------------------------------------------------------------------------------


def open_stream(serving: Serving, stage: Stage) -> tuple[socket.socket, EventStream]:
    sock = connected(serving.listener)
    sock.sendall(b"POST /stream HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
    eventually(lambda: stage.streams, within=PATIENCE, what="the route runs")
    return sock, stage.streams[0]


def test_a_stream_delivers_each_event_as_it_comes(serving: Serving, stage: Stage) -> None:
    sock, stream = open_stream(serving, stage)
    with sock, sock.makefile("rb") as lines:
        while lines.readline() != b"\r\n":
            pass
        for number in range(3):
            serving.call(lambda number=number: stream.send({"number": number}))  # type: ignore[misc]
            assert lines.readline() == b"d\r\n"
            assert lines.readline() == b'{"number":%d}\n' % number
            assert lines.readline() == b"\r\n"
        serving.call(stream.end)
        assert lines.read() == b"0\r\n\r\n"


def test_a_watcher_that_hangs_up_gives_its_place_away_before_the_next_event(serving: Serving, stage: Stage) -> None:
    """And what is told goes on without it."""
    for _ in range(CLIENT_LIMIT):
        with connected(serving.listener) as sock:
            sock.sendall(b"POST /stream HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    eventually(lambda: serving.server.clients == 0, within=PATIENCE, what="they are gone")
    assert all(stream.broken for stream in stage.streams)
    serving.call(lambda: stage.streams[0].send({"more": 1}))


def test_a_watcher_that_goes_on_talking_is_hung_up_on(serving: Serving) -> None:
    with connected(serving.listener) as sock:
        sock.sendall(b"POST /stream HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            any(map(sock.sendall, repeat(bytes(65536))))  # for ever
    eventually(lambda: serving.server.clients == 0, within=PATIENCE, what="it is gone")


# -- rude clients ----------------------------------------------------------------------------------


def test_a_request_that_does_not_arrive_in_time_is_a_408(listener: socket.socket, stage: Stage) -> None:
    with Serving(listener, stage.routes(), request_seconds=0.05) as serving, connected(listener) as sock:
        assert exchange(sock, b"GET /status HT").startswith(b"HTTP/1.1 408")
        assert ask(serving, GET)[0] == 200


@pytest.mark.parametrize(
    "rudeness", [b"", b"\0" * 100, b"GET /status HTTP/1.1\r\nHost", b"\xff" * 70000, b"\r\n" * 50000]
)
def test_rude_clients_cost_themselves_only(serving: Serving, rudeness: bytes) -> None:
    rude = []
    for _ in range(20):
        sock = connected(serving.listener)
        try:
            sock.sendall(rudeness)
        except OSError:
            pass  # refused already
        rude.append(sock)
    assert ask(serving, GET)[0] == 200
    for sock in rude:
        sock.close()
    eventually(lambda: serving.call(lambda: serving.server.clients) == 0, within=PATIENCE, what="all are gone")


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_thousand_idle_connections_keep_nobody_out(serving: Serving) -> None:
    idle = [connected(serving.listener) for _ in range(1000)]
    assert ask(serving, GET)[0] == 200
    assert serving.call(lambda: serving.server.clients) <= CLIENT_LIMIT
    for sock in idle:
        sock.close()


def test_requests_under_way_are_not_cut_off_for_newcomers(serving: Serving, stage: Stage) -> None:
    held = [connected(serving.listener) for _ in range(CLIENT_LIMIT)]
    for sock in held:
        sock.sendall(b"GET /hold HTTP/1.1\r\n\r\n")
    eventually(lambda: stage.holding == CLIENT_LIMIT, within=PATIENCE, what="all requests are under way")
    with connected(serving.listener) as late:
        late.settimeout(PATIENCE)
        assert late.recv(1) == b""
    serving.call(stage.held.set)
    for sock in held:
        assert received(sock).endswith(b"held")
        sock.close()


def test_running_out_of_descriptors_is_survived(tmp_path: Path) -> None:
    script = """
import asyncio, os, resource, socket, sys
from hotswap.control import HttpServer, Response
served = asyncio.Event()
async def status(request): served.set(); return Response.text("fine")
async def main():
    listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen(64)
    server = HttpServer({("GET", "/status"): status}); server.start(listener.fileno())
    hog = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(hog) + 1, 64))
    asyncio.get_running_loop().call_later(0.5, lambda: os.close(hog.pop()))
    print("ready", flush=True)
    await served.wait()
    server.stop(); await server.finish(5)
asyncio.run(main())
"""
    path = tmp_path / "control.sock"
    argv = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            assert exchange(sock, GET).endswith(b"fine")
        _, complaints = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert complaints.count("cannot accept") == 1


# -- strangers -------------------------------------------------------------------------------------


def test_a_stranger_gets_a_403_and_is_logged_once(
    tmp_path: Path, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    listener = unix_listener(tmp_path / "control.sock")
    with Serving(listener, stage.routes(), allow_uids=frozenset({4_000_000_000})) as serving:
        with caplog.at_level(logging.WARNING):
            assert ask(serving, GET)[0] == 403
            assert ask(serving, b"\0garbage")[0] == 403
        assert len(caplog.records) == 1


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("curl"), reason="needs root")
def test_another_uid_is_a_stranger(stage: Stage) -> None:
    name = f"\0hotswap-test-{os.getpid()}"  # abstract: no directory mode keeps the other uid from connecting
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name)
    listener.listen(8)
    argv = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--abstract-unix-socket",
        name[1:],
        "http://x/status",
    ]
    with Serving(listener, stage.routes()):
        ours = subprocess.run(argv, capture_output=True, check=False, timeout=PATIENCE)
        theirs = subprocess.run(
            ["setpriv", "--reuid", "65534", "--clear-groups", *argv], capture_output=True, check=False, timeout=PATIENCE
        )
    assert (ours.stdout, theirs.stdout) == (b"200", b"403")


# -- the life of a listener ------------------------------------------------------------------------


def test_paused_clients_wait_and_are_served_after(serving: Serving) -> None:
    serving.call(serving.server.pause)
    with connected(serving.listener) as sock:
        sock.sendall(GET)
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        serving.call(serving.server.resume)
        assert received(sock).startswith(b"HTTP/1.1 200")


def test_stopped_means_the_listener_serves_on_elsewhere(serving: Serving, stage: Stage) -> None:
    with connected(serving.listener) as under_way:
        under_way.sendall(b"GET /hold HTTP/1.1\r\n\r\n")
        eventually(lambda: stage.holding, within=PATIENCE, what="the request is under way")
        serving.call(serving.server.stop)
        serving.call(serving.server.resume)  # no way back
        with connected(serving.listener) as waiting, Serving(serving.listener.dup(), Stage().routes()):
            assert exchange(waiting, GET).startswith(b"HTTP/1.1 200")
        serving.call(stage.held.set)
        assert received(under_way).endswith(b"held")


def test_finish_cuts_off_what_takes_too_long(serving: Serving, stage: Stage) -> None:
    with connected(serving.listener) as slow:
        slow.sendall(b"GET /hold HTTP/1.1\r\n\r\n")
        eventually(lambda: stage.holding, within=PATIENCE, what="the request is under way")
        serving.call(serving.server.stop)
        serving.finish(0.05)
        assert received(slow) == b""
    assert serving.call(lambda: serving.server.clients) == 0


def test_a_server_takes_one_listener_at_a_time(serving: Serving) -> None:
    def again() -> None:
        with pytest.raises(RuntimeError):
            serving.server.start(serving.listener.fileno())

    serving.call(again)


def test_the_listening_descriptor_stays_the_callers(stage: Stage) -> None:
    async def run() -> None:
        listener = tcp_listener()
        server = HttpServer(stage.routes())
        server.start(listener.fileno())
        server.stop()
        assert listener.getsockname()
        listener.close()

    asyncio.run(run())
