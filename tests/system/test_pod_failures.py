"""New containers that cannot take over: the old one serves on and says why, and so does the last line of their logs."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotswap.errors import (
    Busy,
    ConfigError,
    OwnerHung,
    PermissionDenied,
    Refused,
    Superseded,
)
from tests.kit.pod import Container, Pod, User
from tests.kit.processes import PATIENCE
from tests.kit.stage import BREEZE, Edge
from tests.kit.versions import copy_packages, edit
from tests.kit.waiting import eventually

LOAD = msgspec.structs.replace(BREEZE, streams=2, uploads=2, upload_pause=0.3, stream_seconds=1)
SHORT = {"upgrade": {"deadline": "2s"}}
NOBODY = User(65534, 65534)


def serving(pod: Pod, **changes: Any) -> tuple[Edge, Container]:
    """The first generation, in container a."""
    edge = Edge(pod, pod.upstreams(), **changes)
    first = pod.run("a")
    pod.wait_served_by(first)
    return edge, first


def incompatible(pod: Pod) -> Path:
    """Another version, which cannot read the states of this one."""
    tree = copy_packages(pod.directory / "other")
    edit(
        tree / "hotswap/handover/wire.py",
        "PROTOCOL_OLDEST = 1\nPROTOCOL_NEWEST = 1",
        "PROTOCOL_OLDEST = 2\nPROTOCOL_NEWEST = 2",
    )
    return tree


def without_name(pod: Pod) -> str:
    return pod.instance_here.config_file.read_text().replace("listeners:", "lisseners:", 1)


def bad_certificate(pod: Pod) -> dict[str, Any]:
    config = copy.deepcopy(pod.instance_here.config)
    config["listeners"][0]["tls"] = {"certificates": [{"cert": "/nowhere/cert.pem", "key": "/nowhere/key.pem"}]}
    return config


def in_the_way(pod: Pod) -> dict[str, Any]:
    """Wants an address that an upstream has."""
    config = copy.deepcopy(pod.instance_here.config)
    config["listeners"].append(
        {"name": "more", "address": config["clusters"][1]["endpoints"][0], "protocol": "tcp", "cluster": "db"}
    )
    return config


@pytest.mark.parametrize(
    ("how", "code", "last", "says"),
    [
        pytest.param(
            lambda pod: {"config": without_name(pod)}, ConfigError.exit_code, "lisseners", "lisseners", id="bad-config"
        ),
        pytest.param(
            lambda pod: {"config": bad_certificate(pod)},
            ConfigError.exit_code,
            "/nowhere/cert.pem",
            "/nowhere/cert.pem",
            id="no-certificate",
        ),
        pytest.param(lambda pod: {"config": in_the_way(pod)}, 8, "127.0.0.1:", "127.0.0.1:", id="address-in-use"),
        pytest.param(lambda pod: {"tree": incompatible(pod)}, Refused.exit_code, "protocol", "protocol", id="version"),
        pytest.param(
            lambda _pod: {"user": NOBODY}, PermissionDenied.exit_code, "belongs to another user", "", id="no-permission"
        ),
    ],
)
def test_what_cannot_start_changes_nothing(
    pod: Pod, how: Callable[[Pod], dict[str, Any]], code: int, last: str, says: str
) -> None:
    edge, first = serving(pod)
    load = edge.load(LOAD)
    second = pod.run("b", **how(pod))
    assert second.status(within=PATIENCE) == code, second.log_tail()
    assert last in second.last_line()
    if says:
        first.wait_said(says)
    assert pod.owner() is first
    assert load.turn().failures == []
    assert load.finish().failures == []
    assert "ERROR" in second.last_line()


def test_an_older_version_is_refused_and_told_so(pod: Pod) -> None:
    edge, first = serving(pod)
    second = pod.run("b", config=_changed(edge))
    pod.wait_served_by(second)
    assert first.status(within=PATIENCE) == 0
    again = pod.run("a")
    assert again.status(within=PATIENCE) == Superseded.exit_code
    assert "superseded this build and configuration" in again.last_line()
    second.wait_said("superseded this build and configuration")
    assert pod.owner() is second


def test_revisions_go_before_what_was_superseded(pod: Pod) -> None:
    _, first = serving(pod)
    first.terminate()
    assert first.status(within=PATIENCE) == 0
    one = pod.run("a", "--revision=1", env={"HOTSWAP_REVISION": "9"})
    pod.wait_served_by(one)
    two = pod.run("b", env={"SIDECARSET_VERSION": "2"})
    pod.wait_served_by(two)
    old = pod.run("a", "--revision=1")
    assert old.status(within=PATIENCE) == Superseded.exit_code
    assert "revision 2 serves already, and this is revision 1" in old.last_line()
    three = pod.run("a", "--revision=3")
    pod.wait_served_by(three)
    assert two.status(within=PATIENCE) == 0


@pytest.mark.parametrize("point", ["destination.send_round_done.before", "destination.take_byte.after"])
def test_one_that_crashes_changes_nothing(pod: Pod, point: str) -> None:
    edge, first = serving(pod)
    load = edge.load(LOAD)
    edge.instance.arm(f"{point}:hang")
    second = pod.run("b", config=_changed(edge))
    second.wait_said(point)
    second.kill()
    first.wait_said("a handover failed, serving on")
    edge.instance.disarm()
    eventually(lambda: pod.owner() is first, within=PATIENCE, what="the old one serves on")
    assert load.turn().failures == []
    assert load.finish().failures == []


def test_one_that_hangs_is_taken_back_at_the_deadline(pod: Pod) -> None:
    edge, first = serving(pod, **SHORT)
    load = edge.load(LOAD)
    edge.instance.arm("destination.send_round_done.before:hang")
    second = pod.run("b", config=_changed(edge))
    first.wait_said("copying was not done in time")
    edge.instance.disarm()
    assert pod.owner() is first
    assert second.running, "nobody in another container can end it"
    assert second.exec("hotswap", "probe", "owner", "--wait", "--timeout", "200ms").returncode == 1  # so its hook does
    assert load.turn().failures == []
    second.kill()
    third = pod.run("c", config=_changed(edge))
    pod.wait_served_by(third)
    assert load.finish().failures == []


def test_an_owner_that_is_stopped_is_told_of(pod: Pod) -> None:
    edge, first = serving(pod, **SHORT)
    first.send(signal.SIGSTOP)
    second = pod.run("b", config=_changed(edge))
    assert second.status(within=PATIENCE) in {OwnerHung.exit_code, 17}, second.log_tail()
    assert "does not answer" in second.last_line()
    for container, code in ((first, 1), (pod.run("c", "--takeover=require"), 0)):
        assert container.exec("hotswap", "probe", "live", "--timeout", "300ms").returncode == code
    first.send(signal.SIGCONT)
    eventually(lambda: pod.owner() is first, within=PATIENCE, what="it serves again")


def test_of_two_at_once_one_wins_and_the_other_exits_or_waits(pod: Pod) -> None:
    edge, first = serving(pod)
    load = edge.load(LOAD)
    edge.instance.arm("destination.send_round_done.before:hang")
    hung = pod.run("b", config=_changed(edge))
    hung.wait_said("destination.send_round_done.before")
    edge.instance.disarm()
    late = pod.run("c", config=_changed(edge))
    assert late.status(within=PATIENCE) == Busy.exit_code
    assert "another attempt is under way" in late.last_line()
    waiting = pod.run("d", "--if-busy=wait", config=_changed(edge))
    waiting.wait_said("waiting for its turn")
    hung.kill()
    pod.wait_served_by(waiting)
    assert first.status(within=PATIENCE) == 0
    assert load.finish().failures == []


def test_what_a_dead_container_left_is_replaced(pod: Pod) -> None:
    edge, first = serving(pod)
    first.kill()
    assert (edge.instance.runtime_dir / "edge" / "handover.sock").exists()
    second = pod.run("b")
    status = pod.wait_served_by(second)
    assert status["generation"] == 1
    assert edge.load(LOAD).finish().failures == []


def _changed(edge: Edge) -> dict[str, Any]:
    """The same with another meaning: a newer version."""
    return {**edge.instance.config, "drain_timeout": "31s"}


class TestAFullVolume:
    """Everything a handover needs travels by descriptor."""

    @pytest.fixture
    def pod(self) -> Any:
        from tests.kit.unshared import Unshared

        with Unshared("1m,nr_inodes=64") as made:
            yield made
            made.show()

    def test_does_not_keep_a_new_container_from_taking_over(self, pod: Pod) -> None:
        edge, first = serving(pod)
        fill(pod.volume)
        load = edge.load(LOAD)
        second = pod.run("b", config=_changed(edge))
        pod.wait_served_by(second)
        assert first.status(within=PATIENCE) == 0
        assert load.finish().failures == []

    def test_keeps_a_cold_start_from_working_and_is_named(self, pod: Pod) -> None:
        edge = Edge(pod, pod.upstreams())
        fill(pod.volume)
        first = pod.run("a")
        assert first.status(within=PATIENCE) == PermissionDenied.exit_code
        assert "No space left on device" in first.last_line()
        assert str(edge.instance.runtime_dir) in first.last_line()


def fill(volume: Path) -> None:
    """Until nothing more fits in, neither bytes nor names."""
    full = os.open(volume / "full", os.O_WRONLY | os.O_CREAT, 0o600)
    with suppress(OSError):
        while True:
            os.write(full, bytes(4096))
    os.close(full)
    for number in range(100_000):
        try:
            (volume / f"name{number}").touch()
        except OSError:
            return
    raise AssertionError("the volume takes any number of names")


def test_an_external_upgrade_tells_what_came_of_it(pod: Pod) -> None:
    edge, first = serving(pod)
    waiting = edge.instance.start_upgrade("--external", "--timeout", "20s")
    eventually(lambda: pod.status().get("upgrading"), within=PATIENCE, what="it waits")
    second = pod.run("b", config=without_name(pod))
    assert second.status(within=PATIENCE) == ConfigError.exit_code
    out, _ = waiting.communicate(timeout=PATIENCE)
    result = msgspec.json.decode(out.splitlines()[-1])
    assert (waiting.returncode, "lisseners" in result["message"]) == (ConfigError.exit_code, True)
    assert pod.owner() is first
