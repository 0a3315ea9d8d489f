"""`workers: N`: several processes serve as one generation. What holds for one has to hold for all of them."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from typing import Any

import pytest

from tests.kit.certificates import Authority
from tests.kit.client import Client
from tests.kit.load import Load
from tests.kit.offspring import run_state
from tests.kit.ports import loopback, refused
from tests.kit.processes import PATIENCE, Instance
from tests.kit.stage import BREEZE, STORM, Edge, Stage
from tests.kit.waiting import eventually
from tests.system.test_reload import more, reload, told
from tests.system.test_storm import never_close, weather


def workers(instance: Instance) -> list[dict[str, Any]]:
    """A row for each, the main process first."""
    rows: list[dict[str, Any]] = instance.ask("/status")["server"].get("workers", [])
    return rows


def all_serve(instance: Instance) -> list[dict[str, Any]] | None:
    rows = workers(instance)
    return rows if all(row["state"] == "serves" for row in rows) else None


def pids(instance: Instance) -> list[int]:
    """Of the workers, without the main process."""
    return [row["pid"] for row in workers(instance)[1:]]


def open_on(instance: Instance, listener: str) -> int:
    return sum(row.get("listener") == listener for row in instance.connections())


def gone(pid: int) -> bool:
    return run_state(pid) in "-ZX"


def serving(stage: Stage, number: int = 2, **changes: Any) -> Edge:
    """All its workers are there."""
    edge = Edge(stage, stage.upstreams(), workers=number, **changes)
    never_close(edge.instance.config)
    edge.instance.write_config()
    edge.instance.start()
    eventually(lambda: all_serve(edge.instance), within=PATIENCE, what="all workers serve")
    return edge


def upgrade_to(edge: Edge, number: int) -> None:
    edge.instance.config["workers"] = number
    edge.instance.write_config()
    done = edge.instance.upgrade("--require-all")
    assert done.exit_code == 0, done.text


def asked(edge: Edge, times: int = 20) -> None:
    """New connections, one after the other."""
    for _ in range(times):
        with Client(edge.web) as client:
            assert client.ask("/bytes?n=10").status == 200


def unhurt(edge: Edge, load: Load) -> None:
    assert load.turn().failures == []
    assert edge.upstreams.record().ended == []


def test_clients_are_shared_between_workers_and_counted_once(stage: Stage) -> None:
    edge = serving(stage)
    clients = [Client(edge.web) for _ in range(40)]
    for client in clients:
        assert client.ask("/bytes?n=10").status == 200
    rows = workers(edge.instance)
    assert [row["worker"] for row in rows] == [0, 1]
    assert all(row["connections"] >= 10 for row in rows), rows  # neither has more than two thirds
    status = edge.instance.status()
    assert status.connections == sum(row["connections"] for row in rows)
    web = status.server["listeners"][0]
    assert (web["connections"], web["answered"]) == (40, 40)
    listed = edge.instance.connections()
    assert {row["worker"] for row in listed} == {0, 1}
    assert len(listed) == status.connections
    counted = edge.instance.figures("hotswap_downstream_connections_active")
    assert sum(counted.values()) == 40
    for client in clients:
        client.close()


@pytest.mark.timeout(600)
def test_nobody_notices_that_the_number_of_workers_changes(stage: Stage) -> None:
    edge = serving(stage)
    load = edge.load(BREEZE)
    for number in (2, 1, 3):
        upgrade_to(edge, number)
        unhurt(edge, load)
        assert len(workers(edge.instance)) == (number if number > 1 else 0)
        asked(edge)
    report = load.finish()
    assert report.failures == []
    assert edge.upstreams.record().wrong == []


@pytest.mark.all
@pytest.mark.timeout(600)
def test_nobody_notices_upgrades_with_tls(stage: Stage, authority: Authority) -> None:
    behind = stage.upstreams(tls=authority.issue("behind"))
    edge = Edge(stage, behind, authority=authority, workers=2)
    never_close(edge.instance.config)
    edge.instance.write_config()
    edge.instance.start()
    load = edge.load(BREEZE)
    for number in (2, 1, 2):
        upgrade_to(edge, number)
        unhurt(edge, load)
    assert load.finish().failures == []


@pytest.mark.all
@pytest.mark.timeout(1800)
def test_a_storm_is_weathered_by_two(stage: Stage) -> None:
    edge = serving(stage)
    weather(edge, STORM, 10)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("destination.send_round_done.before:kill", marks=pytest.mark.all),
        "destination.take_byte.before:kill",
        pytest.param("destination.send_owned.before:kill", marks=pytest.mark.all),
        pytest.param("source.put_byte.before:raise", marks=pytest.mark.all),
        pytest.param("source.freeze.after:raise", marks=pytest.mark.all),
        pytest.param("source.send_final.after:raise", marks=pytest.mark.all),
    ],
)
def test_an_upgrade_that_fails_hurts_nobody(stage: Stage, fault: str) -> None:
    edge = serving(stage)
    load = edge.load(BREEZE)
    before = pids(edge.instance)
    edge.instance.arm(fault)
    assert edge.instance.upgrade().exit_code != 0
    unhurt(edge, load)
    assert pids(edge.instance) == before
    assert edge.instance.status().generation == 1
    edge.instance.disarm()
    upgrade_to(edge, 2)
    unhurt(edge, load)
    assert load.finish().failures == []


def test_listeners_survive_an_owner_that_dies_at_once(stage: Stage) -> None:
    edge = serving(stage)
    edge.instance.arm("destination.start.after:kill")
    assert edge.instance.upgrade().exit_code != 0
    asked(edge)
    eventually(lambda: all_serve(edge.instance), within=PATIENCE, what="all workers serve")
    assert len(workers(edge.instance)) == 2


def test_a_worker_that_dies_is_replaced_and_nobody_is_refused(stage: Stage) -> None:
    edge = serving(stage)
    asked(edge, 30)
    (victim,) = pids(edge.instance)
    edge.instance.figures("hotswap_requests_total")
    os.kill(victim, signal.SIGKILL)
    asked(edge, 30)

    def another() -> bool:
        return all_serve(edge.instance) is not None and pids(edge.instance) != [victim]

    eventually(another, within=PATIENCE, what="another one serves")
    assert gone(victim)
    asked(edge, 30)
    requests = edge.instance.figures("hotswap_requests_total")
    assert sum(requests.values()) == 90
    load = edge.load(BREEZE)
    upgrade_to(edge, 2)
    assert load.turn().failures == []
    assert sum(edge.instance.figures("hotswap_requests_total").values()) > 90


def test_a_worker_that_is_stuck_fails_an_upgrade_and_no_more(stage: Stage) -> None:
    edge = serving(stage)
    with ExitStack() as exits:
        clients = [exits.enter_context(Client(edge.web)) for _ in range(20)]
        for client in clients:
            assert client.ask("/bytes?n=10").status == 200
        (stuck,) = pids(edge.instance)
        os.kill(stuck, signal.SIGSTOP)
        try:
            done = edge.instance.upgrade("--timeout", "4s")
        finally:
            os.kill(stuck, signal.SIGCONT)
        assert done.exit_code != 0
        for client in clients:
            assert client.ask("/bytes?n=10").status == 200
        assert edge.instance.upgrade("--dry-run").exit_code == 0
        upgrade_to(edge, 2)
        for client in clients:
            assert client.ask("/bytes?n=10").status == 200


@pytest.mark.all
def test_any_number_of_connections_may_stay_behind(stage: Stage) -> None:
    """Of a listener that the next configuration does not have; what a worker says of them is longer than a message."""
    edge = serving(stage)
    instance, address = edge.instance, loopback()
    instance.config["listeners"].append(more(edge, address))
    instance.write_config()
    assert told(reload(instance)) == ["listener more added"]
    with ExitStack() as exits:
        clients = [exits.enter_context(Client(address)) for _ in range(1600)]
        for client in clients:
            client.send(b"a")
        eventually(lambda: open_on(instance, "more") == len(clients), within=PATIENCE, what="all are relayed")
        there = pids(instance)
        instance.config["listeners"].pop()
        instance.write_config()
        done = instance.upgrade()
        assert done.exit_code == 0, done.text
        asked(edge)
        for client in clients:
            client.socket.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.socket.recv(1)
        assert not any(map(gone, there)), "they serve those that stayed"
    eventually(lambda: all(map(gone, there)), within=PATIENCE, what="the last one is gone, and the workers with it")


def test_workers_end_with_the_process_they_belong_to(stage: Stage) -> None:
    edge = serving(stage, 3)
    there = pids(edge.instance)
    edge.instance.kill(edge.instance.status().pid)
    eventually(lambda: all(map(gone, there)), within=PATIENCE, what="all workers ended")
    edge.instance.start()
    asked(edge)


def test_all_workers_end_when_told_to(stage: Stage) -> None:
    edge = serving(stage)
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
        there, main = pids(edge.instance), edge.instance.status().pid
        os.kill(main, signal.SIGTERM)
        assert stage.offspring.status(main, within=PATIENCE) == 0
    assert all(map(gone, there))
    assert refused(edge.web)


def test_a_reload_reaches_all_workers_or_none(stage: Stage) -> None:
    edge = serving(stage)
    instance, address = edge.instance, loopback()
    load = edge.load(BREEZE)
    instance.config["listeners"].append(more(edge, address))
    instance.write_config()
    assert told(reload(instance)) == ["listener more added"]
    there = pids(instance)
    assert not refused(address)
    instance.config["listeners"].pop()
    instance.write_config()
    assert told(reload(instance)) == ["listener more removed"]
    eventually(lambda: refused(address), within=PATIENCE, what="every worker let go of it")
    instance.config["workers"] = 3
    instance.write_config()
    done = instance.hotswap("reload", instance.name)
    assert done.returncode != 0
    assert "hotswap upgrade" in done.stdout + done.stderr
    assert pids(instance) == there
    assert load.turn().failures == []


def test_every_request_has_its_line_in_the_access_log(stage: Stage) -> None:
    edge = Edge(stage, stage.upstreams(), workers=2)
    log = stage.directory / "access.log"
    edge.instance.config["listeners"][0]["access_log"] = {"to": str(log), "format": "json"}
    edge.instance.write_config()
    edge.instance.start()
    asked(edge, 40)
    upgrade_to(edge, 2)
    asked(edge, 40)
    main = edge.instance.status().pid
    os.kill(main, signal.SIGTERM)
    assert stage.offspring.status(main, within=PATIENCE) == 0
    lines = log.read_text().splitlines()
    assert len(lines) == 80
    assert all(line.startswith("{") and line.endswith("}") for line in lines)
