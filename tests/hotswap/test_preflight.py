"""Whether a second generation would fit, from the files of both versions of cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotswap.errors import Refused
from hotswap.preflight import check, estimate, tightest

MB = 1 << 20


class System:
    """A /proc and a /sys/fs/cgroup of our own."""

    def __init__(self, directory: Path) -> None:
        self.proc = directory / "proc"
        self.cgroups = directory / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        self.cgroups.mkdir()
        self.write("proc/self/status", "VmRSS:\t 60000 kB\nRssAnon:\t 51200 kB\nRssShmem:\t 0 kB\n")

    def write(self, path: str, text: str) -> None:
        file = self.proc.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def v2(self, path: str, limit: str, used: int, cache: int = 0) -> None:
        self.write(f"cgroup{path}/memory.max", f"{limit}\n")
        self.write(f"cgroup{path}/memory.current", f"{used}\n")
        self.write(f"cgroup{path}/memory.stat", f"anon 1\ninactive_file {cache}\n")

    def v1(self, path: str, limit: int, used: int, cache: int = 0) -> None:
        self.write(f"cgroup/memory{path}/memory.limit_in_bytes", f"{limit}\n")
        self.write(f"cgroup/memory{path}/memory.usage_in_bytes", f"{used}\n")
        self.write(f"cgroup/memory{path}/memory.stat", f"cache 1\ntotal_inactive_file {cache}\n")


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def test_the_estimate_is_what_is_our_own_and_the_values_under_way(system: System) -> None:
    assert estimate(0, system.proc) == int(50 * MB * 1.1)
    assert estimate(1000, system.proc) == int(50 * MB * 1.1) + 512_000


def test_version_2_counts_file_cache_as_free_and_the_tightest_group_decides(system: System) -> None:
    system.write("proc/self/cgroup", "0::/pods/edge\n")
    system.v2("/pods/edge", "max", 70 * MB)
    system.v2("/pods", str(200 * MB), 150 * MB, cache=20 * MB)
    found = tightest(system.proc, system.cgroups)
    assert found == ("/pods", 200 * MB, 70 * MB)
    check(0, system.proc, system.cgroups)
    system.v2("/pods", str(200 * MB), 170 * MB, cache=20 * MB)
    with pytest.raises(Refused, match=r"needs about 55\.0 MB, and its cgroup /pods has 50\.0 MB left of 200\.0 MB"):
        check(0, system.proc, system.cgroups)


def test_version_1(system: System) -> None:
    system.write("proc/self/cgroup", "5:cpu:/\n4:memory:/docker/abc\n0::/\n")
    system.v1("/docker/abc", 128 * MB, 90 * MB)
    system.v1("", (1 << 63) - 4096, 900 * MB)
    assert tightest(system.proc, system.cgroups) == ("/docker/abc", 128 * MB, 38 * MB)
    with pytest.raises(Refused, match="--force"):
        check(0, system.proc, system.cgroups)


def test_in_a_container_the_top_of_what_can_be_seen_is_the_limit(system: System) -> None:
    system.write("proc/self/cgroup", "0::/../../host/path\n")
    system.v2("", str(64 * MB), 60 * MB)
    assert tightest(system.proc, system.cgroups) == ("/", 64 * MB, 4 * MB)


@pytest.mark.parametrize("cgroup", ["0::/\n", "4:memory:/x\n", ""])
def test_without_a_limit_everything_fits(system: System, cgroup: str) -> None:
    system.write("proc/self/cgroup", cgroup)
    assert tightest(system.proc, system.cgroups) is None
    check(10**9, system.proc, system.cgroups)


def test_this_very_system_can_be_asked() -> None:
    assert estimate(0) > MB
    tightest()
