"""What the http1 tests have in common: a configuration, requests, and the words that the proxy adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotswap.address import Address
from proxy.config.model import ClusterConfig, Config, EndpointConfig, ListenerConfig, MatchConfig, RouteConfig

if TYPE_CHECKING:
    from tests.proxy.simulation import Socket, World

ID = b"X-Request-Id: 7\r\n"
ADDED = b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nVia: 1.1 hotswap\r\n\r\n"
VIA = b"Via: 1.1 hotswap\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n" + ID + b"\r\n"
GET_SENT = b"GET / HTTP/1.1\r\nHost: a\r\n" + ID + ADDED
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
HELLO_GOT = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + VIA + b"\r\nhello"
HELLO_LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + VIA + b"Connection: close\r\n\r\nhello"


def post(body: bytes, *lines: bytes, length: int | None = None, method: bytes = b"POST") -> bytes:
    stated = len(body) if length is None else length
    return (
        b"\r\n".join([method + b" / HTTP/1.1", b"Host: a", b"Content-Length: %d" % stated, *lines, ID]) + b"\r\n" + body
    )


def post_sent(body: bytes, *lines: bytes, length: int | None = None, method: bytes = b"POST") -> bytes:
    stated = len(body) if length is None else length
    head = b"\r\n".join([method + b" / HTTP/1.1", b"Host: a", b"Content-Length: %d" % stated, *lines, ID])
    return head + ADDED + body


def web(*, endpoints: int = 1, listener: dict[str, Any] | None = None, **cluster: Any) -> Config:
    """One listener "web"; /other goes to a cluster of its own, /nowhere has no route for another host than a."""
    return Config(
        name="edge",
        listeners=(
            ListenerConfig(
                name="web",
                address=Address.parse("127.0.0.1:8080"),
                protocol="http1",
                routes=(
                    RouteConfig(cluster="other", match=MatchConfig(prefix="/other")),
                    RouteConfig(cluster="app", match=MatchConfig(host="*.a")),
                    RouteConfig(cluster="app", match=MatchConfig(host="a")),
                    RouteConfig(cluster="app", match=MatchConfig(host="app")),
                    RouteConfig(cluster="app", match=MatchConfig(host="")),
                    RouteConfig(cluster="app", match=MatchConfig(host="[::1]")),
                ),
                **(listener or {}),
            ),
        ),
        clusters=tuple(
            ClusterConfig(
                name=name,
                endpoints=tuple(
                    EndpointConfig(address=Address.parse(f"127.0.0.1:{first + n}")) for n in range(endpoints)
                ),
                **({"connect_timeout": 1.0, "idle_timeout": 300.0} | cluster),
            )
            for name, first in (("app", 9000), ("other", 9500))
        ),
    )


def exchange(world: World, request: bytes = GET) -> tuple[Socket, Socket]:
    """A client with a request under way on a connected upstream that took it."""
    client = world.connect("web")
    client.send(request)
    server = world.dialled()
    server.accept()
    server.take()
    return client, server


def status(response: bytes) -> int:
    """The status of a whole response of our own; checks its length."""
    head, _, body = response.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    lengths = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
    assert lengths == [len(body)]
    return int(lines[0].split(b" ")[1])
