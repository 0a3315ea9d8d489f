"""podman with runc, apart from whatever else this machine has of both.

Storage, state and configuration are in a folder of the test. Nothing here asks podman for a network: containers join a
namespace that is there, or have none. So podman loads no rules of nft, which it would leave behind.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.kit.offspring import run_state
from tests.kit.waiting import eventually

PATIENCE = 60.0
MOST_PROCESSES = 4096

CGROUPS = Path("/sys/fs/cgroup")
SHARED_GROUP = "libpod_parent"
"""Where every podman has the groups of its pods."""


def needed() -> None:
    """Skip without root, podman or runc."""
    missing = [name for name in ("podman", "runc", "conmon") if shutil.which(name, path=_PATH) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    if os.geteuid():
        pytest.skip("not root")


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Podman:
    """The program with storage of its own. A context manager that removes every container and all state.

    `store`: where images are kept, else in the folder itself; with `images` those of another store are there to read.
    `infra`: the image of the container that holds a pod's namespaces.
    """

    def __init__(
        self, directory: Path, *, store: Path | None = None, images: Path | None = None, infra: str = ""
    ) -> None:
        self.directory = directory
        self.group = f"hotswap-{uuid.uuid4().hex[:8]}"
        self._store = store or directory / "store"
        for folder in (directory, self._store):
            folder.mkdir(parents=True, exist_ok=True)
        _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
        _, processes = resource.getrlimit(resource.RLIMIT_NPROC)
        processes = min(processes, MOST_PROCESSES) if processes > 0 else MOST_PROCESSES
        # Its defaults are higher limits than a machine may allow, and are refused then.
        limits = [f"nofile={files}:{files}", f"nproc={processes}:{processes}"]
        (directory / "containers.conf").write_text(
            f"[containers]\ndefault_ulimits = {json.dumps(limits)}\n"
            f'[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
            f'tmp_dir = "{directory}/tmp"\ninfra_image = "{infra}"\n'
            f'[network]\nnetwork_config_dir = "{directory}/networks"\n'
        )
        more = f'[storage.options]\nadditionalimagestores = ["{images}"]\n' if images else ""
        (directory / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self._store}"\nrunroot = "{directory}/run"\n{more}'
        )
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CONTAINERS_", "HOTSWAP_"))},
            "PATH": _PATH,
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
            "TMPDIR": str(directory),
        }

    def __call__(self, *arguments: str, check: bool = True, within: float = PATIENCE) -> str:
        """Run a command of podman to its end; what it printed. With `check` it must succeed."""
        done = self.attempt(*arguments, within=within)
        assert not check or done.returncode == 0, (
            f"podman {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout.strip()

    def attempt(self, *arguments: str, within: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """The same, whatever comes of it."""
        return subprocess.run(
            ["podman", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    def close(self) -> None:
        """Remove whatever is left of containers, and everything podman has mounted or written."""
        self("pod", "rm", "--all", "--force", "--time=0", check=False)
        self("rm", "--all", "--force", "--time=0", check=False)
        self("volume", "prune", "--force", check=False)
        for mount in sorted(_mounted(self.directory) + _mounted(self._store), reverse=True):
            subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
        for folder in (self.directory / "run", self.directory / "tmp", self.directory / "store"):
            shutil.rmtree(folder, ignore_errors=True)
        eventually(self._left_no_group, within=PATIENCE, what=f"the control groups {self.group} can be removed")

    def _left_no_group(self) -> bool:
        _reap()
        hierarchies = [CGROUPS, *CGROUPS.iterdir()]
        for hierarchy in hierarchies:
            for group in (self.group, SHARED_GROUP):
                _remove_group(hierarchy / group)
        return not any((hierarchy / self.group).exists() for hierarchy in hierarchies)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _mounted(folder: Path) -> list[str]:
    """The mount points below a folder."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [place for line in lines if (place := line.split()[1]).startswith(f"{folder}/")]


def _reap() -> None:
    """See off what podman left to this process (`tests.kit.offspring`): until then it keeps its group."""
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() in {"conmon\n", "podman\n"} and run_state(int(pid)) == "Z":
                    os.waitpid(int(pid), os.WNOHANG)


def _remove_group(group: Path) -> None:
    """As far as nobody is in it."""
    for directory, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            Path(directory).rmdir()
