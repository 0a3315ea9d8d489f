"""Images for tests of containers, without a registry: a base of this machine's files, and the project's upon it.

The project's image is built as anybody builds it, by ``podman build`` with containers/Containerfile. Its base has what
an official image of Python has, as far as it is needed: the interpreter that runs this test and its standard library,
not compiled, a shell and a few tools. The build itself sees this machine's compiler and headers, and gets packages from
a folder that pip has filled here.

Images are kept between test runs, below `CACHE`, under a tag that says what went into them.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.kit.companion import ROOT
from tests.kit.podman import Podman

CACHE = ROOT / ".cache" / "containers"
STORE = CACHE / "images"
"""A graph root of podman with the images, for others to read."""

TOOLS = ("sh", "cat", "env", "ls", "true", "sleep", "kill")
# What packages in C are linked with, beside what the interpreter needs: glibc, and what any Debian has.
LIBRARIES = (*("libpthread.so.0", "librt.so.1", "libdl.so.2", "libutil.so.1"), *("libgcc_s.so.1", "libcap.so.2"))
FOLDERS = ("dev", "etc", "proc", "sys", "run", "tmp", "usr", "var")
MERGED = ("bin", "sbin", "lib", "lib64")
LEFT_OUT = re.compile(
    r"(^|/)(__pycache__|site-packages|dist-packages|tests?|idlelib|ensurepip|turtledemo|tkinter|config-\d[^/]*)(/|$)"
)
SOURCES = (
    *("pyproject.toml", "setup.py", "README.md", ".containerignore", "containers"),
    *("hotswap", "proxy", "shm_metrics", "vm_agent"),
)
SUFFIXES = frozenset({".py", ".pyi", ".pxd", ".pyx", ".c", ".h", ".toml", ".md", ""})
PATIENCE = 600.0
NAME = "localhost/hotswap-test"
EMPTY = "-empty"


def project_image(*, empty: bool = False) -> str:
    """The name of the project's image, or of the empty one; built if `STORE` has none of these sources."""
    return f"{NAME}:{_built()}{EMPTY if empty else ''}"


def base_image() -> str:
    """The name of the image that the project's is built upon: Python, a shell, a few tools."""
    return f"{NAME}-base:{_built()}"


def build(podman: Podman, name: str, base: str, *options: str, target: str = "hotswap") -> None:
    """Build the project's image upon this base, with packages that this machine's pip has fetched."""
    podman(
        "build", "--quiet", "--layers", "--pull=never", f"--target={target}", f"--tag={name}",
        f"--file={ROOT}/containers/Containerfile", f"--build-arg=BASE={base}",
        "--build-arg=PIP_NO_INDEX=1", "--build-arg=PIP_FIND_LINKS=/packages", f"--volume={_packages()}:/packages:ro",
        *options, str(ROOT), within=PATIENCE,
    )  # fmt: skip


@cache
def _built() -> str:
    """The tag of the images, which are there."""
    tag = _tag()
    with _alone() as folder, Podman(folder, store=STORE) as podman:
        if podman.attempt("image", "exists", f"{NAME}:{tag}{EMPTY}").returncode:
            podman("image", "prune", "--all", "--force", "--filter=until=1h")
            _build(podman, tag, folder)
            podman("image", "prune", "--force")  # what the build itself ran in
    return tag


def _build(podman: Podman, tag: str, folder: Path) -> None:
    base, bare = f"{NAME}-base:{tag}", f"{NAME}-bare:{tag}"
    # As the first container of a pod it is there and does nothing, which is all that is asked of one.
    path = "--change=ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
    _import(podman, base, _base(), folder, path, '--change=CMD ["sleep", "infinity"]')
    # There the interpreter is in another place than it was made for, until the Containerfile makes an environment.
    _import(podman, bare, [], folder, "--change=ENV LD_LIBRARY_PATH=/usr/local/lib")
    machine = [f"--build-arg=BUILD_BASE={bare}", "--network=none", "--volume=/usr:/usr:ro"]
    if sys.base_prefix != "/usr":
        machine.append(f"--volume={sys.base_prefix}:/usr/local:ro")
    build(podman, f"{NAME}:{tag}", base, *machine)
    build(podman, f"{NAME}:{tag}{EMPTY}", base, *machine, target="empty")


