"""A pod made of namespaces alone, without an image or a container runtime: unshare(1), namespaces(7).

What a container of it sees is this system's programs, read-only, the volume, and what belongs to the test. It has PID,
mount, UTS, IPC and cgroup namespaces and a /dev/shm of its own, and its process is PID 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.companion import ROOT
from tests.kit.offspring import Offspring, run_state
from tests.kit.pod import Container, Pod, User
from tests.kit.processes import PATIENCE
from tests.kit.waiting import eventually

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
# The first process that this one starts is PID 1 of the new namespace; what the shell says of its end is nobody's log.
# (unshare --fork, of util-linux 2.38, ends with 1 and a line of its own if its PID 1 is killed.)
WAIT = 'exec 3>&2 2> /dev/null; "$@"; exit $?'

OWN = ("-m", "-p", "-u", "-i", "-C")  # the namespaces of a container, for unshare and nsenter

# $1 is an empty directory, $2 the name, $3 1 for a read-only root, $4 the volume; then what is to be seen of this
# system, up to a --, and the command line. A second mount of a place that is read-only already would fail.
BEGIN = """
exec 2>&3 3>&-
root=$1 name=$2 sealed=$3 volume=$4
shift 4
echo "$name" > /proc/sys/kernel/hostname
mount -t tmpfs -o mode=755,size=64m none "$root"
seen() {
    mkdir -p "$root$1"
    mount --rbind "$1" "$root$1"
}
for place in /bin /sbin /lib /lib32 /lib64 /usr /etc; do
    if [ -L $place ]; then cp -P $place "$root$place"; elif [ -d $place ]; then
        seen $place; mount -o remount,bind,ro "$root$place"; fi
done
while [ "$1" != -- ]; do
    seen "$1"; mount -o remount,bind,ro "$root$1"
    shift
done
shift
seen "$volume"
mkdir -p "$root/proc" "$root/dev" "$root/.before"
mkdir -p -m 1777 "$root/tmp"
mount -t proc none "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs -o mode=1777,size=64m none "$root/dev/shm"
cd "$root"
pivot_root . .before
umount -l .before
if [ $sealed = 1 ]; then mount -o remount,ro /; fi
exec "$@"
"""


class UnsharedContainer(Container):
    """A container that unshare(1) made; `first` is the process that waits for its PID 1."""

    def __init__(
        self, name: str, first: int, log_file: Path, offspring: Offspring, begin: list[str], env: dict[str, str]
    ) -> None:
        self._first = first
        self._offspring = offspring
        self._begin = begin
        self._env = env

        def found() -> list[str]:
            if run_state(first) in "ZX-":
                return ["0"]
            return Path(f"/proc/{first}/task/{first}/children").read_text().split()

        (pid,) = eventually(found, within=PATIENCE, what=f"container {name} has a PID 1")
        super().__init__(name, int(pid), log_file)

    def status(self, *, within: float) -> int:
        """See `Container.status`."""
        return self._offspring.status(self._first, within=within)

    def exec(self, *argv: str, within: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """See `Container.exec`."""
        enter = ["nsenter", "-t", str(self.pid), *OWN, "-n", "--", *self._begin, *argv]
        return subprocess.run(
            enter,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=within,
            check=False,
        )


class Unshared(Pod):
    """A pod of namespaces alone. Skips the test where this user may not make them."""

    def _network(self) -> Path:
        # It ends with this process, whose pipe it reads.
        if missing := [
            name for name in ("unshare", "nsenter", "setpriv", "ip") if shutil.which(name, path=PATH) is None
        ]:
            pytest.skip(f"{' and '.join(missing)} not installed")
        can = f"unshare {' '.join(OWN)} -f mount -t tmpfs none /mnt"
        argv = ["unshare", "-n", "sh", "-c", f"{can} && ip link set lo up && echo up && exec cat > /dev/null"]
        pipe = subprocess.PIPE
        pause = subprocess.Popen(
            argv, env={**os.environ, "PATH": PATH}, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        assert pause.stdin is not None
        assert pause.stdout is not None
        assert pause.stderr is not None
        self._exits.callback(pause.communicate)
        self._exits.callback(pause.kill)
        if pause.stdout.readline() != "up\n":
            pytest.skip(f"no pod can be made here: {pause.stderr.read().strip()}")
        return Path(f"/proc/{pause.pid}/ns/net")

    def _start(
        self, name: str, argv: list[str], env: dict[str, str], user: User | None, sees: list[Path], *, read_only: bool
    ) -> Container:
        root = self.directory / f"{name}.root"
        root.mkdir(exist_ok=True)
        places = [ROOT, Path(sys.prefix), Path(sys.base_prefix), *sees]
        begin = user.command() if user else []
        setting = [str(root), name, str(int(read_only)), str(self.volume), *map(str, outermost(places))]
        inner = ["sh", "-ec", BEGIN, "sh", *setting, "--", *begin, *argv]
        command = [*self.through, "unshare", *OWN, "--", "sh", "-c", WAIT, "sh", *inner]
        log = self.log_of(name)
        first = self.offspring.start(command, env=env, cwd=self.directory, stderr=log)
        return UnsharedContainer(name, first, log, self.offspring, begin, env)


def outermost(places: list[Path]) -> list[Path]:
    """Those that are not in another one, nor among the programs of the system."""
    every = [Path("/usr"), *dict.fromkeys(places)]
    return [one for one in every[1:] if not any(one != other and one.is_relative_to(other) for other in every)]
