from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest

from tests.vm_agent.inspection.subjects import brief, limited, sound, told
from vm_agent.inspection.limits import Facts, judge, look

MB = 1 << 20
CLOSE = ("warning", "limits", "memory")
OTHER = ("warning", "limits", "memory limit")


@pytest.mark.parametrize(
    ("limits", "facts", "found"),
    [
        ({}, {}, []),
        ({"memory": 100 * MB}, {"memory": 89 * MB, "memory_limit": 100 * MB, "wanted_memory": 100 * MB}, []),
        ({"memory": 100 * MB}, {"memory": 90 * MB, "memory_limit": 100 * MB, "wanted_memory": 100 * MB}, [CLOSE]),
        ({"memory": 100 * MB}, {"memory": 10 * MB, "wanted_memory": 100 * MB}, [("notice", "limits", "memory limit")]),
        ({}, {"memory": 95 * MB, "memory_limit": 100 * MB}, [CLOSE, OTHER]),
        ({"memory": 100 * MB}, {"memory": 1, "memory_limit": 50 * MB, "wanted_memory": 100 * MB}, [OTHER]),
        ({"memory": 100 * MB}, {"memory": 1, "memory_limit": 100 * MB - 4096, "wanted_memory": 100 * MB}, []),
        ({"memory": 100 * MB}, {"memory": None, "memory_limit": 100 * MB, "wanted_memory": 100 * MB}, []),
        #
        ({"oom_score_adj": 500}, {"oom_score_adj": 500}, []),
        ({"oom_score_adj": 500}, {"oom_score_adj": 0}, [("warning", "limits", "oom_score_adj")]),
        #
        ({}, {"files": 79, "files_limit": 100}, []),
        ({}, {"files": 80, "files_limit": 100}, [("warning", "limits", "open_files")]),
        ({}, {"files": 95, "files_limit": 100}, [("error", "limits", "open_files")]),
        ({}, {"files": 95, "files_limit": None}, []),
        ({"open_files": 200}, {"files": 5, "files_limit": 100}, [("notice", "limits", "open_files")]),
        ({"open_files": 200}, {"files": 5, "files_limit": 200}, []),
    ],
)
def test_limits_are_told_when_they_are_near_or_other_ones(
    limits: dict[str, Any], facts: dict[str, Any], found: list[tuple[str, str, str]]
) -> None:
    assert brief(judge(sound(spec=limited(**limits)), Facts(**facts))) == found


@pytest.mark.parametrize(
    ("facts", "text", "remedy"),
    [
        ({"unit": True}, "the memory controller of control groups is missing here", "/proc/cgroups"),
        ({"unit": True, "controller": True}, "systemd enforces none", "systemctl show"),
        ({"grouped": True, "controller": True}, "its control group has none", "restart the agent"),
        ({"controller": True}, "it has no control group of its own", "run the agent under systemd"),
    ],
)
def test_a_limit_that_nothing_enforces_is_told_with_the_reason(facts: dict[str, Any], text: str, remedy: str) -> None:
    (told_of,) = judge(sound(spec=limited(memory=100 * MB)), Facts(memory=MB, wanted_memory=100 * MB, **facts))
    assert told_of.text.endswith(f"is not enforced: {text}")
    assert remedy in told_of.remedy


def test_while_an_upgrade_is_under_way_only_what_is_near_is_told() -> None:
    facts = Facts(memory=95, memory_limit=100, oom_score_adj=0, files=99, files_limit=100)
    found = brief(judge(sound(spec=limited(), busy=True), facts))
    assert found == [CLOSE, ("error", "limits", "open_files")]


def test_of_a_process_that_is_not_there_nothing_is_told() -> None:
    assert brief(judge(sound(told=None, running=None), Facts(oom_score_adj=0))) == []


def test_a_real_process_is_measured() -> None:
    facts = look(sound(spec=limited(memory=64 * MB), told=told(pid=os.getpid())))
    assert facts.oom_score_adj == int(Path("/proc/self/oom_score_adj").read_text())
    assert facts.files_limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert facts.files is not None
    assert 0 < facts.files < 10_000
    assert facts.memory is not None
    assert facts.memory > 10 * MB
    assert facts.memory_limit is None
    assert not facts.grouped
    assert not facts.unit
    assert facts.wanted_memory == 64 * MB


@pytest.mark.parametrize(
    ("mount", "line", "directory", "files"),
    [
        (
            "cgroup2 {group} cgroup2 rw 0 0",
            "0::/hotswap-sidecar-edge.service",
            "hotswap-sidecar-edge.service",
            {"cgroup.controllers": "cpu memory", "memory.current": "900", "memory.max": "1000",
             "memory.stat": "anon 100\ninactive_file 300\n"},
        ),
        (
            "cgroup {group} cgroup rw,memory 0 0",
            "4:memory:/sidecar-edge",
            "sidecar-edge",
            {"memory.usage_in_bytes": "900", "memory.limit_in_bytes": "1000",
             "memory.stat": "inactive_file 1\ntotal_inactive_file 300\n"},
        ),
    ],
)  # fmt: skip
def test_a_group_of_its_own_tells_usage_without_what_can_be_dropped(
    tmp_path: Path, mount: str, line: str, directory: str, files: dict[str, str]
) -> None:
    group = tmp_path / "cgroup" / directory
    group.mkdir(parents=True)
    for name, text in files.items():
        (group / name).write_text(text)
    place = tmp_path / "proc" / "400"
    place.mkdir(parents=True)
    (place / "mounts").write_text(mount.format(group=tmp_path / "cgroup") + "\n")
    (place / "cgroup").write_text(line + "\n")
    facts = look(sound(), tmp_path / "proc")
    assert (facts.memory, facts.memory_limit, facts.grouped) == (600, 1000, True)
    for name in ("memory.max", "memory.limit_in_bytes"):
        if name in files:
            (group / name).write_text("max" if name == "memory.max" else str((1 << 63) - 4096))
    assert look(sound(), tmp_path / "proc").memory_limit is None
