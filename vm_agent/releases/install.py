"""The installation of one release: all of it, or nothing.

1. What is needed is copied out of the source directory into ``.incoming.RANDOM`` (0700) and checked there.
2. ``<version>/`` is made, where it stays: an environment of Python's holds its own path in the first line of every
   program, so it is not moved after it was made. Until it holds its record (`manifest`) it is no release.
3. A directory is moved there. For a wheel or sdist: ``python -m venv --without-pip``, then pip from outside; a release
   carries no pip.
4. The program is there, can be executed, and `bin/hotswap` tells its version.
5. The record is renamed into place.

Whatever goes wrong, and whoever cancels it, both directories are removed; after a SIGKILL the next installation does
that. One installation at a time: flock(2) on ``lock``, which pip inherits. So a pip that outlives a killed agent
finishes, or fails, before anybody removes what it writes to.

Fault points (`hotswap.faults`): release.staged, release.made, release.unpacked, release.recorded, each after its step.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path, PurePosixPath
from typing import TypeVar

from hotswap.faults import Faults
from vm_agent.errors import ReleaseError
from vm_agent.releases import manifest, python
from vm_agent.releases.commands import Commands, environment, last_lines
from vm_agent.releases.disk import refusal, remove
from vm_agent.releases.manifest import Record, Release
from vm_agent.releases.python import Failed
from vm_agent.releases.staging import Staged, require_room_for, stage
from vm_agent.spec.model import ReleaseSettings

LOCK = "lock"
INCOMING = ".incoming."
REMOVING = ".removing."
PROGRAM = "bin/hotswap"
_GLANCE = 0.05  # seconds between two tries to lock

T = TypeVar("T")


async def install(releases: Path, version: str, program: str, settings: ReleaseSettings, *, timeout: float) -> Release:
    """The release `version`, installed now or before. Raises `ReleaseError`; what was there before is as it was."""
    what = f"release {version} cannot be installed"
    doing = ["waiting for another installation"]
    try:
        async with asyncio.timeout(timeout):
            async with _locked(releases) as lock:
                doing[0] = "installing"
                ready = manifest.read(releases / version)
                if ready is None:
                    await _in_thread(lambda _: sweep(releases))
                    return await _Installation(releases, version, program, settings, lock).run()
                require_program(ready.path, program, version, ready.origin)
                return ready
    except TimeoutError:
        raise ReleaseError(
            f"{what}: {timeout:g} s passed while {doing[0]}; nothing was changed; see what uses the machine, and repeat"
        ) from None
    except OSError as error:
        raise refusal(error, what) from None


def sweep(releases: Path) -> None:
    """Remove what installations and removals left when they were killed. For whoever has the lock."""
    for path in releases.iterdir():
        if path.name.startswith((INCOMING, REMOVING)) or (path.is_dir() and not (path / manifest.RECORD).exists()):
            remove(path)


def require_program(directory: Path, program: str, version: str, origin: str) -> None:
    """Raise `ReleaseError` if the release has no such program: a path relative to its directory.

    `origin`: the wheel, sdist or directory that it was made of.
    """
    pure = PurePosixPath(program)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ReleaseError(f"the program {program!r} must be a path relative to the release, such as {PROGRAM}")
    path = directory / program
    if not path.is_file():
        there = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
        has = f"{pure.parent} has {', '.join(there[:20])}" if there else f"there is nothing in {pure.parent}"
        raise ReleaseError(
            f"release {version} has no {program}: {has} (it is {origin}); correct `command:`, or the release"
        )
    if not os.access(path, os.X_OK):
        raise ReleaseError(f"{program} of release {version} cannot be executed: chmod +x it in the source directory")


class _Installation:
    def __init__(self, releases: Path, version: str, program: str, settings: ReleaseSettings, lock: int) -> None:
        self._releases = releases
        self._version = version
        self._program = program
        self._settings = settings
        self._target = releases / version
        self._stage = releases / f"{INCOMING}{secrets.token_hex(8)}"
        self._what = f"release {version} cannot be installed"
        self._faults = Faults.armed()
        self._made = False
        scratch = self._stage / "scratch"
        passed = environment(os.environ, scratch, configured_pip=settings.index == python.CONFIGURED)
        self._commands = Commands(self._stage, passed, lock)

    async def run(self) -> Release:
        try:
            self._begin()
            staged = await _in_thread(lambda stop: stage(self._version, self._settings, self._stage, stop))
            self._faults.hit("release.staged")
            record = await (self._directory(staged) if staged.found.directory else self._environment(staged))
            self._faults.hit("release.unpacked")
            require_program(self._target, self._program, self._version, record.origin)
            if self._program == PROGRAM:
                await self._ask_version()
            await _in_thread(lambda _: remove(self._stage))
            release = await _in_thread(lambda stop: manifest.write(self._target, record, stop))
            self._faults.hit("release.recorded")
            return release
        except Failed as error:
            raise ReleaseError(f"{self._what}: {error}") from None
        finally:
            if self._made and manifest.read(self._target) is None:
                await _in_thread(lambda _: remove(self._target))
            await _in_thread(lambda _: remove(self._stage))

    def _begin(self) -> None:
        if os.path.lexists(self._target):  # swept, so it holds a record
            raise ReleaseError(
                f"{self._what}: {self._target} is there and its record cannot be read: damaged, or of a later agent; "
                "if no sidecar runs from it, remove that directory"
            )
        self._stage.mkdir(mode=0o700)

    async def _directory(self, staged: Staged) -> Record:
        (self._stage / "tree").rename(self._target)
        self._made = True
        self._faults.hit("release.made")
        return self._record("directory", staged.found.directory, "")

    async def _environment(self, staged: Staged) -> Record:
        pip = python.Pip(self._commands, self._settings, self._stage, staged)
        await pip.find(sys.executable)
        chosen = await pip.choose()
        if chosen.suffix == ".whl":
            await _in_thread(lambda _: require_room_for(chosen, self._releases, self._version))
        self._target.mkdir()
        self._made = True
        self._target.chmod(0o755)
        await pip.make(self._target)
        self._faults.hit("release.made")
        await pip.install(chosen, self._target)
        kind: manifest.Kind = "wheel" if chosen.suffix == ".whl" else "sdist"
        return self._record(kind, chosen.name, staged.digests[chosen.name])

    def _record(self, kind: manifest.Kind, origin: str, sha256: str) -> Record:
        return Record(
            version=self._version,
            kind=kind,
            origin=origin,
            sha256=sha256,
            installed=time.time(),
            files=0,
            files_sha256="",
        )

    async def _ask_version(self) -> None:
        code, output = await self._commands.run([str(self._target / PROGRAM), "--version"])
        if code != 0:
            raise ReleaseError(
                f"{self._what}: {PROGRAM} --version ended with {code}; "
                f"the release does not work on this machine:\n{last_lines(output)}"
            )


@contextlib.asynccontextmanager
async def _locked(releases: Path) -> AsyncIterator[int]:
    """The store's lock, made with the store. Raises `OSError`, `ReleaseError` if others may write to it."""
    fd = _open_lock(releases)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_GLANCE)
        yield fd
    finally:
        os.close(fd)


def _open_lock(releases: Path) -> int:
    if not releases.exists():
        releases.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            releases.mkdir()
            releases.chmod(0o755)
    info = releases.stat()
    if info.st_mode & 0o022 or info.st_uid not in {0, os.geteuid()}:
        raise ReleaseError(f"others may write to {releases}, and so put in programs: chown root: and chmod 0755 it")
    return os.open(releases / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


async def _in_thread(work: Callable[[threading.Event], T]) -> T:
    """Blocking work beside the event loop. Who cancels it waits for its end: what it writes is removed next."""
    stop = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, stop))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
            stop.set()
    if cancelled is not None:
        task.exception()  # seen
        raise cancelled
    return task.result()
