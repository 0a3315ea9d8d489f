"""A changed configuration while serving: applied whole or refused whole, and nobody notices."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hotswap import errors
from tests.kit.client import Client
from tests.kit.load import Plan
from tests.kit.ports import loopback, refused
from tests.kit.processes import PATIENCE, Config, Instance, finish_upgrade
from tests.kit.stage import BREEZE, STORM, Edge, Stage
from tests.kit.waiting import eventually
from tests.system.test_config import probe

FEW = (30, 5)
MANY = (100, 20)


@pytest.fixture
def edge(stage: Stage) -> Edge:
    return stage.edge()


def reload(instance: Instance, *options: str) -> dict[str, Any]:
    """`hotswap reload --json` that must succeed."""
    done = instance.hotswap("reload", instance.name, "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return msgspec.json.decode(done.stdout, type=dict[str, Any])


def told(answer: dict[str, Any]) -> list[str]:
    return [f"{change['what']} {change['name']} {change['how']}" for change in answer["changes"]]


def more(edge: Edge, address: str) -> Config:
    return {"name": "more", "address": address, "protocol": "tcp", "cluster": "db"}


def test_listeners_come_and_go_while_connections_stay(edge: Edge) -> None:
    instance, address = edge.instance, loopback()
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
        instance.config["listeners"].append(more(edge, address))
        instance.config["clusters"][0]["retries"] = 2
        instance.write_config()
        before = instance.ask("/status")["config_id"]
        assert told(reload(instance, "--dry-run")) == ["listener more added", "cluster app changed"]
        assert refused(address)
        assert instance.ask("/status")["config_id"] == before
        answer = reload(instance)
        assert told(answer) == ["listener more added", "cluster app changed"]
        assert not refused(address)
        assert instance.ask("/status")["config_id"] == answer["config_id"] != before
        assert [one["name"] for one in instance.ask("/status")["listeners"]] == ["web", "raw", "more"]
        assert instance.history()[-1] | {"config_id": answer["config_id"], "reloads": 1} == instance.history()[-1]
        instance.config["listeners"].pop()
        instance.write_config()
        assert told(reload(instance)) == ["listener more removed"]
        assert refused(address)
        assert reload(instance)["changes"] == []
        assert client.ask("/bytes?n=10").status == 200
        assert instance.status().generation == 1
        assert instance.upgrade("--require-all").exit_code == 0
        assert client.ask("/bytes?n=10").status == 200


def test_a_listener_that_comes_back_is_not_stuck_behind_its_old_connections(edge: Edge) -> None:
    instance = edge.instance
    removed = instance.config["listeners"].pop()
    load = edge.load(BREEZE)
    for _ in range(3):
        instance.write_config()
        assert told(reload(instance)) == ["listener raw removed"]
        instance.config["listeners"].append(removed)
        instance.write_config()
        assert told(reload(instance)) == ["listener raw added"]
        instance.config["listeners"].pop()
    assert load.turn().failures == []
    assert load.finish().failures == []


def test_a_broken_file_is_refused_whole_and_the_old_one_stays_in_force(edge: Edge) -> None:
    instance = edge.instance
    before = instance.ask("/status")["config_id"]
    instance.config["listeners"].append(more(edge, loopback()))
    instance.config["listeners"][0]["routes"][0]["cluster"] = "nope"
    instance.write_config()
    done = instance.hotswap("reload", "edge")
    assert done.returncode == errors.ConfigError.exit_code
    assert "there is no cluster 'nope'" in done.stderr
    assert instance.ask("/status")["config_id"] == before
    assert instance.ask("/status")["last_reload"]["exit_code"] == errors.ConfigError.exit_code


def test_an_address_that_is_taken_refuses_everything(edge: Edge) -> None:
    instance, free = edge.instance, loopback()
    instance.config["listeners"] += [more(edge, free), more(edge, edge.upstreams.addresses[0]) | {"name": "taken"}]
    instance.write_config()
    for options in (["--dry-run"], []):
        done = instance.hotswap("reload", "edge", *options)
        assert done.returncode == errors.BindFailed.exit_code
        assert f"{edge.upstreams.addresses[0]} cannot be bound" in done.stderr
        assert refused(free)


def test_sighup_reloads_and_the_admin_address_follows(edge: Edge) -> None:
    instance, admin = edge.instance, loopback()
    instance.config["admin"] = admin
    instance.write_config()
    pid = instance.status().pid
    instance.kill(pid, signal.SIGHUP)
    eventually(lambda: instance.ask("/status")["last_reload"], within=PATIENCE, what="the reload")
    assert probe(admin, "/ready") == 200
    instance.config_file.write_text("garbage: [")
    instance.kill(pid, signal.SIGHUP)
    eventually(lambda: not instance.ask("/status")["last_reload"]["ok"], within=PATIENCE, what="the refusal")
    assert probe(admin, "/ready") == 200
    del instance.config["admin"]
    instance.write_config()
    assert told(reload(instance)) == ["setting admin changed"]
    with pytest.raises(OSError, match="refused"):
        probe(admin, "/ready")


@pytest.mark.parametrize("how", ["command", "SIGHUP"])
def test_a_reload_during_a_handover_waits_and_reaches_whoever_owns_then(edge: Edge, how: str) -> None:
    instance, address = edge.instance, loopback()
    source = instance.status().pid
    instance.arm("destination.send_round_done.before:hang")
    failing = instance.start_upgrade("--timeout", "5s")
    eventually(lambda: instance.status().state == "handover", within=PATIENCE, what="the attempt begins")
    instance.config["listeners"].append(more(edge, address))
    instance.write_config()
    if how == "SIGHUP":
        instance.kill(source, signal.SIGHUP)
        assert refused(address)
    else:
        assert told(reload(instance)) == ["listener more added"]
    assert finish_upgrade(failing).exit_code == errors.DeadlinePassed.exit_code
    eventually(lambda: not refused(address), within=PATIENCE, what="the reload happens once the attempt is over")
    assert instance.status().pid == source


def test_sighup_to_a_generation_that_gives_everything_away_reaches_its_successor(edge: Edge) -> None:
    instance, address = edge.instance, loopback()
    source = instance.status().pid
    instance.arm("source.send_bye.before:stop")
    upgrading = instance.start_upgrade()
    eventually(lambda: instance.status().pid != source, within=PATIENCE, what="the new generation owns")
    instance.config["listeners"].append(more(edge, address))
    instance.write_config()
    instance.kill(source, signal.SIGHUP)
    instance.resume(source)
    assert finish_upgrade(upgrading).exit_code == 0
    eventually(lambda: not refused(address), within=PATIENCE, what="the successor reloads")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("reloads", "upgrades", "plan"), [(*FEW, BREEZE), pytest.param(*MANY, STORM, marks=pytest.mark.soak)]
)
def test_reloads_and_upgrades_mixed_at_random_under_load_fail_nobody(
    stage: Stage, edge: Edge, reloads: int, upgrades: int, plan: Plan
) -> None:
    """At most two generations live at any time."""
    dice = random.Random(20_000 + reloads)
    deeds = ["reload"] * reloads + ["upgrade"] * upgrades
    dice.shuffle(deeds)
    # On a busy machine this outlasts the usual one, and who is idle is sent away.
    edge.instance.config["listeners"][0]["keepalive_timeout"] = "10m"
    changes = mutations(edge, loopback())
    reload(edge.instance)
    most = 0
    load = edge.load(plan)
    running: list[subprocess.Popen[str]] = []
    for deed in deeds:
        dice.choice(changes)()
        edge.instance.write_config()
        if deed == "reload":
            reload(edge.instance)
        else:
            running.append(edge.instance.start_upgrade("--require-all"))
            if dice.random() < 0.5:
                reload(edge.instance)
            most = max(most, len(edge.instance.generations()))
            upgrade = finish_upgrade(running.pop())
            assert upgrade.exit_code in {0, errors.LeftBehind.exit_code}, upgrade.text
        most = max(most, len(edge.instance.generations()))
    report = load.finish()
    print(report.summary())
    assert report.failures == []
    assert edge.upstreams.record().busy_ends == []
    assert most <= 2
    assert edge.instance.status().generation > 1


def mutations(edge: Edge, address: str) -> list[Callable[[], object]]:
    """What an operator changes: none of it may touch who is connected."""
    config = edge.instance.config
    web, app = config["listeners"][0], config["clusters"][0]

    def listener() -> None:
        if len(config["listeners"]) > 2:
            config["listeners"].pop()
        else:
            config["listeners"].append(more(edge, address))

    def routes() -> None:
        if len(web["routes"]) > 1:
            web["routes"].pop(0)
        else:
            web["routes"].insert(0, {"match": {"prefix": "/bytes"}, "cluster": "other"})

    def cluster() -> None:
        app["retries"] = (app.get("retries", 1) + 1) % 4
        app["max_idle"] = 200 + app["retries"]

    def balance() -> None:
        app["balance"] = "round_robin" if app.get("balance") == "least_request" else "least_request"

    config["clusters"].append({"name": "other", "endpoints": list(app["endpoints"])})
    edge.instance.write_config()
    return [listener, routes, cluster, balance, edge.instance.change_config]
