"""The image upon a base as people have it: Debian with its own Python, and neither a compiler nor headers."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.kit.images import build
from tests.kit.podman_pod import PodmanPod
from tests.kit.stage import Edge

BASE, IMAGE = "localhost/debian-python", "localhost/hotswap-debian"


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_the_image_is_built_upon_debian_and_takes_over() -> None:
    if shutil.which("debootstrap", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("debootstrap not installed")
    with PodmanPod() as pod:
        root, archive = pod.directory / "debian", pod.directory / "debian.tar"
        debian = ["debootstrap", "--variant=minbase", "--include=python3,python3-venv", "bookworm", str(root)]
        for command in (debian, ["tar", "-C", str(root), "-cf", str(archive), "."]):
            subprocess.run(command, check=True, capture_output=True)
        pod.podman("import", "--quiet", str(archive), BASE)
        build(pod.podman, IMAGE, BASE, "--network=host")  # for apt
        pod.image = IMAGE
        edge = Edge(pod, pod.upstreams())
        first = pod.run("a")
        pod.wait_served_by(first)
        checked = first.exec("hotswap", "doctor")
        assert checked.returncode == 0, checked.stdout
        assert "records are sealed and opened in C" in checked.stdout
        second = pod.run("b", "--takeover=require")
        pod.wait_served_by(second)
        assert first.status(within=60) == 0
        assert edge.instance.status().generation == 2
        pod.show()
