"""Where a test may make a memory cgroup, in systems of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.cgroups import VERSION_1, VERSION_2, place


class System:
    """A /proc and a /sys/fs/cgroup."""

    def __init__(self, directory: Path) -> None:
        self.proc, self.cgroups = directory / "proc", directory / "cgroup"

    def own(self, text: str) -> None:
        self._write(self.proc / "self" / "cgroup", text)

    def group(self, path: str, file: str, text: str = "") -> None:
        self._write(self.cgroups / path / file, text)

    def _write(self, file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def test_of_version_1_it_is_made_inside_our_own(system: System) -> None:
    system.own("5:cpu:/\n4:memory:/jobs/7\n0::/\n")
    system.group("memory/jobs/7", VERSION_1.limit)
    mount = system.cgroups / "memory"
    assert place(system.proc, system.cgroups) == (mount, mount / "jobs/7", VERSION_1)


@pytest.mark.parametrize("mount", [".", "unified"])
def test_of_version_2_it_is_made_in_the_nearest_that_hands_the_controller_down(system: System, mount: str) -> None:
    system.own("0::/user.slice/user-0.slice/session-1.scope\n")
    system.group(f"{mount}/user.slice/user-0.slice/session-1.scope", "cgroup.subtree_control", "\n")
    system.group(f"{mount}/user.slice/user-0.slice", "cgroup.subtree_control", "memory pids\n")
    system.group(f"{mount}/user.slice", "cgroup.subtree_control", "cpu memory pids\n")
    top = system.cgroups / mount
    assert place(system.proc, system.cgroups) == (top, top / "user.slice/user-0.slice", VERSION_2)


def test_the_top_of_version_2_will_do(system: System) -> None:
    system.own("0::/init.scope\n")
    system.group("", "cgroup.subtree_control", "memory\n")
    assert place(system.proc, system.cgroups) == (system.cgroups, system.cgroups, VERSION_2)


@pytest.mark.parametrize("own", ["0::/\n", "0::/../../host\n", "4:memory:/docker/abc\n0::/\n", ""])
def test_where_no_controller_can_be_used_there_is_no_place(system: System, own: str) -> None:
    system.own(own)
    system.group("memory", VERSION_1.limit)
    system.group("", "cgroup.subtree_control", "cpu pids\n")
    assert place(system.proc, system.cgroups) is None
