from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.kit.pod import Pod, User
from tests.kit.processes import PATIENCE
from tests.kit.scraper import ask
from tests.kit.stage import Edge
from tests.kit.unshared import outermost

_UNTIL_TOLD = "import signal,sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('ready', flush=True)"
WAITING = ("python3", "-c", f"{_UNTIL_TOLD}; signal.pause()")


@pytest.fixture
def edge(pod: Pod) -> Edge:
    return Edge(pod, pod.upstreams(), admin="127.0.0.1:9000")


def test_a_container_is_alone_with_its_process(pod: Pod, edge: Edge) -> None:
    container = pod.start("lonely", *WAITING)
    container.wait_said("ready")
    told = container.exec("sh", "-c", "hostname; cat /proc/1/comm; ls /dev/shm; readlink /proc/self/ns/mnt")
    assert told.stdout.split() == ["lonely", "python3", container.place]
    assert not Path("/proc/self/ns/mnt").samefile(f"/proc/{container.pid}/ns/mnt")
    seen = container.exec("ls", str(pod.volume.parent))
    assert sorted(seen.stdout.split()) == ["0", "v"], "the test's own folder, and of that only what belongs to it"


def test_a_container_ends_as_its_process_does(pod: Pod, edge: Edge) -> None:
    ended = pod.start("a", "sh", "-c", "echo one; echo two >&2; exit 3")
    assert ended.status(within=PATIENCE) == 3
    assert (ended.last_line(), ended.running) == ("two", False)
    asked, killed = pod.start("b", *WAITING), pod.start("c", *WAITING)
    for container in (asked, killed):
        container.wait_said("ready")
        assert container.running
    asked.terminate()
    assert asked.status(within=PATIENCE) == 7
    assert killed.kill() == 128 + signal.SIGKILL
    with pytest.raises(AssertionError, match="ended without 'never'"):
        ended.wait_said("never")


def test_containers_share_a_volume_and_may_write_nowhere_else(pod: Pod, edge: Edge) -> None:
    write = f"echo said > {pod.volume}/file; touch /tmp/file || echo sealed; touch {pod.directory}/0/file || echo given"
    sealed = pod.start("a", "sh", "-c", write, read_only=True)
    assert sealed.status(within=PATIENCE) == 0
    said = [line for line in sealed.log_tail().splitlines() if "touch" not in line]
    assert said == ["sealed", "given"]
    other = pod.start("b", "sh", "-c", f"cat {pod.volume}/file; touch /tmp/file && exec echo open")
    assert other.status(within=PATIENCE) == 0
    assert other.log_tail().splitlines() == ["said", "open"]


def test_a_container_of_another_user_can_do_nothing_that_its_user_may_not(pod: Pod, edge: Edge) -> None:
    print_it = "grep -E '^(Uid|Groups|CapEff|CapBnd|NoNewPrivs)' /proc/self/status"
    container = pod.start("a", "sh", "-c", f"{print_it}; exec python3 -c 'import hotswap'", user=User(4321, 43, (44,)))
    assert container.status(within=PATIENCE) == 0, container.log_tail()
    told = {line.split(":")[0]: line.split()[1:] for line in container.log_tail().splitlines()}
    assert told["Uid"] == ["4321"] * 4
    assert told["Groups"] == ["44"]
    assert {int(told["CapEff"][0], 16), int(told["CapBnd"][0], 16)} == {0}
    assert told["NoNewPrivs"] == ["1"]


def test_whoever_is_in_the_network_of_the_pod_reaches_the_proxy_and_nobody_else(pod: Pod, edge: Edge) -> None:
    first = pod.run("a")
    pod.wait_served_by(first)
    assert pod.owner() is first
    assert "hotswap_generation 1" in pod.inside(ask, "127.0.0.1:9000")
    with pytest.raises(OSError, match="refused"):
        ask("127.0.0.1:9000")
    first.terminate()
    assert first.status(within=PATIENCE) == 0, first.log_tail()
    assert pod.owner() is None


def test_a_place_within_another_is_seen_with_it() -> None:
    places = [Path("/usr/lib/python3"), Path("/a/b"), Path("/a"), Path("/a"), Path("/ab")]
    assert outermost(places) == [Path("/a"), Path("/ab")]
