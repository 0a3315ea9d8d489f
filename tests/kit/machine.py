"""A virtual machine of a test: a real systemd as PID 1, in a container of systemd-nspawn, booted in about a second.

    with Machine() as machine:
        machine.install({"/etc/systemd/system/one.service": text})
        machine.run("systemctl", "start", "one")
        assert machine.show("one", "MainPID", "NRestarts")["NRestarts"] == "0"

Its disk is this one's under an overlay in memory: whatever happens in there is gone afterwards. Nothing of what this
system would start by itself starts in there. The checkout is at `TREE` and its interpreter at `PYTHON`, both read-only
and readable by every user; `hotswap` and `hotswap-agent` in `PROGRAMS` run that.

Processes are started in there by nsenter(1), so its systemd does not know them. With `netns`, a network namespace of
`tests.kit.networks`, a test can put upstreams and clients beside it by `Network.run`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.kit.companion import ROOT
from tests.kit.waiting import eventually

PATIENCE = 60.0

PROGRAMS = "/opt/hotswap/bin"
TREE = "/opt/hotswap-tree"
PYTHON = "/opt/hotswap-python"
COMPILED = "/opt/hotswap-compiled"
PATH = f"{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}

_PROGRAM = """#!/bin/sh
# The checkout's {name}, run by an interpreter that every user may read.
export PYTHONPYCACHEPREFIX={compiled} PYTHONPATH={tree}:{packages}
exec {python}/bin/{version} {tree}/.venv/bin/{name} "$@"
"""
# An installed package is compiled, and a start takes half the time. What is kept between machines is ours alone.
CACHE = ROOT / ".cache" / "machines"
_COMPILE = """#!/bin/sh
export PYTHONPYCACHEPREFIX={compiled} PYTHONPATH={tree}:{packages}
exec {python}/bin/{version} -c "
import click
from hotswap.cli.main import main
from vm_agent.cli import main as agent
for name in main.list_commands(click.Context(main)):
    main.get_command(click.Context(main), name)"
