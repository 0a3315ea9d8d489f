"""Tiny releases of every kind, made without any tool, and what is needed to install them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from tests.kit.companion import ROOT
from tests.kit.offspring import Offspring
from vm_agent.releases.manifest import Release
from vm_agent.releases.store import Releases
from vm_agent.spec.model import ReleaseSettings

ANY = "py3-none-any"
PROGRAM = "#!/bin/sh\necho hotswap {version}\n"


def program(path: Path, text: str) -> None:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def directory(source: Path, version: str, *, name: str = "hotswap-{version}", text: str = PROGRAM) -> Path:
    """A release that is a directory, with a program and a file."""
    made = source / name.format(version=version)
    program(made / "bin" / "hotswap", text.format(version=version))
    (made / "lib").mkdir()
    (made / "lib" / "code.py").write_text(f"VERSION = '{version}'\n")
    return made


def wheel(
    source: Path, version: str, *, name: str = "hotswap", requires: Iterable[str] = (), tag: str = ANY, code: str = ""
) -> Path:
    """A wheel with one module and one console script."""
    files = _wheel_files(name, version, requires, tag, code or f"def main():\n    print('{name} {version}')\n")
    made = source / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return made


def _wheel_files(name: str, version: str, requires: Iterable[str], tag: str, code: str) -> dict[str, str]:
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in files) + f"{info}/RECORD,,\n"
    return files


# A build backend of its own (PEP 517, backend-path): it needs nothing but Python.
_BACKEND = """
import zipfile
FILES = {files!r}
BEFORE = {before!r}

def build_wheel(directory, config_settings=None, metadata_directory=None):
    exec(BEFORE)
    with zipfile.ZipFile(directory + "/{wheel}", "w") as archive:
        for path, text in FILES.items():
            archive.writestr(path, text)
    return "{wheel}"
"""


def sdist(source: Path, version: str, *, requires: Iterable[str] = (), before: str = "") -> Path:
    """An sdist; building its wheel runs `before`, in Python. `requires` is what the build needs."""
    files = _wheel_files("hotswap", version, (), ANY, f"def main():\n    print('hotswap {version}')\n")
    root = f"hotswap-{version}"
    project = (
        f'[project]\nname = "hotswap"\nversion = "{version}"\n'
        f'[build-system]\nrequires = {list(requires)!r}\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    content = {
        f"{root}/pyproject.toml": project,
        f"{root}/PKG-INFO": f"Metadata-Version: 2.1\nName: hotswap\nVersion: {version}\n",
        f"{root}/backend.py": _BACKEND.format(files=files, before=before, wheel=f"hotswap-{version}-{ANY}.whl"),
    }
    made = source / f"{root}.tar.gz"
    with tarfile.open(made, "w:gz") as archive:
        for path, text in content.items():
            member = tarfile.TarInfo(path)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return made


def sums(source: Path, changed: Mapping[str, str] | None = None) -> Path:
    """SHA256SUMS over everything below; `changed` replaces digests, and leaves a file out if it is empty."""
    paths = sorted(path for path in source.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    digests = {str(path.relative_to(source)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    digests |= changed or {}
    made = source / "SHA256SUMS"
    made.write_text("".join(f"{digest}  {path}\n" for path, digest in digests.items() if digest))
    return made


def install(store: Releases, version: str, program: str = "bin/hotswap", *, timeout: float = 60) -> Release:
    """The installation in an event loop of its own."""
    return asyncio.run(store.install(version, program, timeout=timeout))


def left(store: Releases) -> list[str]:
    """All that lies in the store beside the lock."""
    return sorted(path.name for path in store.directory.iterdir() if path.name != "lock")


def start_installer(offspring: Offspring, store: Releases, version: str, fault: str = "") -> int:
    """Start a process that installs one release, and fails as a fault point is told to; its pid."""
    code = (
        "import asyncio, sys; from pathlib import Path; from vm_agent.releases.store import Releases; "
        "from vm_agent.spec.model import ReleaseSettings; _, source, root, version, python = sys.argv; "
        "settings = ReleaseSettings(source=source, python=python); "
        "asyncio.run(Releases(Path(root), settings).install(version))"
    )
    argv = [sys.executable, "-c", code, store.settings.source, str(store.root), version, sys.executable]
    folder = store.root.parent
    (folder / "faults").write_text(fault)
    environment = {**os.environ, "HOTSWAP_FAULTS": str(folder / "faults")}
    return offspring.start(argv, env=environment, cwd=ROOT, stderr=folder / "installer.log")


def store(source: Path, root: Path, **settings: object) -> Releases:
    """A store that installs with this interpreter."""
    return Releases(
        root, msgspec.convert({"source": str(source), "python": sys.executable, **settings}, ReleaseSettings)
    )
