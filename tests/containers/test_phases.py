"""The containers of the manifests, started and ended as their orchestrators do, and what their probes answer meanwhile.

They run in a pod of namespaces, with the command lines, hooks and probes of the manifests; only the places of files
differ. That a container got a new image stands here as a new configuration: to `--takeover=newer` it is the same.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.containers.manifests import document, ours
from tests.kit.pod import Container, Pod
from tests.kit.processes import PATIENCE
from tests.kit.waiting import eventually

Config = dict[str, Any]
QUESTIONS = (["ready"], ["live"], ["owner"], ["owner", "--or-idle"])
OWNER = "yes yes yes yes"
STANDBY = "yes yes no yes"


class Sidecar(NamedTuple):
    """One of a manifest, in the pod of a test."""

    pod: Pod
    manifest: dict[str, Any]
    config: Config

    def start(self, name: str, image: int = 1, **environment: str) -> Container:
        """As a kubelet starts it, with its postStart hook."""
        instance = self.pod.instance_here
        file = instance.directory / f"image-{image}.yaml"
        # What differs between images: what its configuration says of something that no test looks at.
        upgrade = {**self.config["upgrade"], "max_rounds": 5 + image}
        file.write_text(yaml.dump({**self.config, "upgrade": upgrade, "runtime_dir": str(instance.runtime_dir)}))
        places = {"--config": str(file), "--runtime-dir": str(instance.runtime_dir)}
        words = [_placed(word, places) for word in self.manifest["args"]]
        return self.pod.start(name, *self.manifest["command"], *words, env=environment, read_only=True)

    def hook(self, container: Container, kind: str = "postStart") -> int:
        """Run that hook to its end; its exit code."""
        return container.exec(*self.manifest["lifecycle"][kind]["exec"]["command"]).returncode

    def answers(self, container: Container) -> str:
        """To ready, live, owner, and owner --or-idle."""
        codes = [container.exec("hotswap", "probe", *words, "edge").returncode for words in QUESTIONS]
        return " ".join("no" if code else "yes" for code in codes)

    def wait_answers(self, container: Container, expected: str) -> None:
        """Until its answers are these. Raises `Late`."""
        eventually(
            lambda: self.answers(container) == expected,
            within=PATIENCE,
            what=f"container {container.name} answers {expected}",
        )


def _placed(word: str, places: dict[str, str]) -> str:
    option = word.partition("=")[0]
    return f"{option}={places[option]}" if option in places else word


@pytest.fixture
def config(pod: Pod) -> Config:
    """Of the ConfigMap, with the application behind it."""
    read: Config = yaml.safe_load(document("configmap.yaml", "ConfigMap")["data"]["edge.yaml"])
    pod.upstreams(("http", read["clusters"][0]["endpoints"][0]))
    pod.instance(read)
    return read


def sidecar(manifest: str, pod: Pod, config: Config) -> Sidecar:
    return Sidecar(pod, ours(manifest)[0], config)


def hears(container: Container) -> bool:
    """PID 1 gets no signal before it has said what it does with it, pid_namespaces(7). An empty one has to idle."""
    status = Path(f"/proc/{container.pid}/status").read_text()
    environ = Path(f"/proc/{container.pid}/environ").read_bytes().split(b"\0")
    if not {b"HOTSWAP_EMPTY=1", b"SIDECARSET_VERSION=0"}.isdisjoint(environ) and "hotswap-idle" not in status:
        return False
    masks = re.findall(r"Sig(?:Blk|Cgt):\s+(\w+)", status)
    return any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in masks)


def end(container: Container) -> int:
    """As a kubelet ends it; its exit code."""
    eventually(lambda: hears(container), within=PATIENCE, what=f"container {container.name} listens to SIGTERM")
    container.terminate()
    return container.status(within=PATIENCE)


@pytest.mark.all
def test_a_pair_of_native_sidecars(pod: Pod, config: Config) -> None:
    edge = sidecar("native-sidecars.yaml", pod, config)
    a = edge.start("edge-a")
    assert edge.hook(a) == 0
    edge.wait_answers(a, OWNER)  # ready as soon as it has seen the application
    b = edge.start("edge-b")
    assert edge.hook(b) == 0
    assert (edge.answers(a), edge.answers(b)) == (OWNER, STANDBY)

    # An upgrade: the image of the idle one.
    assert end(b) == 0
    b = edge.start("edge-b", image=2)
    assert edge.hook(b) == 0
    pod.wait_served_by(b)
    edge.wait_answers(a, STANDBY)
    assert edge.answers(b) == OWNER

    # Taken back, and forth again by an end that nobody wanted.
    assert b.exec("hotswap", "rollback", "edge").returncode == 0
    pod.wait_served_by(a)
    edge.wait_answers(b, STANDBY)
    assert end(a) == 0
    pod.wait_served_by(b)
    assert edge.answers(b) == OWNER


@pytest.mark.all
def test_native_sidecars_settle_and_go(pod: Pod, config: Config) -> None:
    edge = sidecar("native-sidecars.yaml", pod, config)
    a = edge.start("edge-a", image=1)
    assert edge.hook(a) == 0
    b = edge.start("edge-b", image=2)
    assert edge.hook(b) == 0
    pod.wait_served_by(b)
    edge.wait_answers(a, STANDBY)
    assert end(a) == 0
    a = edge.start("edge-a", image=2)
    assert edge.hook(a) == 0
    assert (edge.answers(a), edge.answers(b)) == (STANDBY, OWNER)

    # The owner crashes: who stands by serves, and that one does when it is back.
    b.kill()
    pod.wait_served_by(a)
    b = edge.start("edge-b", image=2)
    assert edge.hook(b) == 0
    edge.wait_answers(a, OWNER)
    assert edge.answers(b) == STANDBY

    # The end of the pod, in reverse order.
    assert end(b) == 0
    assert end(a) == 0


@pytest.mark.all
def test_a_hot_upgrade_of_openkruise(pod: Pod, config: Config) -> None:
    edge = sidecar("sidecarset.yaml", pod, config)
    one = edge.start("edge-1", SIDECARSET_VERSION="1", SIDECARSET_VERSION_ALT="0")
    assert edge.hook(one) == 0
    two = edge.start("edge-2", SIDECARSET_VERSION="0", SIDECARSET_VERSION_ALT="1")
    assert edge.hook(two) == 0
    assert edge.answers(two) == OWNER  # nothing is ever wrong with an empty one
    edge.wait_answers(one, OWNER)

    # Upgrade and migration.
    assert end(two) == 0
    two = edge.start("edge-2", image=2, SIDECARSET_VERSION="1098297016", SIDECARSET_VERSION_ALT="1")
    assert edge.hook(two) == 0
    assert edge.answers(two) == OWNER
    edge.wait_answers(one, STANDBY)

    # The old one crashes before it is reset, and comes back.
    one.kill()
    one = edge.start("edge-1", SIDECARSET_VERSION="1", SIDECARSET_VERSION_ALT="1098297016")
    assert edge.hook(one) == 0
    assert (edge.answers(one), edge.answers(two)) == (STANDBY, OWNER)

    # Reset.
    assert edge.hook(one, "preStop") == 0
    assert end(one) == 0
    one = edge.start("edge-1", SIDECARSET_VERSION="0", SIDECARSET_VERSION_ALT="0")
    assert edge.hook(one) == 0

    # The next one is the image before with a higher number: how OpenKruise goes back.
    assert end(one) == 0
    one = edge.start("edge-1", image=1, SIDECARSET_VERSION="1098297999", SIDECARSET_VERSION_ALT="1098297016")
    assert edge.hook(one) == 0
    assert edge.answers(one) == OWNER
    edge.wait_answers(two, STANDBY)


def test_one_more_container_in_a_plain_pod(pod: Pod, config: Config) -> None:
    edge = sidecar("pod.yaml", pod, config)
    first = edge.start("edge")
    pod.wait_served_by(first)
    second = edge.start("edge-2", image=2)
    pod.wait_served_by(second)
    assert first.status(within=PATIENCE) == 0
    edge.wait_answers(second, OWNER)
    assert end(second) == 0


def test_exit_is_refused_where_the_old_version_would_come_back(pod: Pod, config: Config) -> None:
    edge = sidecar("native-sidecars.yaml", pod, config)
    words = [word for word in edge.manifest["args"] if not word.startswith("--after-handover")]
    wrong = edge._replace(manifest={**edge.manifest, "args": [*words, "--after-handover=exit"]})
    refused = wrong.start("edge-a")
    assert refused.status(within=PATIENCE) == 2
    assert "--after-handover=idle" in refused.last_line()
