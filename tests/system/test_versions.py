"""The next minor version, with one more field in messages and states: there and back under live connections."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotswap import __version__
from tests.kit.companion import ROOT
from tests.kit.stage import BREEZE, Edge, Stage
from tests.kit.versions import NEXT_VERSION, command_of, copy_packages, raise_minor_version, ruin


@pytest.fixture
def newer(stage: Stage) -> Path:
    tree = copy_packages(stage.directory / "newer")
    raise_minor_version(tree)
    return tree


@pytest.fixture
def same(stage: Stage) -> Path:
    return copy_packages(stage.directory / "same")


def move_to(edge: Edge, tree: Path, version: str) -> None:
    done = edge.instance.upgrade("--require-all", command=command_of(tree, *edge.instance.run_arguments()))
    assert done.exit_code == 0, done.text
    assert edge.instance.status().version == version


def test_connections_live_through_upgrade_and_downgrade(stage: Stage, newer: Path, same: Path) -> None:
    edge = stage.edge()
    load = edge.load(BREEZE)
    for _ in range(2):
        move_to(edge, newer, NEXT_VERSION)
        assert load.turn().failures == []
        move_to(edge, same, __version__)
        assert load.turn().failures == []
    assert load.finish().failures == []
    assert edge.upstreams.record().wrong == []


def test_rollback_returns_to_the_version_before(stage: Stage, newer: Path, same: Path) -> None:
    edge = stage.edge()
    load = edge.load(BREEZE)
    move_to(edge, same, __version__)
    move_to(edge, newer, NEXT_VERSION)
    done = edge.instance.hotswap("rollback", edge.instance.name, "--json")
    assert done.returncode == 0, done.stderr
    assert edge.instance.status().version == __version__
    assert load.turn().failures == []
    assert load.finish().failures == []


def test_a_version_that_knows_other_state_kinds_only_is_refused(stage: Stage, newer: Path) -> None:
    edge = stage.edge()
    load = edge.load(BREEZE)
    wire = newer / "hotswap/handover/wire.py"
    wire.write_text(wire.read_text().replace("_OLDEST = 1", "_OLDEST = 3").replace("_NEWEST = 1", "_NEWEST = 4"))
    done = edge.instance.upgrade(command=command_of(newer, *edge.instance.run_arguments()))
    assert done.exit_code == 11, done.text
    assert "version" in done.message
    assert load.turn().failures == []
    assert load.finish().failures == []
    assert edge.instance.status().generation == 1


def test_a_serving_generation_needs_its_installed_package_no_more(stage: Stage, same: Path) -> None:
    """Everything was imported at the start: the package turns to garbage, and a good one elsewhere takes over."""
    edge = Edge(stage, stage.upstreams(), tree=copy_packages(stage.directory / "installed"))
    edge.instance.start()
    load = edge.load(BREEZE)
    ruin(stage.directory / "installed")
    assert load.turn().failures == []
    for path in ("/status", "/connections", "/history"):
        assert edge.instance.ask(path)
    edge.instance.use(ROOT)
    again = edge.instance.upgrade()
    assert again.exit_code not in {0, None}, "the same command line means the garbage"
    assert load.turn().failures == []
    move_to(edge, same, __version__)
    assert load.turn().failures == []
    assert load.finish().failures == []


def test_a_garbled_package_does_not_hinder_a_drain(stage: Stage) -> None:
    edge = Edge(stage, stage.upstreams(), tree=copy_packages(stage.directory / "installed"))
    owner = edge.instance.start()
    ruin(stage.directory / "installed")
    edge.instance.use(ROOT)
    assert edge.instance.hotswap("drain", edge.instance.name).returncode == 0
    assert stage.offspring.status(owner, within=20) == 0
