"""A pod: containers that share a network and a volume, and nothing else.

`Pod` and `Container` say what tests do with them, whatever made them; a scenario takes these. `tests.kit.unshared`
makes them without a container runtime.

    with Unshared() as pod:
        edge = Edge(pod, pod.upstreams())
        first = pod.run("a")
        pod.wait_served_by(first)
        second = pod.run("b", "--takeover=require")
        pod.wait_served_by(second)
        assert first.status(within=PATIENCE) == 0
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import yaml

from hotswap.control_client import ControlClient
from hotswap.errors import HotswapError
from hotswap.faults import VARIABLE as FAULTS
from tests.kit.companion import ROOT
from tests.kit.networks import inside
from tests.kit.processes import PATIENCE, Config, Instance, Plain
from tests.kit.stage import Stage
from tests.kit.waiting import eventually, readable

T = TypeVar("T")

PROGRAMS = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class User(NamedTuple):
    """Whom the processes of a container run as. They have no capabilities and get none (no_new_privs)."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def command(self) -> list[str]:
        """What a command line begins with that this user runs. See setpriv(1)."""
        groups = f"--groups={','.join(map(str, self.groups))}" if self.groups else "--clear-groups"
        nothing = ["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs"]
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", groups, *nothing, "--"]


class Container:
    """One container of a pod, from its start on."""

    def __init__(self, name: str, pid: int, log_file: Path) -> None:
        self.name = name
        self.pid = pid
        """That of its PID 1, seen from outside; 0 if it ended before it was seen."""
        self.log_file = log_file
        self.place = ""
        """As `hotswap.place.here` tells it inside."""
        self._pidfd = -1
        with suppress(OSError):
            self._pidfd = os.pidfd_open(pid)
            self.place = str(Path(f"/proc/{pid}/ns/mnt").readlink())

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._pidfd >= 0 and not readable(self._pidfd, within=0)

    def kill(self) -> int:
        """SIGKILL from outside, as a runtime removes a container; its exit code, once it is gone."""
        self.send(signal.SIGKILL)
        return self.status(within=PATIENCE)

    def terminate(self) -> None:
        """SIGTERM from outside, as a runtime asks a container to end."""
        self.send(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its PID 1, if that is there."""
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        """Forget its process, which has ended or will with the test."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def status(self, *, within: float) -> int:
        """Wait for its end; its exit code, 128 + N for signal N. Raises `Late`."""
        raise NotImplementedError

    def exec(self, *argv: str, within: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end, as an exec probe or a hook does; both outputs are in `stdout`."""
        raise NotImplementedError

    def log_tail(self, lines: int = 60) -> str:
        """The end of what it wrote."""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def last_line(self) -> str:
        """The last line it wrote, which is what an orchestrator shows of a container that failed."""
        return self.log_tail(1)

    def wait_said(self, text: str) -> None:
        """Until this text is in its log. Raises `Late`, and `AssertionError` if it ends without."""

        def said() -> bool:
            ended = not self.running
            found = text in self.log_file.read_text(errors="replace")
            assert found or not ended, f"container {self.name} ended without {text!r}:\n{self.log_tail()}"
            return found

        eventually(said, within=PATIENCE, what=f"container {self.name} says {text!r}")


class Pod(Stage):
    """The stage of a test in which instances run in containers. A context manager, best by the fixture `pod`.

    `volume` is at the same path everywhere. The control socket is in there, so an `Instance` answers as usual, but
    what it tells by pids holds for no container: use `owner` and `containers`. `size` is that of the volume, as
    `1m`; without one it has what /tmp has.
    """

    def __init__(self, size: str = "") -> None:
        super().__init__()
        self.directory.chmod(0o755)
        self.volume = self.directory / "v"
        self.volume.mkdir()
        if size:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(self.volume)], check=True)
            self._exits.callback(subprocess.run, ["umount", "-l", str(self.volume)], check=True)
        self.volume.chmod(0o777)
        self.containers: list[Container] = []
        self.reads: list[Path] = []
        """What containers see besides their own programs, read-only and at the same path."""
        try:
            self.netns = self._network()
        except BaseException:
            self.close()
            raise
        self.through = ("nsenter", f"--net={self.netns}", "--")

    # -- what an implementation says ----------------------------------------------------------------

    def _network(self) -> Path:
        """Make the network; the file of its namespace. Loopback is up, nobody else is in it."""
        raise NotImplementedError

    def _start(
        self, name: str, argv: list[str], env: dict[str, str], user: User | None, sees: list[Path], *, read_only: bool
    ) -> Container:
        """Start a container."""
        raise NotImplementedError

    # -- containers ---------------------------------------------------------------------------------

    def run(
        self,
        name: str,
        *options: str,
        config: Config | str | None = None,
        through: Sequence[str] = (),
        **how: Any,
    ) -> Container:
        """A container with one generation of the instance, which was made before. It does not wait.

        `options` of `hotswap run`. `config`: another one than the instance has, or the text of a broken one. `through`:
        what the command line begins with. `how`: see `start`.
        """
        instance = self.instance_here
        file = instance.config_file
        if config is not None:
            file = instance.directory / f"{name}.yaml"
            file.write_text(config if isinstance(config, str) else yaml.dump(config, Dumper=Plain, sort_keys=False))
        return self.start(name, *through, "hotswap", "run", "-c", str(file), *options, **how)

    def start(
        self,
        name: str,
        *argv: str,
        env: Mapping[str, str] | None = None,
        user: User | None = None,
        read_only: bool = False,
        tree: Path = ROOT,
    ) -> Container:
        """A container that runs this command line as its PID 1; it may have the name of one that ended.

        `read_only`: everything but the volume is. `tree`: whose packages it runs. Faults of the instance are armed in
        it.
        """
        instance = self.instance_here
        environment = {
            "PATH": PROGRAMS,
            "PYTHONPATH": str(tree),
            "HOTSWAP_RUNTIME_DIR": str(instance.runtime_dir),
            FAULTS: str(instance.faults_file),
        }
        sees = [*self.reads, *([] if tree == ROOT else [tree])]
        started = self._start(name, list(argv), environment | dict(env or {}), user, sees, read_only=read_only)
        self.containers.append(started)
        self._exits.callback(started.close)
        return started

    def log_of(self, name: str) -> Path:
        """Where what the next container writes is kept, which will have this name."""
        return self.directory / f"{1 + len(self.containers)}-{name}.log"

    def instance(self, config: Config, tree: Path = ROOT) -> Instance:
        """See `Stage.instance`. Its runtime directory is on the volume."""
        made = super().instance({"runtime_dir": str(self.volume), **config}, tree)
        files = [Path(pair["cert"]).parent for one in config["listeners"] for pair in _pairs(one)]
        self.reads += [path for path in [made.directory, *dict.fromkeys(files)] if path not in self.reads]
        return made

    @property
    def instance_here(self) -> Instance:
        """The one that the pod is about."""
        return self.instances[0]

    # -- asking --------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """All that the owner tells of itself; empty if nobody answers."""
        instance = self.instance_here
        try:
            return ControlClient(instance.runtime_dir, instance.name, timeout=1).get("/status")
        except HotswapError:
            return {}

    def owner(self) -> Container | None:
        """The container that serves, if one does."""
        status = self.status()
        if status.get("state") != "serving":
            return None
        # The last of that place: an inode number is given out again when its namespace is gone.
        return next((one for one in reversed(self.containers) if one.place == status["place"]), None)

    def wait_served_by(self, container: Container, *, within: float = PATIENCE) -> dict[str, Any]:
        """Wait until the owner lives in this container; its status. Raises `Late`, `AssertionError` if it ends."""

        def serving() -> dict[str, Any]:
            assert container.running, f"container {container.name} ended:\n{container.log_tail()}"
            status = self.status()
            return status if status.get("place") == container.place and status["state"] == "serving" else {}

        return eventually(serving, within=within, what=f"container {container.name} serves")

    def inside(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do it in the network of the pod, in a thread of its own: a client made by it is one in the pod."""
        return inside(self.netns, work, *arguments)

    def show(self) -> None:
        """Print what the containers said, for the report of a failed test."""
        for container in self.containers:
            print(f"--- container {container.log_file.stem}: {container.log_tail(200)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _pairs(listener: Config) -> list[dict[str, str]]:
    pairs: list[dict[str, str]] = listener.get("tls", {}).get("certificates", [])
    return pairs
