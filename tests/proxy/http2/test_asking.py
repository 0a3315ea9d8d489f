"""Health checks over HTTP/2, asked of a server by somebody else (the h2 library)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
import pytest

from hotswap.address import Address
from proxy.app import answer, question
from proxy.config.model import AppConfig
from proxy.http2 import frame

if TYPE_CHECKING:
    from proxy.config.model import AppCheck

SERVING = b"\0\0\0\0\2\x08\x01"
NOT_SERVING = b"\0\0\0\0\2\x08\x02"


def config(check: AppCheck) -> AppConfig:
    return AppConfig(address=Address.parse("127.0.0.1:80"), check=check, path="/ready")


class Server:
    """What it was asked, and its answer."""

    def __init__(self, asked: bytes) -> None:
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.connection.initiate_connection()
        events = self.connection.receive_data(asked)
        self.request = next(one for one in events if isinstance(one, h2.events.RequestReceived))
        self.body = b"".join(one.data for one in events if isinstance(one, h2.events.DataReceived))
        self.ended = any(isinstance(one, h2.events.StreamEnded) for one in events)

    def says(self, status: int, body: bytes = b"", grpc: int | None = None) -> bytes:
        trailers = [] if grpc is None else [(b"grpc-status", b"%d" % grpc)]
        self.connection.send_headers(1, [(b":status", b"%d" % status)], end_stream=not (body or trailers))
        if body:
            self.connection.send_data(1, body, end_stream=not trailers)
        if trailers:
            self.connection.send_headers(1, trailers, end_stream=True)
        return self.connection.data_to_send()


def verdict(check: AppCheck, data: bytes, *, ended: bool = False) -> str | None:
    return answer(config(check), data, ended=ended)


def test_question_is_a_get_of_the_path() -> None:
    server = Server(question(config("http2")))
    fields = dict(server.request.headers)
    assert (fields[b":method"], fields[b":path"], fields[b":authority"]) == (b"GET", b"/ready", b"127.0.0.1:80")
    assert server.ended


def test_question_of_grpc_is_a_call_of_the_health_service() -> None:
    server = Server(question(config("grpc")))
    fields = dict(server.request.headers)
    assert fields[b":path"] == b"/grpc.health.v1.Health/Check"
    assert (fields[b"content-type"], fields[b"te"]) == (b"application/grpc", b"trailers")
    assert server.body == bytes(5)
    assert server.ended


@pytest.mark.parametrize(("status", "expected"), [(200, ""), (302, ""), (404, "404"), (503, "503")])
def test_status_decides(status: int, expected: str) -> None:
    data = Server(question(config("http2"))).says(status, b"hello")
    said = verdict("http2", data)
    assert said is not None
    assert expected in said
    assert bool(said) == bool(expected)


@pytest.mark.parametrize("cut", [0, 5, 20, 60])
def test_half_an_answer_is_none(cut: int) -> None:
    data = Server(question(config("grpc"))).says(200, SERVING, 0)
    assert verdict("grpc", data[:cut]) is None
    assert verdict("grpc", data[:cut], ended=True) == "it closed the connection without an answer"


@pytest.mark.parametrize(
    ("body", "grpc", "expected"),
    [
        (SERVING, 0, ""),
        (NOT_SERVING, 0, "it says that it does not serve"),
        (b"", 12, "it answered the check with grpc-status 12"),
    ],
)
def test_health_service_decides(body: bytes, grpc: int, expected: str) -> None:
    assert verdict("grpc", Server(question(config("grpc"))).says(200, body, grpc)) == expected


def test_answer_of_http1_is_no_answer() -> None:
    said = verdict("http2", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    assert said == "it does not speak HTTP/2: PROTOCOL_ERROR, it answers in HTTP/1"


def test_reset_is_no_answer() -> None:
    said = verdict("http2", frame.settings([]) + frame.rst_stream(1, 7))
    assert said == "it reset the stream: REFUSED_STREAM"
