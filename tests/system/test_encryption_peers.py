"""From plaintext to TLS and back before servers that nobody here wrote, each with its own idea of when to close."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.kit import bolt
from tests.kit.bolt_peers import Absent, Peer, node
from tests.kit.bolt_upstream import Wish
from tests.kit.both_ways import haproxy_both_ways, nginx_both_ways
from tests.kit.certificates import Authority, Pair
from tests.kit.client import Client
from tests.kit.load import Plan
from tests.kit.opposite import entry
from tests.kit.ports import free_port, loopback
from tests.kit.processes import PATIENCE, Instance
from tests.kit.stage import Stage
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.all, pytest.mark.timeout(200)]

CHANGES = (("on", "tls", "plaintext"), ("off", "plaintext", "tls"))
"""An order, what is wanted then, and what was before."""
SHARED = 2
"""Connections that the calls of each version of bolt share."""
EVERY = 2 * SHARED
CROWD = 25
"""Connections that HTTP needs at a time, many more than the load does."""

Server = Callable[[Path, Pair, str], AbstractContextManager[str]]


class Near:
    """A proxy with one cluster, which speaks plaintext so far."""

    def __init__(self, stage: Stage, authority: Authority, protocol: str, behind: str, **cluster: Any) -> None:
        self.address = loopback()
        about = {"name": "app", "endpoints": [behind], "tls": {"ca": str(authority.file), "sni": "edge.test"}}
        listener = {"name": "front", "address": self.address, "protocol": protocol, "cluster": "app"}
        encryption = {"wanted": "off"} | cluster.pop("encryption", {})
        config = {"name": "near", "listeners": [listener], "clusters": [about | cluster | {"encryption": encryption}]}
        self.instance: Instance = stage.instance(config)
        self.instance.start()

    def order(self, wanted: str) -> None:
        done = self.instance.hotswap("tls", "near", "--cluster", "app", wanted)
        assert done.returncode == 0, done.stderr

    def upgrade(self) -> None:
        done = self.instance.upgrade("--require-all")
        assert done.exit_code == 0, done.text
        assert done.result["kept"] == []

    def retiring(self) -> int:
        """How many retire now."""
        return int(entry(self.instance, "app")["retiring"])

    def retiring_in_flight(self) -> int:
        """What those have under way."""
        return int(entry(self.instance, "app")["retiring_in_flight"])

    def count(self, kind: str) -> int:
        """How many connections serve in `plaintext`, or by `tls`."""
        return int(entry(self.instance, "app")["endpoints"][0][kind])

    def wait_count(self, kind: str, at_least: int) -> None:
        """Until so many serve in that way."""
        eventually(lambda: self.count(kind) >= at_least, within=PATIENCE, what=f"{at_least} speak {kind}")

    def wait_fewer(self, kind: str, most: int) -> None:
        """Until no more than these serve in that way."""
        eventually(lambda: self.count(kind) <= most, within=PATIENCE, what=f"{most} at most speak {kind}")

    def settled(self) -> bool:
        """All serve as wanted."""
        return bool(entry(self.instance, "app")["settled"])

    def retired(self) -> dict[str, int]:
        """How those ended that were replaced."""
        figures = self.instance.figures("hotswap_upstream_retired_total")
        return {dict(name)["how"]: int(value) for name, value in figures.items() if value}

    def wait_retired(self, **ended: int) -> None:
        """Until those that were replaced have ended like this, and no other."""
        eventually(lambda: self.retired() == ended, within=PATIENCE, what=f"{ended} have ended")


@contextmanager
def sofa_rpc_node(pair: Pair, idle: float) -> Iterator[tuple[list[str], Peer, str]]:
    """The command line of node, a server in it that closes what is silent for so many seconds, and its address."""
    try:
        program = node()
    except Absent as reason:
        pytest.skip(str(reason))
    port = free_port()
    with Peer(program, "server.js", port, round(1000 * idle), pair.cert, pair.key) as server:
        yield program, server, f"127.0.0.1:{port}"


def test_sofa_rpc_node_closes_what_retires_as_soon_as_the_last_call_is_answered(
    stage: Stage, authority: Authority
) -> None:
    """Calls take up to twice the time of silence that the server bears: only heartbeats keep them alive."""
    idle = 2.0
    with ExitStack() as peers:
        program, server, address = peers.enter_context(sofa_rpc_node(authority.issue("edge"), idle))
        beats = {"heartbeat_interval": f"{idle / 4:g}s", "shared_connections": SHARED}
        near = Near(stage, authority, "bolt", address, **beats)
        clients = [Peer(program, "client.js", near.address, version, 5, 16, round(2000 * idle)) for version in (1, 2)]
        for client in clients:
            peers.enter_context(client)
        for changes, (wanted, kind, before) in enumerate(CHANGES):
            near.wait_count(before, EVERY)
            near.order(wanted)
            eventually(near.retiring_in_flight, within=PATIENCE, what="one with calls retires")
            near.upgrade()
            near.wait_retired(peer=EVERY * (changes + 1))
            assert near.settled()
            assert near.count(kind) == EVERY
            assert near.retiring() == 0
        reports = [client.finish() for client in clients]
        assert server.finish().idle == 2 * EVERY
    for report in reports:
        assert report.failures == []
        assert report.calls > 100
    assert near.retired() == {"peer": 2 * EVERY}


@contextmanager
def crowd(address: str, behind: Upstreams, token: str) -> Iterator[None]:
    """So many requests at a time; inside, all but one are answered, and that one is at the end."""
    with ExitStack() as clients:
        last = clients.enter_context(Client(address))
        last.get(f"/hold?token={token}")
        behind.held(token)
        others = [clients.enter_context(Client(address)) for _ in range(CROWD - 1)]
        for client in others:
            client.get(f"/hold?token={token}-others")
        eventually(lambda: len(behind.record().held) == CROWD, within=PATIENCE, what="all requests are held")
        behind.release(f"{token}-others")
        assert [client.response().status for client in others] == [200] * len(others)
        yield
        behind.release(token)
        assert last.response().status == 200


@pytest.mark.parametrize("server", [nginx_both_ways, partial(haproxy_both_ways, http=True)], ids=["nginx", "haproxy"])
def test_http_changes_over_while_the_server_closes_what_is_idle(
    stage: Stage, authority: Authority, server: Server
) -> None:
    behind = stage.upstreams(("http", "127.0.0.1:0"))
    with server(stage.directory / "server", authority.issue("edge"), behind.addresses[0]) as address:
        near = Near(stage, authority, "http1", address, keepalive_timeout="1h", max_idle=1000)
        load = stage.load(Plan(http=near.address, fresh=6, fresh_rate=150, idle=2, streams=3, stream_seconds=1))
        replaced = 0
        for wanted, kind, before in CHANGES:
            with crowd(near.address, behind, wanted):
                assert near.count(before) >= CROWD
                near.order(wanted)
                near.wait_count(kind, 1)
                near.upgrade()
                assert not near.settled(), "one request is under way as it began"
            eventually(near.settled, within=PATIENCE, what="all have changed over")
            assert near.count(before) == 0
            ended = near.retired()
            assert ended.keys() == {"own"}
            assert ended["own"] > replaced
            replaced = ended["own"]
            with crowd(near.address, behind, f"after-{wanted}"):
                assert near.count(kind) >= CROWD
            near.wait_fewer(kind, CROWD // 2)  # which would be kept here for an hour: the server closed them
            assert near.retired() == ended
            assert load.turn().failures == []
        report = load.finish()
    print(report.summary(), ended)
    assert report.failures == []
    assert behind.record().wrong == []


class Caller:
    """A client of bolt that waits for its answers, and answers whom the server asks."""

    def __init__(self, address: str) -> None:
        self.client = Client(address)
        self.frames = bolt.FrameReader()
        self.answers: dict[int, bytes] = {}

    def call(self, number: int, content: bytes) -> None:
        self.client.send(bolt.call(bolt.Dialect(), number, content, timeout=60_000))

    def answer(self, number: int) -> bytes:
        """Wait for that to this call."""
        while number not in self.answers:
            assert self.client.more(), "the connection ended"
            data, self.client.unread = self.client.unread, b""
            for frame in self.frames.feed(data):
                if frame.type == bolt.REQUEST:
                    self.client.send(bolt.answer(frame.dialect, frame.id, frame.content))
                else:
                    assert frame.timeout == 0, f"status {frame.timeout} for call {frame.id}"
                    self.answers[frame.id] = frame.content
        return self.answers[number]


LONG = 9
"""Seconds that a call takes, much longer than the deadline."""


def test_the_deadline_closes_what_no_server_closes_and_cuts_no_call(stage: Stage, authority: Authority) -> None:
    behind = stage.upstreams(("bolt", "127.0.0.1:0"))
    server = haproxy_both_ways(stage.directory / "server", authority.issue("edge"), behind.addresses[0], http=False)
    with ExitStack() as exits:
        address = exits.enter_context(server)
        waits = {"shared_connections": SHARED, "encryption": {"retire_timeout": "2s"}}
        near = Near(stage, authority, "bolt", address, **waits)
        load = stage.load(Plan(bolt_address=near.address, bolt=9, bolt_calls=8, bolt_rate=300))
        caller = Caller(near.address)
        exits.callback(caller.client.close)
        for changes, (wanted, kind, before) in enumerate(CHANGES):
            near.wait_count(before, EVERY)
            late, soon = Wish(delay=1000 * LONG).content(b"late"), Wish().content(b"soon")
            caller.call(10 * changes + 1, late)
            caller.call(10 * changes + 2, soon)
            assert caller.answer(10 * changes + 2) == soon  # so the first one is under way by now
            near.order(wanted)
            if wanted == "on":
                eventually(near.retiring, within=PATIENCE, what="one retires")
                near.upgrade()
            all_but_one = EVERY * (changes + 1) - 1
            near.wait_retired(deadline=all_but_one)
            assert near.retiring() == near.retiring_in_flight() == 1
            if wanted == "off":
                near.upgrade()
                assert near.retiring() == near.retiring_in_flight() == 1
            assert caller.answer(10 * changes + 1) == late
            near.wait_retired(deadline=all_but_one + 1)
            assert near.retiring() == 0
            assert near.settled()
            assert near.count(kind) == EVERY
            assert load.turn().failures == []
        report = load.finish()
        assert behind.record().busy_ends == []
    print(report.summary())
    assert report.failures == []
    assert behind.record().wrong == []
