"""A pod of real containers: the project's image, run by podman and runc. What it does is said in `tests.kit.pod`.

Its containers are as strict as a cluster makes them: the image's user, which is not root, no capabilities,
no_new_privs, seccomp, and a root that is read-only with an empty /tmp and a /dev/shm of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import uuid
from pathlib import Path

from tests.kit.images import STORE, base_image, project_image
from tests.kit.networks import Network, command
from tests.kit.offspring import VARIABLE, wait_for_end
from tests.kit.pod import Container, Pod, User
from tests.kit.podman import Podman, needed
from tests.kit.processes import PATIENCE
from tests.kit.waiting import eventually

USER = 65532
"""That of the image."""

STRICT = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")
OUTSIDE = frozenset({"PATH", "PYTHONPATH"})  # of an environment that says where programs are: the image knows better


class PodmanContainer(Container):
    """A container that podman started."""

    def __init__(self, podman: Podman, unique: str, name: str, pid: int, log_file: Path) -> None:
        super().__init__(name, pid, log_file)
        self.podman = podman
        self.unique = unique
        """What podman calls it."""
        self._code: int | None = None

    def kill(self) -> int:
        """See `Container.kill`: by podman, which then removes it."""
        self.podman("kill", self.unique, check=False)
        code = self.status(within=PATIENCE)
        self.remove()
        return code

    def remove(self) -> None:
        """SIGKILL if it runs, and nothing is left of it."""
        self.podman("rm", "--force", "--time=0", self.unique)

    def stop(self, seconds: int) -> int:
        """SIGTERM, and SIGKILL when the grace period is over; its exit code."""
        self.podman("stop", f"--time={seconds}", self.unique, within=seconds + PATIENCE)
        return self.status(within=PATIENCE)

    def status(self, *, within: float) -> int:
        """See `Container.status`."""
        if self._code is None:
            wait_for_end(self.pid, within=within)

            def ended() -> list[int]:
                told = json.loads(self.podman("inspect", "--format={{json .State}}", self.unique))
                return [int(told["ExitCode"])] if told["Status"] == "exited" else []

            (self._code,) = eventually(ended, within=within, what=f"podman knows that container {self.name} ended")
        return self._code

    def exec(self, *argv: str, within: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """See `Container.exec`."""
        done = self.podman.attempt("exec", self.unique, *argv, within=within)
        return subprocess.CompletedProcess(argv, done.returncode, done.stdout + done.stderr, "")

    def log_tail(self, lines: int = 60) -> str:
        """See `Container.log_tail`."""
        return re.sub(r"(?m)^\S+ std(out|err) [FP] ", "", super().log_tail(lines))


class PodmanPod(Pod):
    """A pod of podman's. Skips the test where podman or runc is not installed."""

    def __init__(self) -> None:
        needed()
        self.image = project_image()
        """What the next container is started from."""
        super().__init__()
        os.chown(self.volume, USER, USER)  # as a volume of podman's gets the owner that the image says
        self.volume.chmod(0o755)

    def _network(self) -> Path:
        self.podman = Podman(self.directory / "podman", images=STORE, infra=base_image())
        self._exits.callback(self.podman.close)
        network = Network(f"hs{uuid.uuid4().hex[:8]}")
        self._exits.callback(command, "ip", "netns", "del", network.name)
        return Path("/run/netns") / network.name

    def _start(
        self, name: str, argv: list[str], env: dict[str, str], user: User | None, sees: list[Path], *, read_only: bool
    ) -> Container:
        unique = f"{name}-{uuid.uuid4().hex[:8]}"
        pid, log = self.directory / f"{unique}.pid", self.log_of(name)
        who = [f"--user={user.uid}:{user.gid}", *(f"--group-add={one}" for one in user.groups)] if user else []
        env = {key: value for key, value in env.items() if key not in OUTSIDE} | {VARIABLE: self.offspring.token}
        mounts = [f"{self.volume}:{self.volume}", *(f"{path}:{path}:ro" for path in sees)]
        for folder in sees:
            if folder.is_relative_to(self.directory):
                for secret in folder.glob("*.key"):
                    os.chown(secret, USER, USER)
        self.podman(
            "run", "--detach", f"--name={unique}", f"--hostname={name}", "--pull=never", *STRICT, *who,
            f"--cgroup-parent=/{self.podman.group}", f"--network=ns:{self.netns}", f"--pidfile={pid}",
            "--log-driver=k8s-file", f"--log-opt=path={log}", f"--entrypoint={argv[0]}",
            *(f"--volume={mount}" for mount in mounts), *(f"--env={key}={value}" for key, value in env.items()),
            self.image, *argv[1:],
        )  # fmt: skip
        return PodmanContainer(self.podman, unique, name, int(pid.read_text()), log)
