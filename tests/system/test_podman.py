"""Real containers, by podman and runc: the project's image, as strict as a cluster runs it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit.certificates import Authority
from tests.kit.client import Client
from tests.kit.companion import ROOT
from tests.kit.images import base_image, project_image
from tests.kit.load import Plan
from tests.kit.networks import inside
from tests.kit.pod import Container
from tests.kit.podman_pod import STRICT, USER, PodmanContainer, PodmanPod
from tests.kit.processes import PATIENCE
from tests.kit.rounds import take_turns, told_downtime
from tests.kit.stage import Edge
from tests.kit.waiting import eventually

pytestmark = [pytest.mark.all, pytest.mark.timeout(600)]

CROWD = Plan(
    busy=24, idle=8, streams=6, uploads=6, websockets=6, raw=10, bolt=8, rate=120, raw_rate=50, bolt_rate=80,
    stream_seconds=2, upload_pause=1,
)  # fmt: skip
ROUNDS = 10
STARTS = 5
ENOUGH = 1.0
"""Seconds that a start may compute."""


@pytest.fixture
def pod() -> Iterator[PodmanPod]:
    with PodmanPod() as made:
        yield made
        made.show()


@pytest.fixture
def edge(pod: PodmanPod) -> Edge:
    return Edge(pod, pod.upstreams())


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_nobody_notices_containers_in_turns(pod: PodmanPod, secure: bool) -> None:
    authority = Authority(pod.directory / "tls") if secure else None
    behind = pod.upstreams(
        ("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0"), ("bolt", "127.0.0.1:0"),
        tls=authority.issue("behind") if authority else None,
    )  # fmt: skip
    edge = Edge(pod, behind, authority=authority, admin="127.0.0.1:9000")
    report, took = take_turns(pod, edge, CROWD, 2 * ROUNDS)
    print(report.summary(), f"{2 * ROUNDS} takeovers, worst {max(took)}")


def test_a_container_is_as_strict_as_a_cluster_makes_it(pod: PodmanPod, edge: Edge) -> None:
    container = pod.run("a")
    pod.wait_served_by(container)
    status = dict(line.split(":\t", 1) for line in container.exec("cat", "/proc/1/status").stdout.splitlines())
    assert status["Uid"].split() == status["Gid"].split() == [str(USER)] * 4
    assert {int(status[f"Cap{which}"], 16) for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for place in ("/", "/opt/hotswap", "/etc", "/usr/local/lib"):
        assert "Read-only file system" in container.exec("sh", "-c", f"echo > {place}/new").stdout
    for program in ("gcc", "cc", "pip", "pip3"):
        assert container.exec("sh", "-c", f"command -v {program}").stdout == ""
    safe = container.exec("python", "-c", "import sys; print(sys.flags.safe_path, sys.dont_write_bytecode)")
    assert safe.stdout == "True True\n"


def test_everything_that_serving_needs_is_compiled(pod: PodmanPod, edge: Edge) -> None:
    """Else each start of a container, which may not keep what it compiles, would do so again."""
    container = pod.start("a", "python", "-v", "/opt/hotswap/bin/hotswap", "run", "-c", str(edge.instance.config_file))
    pod.wait_served_by(container)
    loaded = [line for line in container.log_tail(1_000_000).splitlines() if line.startswith("# code object from ")]
    assert len(loaded) > 100
    assert [line for line in loaded if ".pyc'" not in line] == []


def test_a_container_owns_soon_after_it_was_started(pod: PodmanPod, edge: Edge) -> None:
    """What a start takes is shown; only what it computes is held against a limit, whatever else is going on here."""
    old = pod.run("a")
    pod.wait_served_by(old)
    computed: list[float] = []
    for number in range(STARTS):
        began = time.time()
        new = pod.run("ba"[number % 2], "--takeover=require")
        status = pod.wait_served_by(new)
        downtime = told_downtime(pod)
        owner = status["last_upgrade"]["began"] + downtime / 1000
        started, seconds = process_times(new.pid)
        computed.append(seconds)
        print(
            f"podman run to owner {owner - began:.3f} s, of which the process {owner - started:.3f} s, "
            f"and computes {seconds:.2f} s, downtime {downtime:.1f} ms"
        )
        assert old.status(within=PATIENCE) == 0
        old = new
    assert min(computed) <= ENOUGH


def process_times(pid: int) -> tuple[float, float]:
    """When it was started, as time.time() tells, and the seconds of CPU it took since. See proc_pid_stat(5)."""
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return boot + int(told[19]) / tick, (int(told[11]) + int(told[12])) / tick


def test_a_sole_container_that_is_stopped_finishes_what_is_under_way(pod: PodmanPod, edge: Edge) -> None:
    container = pod.run("a", "--grace-period=60s")
    pod.wait_served_by(container)
    client = pod.inside(Client, edge.web)
    client.get("/hold?token=last")
    edge.upstreams.held("last")
    with client, ThreadPoolExecutor() as threads:
        end = threads.submit(stopped, container)
        container.wait_said("draining")
        edge.upstreams.release("last")
        answer = client.response()
        assert (answer.status, answer.fields["connection"]) == (200, "close")
        assert client.ended()
        assert end.result() == 0


def test_a_drain_is_over_before_its_grace_period_is(pod: PodmanPod, edge: Edge) -> None:
    container = pod.run("a", "--grace-period=3s")
    pod.wait_served_by(container)
    with pod.inside(Client, edge.web) as client:
        client.get("/hold?token=never")
        edge.upstreams.held("never")
        assert stopped(container) == 0  # a SIGKILL would be much later


def test_who_gave_everything_away_idles_and_is_called_back(pod: PodmanPod, edge: Edge) -> None:
    first = pod.run("a", "--after-handover=idle")
    pod.wait_served_by(first)
    second = pod.run("b", "--after-handover=idle", "--takeover=require")
    pod.wait_served_by(second)
    first.wait_said("idle")
    eventually(lambda: pod.status()["standbys"], within=PATIENCE, what="the owner knows who stands by")
    for question, code in {"ready": 0, "live": 0, "owner": 1}.items():
        answer = first.exec("hotswap", "probe", question, "edge")
        assert answer.returncode == code, answer.stdout
    assert first.exec("hotswap", "probe", "owner", "edge", "--or-idle").returncode == 0
    assert memory(first.pid) < memory(second.pid) / 2
    with pod.inside(Client, edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
        assert stopped(second) == 0, second.log_tail()
        pod.wait_served_by(first)
        assert client.ask("/bytes?n=10").status == 200


def stopped(container: Container) -> int:
    """The exit code of one that is told to end, and would be killed much later."""
    assert isinstance(container, PodmanContainer)
    return container.stop(60)


def memory(pid: int) -> int:
    """Resident, in KB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_an_empty_container_waits_and_is_content(pod: PodmanPod, edge: Edge) -> None:
    pod.image = project_image(empty=True)
    empty = pod.run("a")
    comm = Path(f"/proc/{empty.pid}/comm")
    eventually(lambda: comm.read_text() == "hotswap-idle\n", within=PATIENCE, what="the empty container idles")
    for question in ("ready", "live", "owner"):
        assert empty.exec("hotswap", "probe", question, "edge").returncode == 0
    assert pod.status() == {}
    assert stopped(empty) == 0


