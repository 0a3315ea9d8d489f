"""What is built, what of it is shipped, and what an installation does without a compiler. See docs/compiled.md."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.compiled import MODULES, source
from tests.kit.companion import ROOT
from tests.kit.stage import BREEZE, Edge, Stage

SETUP = runpy.run_path(str(ROOT / "setup.py"), run_name="setup_of_tests")
prepare: Callable[[str, str], str] = SETUP["prepare"]

NATIVE = ("proxy.tls._record", "proxy.http1._head", "shm_metrics._cells")
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.so", "_stamps.py")
THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"
LONG = 900  # seconds: packages are fetched, and everything is compiled

# -- how the sources are prepared -------------------------------------------------------------------------------------

TEXT = '''\
class Base:
    __slots__ = ("a",)

    a: int  # of people

    kind: str = "base"


class Typed(Base):
    """Says: super().nothing()."""

    b: Mapping[
        str,
        int,
    ]

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.rest: bytes = super().rest()


class Plain(Base):
    c: int

    def over(self) -> None:
        super().over()
'''
PREPARED = '''\
class Base:
    __slots__ = ("a",)

    pass

    kind: str = "base"


class Typed(Base):
    """Says: Base.nothing(self)."""

    pass




    def __init__(self, plane: Plane) -> None:
        Base.__init__(self, plane)
        self.rest: bytes = Base.rest(self)


class Plain(Base):
    c: int

    def over(self) -> None:
        super().over()
'''


def test_declarations_go_and_super_is_spelled_out_in_classes_that_have_a_layout() -> None:
    assert prepare(TEXT, "cdef class Base:\n    pass\n\ncdef class Typed(Base):\n    pass\n") == PREPARED
    assert prepare(TEXT, "") == TEXT


@pytest.mark.parametrize("name", MODULES)
def test_every_line_stays_where_it_was(name: str) -> None:
    text = source(name).read_text()
    prepared = prepare(text, source(name).with_suffix(".pxd").read_text()).split("\n")
    lines = text.split("\n")
    assert len(prepared) == len(lines)
    changed = [line for line, now in zip(lines, prepared, strict=True) if line != now]
    declarations = re.compile(r'    \w+: .*|        .*|    \].*|    """.*"""')
    assert [line for line in changed if "super()." not in line and not declarations.fullmatch(line)] == []


# -- what a build leaves ----------------------------------------------------------------------------------------------


def test_nothing_that_was_built_is_committed() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    built = re.compile(r".*\.(so|o|whl)|.*_stamps\.py|(build|dist)/.*|.*\.egg-info/.*|proxy/(\w+/)*\w+\.c")
    native = re.compile(r".*/native/\w+\.c")
    assert [name for name in tracked.splitlines() if built.fullmatch(name) and not native.fullmatch(name)] == []


def test_make_clean_removes_what_was_built_and_nothing_else(tmp_path: Path) -> None:
    built = ("proxy/a.so", "proxy/b/c.so", "shm_metrics/d.so", "proxy/_stamps.py", "build/plane/e.c", "dist/f.whl")
    kept = ("proxy/a.py", "proxy/a.pxd", "proxy/c.pyx", "proxy/native/g.c", ".cache/peers/h.so")
    for name in (*built, *kept, "hotswap/i.py", "vm_agent/j.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, check=True)
    assert [name for name in built if (tmp_path / name).exists()] == []
    assert [name for name in kept if not (tmp_path / name).exists()] == []


# -- what is shipped --------------------------------------------------------------------------------------------------


def run(*argv: str | Path, **environment: str) -> str:
    done = subprocess.run(
        argv, env={**os.environ, **environment}, capture_output=True, text=True, cwd="/", timeout=LONG, check=False
    )
    assert done.returncode == 0, f"{argv}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`make wheel`, in a tree with leftovers of an earlier build."""
    tree = tmp_path_factory.mktemp("wheels") / "tree"
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
    (tree / "proxy" / "_stamps.py").write_text("STAMPS = {}\n")
    (tree / "proxy" / "flow.so").touch()
    (tree / "build" / "lib" / "proxy").mkdir(parents=True)
    (tree / "build" / "lib" / "proxy" / "removed.py").touch()
    run("make", "-C", tree, "wheel", f"ARGS={THIS}", PYTHON=sys.executable)
    return tree / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    (found,) = dist.glob("*.tar.gz")
    return found


