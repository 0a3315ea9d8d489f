"""What an installation takes from the source directory: copied into a directory of its own, then checked.

<stage>/tree/         a release that is a directory
<stage>/candidates/   wheels and sdist of the release
<stage>/required/     what else pip may install, without an index
<stage>/scratch/      where pip and what it starts keep temporary files
"""

from __future__ import annotations

import os
import stat
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from vm_agent.errors import ReleaseError
from vm_agent.releases.copying import copy_file, copy_tree, size_of_tree
from vm_agent.releases.disk import require_room, rounded
from vm_agent.releases.manifest import require_free
from vm_agent.releases.source import Found, entries, find, requirements
from vm_agent.releases.sums import NAME, Checksums
from vm_agent.spec.model import ReleaseSettings

_SPARE = 1 << 20  # bytes for the environment itself and the lists


@dataclass(frozen=True)
class Staged:
    """Copies that are what the checksums say."""

    found: Found
    digests: dict[str, str]
    """SHA-256 of each candidate."""
    left_out: list[str] = field(default_factory=list)
    """Files that pip does not get, since SHA256SUMS does not list them."""


def stage(version: str, settings: ReleaseSettings, target: Path, stop: threading.Event) -> Staged:
    """Copy and check everything that release `version` may need.

    Raises `ReleaseError`, `OSError`, and `copying.Stopped` soon after `stop` was set.
    """
    source = Path(settings.source)
    found = find(source, version)
    if source.stat().st_mode & stat.S_IWOTH:
        raise ReleaseError(f"everybody may write to {source}, and so decide what runs here: chmod o-w {source}")
    sums = Checksums.read(source, settings.checksums)
    what = f"release {version} cannot be installed"
    if found.directory:
        size, count = size_of_tree(source / found.directory)
        require_room(target, size + rounded(0) * count + _SPARE, what)
        _check_tree(found.directory, target / "tree", copy_tree(source / found.directory, target / "tree", stop), sums)
        require_free(target / "tree")
        return Staged(found, {})
    others = requirements(entries(source), found)
    usable = [file for file in others if sums.lists(file)]
    sizes = [rounded((source / file).lstat().st_size) for file in (*found.files, *usable)]
    require_room(target, sum(sizes) + _SPARE, what)
    for folder in ("candidates", "required", "scratch"):
        (target / folder).mkdir(mode=0o700)
    digests = {}
    for folder, files in (("candidates", found.files), ("required", usable)):
        for file in files:
            digests[file] = copy_file(source / file, target / folder / file, stop)
            sums.check(file, digests[file])
    return Staged(found, digests, [file for file in others if file not in usable])


def require_room_for(wheel: Path, releases: Path, version: str) -> None:
    """Raise `ReleaseError` if it is no wheel, or if what it unpacks to does not fit, with what Python makes of it."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            sizes = [rounded(info.file_size) for info in archive.infolist()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise ReleaseError(f"{wheel.name} is damaged: {error}; fetch it again") from None
    require_room(releases, 2 * sum(sizes) + _SPARE, f"release {version} cannot be installed")


def _check_tree(name: str, tree: Path, digests: dict[str, str], sums: Checksums) -> None:
    for path, digest in digests.items():
        sums.check(f"{name}/{path}", digest)
    root = os.path.realpath(tree)
    for path in sums.below(name):
        # A link may be listed: sha256sum read what it leads to.
        behind = os.path.relpath(os.path.realpath(tree / path), root)
        if behind not in digests:
            raise ReleaseError(
                f"{sums.file.parent / name / path} is missing, and {NAME} lists it; fetch the whole release again"
            )
        sums.check(f"{name}/{path}", digests[behind])