def test_a_container_that_fails_says_why_in_its_last_line(pod: PodmanPod, edge: Edge) -> None:
    first = pod.run("a")
    pod.wait_served_by(first)
    failed = pod.run("b", config={**edge.instance.config, "listeners": "none"})
    assert failed.status(within=PATIENCE) == 3
    assert "listeners" in failed.last_line()
    assert pod.owner() is first


def test_the_manifest_of_a_pod_is_played_and_its_proxy_upgraded(pod: PodmanPod) -> None:
    infra = played(pod)
    podman = pod.podman
    probe = ("hotswap", "probe")
    podman("exec", "application-edge", *probe, "owner", "edge", "--wait")
    podman("exec", "application-edge", *probe, "ready", "edge", "--wait")
    with inside(infra, Client, "127.0.0.1:8000") as client:
        assert client.ask("/").status == 200
        (args,) = (one["args"] for one in manifest()["spec"]["containers"] if one["name"] == "edge")
        podman(
            "run", "--detach", "--pod=application", "--name=application-edge-2", "--volumes-from=application-edge",
            *STRICT, pod.image, *args,
        )  # fmt: skip
        podman("exec", "application-edge-2", *probe, "owner", "edge", "--wait")
        assert podman("wait", "application-edge") == "0"
        assert client.ask("/").status == 200
    for question in ("ready", "live"):
        podman("exec", "application-edge-2", *probe, question, "edge")
    podman("stop", "--time=60", "application-edge-2")
    assert podman("inspect", "--format={{.State.ExitCode}}", "application-edge-2") == "0"


def manifest() -> dict[str, Any]:
    """Of containers/pod.yaml."""
    (pod,) = yaml.safe_load_all((ROOT / "containers" / "pod.yaml").read_text())
    assert isinstance(pod, dict)
    return pod


def played(pod: PodmanPod) -> Path:
    """The network of a pod that podman made of it, with our images, and without publishing a port of this machine."""
    described = manifest()
    edge, application = described["spec"]["containers"]
    edge |= {"image": pod.image, "ports": []}
    application |= {"image": base_image(), "command": ["python3", "-m", "http.server", "8080"]}
    file = pod.directory / "pod.yaml"
    file.write_text(yaml.safe_dump(described))
    config = ROOT / "containers" / "configmap.yaml"
    pod.podman("kube", "play", "--network=none", f"--configmap={config}", str(file))
    infra = pod.podman("pod", "inspect", "--format={{.InfraContainerID}}", "application")
    return Path(f"/proc/{pod.podman('inspect', '--format={{.State.Pid}}', infra)}/ns/net")
