"""Installed releases, and which of them each sidecar has.

<root>/releases/lock                     flock(2): one installation or removal at a time
<root>/releases/<version>/               a release, if it holds its record (see `manifest`)
<root>/releases/.incoming.RANDOM/        an installation under way
<root>/releases/.removing.RANDOM/        a removal under way
<root>/sidecars/<name>/current           a link to ../../releases/<version>
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Collection, Iterator
from pathlib import Path

from vm_agent.errors import ReleaseError
from vm_agent.files import sync_directory
from vm_agent.releases import manifest
from vm_agent.releases.disk import refusal, remove
from vm_agent.releases.install import LOCK, PROGRAM, REMOVING, install, require_program, sweep
from vm_agent.releases.manifest import Release
from vm_agent.releases.source import find, require_version
from vm_agent.spec.model import ReleaseSettings

LINK = "current"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
PATIENCE = 600.0  # seconds for an installation


class Releases:
    """The store below `root`, the agent's state directory. Only `install` takes long; it belongs to an event loop."""

    def __init__(self, root: Path, settings: ReleaseSettings) -> None:
        self.root = root.absolute()
        self.settings = settings
        self.directory = self.root / "releases"

    async def install(self, version: str, program: str = PROGRAM, *, timeout: float = PATIENCE) -> Release:
        """The release, from the source directory unless it is installed already.

        `program` is a path relative to the release; it must be there and executable. Raises `ReleaseError`, also after
        `timeout` seconds. Cancelled or failed, it leaves nothing behind.
        """
        require_version(version)
        ready = self.get(version)
        if ready is not None:
            require_program(ready.path, program, version, ready.origin)
            return ready
        return await install(self.directory, version, program, self.settings, timeout=timeout)

    def installed(self) -> list[Release]:
        """All that are whole, the one that was installed last at the end."""
        try:
            paths = [path for path in self.directory.iterdir() if not path.name.startswith(".")]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise refusal(error, "the installed releases cannot be listed") from None
        releases = [release for path in paths if (release := manifest.read(path)) is not None]
        return sorted(releases, key=lambda release: (release.installed, release.version))

    def get(self, version: str) -> Release | None:
        """The release, if it is installed, and whole."""
        require_version(version)
        return manifest.read(self.directory / version)

    def require(self, version: str) -> None:
        """Raises `ReleaseError` unless this release is installed, or could be as far as one can see."""
        if self.get(version) is None:
            find(Path(self.settings.source), version)

    def verify(self, release: Release) -> list[str]:
        """What is not as it was installed, for people; empty: nothing. Reads every file, so call it in a thread."""
        return manifest.problems(release)

    def link(self, name: str) -> Path:
        """The link through which a sidecar is started. It exists after the first `point`."""
        if not NAME.fullmatch(name):
            raise ReleaseError(f"{name[:100]!r} is no name of a sidecar: letters, digits and _ . - only")
        return self.root / "sidecars" / name / LINK

    def point(self, name: str, version: str) -> None:
        """Have the link lead to this release from now on, also after a power cut. Raises `ReleaseError`."""
        link = self.link(name)
        if self.get(version) is None:
            raise ReleaseError(f"{link} cannot lead to release {version}: it is not installed")
        if self._points(link) == version:
            return
        coming = link.with_name(f".{LINK}.new")
        try:
            _make(link.parent.parent)
            _make(link.parent)
            coming.unlink(missing_ok=True)
            coming.symlink_to(f"../../releases/{version}")
            coming.rename(link)
            sync_directory(link.parent)
        except OSError as error:
            raise refusal(error, f"{link} cannot lead to release {version}") from None

    def current(self, name: str) -> str | None:
        """The version that the link leads to, installed or not; None without a link, or one of somebody else's."""
        return self._points(self.link(name))

    def prune(self, in_use: Collection[str]) -> list[str]:
        """Remove what nobody needs; the versions that are gone now.

        What is in use stays, what a link leads to stays, and of the rest the `settings.keep` that were installed last.
        During an installation nothing is removed. Raises `ReleaseError`.
        """
        with self._try_lock() as locked:
            if not locked:
                return []
            sweep(self.directory)
            needed = {*in_use, *self._linked()}
            rest = [release for release in self.installed() if release.version not in needed]
            gone = rest[: len(rest) - self.settings.keep] if self.settings.keep else rest
            for release in gone:
                self._remove(release)
            return [release.version for release in gone]

    def _remove(self, release: Release) -> None:
        going = self.directory / f"{REMOVING}{secrets.token_hex(8)}"
        try:
            release.path.rename(going)  # in one step it is no release any more
            sync_directory(self.directory)
        except OSError as error:
            raise refusal(error, f"release {release.version} cannot be removed") from None
        remove(going)

    def _linked(self) -> Iterator[str]:
        with contextlib.suppress(FileNotFoundError):
            for path in (self.root / "sidecars").iterdir():
                version = self._points(path / LINK)
                if version is not None:
                    yield version

    def _points(self, link: Path) -> str | None:
        try:
            text = str(link.readlink())
        except OSError:
            return None
        version = text.removeprefix("../../releases/")
        return version if version != text and "/" not in version else None

    @contextlib.contextmanager
    def _try_lock(self) -> Iterator[bool]:
        try:
            fd = os.open(self.directory / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:  # nothing was ever installed
            yield False
            return
        except OSError as error:
            raise refusal(error, "releases cannot be removed") from None
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(fd)


def _make(directory: Path) -> None:
    if not directory.exists():
        directory.mkdir(mode=0o755)
        directory.chmod(0o755)
        sync_directory(directory.parent)
