"""Health checks of real servers, of rude ones, and of none."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hotswap.control import HttpServer
from hotswap.http import HttpError, Request, Response
from tests.kit.ports import loopback
from vm_agent.lifecycle.probe import BODY_LIMIT, HEAD_LIMIT, TEXT_LIMIT, Answer, ask, control_socket

PATIENCE = 20.0
SHORT = 0.05

YES, NO, NOTHING = (True, True), (False, True), (False, False)


@pytest.fixture
def control() -> Iterator[Path]:
    """A path that is short enough for a socket. Nobody listens on it."""
    with tempfile.TemporaryDirectory(prefix="hs", dir="/tmp") as runtime:
        path = control_socket(Path(runtime), "edge")
        path.parent.mkdir()
        yield path


def outcome(answer: Answer) -> tuple[bool, bool]:
    return answer.ready, answer.reachable


@asynccontextmanager
async def saying(control: Path, *pieces: bytes, end: bool = True) -> AsyncIterator[list[bytes]]:
    """A server that says that to each, whatever is asked. Yields what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if not end:
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass  # it has heard enough
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, control)
    async with server:
        yield asked


def asked(control: Path, *pieces: bytes, end: bool = True, timeout: float = PATIENCE) -> Answer:
    async def scenario() -> Answer:
        async with saying(control, *pieces, end=end):
            return await ask("/ready", control, timeout)

    return asyncio.run(scenario())


# ---- real ones ----


def test_the_control_socket_of_a_sidecar_is_asked(control: Path) -> None:
    """By the server that sidecars have."""
    ready = True

    async def route(request: Request) -> Response:
        if not ready:
            raise HttpError(503, "draining")
        return Response.json({"ready": True})

    async def scenario() -> list[Answer]:
        nonlocal ready
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(control))
            listener.listen()
            server = HttpServer({("GET", "/ready"): route})
            server.start(listener.fileno())
            answers = [await ask("/ready", control, PATIENCE), await ask("/nowhere", control, PATIENCE)]
            ready = False
            answers.append(await ask("/ready", control, PATIENCE))
            server.stop()
            await server.finish(PATIENCE)
        return answers

    yes, lost, no = asyncio.run(scenario())
    assert yes == Answer(ready=True, reachable=True, text="/ready: 200")
    assert outcome(lost) == NO
    assert no == Answer(ready=False, reachable=True, text='/ready: 503: {"error":"draining"}')


def test_an_url_is_asked(control: Path) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async def scenario() -> Answer:
        host, _, port = address.rpartition(":")
        async with await asyncio.start_server(serve, host, int(port)):
            return await ask(f"http://{address}/healthz?deep=1", control, PATIENCE)

    address = loopback()
    assert asyncio.run(scenario()) == Answer(ready=True, reachable=True, text=f"http://{address}/healthz?deep=1: 204")
    assert heard[0].startswith(f"GET /healthz?deep=1 HTTP/1.1\r\nHost: {address}\r\n".encode())


# ---- none ----


def test_nobody_is_there(control: Path) -> None:
    missing = asyncio.run(ask("/ready", control, PATIENCE))
    assert missing == Answer(ready=False, reachable=False, text="/ready: No such file or directory")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(control))
    assert "refused" in asyncio.run(ask("/ready", control, PATIENCE)).text
    address = loopback()
    answer = asyncio.run(ask(f"http://{address}/", control, PATIENCE))
    assert outcome(answer) == NOTHING
    assert answer.text.startswith(f"http://{address}/: ")


def test_one_that_accepts_and_says_nothing_is_out_of_time(control: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(control))
        hung.listen()
        answer = asyncio.run(ask("/ready", control, SHORT))
    assert answer == Answer(ready=False, reachable=False, text="/ready: no answer within 0.05 s")


