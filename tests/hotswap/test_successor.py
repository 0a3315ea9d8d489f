"""Questions that are passed on to the generation that owns."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from hotswap.control import Request, Response
from hotswap.errors import HotswapError
from hotswap.http import HttpError
from hotswap.successor import ask_successor
from tests.hotswap.serving import Serving, unix_listener


def ask(control: Path, **headers: str) -> Response:
    return asyncio.run(ask_successor(control, "/figures", headers))


def test_the_answer_comes_back_as_it_was_given(tmp_path: Path) -> None:
    async def figures(request: Request) -> Response:
        told = {"Vary": "Accept", "Content-Encoding": "gzip", "X-Own": "1"}
        return Response(200, b"\r\n\r\n\x1f\x8b" * 100_000 + request.headers["accept"].encode(), "text/figures", told)

    with Serving(unix_listener(tmp_path / "control.sock"), {("GET", "/figures"): figures}):
        answer = ask(tmp_path / "control.sock", accept="text/*;q=0.5, */*")
    assert (answer.status, answer.content_type) == (200, "text/figures")
    assert answer.headers == {"Vary": "Accept", "Content-Encoding": "gzip"}
    assert answer.body == b"\r\n\r\n\x1f\x8b" * 100_000 + b"text/*;q=0.5, */*"


def test_an_error_is_an_answer(tmp_path: Path) -> None:
    async def figures(_request: Request) -> Response:
        raise HttpError(404, "no figures")

    with Serving(unix_listener(tmp_path / "control.sock"), {("GET", "/figures"): figures}):
        answer = ask(tmp_path / "control.sock")
    assert (answer.status, answer.content_type, answer.body) == (404, "application/json", b'{"error":"no figures"}\n')


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(HotswapError, match="does not answer"):
        ask(tmp_path / "control.sock")


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (b"", "does not answer"),
        (b"hello", "does not answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12", "in the middle of its answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "in the middle of its answer"),
    ],
)
def test_half_an_answer_is_none(tmp_path: Path, said: bytes, complaint: str) -> None:
    with unix_listener(tmp_path / "control.sock") as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(65536)
                client.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(HotswapError, match=complaint):
            ask(tmp_path / "control.sock")
        thread.join()
