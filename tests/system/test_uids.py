"""Generations of different users, as containers of one pod may be: a common group, and no capability at all."""

from __future__ import annotations

import os
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hotswap.errors import PermissionDenied
from tests.kit.certificates import Authority
from tests.kit.client import Client
from tests.kit.processes import PATIENCE, Instance, hotswap
from tests.kit.segments import segments
from tests.kit.stage import Edge, Stage
from tests.kit.tls import TlsClient, client_context
from tests.kit.users import COMMON, User, needs_users
from tests.kit.waiting import eventually

pytestmark = needs_users

ONE, OTHER, STRANGER = (User(uid, (COMMON,)) for uid in (1001, 1002, 1003))
BOTH = [ONE.uid, OTHER.uid]


class Volume:
    """A runtime directory as a pod with an fsGroup mounts it, and what it takes for others to read the rest."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.path = stage.directory / "run"
        self.path.mkdir()
        stage.directory.chmod(0o755)
        os.chown(self.path, 0, COMMON)
        self.path.chmod(0o2775)
        self.authority = Authority(stage.directory / "tls")

    def edge(self, *, tls: bool = False, **changes: Any) -> Edge:
        """A proxy that is not started."""
        authority = self.authority if tls else None
        edge = Edge(self.stage, self.stage.upstreams(), authority=authority, runtime_dir=str(self.path), **changes)
        for path in (self.stage.directory / "tls").iterdir():
            os.chown(path, 0, COMMON)
            path.chmod(0o640)
        return edge

    def again(self, edge: Edge, **changes: Any) -> Instance:
        """The same with another configuration, and a log of its own."""
        return self.stage.instance({**edge.instance.config, **changes})


@pytest.fixture
def volume(stage: Stage) -> Volume:
    return Volume(stage)


def launch(instance: Instance, user: User, *options: str) -> int:
    command = user.command(instance.command(*options))
    return instance.offspring.start(command, env=instance.environment, cwd=instance.directory, stderr=instance.log_file)


def start(instance: Instance, user: User, *options: str) -> int:
    """A generation of that user, once it serves."""
    pid = launch(instance, user, *options)
    instance.wait_served_by(pid)
    ids = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))
    assert ids.split()[1:] == [str(user.uid)] * 4
    return pid


def requests(instance: Instance) -> float:
    return sum(instance.figures("hotswap_requests_total").values())


def end(instance: Instance, pid: int) -> None:
    """An orderly one."""
    instance.kill(pid, signal.SIGTERM)
    assert instance.offspring.status(pid, within=PATIENCE) == 0


@pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.all)], ids=["tls", "plaintext"])
def tls(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def connect(volume: Volume, edge: Edge, *, tls: bool) -> Client:
    return TlsClient(edge.web, client_context(volume.authority.file, "1.3")) if tls else Client(edge.web)


def test_connections_and_counters_go_on_from_user_to_user(volume: Volume, *, tls: bool) -> None:
    edge = volume.edge(tls=tls, upgrade={"peer_uids": BOTH})
    instance = edge.instance
    first = start(instance, ONE)
    with connect(volume, edge, tls=tls) as client:
        assert client.ask("/bytes?n=10").status == 200
        second = start(instance, OTHER, "--takeover=require")
        assert instance.offspring.status(first, within=PATIENCE) == 0
        for _ in range(2):
            assert client.ask("/bytes?n=10").status == 200
        third = start(instance, ONE, "--takeover=require")
        assert instance.offspring.status(second, within=PATIENCE) == 0
        assert client.ask("/bytes?n=10").status == 200
        assert requests(instance) == 4
    assert [one["connections"] for one in instance.history()[1:]] == [2, 2]  # with the one behind
    assert "warning" not in instance.log_tail(1000).lower(), instance.log_tail(1000)
    instance.kill(third)


@pytest.mark.all
def test_containers_of_different_users_are_both_pid_1(volume: Volume) -> None:
    """With shared memory of their own: what is counted goes along by its descriptor, or not at all."""
    container = ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "sh", "-c"]
    inside = [*container, 'mount -t tmpfs -o size=16m none /dev/shm && exec "$@"', "sh"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make PID and mount namespaces")
    edge = volume.edge(upgrade={"peer_uids": BOTH})
    instance = edge.instance

    def begin(user: User, number: int, *options: str) -> int:
        argv = [*inside, *user.command(instance.command(*options))]
        pid = instance.offspring.start(argv, env=instance.environment, cwd=instance.directory, stderr=instance.log_file)
        eventually(partial(serves, number), within=PATIENCE, what=f"generation {number} serves")
        return pid

    def serves(number: int) -> bool:
        status = instance.try_status()
        return status is not None and (status.generation, status.state, status.pid) == (number, "serving", 1)

    first = begin(ONE, 1)
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
        second = begin(OTHER, 2, "--takeover=require")
        assert instance.offspring.status(first, within=PATIENCE) == 0
        begin(ONE, 3, "--takeover=require")
        assert instance.offspring.status(second, within=PATIENCE) == 0
        assert client.ask("/bytes?n=10").status == 200
    assert requests(instance) == 2
    assert "warning" not in instance.log_tail(1000).lower(), instance.log_tail(1000)


@pytest.mark.all
def test_root_without_capabilities_takes_part_like_anybody_else(volume: Volume) -> None:
    edge = volume.edge(upgrade={"peer_uids": [ONE.uid]})
    instance = edge.instance
    with_root = User(0, (COMMON,))
    first = start(instance, ONE)
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
        second = start(instance, with_root, "--takeover=require")
        assert instance.offspring.status(first, within=PATIENCE) == 0
        third = start(instance, ONE, "--takeover=require")
        assert instance.offspring.status(second, within=PATIENCE) == 0
        assert client.ask("/bytes?n=10").status == 200
    assert requests(instance) == 2
    assert "warning" not in instance.log_tail(1000).lower(), instance.log_tail(1000)
    instance.kill(third)


@pytest.mark.all
def test_memory_without_a_name_goes_on_as_well(volume: Volume) -> None:
    edge = volume.edge(upgrade={"peer_uids": BOTH}, metrics={"shared": False})
    first = start(edge.instance, ONE)
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
        second = start(edge.instance, OTHER, "--takeover=require")
        assert edge.instance.offspring.status(first, within=PATIENCE) == 0
        third = start(edge.instance, ONE, "--takeover=require")
        assert edge.instance.offspring.status(second, within=PATIENCE) == 0
        assert client.ask("/bytes?n=10").status == 200
    assert requests(edge.instance) == 2
    assert segments("edge", volume.path) == []
    edge.instance.kill(third)


@pytest.mark.all
def test_after_a_crash_the_other_user_counts_on(volume: Volume) -> None:
    """With the same shared memory, in which a pod's containers are alike; only who made it takes its name away."""
    edge = volume.edge(upgrade={"peer_uids": BOTH})
    instance = edge.instance
    first = start(instance, ONE)
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
    instance.kill(first)
    second = start(instance, OTHER)
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
    assert requests(instance) == 2
    end(instance, second)
    assert len(segments("edge", volume.path)) == 1
    third = start(instance, ONE)
    assert requests(instance) == 2
    end(instance, third)
    assert segments("edge", volume.path) == []


