"""A real RabbitMQ and clients that nobody here wrote, through upgrades: nothing lost, doubled or delivered again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.kit.amqp_client import Conversation
from tests.kit.amqp_peers import CLIENTS, Report, finish
from tests.kit.bolt_peers import Absent, Peer
from tests.kit.certificates import Authority
from tests.kit.ports import loopback, port_of
from tests.kit.processes import Instance
from tests.kit.rabbit import Rabbit
from tests.kit.stage import Stage
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.all, pytest.mark.timeout(400)]
EACH = 7000
"""Messages of each of three clients."""


@pytest.fixture(scope="module")
def rabbit(authority: Authority) -> Iterator[Rabbit]:
    try:
        running = Rabbit(authority)
    except Absent as reason:
        pytest.skip(str(reason))
    with running:
        yield running


def edge(stage: Stage, endpoints: list[str], cluster: dict[str, Any] | None = None, **listener: Any) -> Instance:
    address = loopback()
    instance = stage.instance(
        {
            "name": "edge",
            "listeners": [{"name": "mq", "address": address, "protocol": "amqp", "cluster": "brokers", **listener}],
            "clusters": [{"name": "brokers", "endpoints": endpoints, **(cluster or {})}],
        }
    )
    instance.start()
    return instance


def address_of(instance: Instance) -> str:
    return str(instance.config["listeners"][0]["address"])


def client(exits: ExitStack, name: str, *arguments: object) -> Peer:
    try:
        return exits.enter_context(CLIENTS[name](*arguments))
    except Absent as reason:
        pytest.skip(str(reason))


def delivered(instance: Instance) -> float:
    return sum(instance.figures("hotswap_amqp_delivered_total").values())


def upgrade(instance: Instance, times: int) -> None:
    """Each under traffic."""
    for _ in range(times):
        before = delivered(instance)
        eventually(lambda before=before: delivered(instance) > before + 20, within=30, what="messages flow")  # type: ignore[misc]
        done = instance.upgrade("--require-all")
        assert done.exit_code == 0, done.text
        assert done.result["kept"] == []


def check(report: Report, at_least: int, *, redelivered: bool = False) -> None:
    print(report)
    assert report.failures == []
    assert report.published >= at_least
    assert report.lost == 0
    if not redelivered:
        assert (report.doubled, report.redelivered) == (0, 0)


@pytest.mark.parametrize("handover", ["value", "quiet"])
def test_twenty_thousand_messages_through_ten_upgrades(stage: Stage, rabbit: Rabbit, handover: str) -> None:
    instance = edge(stage, [rabbit.addresses[0]], handover=handover)
    with ExitStack() as exits:
        clients = [client(exits, name, address_of(instance), EACH) for name in CLIENTS]
        upgrade(instance, 10)
        for one in clients:
            check(finish(one), EACH)


@pytest.mark.parametrize("name", CLIENTS)
def test_tls_on_both_sides(stage: Stage, rabbit: Rabbit, authority: Authority, name: str) -> None:
    trust = {"tls": {"ca": str(authority.file)}}
    certificates = {"certificates": [authority.issue("edge").config]}
    endpoint = rabbit.tls.replace("127.0.0.1", "localhost")
    instance = edge(stage, [endpoint], trust, tls=certificates)
    with ExitStack() as exits:
        one = client(exits, name, address_of(instance), 1000, 10, authority.file)
        upgrade(instance, 3)
        check(finish(one), 1000)


def test_heartbeats_are_heard_through_upgrades(stage: Stage, rabbit: Rabbit) -> None:
    """A second is agreed on; either side would end the connection after two or three without any."""
    instance = edge(stage, [rabbit.addresses[0]])
    peer = Conversation(heartbeat=1)
    with socket.create_connection(("127.0.0.1", port_of(address_of(instance)))) as connection:
        connection.settimeout(10)

        def talk() -> None:
            connection.sendall(peer.take())
            data = connection.recv(65536)
            assert data, "the connection ended"
            peer.feed(data)

        while not peer.opened:
            talk()
        for _ in range(4):
            process = instance.start_upgrade("--require-all")
            heard = peer.beats
            while peer.beats < heard + 3 or process.poll() is None:
                peer.beat()
                talk()
            out, err = process.communicate()
            assert process.returncode == 0, out + err
        assert not peer.code()


def move_away(instance: Instance, address: str) -> None:
    instance.config["clusters"][0]["endpoints"] = [address]
    instance.write_config()


@pytest.mark.parametrize("how", ["upgrade", "reload"])
@pytest.mark.parametrize("name", CLIENTS)
def test_a_change_of_broker_under_load(stage: Stage, rabbit: Rabbit, tmp_path: Path, name: str, how: str) -> None:
    """Two doors of one broker, so that its queues are behind both."""
    password = tmp_path / "password"
    password.write_text("guest\n")
    broker = {"when_gone": "move", "username": "guest", "password_file": str(password)}
    instance = edge(stage, [rabbit.addresses[0]], {"broker": broker})
    with ExitStack() as exits:
        one = client(exits, name, address_of(instance), 1000)
        for number in (1, 0, 1):
            before = delivered(instance)
            eventually(lambda before=before: delivered(instance) > before + 20, within=30, what="messages flow")  # type: ignore[misc]
            move_away(instance, rabbit.addresses[number])
            if how == "upgrade":
                done = instance.upgrade("--require-all")
                assert done.exit_code == 0, done.text
            else:
                reloaded = instance.hotswap("reload", "edge")
                assert reloaded.returncode == 0, reloaded.stdout + reloaded.stderr
            there = rabbit.addresses[number]

            def moved(there: str = there) -> bool:
                shown = [one for one in instance.connections() if one["kind"] == "amqp.upstream"]
                return bool(shown) and all(one["endpoint"] == there for one in shown)

            eventually(moved, within=60, what=f"all changed to {there}")
        check(finish(one), 1000)


@pytest.mark.parametrize("way", ["another port", "the same port"])
def test_from_plaintext_to_tls_and_back_under_load(
    stage: Stage, rabbit: Rabbit, authority: Authority, tmp_path: Path, way: str
) -> None:
    """RabbitMQ has a port for each. One that takes both is made of a second proxy before it."""
    password = tmp_path / "password"
    password.write_text("guest\n")
    broker = {"when_gone": "move", "username": "guest", "password_file": str(password)}
    trust = {"ca": str(authority.file)}
    if way == "another port":
        instance = edge(stage, [rabbit.addresses[0]], {"broker": broker})
    else:
        door = loopback()
        permissive = {
            "name": "both",
            "address": door,
            "protocol": "amqp",
            "cluster": "rabbit",
            "tls": {"certificates": [authority.issue("both").config]},
            "tls_mode": "permissive",
        }
        front = stage.instance(
            {
                "name": "front",
                "listeners": [permissive],
                "clusters": [{"name": "rabbit", "endpoints": [rabbit.addresses[0]]}],
            }
        )
        front.start()
        encryption = {"broker": broker, "tls": trust, "encryption": {"wanted": "off"}}
        instance = edge(stage, [door], encryption)
    with ExitStack() as exits:
        one = client(exits, "aio_pika", address_of(instance), 1000)
        for secure in (True, False):
            before = delivered(instance)
            eventually(lambda before=before: delivered(instance) > before + 20, within=30, what="messages flow")  # type: ignore[misc]
            if way == "another port":
                (cluster,) = instance.config["clusters"]
                there = rabbit.tls.replace("127.0.0.1", "localhost") if secure else rabbit.addresses[0]
                cluster.update({"endpoints": [there], "tls": trust} if secure else {"endpoints": [there]})
                if not secure:
                    del cluster["tls"]
                instance.write_config()
                done = instance.hotswap("reload", "edge")
            else:
                done = instance.hotswap("tls", "edge", "--cluster", "brokers", "on" if secure else "off")
            assert done.returncode == 0, done.stdout + done.stderr

            def changed(secure: bool = secure) -> bool:
                shown = [one for one in instance.connections() if one["kind"] == "amqp.upstream"]
                return bool(shown) and all(("tls" in one) == secure for one in shown)

            eventually(changed, within=60, what="all changed over")
        check(finish(one), 1000)


def test_a_drain_leaves_nothing_to_be_delivered_again(stage: Stage, rabbit: Rabbit) -> None:
    instance = edge(stage, [rabbit.addresses[0]])
    with ExitStack() as exits:
        one = client(exits, "amqplib", address_of(instance), 0)
        before = delivered(instance)
        eventually(lambda: delivered(instance) > before + 200, within=30, what="messages flow")
        drained = instance.hotswap("drain", "edge")
        assert drained.returncode == 0, drained.stdout + drained.stderr
        report = finish(one)
    assert [text for text in report.failures if "320" not in text] == []
    assert report.failures
    assert (report.lost, report.doubled, report.redelivered) == (0, 0, 0)
