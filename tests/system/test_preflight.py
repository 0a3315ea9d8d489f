"""An upgrade that would not fit into the memory its cgroup has left, under a limit that the kernel enforces.

The serving generation is fat: it has memory of its own that a new one has no need of. So there are limits that are
too tight by the estimate, which goes by what the source has, and wide enough in truth.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotswap import errors
from tests.kit.cgroups import MemoryGroup
from tests.kit.client import Client
from tests.kit.processes import PATIENCE, Upgrade
from tests.kit.stage import Edge, Stage
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually

MB = 1 << 20
FAT = f"""
from hotswap.cli.main import main
fat = b"x" * {64 * MB}
main()
"""


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    with MemoryGroup() as made:
        yield made


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with Upstreams(("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0")) as running:
        yield running


@pytest.fixture
def edge(group: MemoryGroup, stage: Stage, upstreams: Upstreams) -> Edge:  # the group goes after its processes
    edge = Edge(stage, upstreams)
    instance = edge.instance
    command = group.entering([sys.executable, "-c", FAT, *instance.run_arguments()])
    pid = stage.offspring.start(command, env=instance.environment, cwd=instance.directory, stderr=instance.log_file)
    instance.wait_served_by(pid)
    assert group.processes() == [pid]
    return edge


def own(pid: int) -> int:
    """Bytes that this process shares with nobody."""
    found = re.search(r"^RssAnon:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def assert_refused(edge: Edge, upgrade: Upgrade) -> None:
    """It is the preflight that said no, and generation 1 serves on alone."""
    assert upgrade.exit_code == errors.Refused.exit_code == 11, upgrade.text
    assert "raise the memory limit, or try all the same with --force" in upgrade.message
    status = edge.instance.status()
    assert (status.generation, status.state) == (1, "serving")
    assert edge.instance.generations() == [status.pid]


def assert_upgraded(edge: Edge, group: MemoryGroup, upgrade: Upgrade) -> None:
    """Generation 2 serves, under the same limit, and the kernel had to kill nobody for it."""
    assert upgrade.exit_code == 0, upgrade.text
    status = edge.instance.status()
    assert (status.generation, status.state) == (2, "serving")
    eventually(lambda: group.processes() == [status.pid], within=PATIENCE, what="generation 1 ends")
    assert group.killed() == 0


def test_what_does_not_fit_is_refused_with_figures_until_the_limit_is_raised(edge: Edge, group: MemoryGroup) -> None:
    pid = edge.instance.status().pid
    with Client(edge.web) as kept:
        assert kept.ask("/bytes?n=10").status == 200
        size = own(pid)
        limit = group.leave(size)  # a tenth less than the estimate
        refused = edge.instance.upgrade()
        assert_refused(edge, refused)
        figures = re.search(
            r"needs about ([\d.]+) MB, and its cgroup (\S+) has ([\d.]+) MB left of ([\d.]+) MB", refused.message
        )
        assert figures is not None, refused.message
        assert figures[2] == group.name
        needed, left, most = (float(figures[number]) * MB for number in (1, 3, 4))
        assert needed == pytest.approx(1.1 * size, abs=2 * MB)
        assert left == pytest.approx(size, abs=2 * MB)
        assert most == pytest.approx(limit, abs=0.1 * MB)

        assert edge.instance.status().pid == pid
        assert kept.ask("/bytes?n=10").status == 200
        with Client(edge.web) as new:
            assert new.ask("/bytes?n=10").status == 200

        group.leave(size * 3 // 2)
        assert_upgraded(edge, group, edge.instance.upgrade())
        assert kept.ask("/bytes?n=10").status == 200


def test_force_starts_what_fits_only_in_truth(edge: Edge, group: MemoryGroup) -> None:
    lean = edge.instance.command()
    with Client(edge.web) as kept:
        assert kept.ask("/bytes?n=10").status == 200
        group.leave(own(edge.instance.status().pid))
        assert_refused(edge, edge.instance.upgrade(command=lean))
        assert_upgraded(edge, group, edge.instance.upgrade("--force", command=lean))
        assert kept.ask("/bytes?n=10").status == 200
        assert own(edge.instance.status().pid) < 64 * MB
