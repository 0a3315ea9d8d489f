"""A serving generation imported everything at its start: what becomes of the installed package does not concern it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.kit.client import Client
from tests.kit.companion import ROOT
from tests.kit.processes import Instance, hotswap
from tests.kit.stage import Edge, Stage

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


@pytest.mark.all
def test_nothing_is_imported_while_serving_and_moving(stage: Stage) -> None:
    edge = Edge(stage, stage.upstreams())
    options = edge.instance.command()
    verbose = [sys.executable, "-v", *options[len(hotswap()) - 1 :]]
    assert verbose[2:4] == options[1:3], "the script, then run"
    environment = {**edge.instance.environment, **stage.offspring.environment}
    pid = stage.offspring.start(verbose, env=environment, cwd=edge.instance.directory, stderr=edge.instance.log_file)
    edge.instance.wait_served_by(pid)
    exercise(edge)
    assert edge.instance.upgrade("--dry-run").exit_code == 0
    log = edge.instance.log_file.read_text(errors="replace").splitlines()
    serving = next(number for number, line in enumerate(log) if " serving " in line)
    spawned = next(number for number, line in enumerate(log) if number > serving and "_frozen_importlib" in line)
    assert [line for line in log[serving:spawned] if line.startswith(("import ", "# code object"))] == []