# -- not allowed ---------------------------------------------------------------------------------------


def refused(instance: Instance, user: User) -> str:
    """The last thing that a new generation says which may not take over."""
    pid = launch(instance, user, "--takeover=require")
    assert instance.offspring.status(pid, within=PATIENCE) == PermissionDenied.exit_code, instance.log_tail()
    return instance.log_tail(1)


def test_one_that_the_old_one_does_not_list_is_refused_and_both_say_why(volume: Volume) -> None:
    edge = volume.edge(upgrade={"peer_uids": BOTH})
    pid = start(edge.instance, ONE)
    new = volume.again(edge, upgrade={"peer_uids": [ONE.uid]})
    with Client(edge.web) as client:
        for _ in range(2):
            assert "list 1003 in upgrade.peer_uids there" in refused(new, STRANGER)
        assert client.ask("/bytes?n=10").status == 200
    assert edge.instance.status().pid == pid
    assert edge.instance.log_tail(1000).count("a stranger called on the handover socket  uid=1003") == 1


@pytest.mark.all
def test_one_that_does_not_list_the_old_one_says_so(volume: Volume) -> None:
    edge = volume.edge(upgrade={"peer_uids": BOTH})
    pid = start(edge.instance, ONE)
    new = volume.again(edge, upgrade={})
    with Client(edge.web) as client:
        assert "belongs to uid 1001" in refused(new, OTHER)
        assert client.ask("/bytes?n=10").status == 200
    assert edge.instance.status().pid == pid
    assert "a new generation gave up, serving on: the runtime directory" in edge.instance.log_tail(1)


@pytest.mark.all
def test_one_that_lists_nobody_admits_nobody(volume: Volume) -> None:
    edge = volume.edge()
    pid = start(edge.instance, ONE)
    new = volume.again(edge, upgrade={"peer_uids": BOTH})
    assert "admits nobody else (mode 2700): whoever serves there has to list 1002" in refused(new, OTHER)
    assert edge.instance.status().pid == pid
    end(edge.instance, pid)


@pytest.mark.all
def test_an_upgrade_under_the_same_user_lets_others_in_from_then_on(volume: Volume) -> None:
    edge = volume.edge()
    first = start(edge.instance, ONE)
    new = volume.again(edge, upgrade={"peer_uids": BOTH})
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
        second = start(new, ONE, "--takeover=require")
        assert new.offspring.status(first, within=PATIENCE) == 0
        third = start(new, OTHER, "--takeover=require")
        assert new.offspring.status(second, within=PATIENCE) == 0
        assert client.ask("/bytes?n=10").status == 200
    assert requests(new) == 2
    new.kill(third)


# -- the control socket --------------------------------------------------------------------------------


def command(instance: Instance, user: User, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        user.command([*hotswap(), *arguments]),
        env={
            **instance.environment,
            **instance.offspring.environment,
            "HOTSWAP_RUNTIME_DIR": str(instance.runtime_dir),
        },
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_commands_of_a_peer_are_answered_and_those_of_a_stranger_are_not(volume: Volume) -> None:
    edge = volume.edge(upgrade={"peer_uids": [OTHER.uid]})
    pid = start(edge.instance, ONE)
    for words in (["status", "edge", "--json"], ["probe", "ready", "edge"]):
        assert command(edge.instance, OTHER, *words).returncode == 0
    for _ in range(2):
        told = command(edge.instance, STRANGER, "status", "edge")
        assert told.returncode == PermissionDenied.exit_code
        assert "not for uid 1003" in told.stderr
    told = command(edge.instance, User(OTHER.uid), "status", "edge")  # not in the group
    assert told.returncode == PermissionDenied.exit_code
    assert "no permission" in told.stderr
    assert edge.instance.log_tail(1000).count("refused a stranger on the control socket  uid=1003") == 1
    end(edge.instance, pid)
