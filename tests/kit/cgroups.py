"""A memory cgroup of a test, of version 1 or 2, for processes that are to meet its limit.

It is made where the test process may have one without loosening any limit it is under itself: of version 1 inside
its own group, of version 2 inside the nearest group above that hands the memory controller to its children (a group
that has processes of its own cannot, see "No Internal Process Constraint" in the kernel's cgroup-v2.rst). Nothing
that exists already is changed.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pytest

from tests.kit.waiting import eventually

PATIENCE = 10.0

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")


class Names(NamedTuple):
    """What the files of a memory group, and the lines in them, are called."""

    limit: str
    usage: str
    cache: str  # in memory.stat
    events: str


VERSION_1 = Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control")
VERSION_2 = Names("memory.max", "memory.current", "inactive_file", "memory.events")


class Place(NamedTuple):
    """A group in which groups can be made."""

    mount: Path
    directory: Path
    names: Names


def place(proc: Path = PROC, cgroups: Path = CGROUPS) -> Place | None:
    """Where this process may make a memory group; None if no controller can be used."""
    for line in (proc / "self" / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        inside = path.strip("/")
        if "memory" in controllers.split(","):
            directory = cgroups / "memory" / inside
            # In a container the path may be that of the host, and then it is not there.
            if (directory / VERSION_1.limit).exists():
                return Place(cgroups / "memory", directory, VERSION_1)
        elif not controllers and ".." not in path:
            for mount in (cgroups, cgroups / "unified"):
                for directory in (mount / inside, *(mount / parent for parent in Path(inside).parents)):
                    if "memory" in _words(directory / "cgroup.subtree_control"):
                        return Place(mount, directory, VERSION_2)
    return None


class MemoryGroup:
    """A group without a limit and without processes. A context manager; end the processes in it before its end.

    Skips the test without root or controller, or if the group cannot be made.
    """

    def __enter__(self) -> Self:
        if os.geteuid():
            pytest.skip("not root")
        found = place()
        if found is None:
            pytest.skip("this kernel has no memory controller of cgroups that this process can use")
        self._names = found.names
        self.directory = found.directory / f"hotswap-test-{uuid.uuid4().hex[:8]}"
        self.name = f"/{self.directory.relative_to(found.mount)}"  # as in /proc/PID/cgroup
        try:
            self.directory.mkdir()
        except OSError as error:
            pytest.skip(f"no group can be made in {found.directory}: {error.strerror}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A process that ended may stay in its group for a moment.
        eventually(self._removed, within=PATIENCE, what=f"{self.name} can be removed")

    def _removed(self) -> bool:
        try:
            self.directory.rmdir()
        except OSError:
            return False
        return True

    def entering(self, command: list[str]) -> list[str]:
        """A command line that joins the group and then becomes this command.

        A process that joins later leaves the memory it has already to the group where it got it.
        """
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.directory / "cgroup.procs"), *command]

    def leave(self, free: int) -> int:
        """Set the limit so that so many bytes are left of it, file cache counted as free; the limit."""
        limit = self.used() + free
        (self.directory / self._names.limit).write_text(str(limit))
        return limit

    def used(self) -> int:
        """Bytes that are in use, without what the kernel drops first."""
        usage = int((self.directory / self._names.usage).read_text())
        return usage - self._number("memory.stat", self._names.cache)

    def processes(self) -> list[int]:
        """The pids inside."""
        return sorted(map(int, _words(self.directory / "cgroup.procs")))

    def killed(self) -> int:
        """How many processes the kernel killed here for want of memory."""
        return self._number(self._names.events, "oom_kill")

    def _number(self, file: str, name: str) -> int:
        for line in (self.directory / file).read_text().splitlines():
            key, value = line.split()
            if key == name:
                return int(value)
        raise AssertionError(f"no {name} in {file} of {self.name}")


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
