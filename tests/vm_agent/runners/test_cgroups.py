from __future__ import annotations

import os
from pathlib import Path

import pytest

from vm_agent.runners.cgroups import Group, Own, memory_limit, nice_for, total_memory
from vm_agent.spec.model import Limits


def tree(path: Path, **files: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def test_own_groups_of_version_2_are_found(tmp_path: Path) -> None:
    group = tree(tmp_path / "cg" / "system.slice" / "agent.service", cgroup__controllers="cpu memory pids\n")
    proc = tree(
        tmp_path / "proc",
        mounts=f"proc /proc proc rw 0 0\ncgroup2 {tmp_path / 'cg'} cgroup2 rw,nosuid 0 0\n",
        cgroup="0::/system.slice/agent.service\n",
    )
    assert Own.find(proc) == Own({"cpu": group, "memory": group}, frozenset({"cpu", "memory"}))


def test_own_groups_of_version_1_come_before_an_empty_version_2(tmp_path: Path) -> None:
    tree(tmp_path / "unified", cgroup__controllers="\n")
    proc = tree(
        tmp_path / "proc",
        mounts="".join(
            [
                f"cgroup {tmp_path / 'cpu'} cgroup rw,cpu,cpuacct 0 0\n",
                f"cgroup {tmp_path / 'memory'} cgroup rw,memory 0 0\n",
                f"cgroup2 {tmp_path / 'unified'} cgroup2 rw 0 0\n",
            ]
        ),
        cgroup="9:name=systemd:/\n4:memory:/one\n1:cpu,cpuacct:/\n0::/\n",
    )
    own = Own.find(proc)
    assert own == Own({"memory": tmp_path / "memory" / "one", "cpu": tmp_path / "cpu"}, frozenset())


def test_without_groups_there_is_nothing(tmp_path: Path) -> None:
    own = Own.find(tmp_path)
    assert own == Own({}, frozenset())
    group = Group("edge", Path("/run/x"), own)
    assert group.apply(Limits(memory=1, cpu=0.5), 100) == ["memory", "cpu", "cpu_weight"]
    assert group.apply(Limits(), 100) == ["cpu_weight"]
    assert (group.doors(), group.members()) == ([], set())
    group.remove()


def test_limits_are_written_in_the_words_of_version_2(tmp_path: Path) -> None:
    tree(tmp_path, cgroup__subtree_control="cpu memory")
    group = Group("edge", Path("/run/x"), Own({"cpu": tmp_path, "memory": tmp_path}, frozenset({"cpu", "memory"})))
    assert group.apply(Limits(memory=1 << 29, memory_share=0.1, cpu=0.5, cpu_weight=50), 1 << 40) == []
    path = tmp_path / group.name
    written = {file.name: file.read_text() for file in path.iterdir()}
    assert written == {"memory.max": str(1 << 29), "cpu.max": "50000 100000", "cpu.weight": "50"}
    assert group.apply(Limits(), 1 << 40) == []
    assert ((path / "memory.max").read_text(), (path / "cpu.max").read_text()) == ("max", "max 100000")
    assert group.doors() == [str(path / "cgroup.procs")]


def test_limits_are_written_in_the_words_of_version_1(tmp_path: Path) -> None:
    cpu, memory = tree(tmp_path / "cpu"), tree(tmp_path / "memory")
    group = Group("edge", Path("/run/x"), Own({"cpu": cpu, "memory": memory}, frozenset()))
    assert group.apply(Limits(memory_share=0.25, cpu=2.0, cpu_weight=50), 4000) == []
    written = {file.name: file.read_text() for path in (cpu, memory) for file in (path / group.name).iterdir()}
    assert written == {"memory.limit_in_bytes": "1000", "cpu.cfs_quota_us": "200000", "cpu.shares": "512"}
    group.apply(Limits(), 4000)
    assert (memory / group.name / "memory.limit_in_bytes").read_text() == "-1"


def test_a_controller_that_is_not_handed_down_is_asked_for(tmp_path: Path) -> None:
    tree(tmp_path, cgroup__subtree_control="pids")
    group = Group("edge", Path("/run/x"), Own({"memory": tmp_path}, frozenset({"memory"})))
    assert group.apply(Limits(memory=1), 2) == ["cpu_weight"]
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"


def test_two_agents_with_a_sidecar_of_one_name_do_not_share_a_group(tmp_path: Path) -> None:
    own = Own({"cpu": tmp_path}, frozenset())
    one, other = Group("edge", tmp_path / "one", own), Group("edge", tmp_path / "two", own)
    assert one.name.startswith("sidecar-edge-")
    assert one.name != other.name


@pytest.mark.parametrize(
    ("limits", "bytes_"),
    [
        (Limits(), None),
        (Limits(memory=10), 10),
        (Limits(memory_share=0.5), 50),
        (Limits(memory=10, memory_share=0.5), 10),
        (Limits(memory=90, memory_share=0.5), 50),
    ],
)
def test_of_bytes_and_share_the_lower_one_counts(limits: Limits, bytes_: int | None) -> None:
    assert memory_limit(limits, 100) == bytes_


def test_a_weight_has_a_priority_that_stands_in_for_it() -> None:
    assert [nice_for(weight) for weight in (100, 50, 80, 125, 1, 10000)] == [0, 3, 1, -1, 19, -20]


def test_the_memory_of_this_machine_is_known() -> None:
    assert total_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