@pytest.mark.all
@pytest.mark.timeout(LONG)
def test_a_wheel_has_modules_with_their_sources_and_stamps_and_nothing_else(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path)
    assert f"-cp{THIS.replace('.', '')}-" in wheel.name
    shipped = (".py", ".pyi", ".so", "/py.typed")
    assert [name for name in names if ".dist-info/" not in name and not name.endswith(shipped)] == []
    parts = {name.split("/")[0].partition("-")[0] for name in names}
    assert parts == {"hotswap", "proxy", "shm_metrics", "vm_agent"}
    modules = {name.partition(".")[0].replace("/", ".") for name in names if name.endswith(".so")}
    assert modules == {*MODULES, *NATIVE}
    assert "proxy/removed.py" not in names
    stamps: dict[str, int] = runpy.run_path(str(tmp_path / "proxy" / "_stamps.py"))["STAMPS"]
    installed: dict[str, Any] = runpy.run_path(str(tmp_path / "proxy" / "compiled.py"))
    for name in MODULES:
        assert installed["stamps"](name).items() <= stamps.items()


@pytest.mark.all
@pytest.mark.timeout(LONG)
def test_an_sdist_has_what_a_build_needs_and_nothing_that_one_left(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"setup.py", "pyproject.toml", "proxy/compiled.py"}
    for suffix in (".pxd", ".pyx", ".c", ".h"):
        wanted |= {
            str(path.relative_to(ROOT))
            for part in ("proxy", "shm_metrics")
            for path in (ROOT / part).rglob(f"*{suffix}")
        }
    assert wanted - names == set()
    left = re.compile(r"(build|dist|tests)(/.*)?|.*\.so|proxy/_stamps\.py")
    assert {name for name in names if left.fullmatch(name)} == set()


# -- what an installation does ----------------------------------------------------------------------------------------


def environment(where: Path, *packages: str | Path, **variables: str) -> Path:
    """A fresh one with these packages; its `bin`."""
    run(sys.executable, "-m", "venv", where)
    pip = (where / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, *packages, **variables)
    return where / "bin"


def doctor(programs: Path, **variables: str) -> str:
    """What the command says of the data plane, with its remedy."""
    lines = run(programs / "hotswap", "doctor", "--runtime-dir", programs.parent / "run", **variables).splitlines()
    (at,) = (number for number, line in enumerate(lines) if " plane:" in line)
    return "\n".join([lines[at], *lines[at + 1 : at + 2]])


@pytest.mark.all
@pytest.mark.timeout(LONG)
def test_an_installed_wheel_serves_compiled_and_is_upgraded(stage: Stage, wheel: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path / "venv", wheel)
    assert "runs compiled" in doctor(programs)
    edge = Edge(stage, stage.upstreams())
    command = ["env", "-u", "PYTHONPATH", str(programs / "hotswap"), *edge.instance.run_arguments()]
    log = edge.instance.log_file
    pid = stage.offspring.start(command, env=edge.instance.environment, cwd=edge.instance.directory, stderr=log)
    assert edge.instance.wait_served_by(pid).server["plane"] == "compiled"
    load = edge.load(BREEZE)
    for again in (command, edge.instance.command(), command):  # the tree's, in between
        done = edge.instance.upgrade("--require-all", command=again)
        assert done.exit_code == 0, done.text
        assert load.turn().failures == []
    assert edge.instance.status().server["plane"] == "compiled"
    assert load.finish().failures == []


@pytest.mark.all
@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("lacking", ["a compiler", "Cython"])
def test_without_a_compiler_or_cython_it_is_installed_and_runs_interpreted(
    sdist: Path, tmp_path: Path, lacking: str
) -> None:
    """Its dependencies are those of this environment: some of them take a compiler, too."""
    (libraries,) = {Path(path) for path in sys.path if path.endswith("site-packages")}
    if lacking == "a compiler":
        programs = environment(tmp_path / "venv", "--no-deps", sdist, CC="/nonexistent/cc")
    else:
        environment(tmp_path / "venv", "setuptools>=77", "wheel")
        pip = (tmp_path / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        run(*pip, "--no-deps", "--no-build-isolation", sdist)
        programs = tmp_path / "venv" / "bin"
    (tmp_path / "venv/lib" / f"python{THIS}" / "site-packages" / "beside.pth").write_text(f"{libraries}\n")
    told = doctor(programs)
    assert "runs interpreted" in told
    assert "was not built" in told
    assert "install a C compiler" in told