def test_one_whose_queue_is_full_is_waited_for(control: Path) -> None:
    """As in a freeze: unix sockets refuse then instead of waiting."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(control))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(control))
            assert outcome(asyncio.run(ask("/ready", control, SHORT))) == NOTHING

            async def scenario() -> Answer:
                check = asyncio.ensure_future(ask("/ready", control, PATIENCE))
                await asyncio.wait([check], timeout=SHORT)
                assert not check.done()
                listener.setblocking(False)
                listener.accept()[0].close()
                loop = asyncio.get_running_loop()
                mine, _ = await loop.sock_accept(listener)
                await loop.sock_sendall(mine, b"HTTP/1.1 200 OK\r\n\r\n")
                answer = await check
                mine.close()
                return answer

            assert outcome(asyncio.run(scenario())) == YES


@pytest.mark.parametrize("where", ["", "ready", "https://127.0.0.1/", "http://", "http://a:b/", "http://[", "unix:/x"])
def test_what_cannot_be_asked_is_no_answer(control: Path, where: str) -> None:
    assert outcome(asyncio.run(ask(where, control, PATIENCE))) == NOTHING


@pytest.mark.parametrize("where", ["/a b", "/a\r\nX: y", "/\x00", "/ä"])
def test_nothing_else_gets_into_a_request(control: Path, where: str) -> None:
    async def scenario() -> Answer:
        async with saying(control, b"HTTP/1.1 200 OK\r\n\r\n") as heard:
            answer = await ask(where, control, PATIENCE)
            assert heard == []
            return answer

    assert outcome(asyncio.run(scenario())) == NOTHING


# ---- rude ones ----


@pytest.mark.parametrize(
    ("pieces", "expected", "text"),
    [
        ([b"HTTP/1.1 200 OK\r\n\r\n"], YES, "200"),
        ([b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nfine"], YES, "200"),
        ([b"HTT", b"P/1.1 2", b"00 OK\r\n", b"\r\n"], YES, "200"),
        ([b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"], YES, "302"),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"], YES, "200"),
        ([b"HTTP/1.1 404 Not Found\r\n\r\n"], NO, "404"),
        ([b"HTTP/1.1 503 Sorry\r\n\r\nwarming up\nand more"], NO, "503: warming up"),
        ([b"HTTP/1.1 503 Sorry\r\n\r\n\x1b[31mred\xff\r\n"], NO, "503: [31mred\N{REPLACEMENT CHARACTER}"),
        ([b"SSH-2.0-OpenSSH_9\r\n\r\n"], NO, "this is not HTTP"),
        ([b"SSH-2.0-OpenSSH_9\r\n"], NO, "this is not HTTP"),
        ([b"HTTP/1.1 abc\r\n\r\n"], NO, "this is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * HEAD_LIMIT + b"\r\n\r\n"], NO, "longer than"),
        ([], NOTHING, "ended before the answer"),
        ([b"HTTP/1.1 200 OK\r\n"], NOTHING, "ended before the answer"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"], NOTHING, "ended before the answer"),
    ],
)
def test_answers_of_all_kinds(control: Path, pieces: list[bytes], expected: tuple[bool, bool], text: str) -> None:
    answer = asked(control, *pieces)
    assert outcome(answer) == expected
    assert text in answer.text


def test_a_long_refusal_is_cut_and_a_long_yes_is_not_read(control: Path) -> None:
    body = b"x" * 100 * BODY_LIMIT
    no = asked(control, b"HTTP/1.1 500 Sorry\r\n\r\n", body)
    assert outcome(no) == NO
    assert len(no.text) < TEXT_LIMIT + 20
    assert outcome(asked(control, b"HTTP/1.1 200 OK\r\n\r\n", body)) == YES


def test_a_body_that_does_not_end_makes_no_silence(control: Path) -> None:
    """It has said no, and that in time. How long it takes to say so on a busy machine is tried out."""
    head = b"HTTP/1.1 503 Sorry\r\nContent-Length: 100\r\n\r\n"
    answers = (asked(control, head, b"wait", end=False, timeout=seconds) for seconds in (0.1, 1.0, 5.0, PATIENCE))
    answer = next(one for one in answers if one.reachable)
    assert answer == Answer(ready=False, reachable=True, text="/ready: 503")
    assert outcome(asked(control, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", end=False, timeout=PATIENCE)) == YES


def test_no_descriptor_stays_open(control: Path) -> None:
    async def scenario() -> None:
        async with saying(control, b"HTTP/1.1 200 OK\r\n\r\n"):
            for _ in range(3):
                await ask("/ready", control, PATIENCE)
            await ask("/a b", control, PATIENCE)

    before = len([*Path("/proc/self/fd").iterdir()])
    asyncio.run(scenario())
    assert len([*Path("/proc/self/fd").iterdir()]) == before
