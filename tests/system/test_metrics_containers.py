"""Metrics across containers: PID and mount namespaces of their own, both processes pid 1, one runtime directory."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.kit.client import Client
from tests.kit.ports import loopback
from tests.kit.processes import PATIENCE
from tests.kit.scraper import Scraper, ask, read, total
from tests.kit.stage import Edge, Stage
from tests.kit.waiting import eventually

# Shared memory of its own, as every container has it: what goes along goes by descriptor, or not at all.
CONTAINER = ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child"]
INSIDE = 'mount -t tmpfs -o size=16m none /dev/shm && exec "$@"'


def permitted() -> bool:
    return shutil.which("unshare") is not None and (
        subprocess.run([*CONTAINER, "sh", "-c", INSIDE, "sh", "true"], capture_output=True, check=False).returncode == 0
    )


pytestmark = pytest.mark.skipif(not permitted(), reason="this user may not make PID and mount namespaces")


def start(edge: Edge, *options: str) -> int:
    """A container with one generation, once it serves; the pid of what ends it, as seen from here."""
    instance = edge.instance
    before = instance.try_status()
    command = [*CONTAINER, "sh", "-c", INSIDE, "sh", *instance.command(*options)]
    outside = instance.offspring.start(
        command, env=instance.environment, cwd=instance.directory, stderr=instance.log_file
    )
    number = 1 if before is None else before.generation + 1

    def serves() -> bool:
        status = instance.try_status()
        return status is not None and status.generation == number and status.state == "serving"

    eventually(serves, within=PATIENCE, what=f"generation {number} serves in a container of its own")
    return outside


def shared_memory(pid: int) -> list[str]:
    """What /dev/shm holds as the child of this process sees it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sorted(one.name for one in (Path("/proc") / children[0] / "root" / "dev" / "shm").iterdir())


def test_counters_go_on_from_container_to_container(stage: Stage) -> None:
    admin = loopback()
    edge = Edge(stage, stage.upstreams(), admin=admin)
    first = start(edge)
    assert len(shared_memory(first)) == 1
    with Client(edge.web) as client, Scraper(admin, interval=0.02) as scraper:
        for _ in range(100):
            assert client.ask("/bytes?n=10").status == 200
        second = start(edge, "--takeover=require")
        assert edge.instance.status().pid == 1
        assert shared_memory(second) == []
        for _ in range(100):
            assert client.ask("/bytes?n=10").status == 200
        stage.offspring.status(first, within=PATIENCE)
        third = start(edge, "--takeover=require")
        for _ in range(100):
            assert client.ask("/bytes?n=10").status == 200
        stage.offspring.status(second, within=PATIENCE)
        scraper.wait(2)
    scraper.once()
    assert scraper.problems == []
    assert scraper.total("hotswap_requests_total", code="2xx") == 300
    assert total(scraper.other, "hotswap_downstream_connections_active", listener="web") in {0, 1}
    assert total(scraper.other, "hotswap_generations") == 1
    edge.instance.kill(third)


def test_what_a_killed_container_counted_stays_counted(stage: Stage) -> None:
    """Killed as soon as everything was given away, and by then not a moment too soon."""
    admin = loopback()
    edge = Edge(stage, stage.upstreams(), admin=admin)
    first = start(edge)
    with Client(edge.web) as client:
        for _ in range(50):
            assert client.ask("/bytes?n=10").status == 200
        second = start(edge, "--takeover=require")
        edge.instance.kill(first)
        for _ in range(50):
            assert client.ask("/bytes?n=10").status == 200
        growing, other = read(ask(admin))
        assert total(growing, "hotswap_requests_total", code="2xx") == 100
        assert total(other, "hotswap_downstream_connections_active", listener="web") == 1
    edge.instance.kill(second)


def test_two_containers_are_told_apart_though_both_are_pid_1(stage: Stage) -> None:
    """While the source still drains a connection of a listener that the destination does not have."""
    admin = loopback()
    edge = Edge(stage, stage.upstreams(), admin=admin)
    first = start(edge)
    with Client(edge.raw) as kept, Client(edge.web) as moved:
        assert moved.ask("/bytes?n=10").status == 200
        del edge.instance.config["listeners"][1]
        edge.instance.write_config()
        second = start(edge, "--takeover=require")

        def both() -> bool:
            other = read(ask(admin))[1]
            there = [series for series in other if series.startswith("process_resident_memory_bytes")]
            return len(there) == 2 and total(other, "hotswap_downstream_connections_active", protocol="tcp") == 1

        eventually(partial(both), within=PATIENCE, what="both generations tell what they have")
        assert total(read(ask(admin))[1], "hotswap_generations") == 2
        assert moved.ask("/bytes?n=10").status == 200
        kept.close()
    stage.offspring.status(first, within=PATIENCE)
    eventually(
        lambda: total(read(ask(admin))[1], "hotswap_generations") == 1, within=PATIENCE, what="one generation is left"
    )
    edge.instance.kill(second)