def _packages() -> Path:
    """A folder with what pip needs to install the project, as pip finds it."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*told["build-system"]["requires"], "wheel", *told["project"]["dependencies"]]
    place = CACHE / f"packages-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]}"
    if not place.exists():
        for old in CACHE.glob("packages-*"):
            shutil.rmtree(old)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            _run(sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder, *wanted)
            shutil.copytree(folder, place)
    return place


def _import(podman: Podman, name: str, members: Iterable[tuple[str, Path]], folder: Path, *options: str) -> None:
    """Make an image of a skeleton and these files: where they go, and where they are."""
    with tempfile.NamedTemporaryFile(prefix="base", suffix=".tar", dir=folder) as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for place in FOLDERS:
                entry = tarfile.TarInfo(place)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if place == "tmp" else 0o755
                tar.addfile(entry)
            for link in MERGED:
                entry = tarfile.TarInfo(link)
                entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{link}"
                tar.addfile(entry)
            for inside, outside in sorted(dict(members).items()):
                entry = tar.gettarinfo(outside.resolve(), arcname=inside.lstrip("/"))
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = "root"
                entry.mode |= 0o444 | (0o111 if entry.mode & 0o100 else 0)
                tar.addfile(entry, io.BytesIO(outside.read_bytes()))
        podman("import", "--quiet", *options, file.name, name)


def _base() -> list[tuple[str, Path]]:
    """An interpreter, its library, a shell, and every shared library that these need."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    prefix = Path(sys.base_prefix)
    home = "/usr" if sys.base_prefix == "/usr" else "/usr/local"
    interpreter = prefix / "bin" / version
    library = prefix / "lib" / version
    found = [(f"{home}/bin/{name}", interpreter) for name in (version, "python3", "python")]
    modules = [
        path for path in library.rglob("*") if path.is_file() and not LEFT_OUT.search(str(path.relative_to(library)))
    ]
    found += [(f"{home}/lib/{version}/{path.relative_to(library)}", path) for path in modules]
    tools = [Path(place) for name in TOOLS if (place := shutil.which(name))]
    found += [(f"/usr/bin/{tool.name}", tool) for tool in tools]
    native = [path for path in modules if path.suffix == ".so"]
    known = re.findall(r"^\s+(\S+) .*=> (\S+)$", _run("/sbin/ldconfig", "-p"), re.MULTILINE)
    found += [(_inside(place), Path(place)) for name, place in known if name in LIBRARIES]
    needed = subprocess.run(["ldd", interpreter, *tools, *native], capture_output=True, text=True, check=False).stdout
    return found + [(_inside(place), Path(place)) for place in re.findall(r"(/\S+) \(0x", needed)]


def _inside(place: str) -> str:
    """Where a shared library goes: its place if the loader looks there, else one where it does."""
    if not re.match(r"(/usr)?/lib", place):
        return f"/usr/lib/{Path(place).name}"
    return place if place.startswith("/usr") else f"/usr{place}"


def _tag() -> str:
    """What decides how the image comes out."""
    digest = hashlib.sha256(f"{sys.version} {sys.base_prefix}".encode())
    digest.update(Path(__file__).read_bytes())
    for source in SOURCES:
        place = ROOT / source
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.suffix in SUFFIXES and path.name != "_stamps.py" and path.is_file():
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def _alone() -> Iterator[Path]:
    """One test run builds at a time. The folder for it: always the same, since podman keeps its name in the store."""
    folder = CACHE / "building"
    folder.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout
