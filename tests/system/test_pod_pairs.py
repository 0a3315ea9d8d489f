"""Two containers of one sidecar, of which one serves and one stands by: what orchestrators do to them, under load."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotswap.errors import UsageError
from tests.kit.load import Load
from tests.kit.pod import Container, Pod
from tests.kit.processes import PATIENCE
from tests.kit.stage import BREEZE, Edge
from tests.kit.waiting import eventually

LOAD = msgspec.structs.replace(BREEZE, streams=2, uploads=2, upload_pause=0.3, stream_seconds=1)
NATIVE = ("--takeover=newer", "--if-busy=wait", "--after-handover=idle", "--restart-policy=Always")
KRUISE = ("--takeover=auto", "--if-busy=wait", "--after-handover=idle", "--restart-policy=Always")
EVERYTHING = ("ready", "live", "owner", "owner --or-idle")


def image(pod: Pod, number: int) -> dict[str, Any]:
    """A configuration that stands for a version: another one is another identity."""
    return {**pod.instance_here.config, "drain_timeout": f"{30 + number}s"}


def stands_by(pod: Pod, container: Container) -> None:
    """Wait until it does."""

    def listed() -> bool:
        return container.place in [one["place"] for one in pod.status().get("standbys", [])]

    eventually(listed, within=PATIENCE, what=f"container {container.name} stands by")


def idles(container: Container) -> None:
    """Wait until it is nothing but idle."""
    name = Path(f"/proc/{container.pid}/comm")
    eventually(lambda: name.read_text() == "hotswap-idle\n", within=PATIENCE, what=f"{container.name} idles")


def answers(container: Container) -> str:
    """Those of `EVERYTHING`, y and n."""
    codes = [container.exec("hotswap", "probe", *question.split()).returncode for question in EVERYTHING]
    return "".join("yn"[code] for code in codes)


def pair(pod: Pod) -> tuple[Edge, Container, Container]:
    """Both start with the same image, one after the other, as native sidecars do."""
    edge = Edge(pod, pod.upstreams())
    a = pod.run("a", *NATIVE, config=image(pod, 1))
    pod.wait_served_by(a)
    b = pod.run("b", *NATIVE, config=image(pod, 1))
    stands_by(pod, b)
    return edge, a, b


def replace(pod: Pod, idle: Container, number: int) -> Container:
    """What a kubelet does when the image of the idle one is changed."""
    idle.terminate()
    assert idle.status(within=PATIENCE) == 0
    new = pod.run(idle.name, *NATIVE, config=image(pod, number))
    pod.wait_served_by(new)
    return new


def unharmed(load: Load) -> None:
    assert load.turn().failures == []


def test_a_pair_of_native_sidecars(pod: Pod) -> None:
    """Upgraded, upgraded, rolled back, its owner stopped, and deleted."""
    edge, a, b = pair(pod)
    load = edge.load(LOAD)
    assert (answers(a), answers(b)) == ("yyyy", "yyny")
    b = replace(pod, b, 2)
    stands_by(pod, a)
    assert (answers(a), answers(b)) == ("yyny", "yyyy")
    unharmed(load)
    a = replace(pod, a, 3)
    stands_by(pod, b)
    unharmed(load)
    done = b.exec("hotswap", "rollback", "edge")  # in either container
    assert done.returncode == 0, done.stdout
    pod.wait_served_by(b)
    stands_by(pod, a)
    unharmed(load)
    assert [one["how"] for one in edge.instance.history()] == ["cold", "takeover", "takeover", "rollback"]
    # The wrong one is stopped: whoever stands by serves meanwhile.
    b.terminate()
    assert b.status(within=PATIENCE) == 0
    pod.wait_served_by(a)
    unharmed(load)
    b = pod.run("b", *NATIVE, config=image(pod, 2))
    pod.wait_served_by(b)
    stands_by(pod, a)
    assert load.finish().failures == []
    # Deleted: in the reverse order of their start.
    for container in (b, a):
        container.terminate()
        assert container.status(within=PATIENCE) == 0


@pytest.mark.all
def test_a_pod_is_deleted_and_the_idle_one_hears_of_it_just_after_it_was_called(pod: Pod) -> None:
    """Before it is a server again: PID 1 has no default action then, and would lose the signal."""
    Edge(pod, pod.upstreams())
    a = pod.run("a", *NATIVE, "--grace-period=6s", config=image(pod, 1))
    pod.wait_served_by(a)
    b = pod.run("b", *NATIVE, "--grace-period=6s", config=image(pod, 1))
    stands_by(pod, b)
    name = Path(f"/proc/{b.pid}/comm")
    a.terminate()
    eventually(lambda: name.read_text() != "hotswap-idle\n", within=PATIENCE, what="b was called")
    b.terminate()
    assert b.status(within=PATIENCE) in {0, 128 + signal.SIGTERM}
    assert a.status(within=PATIENCE) == 0


def test_an_idle_container_is_small_and_holds_nothing(pod: Pod) -> None:
    _, a, b = pair(pod)
    b = replace(pod, b, 2)
    stands_by(pod, a)
    idles(a)
    status = dict(line.split(":", 1) for line in Path(f"/proc/{a.pid}/status").read_text().splitlines())
    assert int(status["VmRSS"].split()[0]) < 16 * 1024
    assert len(list(Path(f"/proc/{a.pid}/fd").iterdir())) <= 4, "0, 1, 2, and the request"


def test_a_restarted_idle_container_idles_again_and_leaves_the_owner_alone(pod: Pod) -> None:
    edge, a, b = pair(pod)
    b = replace(pod, b, 2)
    stands_by(pod, a)
    a.kill()
    a = pod.run("a", *NATIVE, config=image(pod, 1))
    stands_by(pod, a)
    hook = a.exec("hotswap", "leave", "edge")
    assert (hook.returncode, hook.stdout) == (0, "edge: nothing to leave: another container serves it\n")
    assert pod.owner() is b
    assert edge.load(LOAD).finish().failures == []


def test_a_crashed_owner_is_replaced_at_once_and_takes_over_when_it_is_back(pod: Pod) -> None:
    edge, a, b = pair(pod)
    b = replace(pod, b, 2)
    stands_by(pod, a)
    b.kill()
    pod.wait_served_by(a)
    assert edge.load(LOAD).finish().failures == []
    b = pod.run("b", *NATIVE, config=image(pod, 2))
    pod.wait_served_by(b)
    stands_by(pod, a)


@pytest.mark.parametrize("how", ["SIGTERM", "preStop"])
@pytest.mark.parametrize("successor", [True, False], ids=["somebody-stands-by", "nobody-does"])
def test_the_end_of_the_owner(pod: Pod, how: str, successor: bool) -> None:
    edge, a, b = pair(pod)
    if not successor:
        b.kill()
        eventually(lambda: not pod.status()["standbys"], within=PATIENCE, what="nobody stands by")
    load = edge.load(msgspec.structs.replace(LOAD, idle=0, websockets=0, raw=0))
    if how == "SIGTERM":
        a.terminate()
    else:
        hook = a.exec("hotswap", "leave")
        assert hook.returncode == 0, hook.stdout
        assert ("took over" if successor else "drained") in hook.stdout
    if successor:
        pod.wait_served_by(b)
        assert load.finish().failures == []
    if how == "preStop":
        assert not pod.status().get("standbys"), "it waits for SIGTERM, which follows the hook, and for nothing else"
        a.terminate()
    assert a.status(within=PATIENCE) == 0
    assert ("draining" in a.log_tail()) is not successor


def test_an_exit_that_would_bring_the_old_version_back_is_refused(pod: Pod) -> None:
    Edge(pod, pod.upstreams())
    for told in ({"HOTSWAP_RESTART_POLICY": "Always"}, {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}):
        container = pod.run("a", "--after-handover=exit", env=told)
        assert container.status(within=PATIENCE) == UsageError.exit_code
        assert "the container would be started again, and with it the old version" in container.log_tail()


@pytest.mark.all
def test_the_hot_upgrade_of_openkruise(pod: Pod) -> None:
    """Step by step: the empty one becomes the new version, takes over, and then the old one becomes empty."""
    edge = Edge(pod, pod.upstreams())

    def container(name: str, version: int, other: int, number: int) -> Container:
        told = {"SIDECARSET_VERSION": str(version), "SIDECARSET_VERSION_ALT": str(other)}
        empty = {} if version else {"HOTSWAP_EMPTY": "1"}
        return pod.run(name, *KRUISE, env={**told, **empty}, config=image(pod, number))

    hook = ("hotswap", "probe", "owner", "edge", "--wait", "--timeout=20s", "--or-idle")
    empty = container("edge-2", 0, 1, 1)
    one = container("edge-1", 1, 0, 1)
    for each in (empty, one):
        assert each.exec(*hook).returncode == 0
    idles(empty)
    assert (pod.owner(), answers(empty)) == (one, "yyyy")
    load = edge.load(LOAD)
    for version in (2, 3, 4):
        empty.terminate()
        assert empty.status(within=PATIENCE) == 0
        two = container(empty.name, version, version - 1, version % 2)  # also an image that served before
        assert two.exec(*hook).returncode == 0
        assert pod.owner() is two
        stands_by(pod, one)
        one.kill()  # the old one is started again in the middle
        one = container(one.name, version - 1, version, (version - 1) % 2)
        assert one.exec(*hook).returncode == 0
        assert pod.owner() is two
        one.terminate()
        assert one.status(within=PATIENCE) == 0
        empty, one = container(one.name, 0, version, 0), two
        assert empty.exec(*hook).returncode == 0
        idles(empty)
        unharmed(load)
    assert load.finish().failures == []


def test_two_that_start_at_once_come_to_one_owner(pod: Pod) -> None:
    edge = Edge(pod, pod.upstreams())
    both = [pod.run(name, *NATIVE, config=image(pod, 1)) for name in "ab"]
    owner = eventually(pod.owner, within=PATIENCE, what="one of them serves")
    assert owner in both
    other = both[1 - both.index(owner)]
    stands_by(pod, other)
    assert edge.load(LOAD).finish().failures == []


def test_what_is_asked_through_the_whole_of_an_upgrade(pod: Pod) -> None:
    """Nobody's kubelet has a reason to kill: on both sides, before, while it copies, and after."""
    edge, a, b = pair(pod)
    b.terminate()
    assert b.status(within=PATIENCE) == 0
    seen: list[tuple[str, str]] = []
    for point in ("destination.send_hello.before", "destination.send_round_done.before"):
        edge.instance.arm(f"{point}:hang")
        b = pod.run("b", *NATIVE, config=image(pod, 2))
        b.wait_said(point)
        seen.append((answers(a), answers(b)))
        b.kill()
        eventually(lambda: pod.owner() is a, within=PATIENCE, what="the old one serves on")
    edge.instance.disarm()
    assert seen == [("yyyy", "yynn")] * 2
    b = pod.run("b", *NATIVE, config=image(pod, 2))
    pod.wait_served_by(b)
    stands_by(pod, a)
    assert (answers(a), answers(b)) == ("yyny", "yyyy")