"""
_SIZE = "1g"  # of what changes on its disk
_BUNDLED = Path("/usr/lib/systemd/system")


class Dead(AssertionError):
    """The machine ended, or did not come up."""


def needed() -> None:
    """Skip without root, systemd-nspawn, or a version 2 hierarchy of cgroups."""
    missing = [name for name in ("systemd-nspawn", "nsenter", "setpriv") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    if os.geteuid():
        pytest.skip("not root")
    if not any(_hierarchies()):
        pytest.skip("this kernel has no cgroups that a systemd of its own could use")


class Machine:
    """One machine, off until `boot`. A context manager that boots it and, whatever happens, switches it off.

    `binds`: what else of this disk is to be seen in there live, by path in there. `netns`: a path as
    ``/run/netns/x``; without one it has a loopback device of its own and nothing else.
    """

    def __init__(self, name: str = "", *, netns: str = "", binds: Mapping[str, Path] | None = None) -> None:
        self.name = f"hs-{name or 'machine'}-{uuid.uuid4().hex[:6]}"
        self.leader = 0
        """The pid of its PID 1, as seen from here."""
        self._netns = netns
        self._binds = {TREE: ROOT, **({} if sys.base_prefix == "/usr" else {PYTHON: Path(sys.base_prefix)})}
        self._binds |= dict(binds or {})
        self._exits = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    # -- on and off -------------------------------------------------------------------------------

    def boot(self) -> Self:
        """Switch it on and wait until its systemd has started everything. Skips where that cannot be."""
        needed()
        try:
            self._boot()
        except (Dead, subprocess.CalledProcessError) as error:
            self.stop()
            pytest.skip(f"no machine can be booted here: {error}")
        except BaseException:
            self.stop()
            raise
        return self

    def _boot(self) -> None:
        base = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir="/run"))
        self._exits.callback(base.rmdir)
        _call("mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=755", "tmpfs", str(base))
        self._exits.callback(_call, "umount", "-l", str(base))
        self._root = base / "root"
        upper, work = base / "upper", base / "work"
        for directory in (self._root, upper, work):
            directory.mkdir()
        layers = f"lowerdir=/,upperdir={upper},workdir={work}"
        _call("mount", "-t", "overlay", "overlay", "-o", layers, str(self._root))
        self._exits.callback(_call, "umount", "-l", str(self._root))
        self._furnish()
        CACHE.mkdir(parents=True, exist_ok=True)
        groups = [root / self.name for root in _hierarchies()]
        for group in groups:
            group.mkdir()
            self._exits.callback(_remove_group, group)
        log = base / "console"
        self._exits.callback(shutil.rmtree, f"/run/systemd/nspawn/propagate/{self.name}", ignore_errors=True)
        # nspawn makes two groups below the one it is in; and it ends with this process.
        enter = "".join(f"echo $$ > {group}/cgroup.procs; " for group in groups) + 'exec "$@"'
        with log.open("wb") as console:
            self._process = subprocess.Popen(
                ["/bin/sh", "-ec", enter, "sh", "setpriv", "--pdeathsig", "TERM", *self._command()],
                env={**ENVIRONMENT, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self._exits.callback(self._switch_off)

        def up(look: Callable[[], bool]) -> bool:
            if self._process is None or self._process.poll() is not None:
                raise Dead(f"systemd-nspawn ended: {log.read_text(errors='replace')[-800:]}")
            return look()

        eventually(lambda: up(self._find), within=PATIENCE, what=f"{self.name} has a PID 1")
        private = self.path("/run/systemd/private")
        eventually(lambda: up(private.exists), within=PATIENCE, what=f"the systemd of {self.name} answers")
        self.run(f"{PROGRAMS}/compile")
        state = self.run("systemctl", "is-system-running", "--wait", check=False).strip()
        if state not in {"running", "degraded"}:
            raise Dead(f"{self.name} is {state}: {log.read_text(errors='replace')[-800:]}")

    def _command(self) -> list[str]:
        network = f"--network-namespace-path={self._netns}" if self._netns else "--private-network"
        binds = [f"--bind-ro={outside}:{inside}" for inside, outside in self._binds.items()]
        return [
            "systemd-nspawn", "-q", "-M", self.name, "-D", str(self._root), "--boot", "--register=no", "--keep-unit",
            "--console=pipe", "--kill-signal=SIGRTMIN+3", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
            network, *binds, f"--bind={CACHE}:{COMPILED}", "systemd.unit=basic.target",
        ]  # fmt: skip

    def _furnish(self) -> None:
        """Its own identity, empty tables, our programs; and none of what this system would start by itself."""
        packages = f"{TREE}/.venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        python = "/usr" if sys.base_prefix == "/usr" else PYTHON
        files = {
            "/etc/fstab": "",
            "/etc/machine-id": f"{uuid.uuid4().hex}\n",
            "/etc/hostname": f"{self.name}\n",
            # Everything is kept in memory, and nothing is left out: a test may ask for any line.
            "/etc/systemd/journald.conf.d/test.conf": "[Journal]\nStorage=volatile\nRateLimitBurst=0\n",
        }
        for name in ("hotswap", "hotswap-agent"):
            files[f"{PROGRAMS}/{name}"] = _PROGRAM.format(
                name=name, tree=TREE, python=python, version=version, packages=packages, compiled=COMPILED
            )
        files[f"{PROGRAMS}/compile"] = _COMPILE.format(
            tree=TREE, python=python, version=version, packages=packages, compiled=COMPILED
        )
        self.install(files)
        for directory in self._inside("/etc/systemd/system").glob("*.wants"):
            for link in sorted(directory.iterdir()):
                link.unlink()
        for unit in _bundled():
            self._inside(f"/etc/systemd/system/{unit}").unlink(missing_ok=True)
            self._inside(f"/etc/systemd/system/{unit}").symlink_to("/dev/null")

    def _find(self) -> bool:
        assert self._process is not None
        pid = self._process.pid
        try:
            offspring = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return False
        for one in offspring:
            try:
                status = Path(f"/proc/{one}/status").read_text()
            except OSError:
                continue
            if re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE):
                self.leader = int(one)
        return self.leader > 0

    def _switch_off(self) -> None:
        """Its systemd stops everything; after ten seconds it is unplugged."""
        process = self._process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """Switch it off; nothing is left of it."""
        self._exits.close()
        self.leader = 0

    def __enter__(self) -> Self:
        return self.boot()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None and self.leader:
                print(f"--- the journal of {self.name}\n{self.journal()[-20_000:]}")
        finally:
            self.stop()

    # -- what can be done with it -----------------------------------------------------------------

    def command(self, *argv: str) -> list[str]:
        """A command line that runs this in there, for `subprocess`. Its environment is the caller's."""
        return ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--", *argv]

    def run(self, *argv: str, check: bool = True, within: float = PATIENCE, text: str = "") -> str:
        """Run a program in there, to its end; what it printed on both outputs. With `check` it must succeed."""
        done = self.attempt(*argv, within=within, text=text)
        assert not check or done.returncode == 0, f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def attempt(self, *argv: str, within: float = PATIENCE, text: str = "") -> subprocess.CompletedProcess[str]:
        """The same, whatever comes of it: `returncode` tells."""
        return subprocess.run(
            self.command(*argv),
            env=ENVIRONMENT,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=within,
            check=False,
        )

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit, as ``systemctl show`` tells them; all of them if none is named."""
        printed = self.run("systemctl", "show", unit, *(f"--property={name}" for name in properties))
        return dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)

    def journal(self, unit: str = "") -> str:
        """What a unit, or everything, has said since it was booted."""
        return self.run("journalctl", "--no-pager", "-q", "-o", "short-precise", *(["-u", unit] if unit else []))

    def install(self, files: Mapping[str, str | bytes], *, mode: int = 0) -> None:
        """Write files, with the directories above them. `mode` 0: 0755 below a ``bin``, else 0644."""
        for path, content in files.items():
            place = self._inside(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
            place.chmod(mode or (0o755 if place.parent.name == "bin" else 0o644))

    def path(self, path: str) -> Path:
        """Where a file of the running machine is, seen from here; also what it mounted itself. No absolute links."""
        return Path(f"/proc/{self.leader}/root{path}")

    def _inside(self, path: str) -> Path:
        """The same, also while it is off."""
        return self.path(path) if self.leader else self._root / path.lstrip("/")


def _hierarchies() -> Iterator[Path]:
    """Where groups are made: the version 2 hierarchy, and where it is beside version 1 that one's systemd's."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options):
            yield Path(mount)


def _bundled() -> Iterator[str]:
    """Units that packages hook into the boot itself and a machine of a test has no use for."""
    keep = re.compile(
        r"systemd-(journald|tmpfiles|sysusers|udev-trigger|ask-password|machine-id)|dbus\.socket|tmp\.mount"
    )
    for wants in ("sysinit.target.wants", "basic.target.wants", "timers.target.wants", "sockets.target.wants"):
        if (_BUNDLED / wants).is_dir():
            for link in sorted((_BUNDLED / wants).iterdir()):
                if link.suffix in {".service", ".timer", ".socket"} and not keep.match(link.name):
                    yield link.name
    yield from ("apt-daily.timer", "apt-daily-upgrade.timer", "systemd-timesyncd.service", "systemd-resolved.service")


def _call(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def _remove_group(group: Path) -> None:
    """Everything in it has ended, or is about to."""

    def removed() -> bool:
        for directory, _, _ in os.walk(group, topdown=False):
            try:
                Path(directory).rmdir()
            except OSError:
                return False
        return True

    eventually(removed, within=PATIENCE, what=f"{group} can be removed")
