"""What the tests of configuration keys share: a file with one key in question, and who shows which key."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tests.proxy.simulation import Socket, World

F = TypeVar("F", bound=Callable[..., None])

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

HONOURED = {"listener.original_dst", "cluster.transparent_source", "cluster.mark"}  # tests/proxy/test_transparent.py
HONOURED |= {"listener.tls_mode", "listener.first_bytes_timeout", "match.sni"}  # tests/proxy/tls/test_first_bytes.py
HONOURED |= {"listener.tls", "cluster.tls", "listener tls.handshake_timeout"}  # tests/proxy/tls/test_playbooks.py
HONOURED |= {"endpoint.encryption", "endpoint.announces", "cluster.encryption"}  # tests/proxy/encryption
HONOURED |= {f"listener.{key}" for key in ("max_channels", "max_consumers", "handover", "settle_timeout")}
HONOURED |= {"listener.http2", "cluster.http2"}  # tests/proxy/http2
HONOURED |= {"cluster.broker"}  # tests/proxy/amqp
HONOURED |= {"match.interface", "match.method", "match.version", "match.group"}  # tests/proxy/dubbo/test_config.py
HONOURED |= {f"encryption.{key}" for key in ("wanted", "strict", "percent", "ramp", "announcements")}
HONOURED |= {f"encryption.{key}" for key in ("retry", "max_retry", "retire_timeout")}


def honours(*keys: str) -> Callable[[F], F]:
    """Names the keys that a test shows, so that none is forgotten."""
    HONOURED.update(keys)
    return lambda test: test


def text(listener: str = "", cluster: str = "", *, routes: str = "", endpoints: str = "127.0.0.1:9000") -> str:
    """One http1 listener `web`, one tcp listener `raw`, one cluster `app`; with further keys."""
    target = f"routes: [{routes}]" if routes else "cluster: app"
    names = [word.split("}")[0] for word in routes.split("cluster: ")[1:]] or ["app"]
    clusters = "".join(
        f"  - {{name: {name}, endpoints: [{endpoints.replace('9000', str(9000 + number))}]{cluster}}}\n"
        for number, name in enumerate(names)
    )
    return f"""\
name: edge
listeners:
  - {{name: web, address: 127.0.0.1:80, protocol: http1, {target}{listener}}}
  - {{name: raw, address: 127.0.0.1:81, protocol: tcp, cluster: {names[0]}}}
clusters:
{clusters}"""


def status(client: Socket) -> int:
    """The status of the response that came."""
    data = client.take()
    assert data.startswith(b"HTTP/1.1 "), data
    return int(data[9:12])


def ask(world: World, request: bytes = GET) -> tuple[Socket, Socket]:
    """A client with a request, and the server it was dialled for, connected."""
    client = world.connect("web")
    client.send(request)
    server = world.dialled()
    server.accept()
    return client, server
