"""What a start imports, and that nothing is imported later: the installed package may be replaced under it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from proxy import ondemand, protocols
from tests.kit.client import Client
from tests.kit.companion import ROOT
from tests.kit.processes import PATIENCE, Instance, hotswap
from tests.kit.stage import Edge, Stage
from tests.kit.waiting import eventually

PACKAGES = ("hotswap", "proxy")


def copy_of_the_tree(directory: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    return directory


def garble(tree: Path) -> None:
    """What an interrupted installation leaves."""
    for package in PACKAGES:
        for path in (tree / package).rglob("*"):
            if path.suffix in {".py", ".pyc"}:
                path.write_text("raise SystemExit('garbage was imported')\n")


def wait_settled(instance: Instance) -> None:
    """Until what was not needed for the start is imported, too."""
    eventually(lambda: instance.status().server["to_import"] == 0, within=PATIENCE, what="everything is imported")


def exercise(edge: Edge) -> None:
    """Every kind of work that a proxy does: both protocols, errors of its own, every question of the control socket."""
    with Client(edge.web) as web, Client(edge.raw) as raw:
        assert web.ask("/bytes?n=100000").status == 200
        raw.send(b"x")
        web.send(b"not http\r\n\r\n")
        assert web.head().status == 400
    for question in ("/status", "/connections", "/history"):
        edge.instance.ask(question)


def test_a_generation_whose_package_became_garbage_upgrades_to_a_good_one(stage: Stage) -> None:
    tree = copy_of_the_tree(stage.directory / "old")
    edge = Edge(stage, stage.upstreams())
    edge.instance = Instance(edge.instance.directory, stage.offspring, edge.instance.config, tree)
    edge.instance.start()
    wait_settled(edge.instance)
    garble(tree)
    exercise(edge)
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
        bad = good_hotswap(edge).upgrade()
        assert bad.exit_code != 0, "the same command line starts garbage"
        assert edge.instance.status().generation == 1
        assert client.ask("/bytes?n=10").status == 200
        good = good_hotswap(edge).upgrade(command=["env", f"PYTHONPATH={ROOT}", *edge.instance.command()])
        assert good.exit_code == 0, good.text
        assert edge.instance.status().generation == 2
        assert client.ask("/bytes?n=10").status == 200


def good_hotswap(edge: Edge) -> Instance:
    """The same instance, asked by a command that is not garbage."""
    return Instance(edge.instance.directory, edge.stage.offspring, edge.instance.config, ROOT)


def verbose(stage: Stage, edge: Edge) -> int:
    """Start it so that Python tells of each import in its log; returns the pid."""
    options = edge.instance.command()
    command = [sys.executable, "-v", *options[len(hotswap()) - 1 :]]
    assert command[2:4] == options[1:3], "the script, then run"
    environment = {**edge.instance.environment, **stage.offspring.environment}
    log = edge.instance.log_file
    pid = stage.offspring.start(command, env=environment, cwd=edge.instance.directory, stderr=log)
    edge.instance.wait_served_by(pid)
    return pid


def lines(edge: Edge) -> list[str]:
    return edge.instance.log_file.read_text(errors="replace").splitlines()


def imports(log: list[str]) -> list[str]:
    return [line for line in log if line.startswith(("import ", "# code object"))]


def starts(log: list[str]) -> list[int]:
    """Where an interpreter began."""
    return [number for number, line in enumerate(log) if line.startswith("import _frozen_importlib ")]


@pytest.mark.all
def test_nothing_is_imported_while_serving_and_moving(stage: Stage) -> None:
    edge = Edge(stage, stage.upstreams())
    verbose(stage, edge)
    wait_settled(edge.instance)
    settled = len(lines(edge))
    exercise(edge)
    assert edge.instance.upgrade("--dry-run").exit_code == 0
    log = lines(edge)
    spawned = next(number for number in starts(log) if number >= settled)
    assert imports(log[settled:spawned]) == []


UNASKED = {
    "OpenSSL",
    "cryptography",
    "dataclasses",
    "email",
    "importlib.metadata",
    "jeepney",
    "proxy.tls.contexts",
    "proxy.tls.twin",
    "proxy.amqp.downstream",
    "proxy.bolt.frame",
    "proxy.dubbo.frame",
    "proxy.http2.session",
    "proxy.multiplexed.client",
    "pyroute2",
    "rich",
    "vm_agent",
}
"""What nobody needs who speaks plain tcp and http1. All of it together takes as long as the rest of a start."""


def test_a_plain_configuration_imports_no_more_than_it_needs_before_it_serves(stage: Stage) -> None:
    edge = Edge(stage, stage.upstreams())
    verbose(stage, edge)
    log = lines(edge)
    serving = next(number for number, line in enumerate(log) if " serving " in line)
    imported = {line.split("'")[1] for line in log[:serving] if line.startswith("import '")}
    assert {"asyncio", "yaml", "proxy.http1.downstream", "proxy.tcp"} <= imported
    assert imported & UNASKED == set()


def test_who_takes_over_imports_all_that_could_come_before_it_owns(stage: Stage) -> None:
    edge = Edge(stage, stage.upstreams())
    edge.instance.start()
    verbose(stage, edge)
    log = lines(edge)
    begins = max(starts(log))
    serving = next(number for number, line in enumerate(log) if number > begins and " serving " in line)
    imported = {line.split("'")[1] for line in log[begins:serving] if line.startswith("import '")}
    assert {*ondemand.MODULES, *protocols.MODULES} <= imported
    assert edge.instance.status().server["to_import"] == 0
