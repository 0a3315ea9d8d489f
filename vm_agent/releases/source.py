"""What lies in the source directory, and which of it is release VERSION.

    NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl    a wheel, PEP 427
    NAME-VERSION.tar.gz                             an sdist, PEP 625
    NAME-VERSION/ or VERSION/                       a directory

If there are several, the first of these is taken:

1. the wheels and the sdist of ``hotswap``; of these the wheel that pip likes best, and the sdist if no wheel fits
2. the directory ``hotswap-VERSION``
3. the directory ``VERSION``
4. the wheels and the sdist of one other distribution; of more than one, none: the order would be a guess
5. a directory of another name

Where there is ``hotswap`` of any version, files of other distributions are what it requires, and no releases.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vm_agent.errors import ReleaseError

USUAL = "hotswap"
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_SDIST = re.compile(r"(?P<name>.+?)-(?P<version>\d.*)\.tar\.gz")
_DIRECTORY = re.compile(r"(?:(?P<name>.+?)-)?(?P<version>\d.*)")
_SHOWN = 20  # versions in a message


@dataclass(frozen=True)
class Entry:
    """One entry of the source directory that may be a release."""

    file: str
    kind: Literal["wheel", "sdist", "directory"]
    name: str
    """Of the distribution, as compared: lower case, runs of ``-_.`` are one ``-``. Empty: a directory without one."""
    version: str


@dataclass(frozen=True)
class Found:
    """A release that can be installed: one directory, or files of which pip takes one."""

    version: str
    name: str
    directory: str = ""
    wheels: tuple[str, ...] = ()
    sdist: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Wheels, then the sdist."""
        return (*self.wheels, *([self.sdist] if self.sdist else []))


def require_version(version: str) -> None:
    """Raise `ReleaseError` for what cannot be the name of a directory, or hides one."""
    if not _VERSION.fullmatch(version):
        raise ReleaseError(
            f"{version[:100]!r} is no version: letters, digits and . _ + - only, beginning with a letter or a digit"
        )


def entries(source: Path) -> list[Entry]:
    """All that may be releases, sorted by name. Raises `ReleaseError` if there is no such directory."""
    try:
        found = [entry for path in source.iterdir() if (entry := _entry(path)) is not None]
    except (FileNotFoundError, NotADirectoryError):
        raise ReleaseError(
            f"{source} is not a directory: put releases there, or set `releases.source` in agent.yaml"
        ) from None
    return sorted(found, key=lambda entry: entry.file)


def find(source: Path, version: str) -> Found:
    """Release `version`. Raises `ReleaseError` that names what there is, `OSError` if it cannot be looked at."""
    require_version(version)
    there = entries(source)
    fitting = [entry for entry in there if _same(entry, version)]
    files = [entry for entry in fitting if entry.kind != "directory"]
    directories = {entry.file for entry in fitting if entry.kind == "directory"}
    ours = any(entry.name == USUAL and entry.kind != "directory" for entry in there)
    others = [] if ours else sorted({entry.name for entry in files} - {USUAL})
    if any(entry.name == USUAL for entry in files):
        return _of(files, USUAL, version)
    for name in (f"{USUAL}-{version}", version):
        if name in directories:
            return Found(version, USUAL, directory=name)
    if len(others) == 1:
        return _of(files, others[0], version)
    if others:
        raise ReleaseError(
            f"release {version} is ambiguous: {source} has it of {', '.join(others)}; "
            f"leave one of them there, or name the one that is meant {USUAL}-{version}"
        )
    if len(directories) == 1:
        name = directories.pop()
        return Found(version, name.removesuffix(f"-{version}"), directory=name)
    if directories:
        raise ReleaseError(
            f"release {version} is ambiguous: {source} has {', '.join(sorted(directories))}; "
            f"name the one that is meant {USUAL}-{version}"
        )
    ignored = "".join(f"; {entry.file} is no {USUAL}, and does not count beside one" for entry in files)
    raise ReleaseError(_missing(source, version, there) + ignored)


def requirements(there: Iterable[Entry], found: Found) -> list[str]:
    """The files in which pip may look for what the release requires: all but other versions of itself."""
    return [entry.file for entry in there if entry.kind != "directory" and entry.name != found.name]


def _entry(path: Path) -> Entry | None:
    file = path.name
    if file.startswith("."):
        return None
    if file.endswith(".whl"):
        parts = file.removesuffix(".whl").split("-")
        return Entry(file, "wheel", _normal(parts[0]), parts[1]) if len(parts) in {5, 6} else None
    if file.endswith(".tar.gz"):
        match = _SDIST.fullmatch(file)
        return Entry(file, "sdist", _normal(match["name"]), match["version"]) if match else None
    if path.is_dir():
        match = _DIRECTORY.fullmatch(file)
        return (
            Entry(file, "directory", match["name"] or "", match["version"])
            if match
            else Entry(file, "directory", "", file)
        )
    return None


def _normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _same(entry: Entry, version: str) -> bool:
    if entry.kind == "directory":
        return entry.version == version or entry.file in {version, f"{USUAL}-{version}"}
    return entry.version.replace("-", "_") == version.replace("-", "_")


def _of(files: list[Entry], name: str, version: str) -> Found:
    mine = [entry for entry in files if entry.name == name]
    return Found(
        version,
        name,
        wheels=tuple(entry.file for entry in mine if entry.kind == "wheel"),
        sdist=next((entry.file for entry in mine if entry.kind == "sdist"), ""),
    )


def _missing(source: Path, version: str, there: list[Entry]) -> str:
    # Everything else that lies there is most likely what the releases require.
    mine = [entry for entry in there if entry.name in {USUAL, ""}] or there
    versions = sorted({entry.version for entry in mine})
    if not versions:
        return f"release {version} is missing: {source} has no wheel, sdist or directory; put {USUAL}-{version} there"
    near = difflib.get_close_matches(version, versions, n=1, cutoff=0)
    more = f" and {len(versions) - _SHOWN} more" if len(versions) > _SHOWN else ""
    return (
        f"release {version} is missing: {source} has {', '.join(versions[:_SHOWN])}{more}"
        f" (nearest: {near[0]}); put the wheel, sdist or directory there, or correct `release:`"
    )
