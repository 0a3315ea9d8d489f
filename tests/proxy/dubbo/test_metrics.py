"""What is counted of Dubbo calls. Through handovers as well."""

from __future__ import annotations

from proxy.config.loader import loads
from tests.kit import dubbo
from tests.proxy.dubbo.scene import statuses, taken
from tests.proxy.metrics.scene import Counted

AT = "app 127.0.0.1:9000"


def test_calls_are_counted_by_route_and_status(moving: bool) -> None:
    world = Counted(
        loads(
            """\
name: edge
listeners:
  - name: rpc
    address: 127.0.0.1:82
    protocol: dubbo
    routes:
      - {name: orders, match: {interface: com.acme.Orders}, cluster: app}
      - {match: {interface: kit.*, method: echo}, cluster: app}
clusters:
  - {name: app, endpoints: [127.0.0.1:9000], request_timeout: 2s}
"""
        ).config,
        moving=moving,
    )
    client = world.connect("rpc")
    client.send(
        dubbo.call(1, b"", interface="com.acme.Orders")
        + dubbo.call(2, b"")
        + dubbo.call(3, b"", method="nothing")
        + dubbo.call(4, b"")
        + dubbo.call(5, b"", oneway=True)
    )
    server = world.dialled()
    server.accept()
    first, second, _, _ = taken(server)
    exception = dubbo.encode(0, 20, first.id, b"\x90" + dubbo.text("boom"))
    server.send(exception + dubbo.answer(second.id, b"boom", status=80))
    assert statuses(client) == {1: 20, 2: 80, 3: 60}
    world.wait(2.1)
    assert statuses(client) == {4: 31}
    assert world.told() == {
        "requests rpc orders ok": 1,
        "requests rpc interface=kit.* method=echo error": 2,
        "requests rpc - error": 1,
        "request_timeouts rpc interface=kit.* method=echo": 1,
        f"upstream_requests {AT} ok": 1,
        f"upstream_requests {AT} error": 1,
        f"upstream_request_duration {AT}": 2,
        f"upstream_timeouts {AT}": 1,
    }
