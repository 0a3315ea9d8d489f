"""When the data plane runs compiled, and when its sources count: with copies of the package, which may be changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from proxy.compiled import MODE, MODULES, VARIABLE
from tests.kit.companion import ROOT

ASK = """
from importlib import import_module
from proxy import compiled
for name in compiled.MODULES:
    import_module(name)
modes = {import_module(name).__file__.endswith(".py") for name in compiled.MODULES}
assert modes == {compiled.MODE == "interpreted"}, modes
print(compiled.MODE, compiled.WHY_INTERPRETED, sep=": ")
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the built package."""
    for package in ("hotswap", "proxy", "shm_metrics"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    if mode_in(tmp_path) != "compiled: ":
        pytest.skip("the data plane was not built here")
    return tmp_path


def mode_in(tree: Path, **variables: str) -> str:
    """What a process that runs this tree finds."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-P", "-c", ASK],
        env={**environment, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n")


def test_these_tests_run_as_they_should(pytestconfig: pytest.Config) -> None:
    """Everything else that could be at fault has ended the run before: see tests/conftest.py."""
    if (pytestconfig.getoption("plane") or MODE) != MODE:
        pytest.skip("no C compiler, so the data plane was tested interpreted only")


def test_what_is_built_has_a_build_id() -> None:
    """Else every start read it whole, to tell which build it is (`hotswap.build`)."""
    files = [Path(import_module(name).__file__ or "") for name in MODULES]
    built = [file for file in files if file.suffix == ".so"]
    assert [file for file in built if b"GNU\0" not in file.read_bytes()[:4096]] == []


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_the_environment_can_ask_for_the_sources(tree: Path) -> None:
    assert mode_in(tree, HOTSWAP_PLANE="python") == "interpreted: HOTSWAP_PLANE=python is set"
    assert mode_in(tree, HOTSWAP_PLANE="") == "compiled: "


@pytest.mark.parametrize(
    ("file", "line"),
    [("flow.py", "# changed\n"), ("flow.pxd", "# changed\n"), ("calls.pyx", "# changed\n"), ("flow.pyx", "")],
)
def test_a_file_that_is_not_what_it_was_built_from_makes_all_of_it_interpreted(
    tree: Path, file: str, line: str
) -> None:
    (tree / "proxy" / file).touch()
    append(tree / "proxy" / file, line)
    assert mode_in(tree) == f"interpreted: proxy.{Path(file).stem} was built from another source"


def gone(*patterns: str) -> Callable[[Path], None]:
    def remove(package: Path) -> None:
        for pattern in patterns:
            for path in package.glob(pattern):
                path.unlink()

    return remove


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (gone("_stamps.py"), "it was not built"),
        (gone("flow.*.so"), "proxy.flow was not built for this interpreter"),
        (lambda package: (package / "_stamps.py").write_text("STAMPS = {}\n"), f"{MODULES[0]} was built from another"),
    ],
)
def test_all_is_interpreted_unless_all_was_built(tree: Path, change: Callable[[Path], None], reason: str) -> None:
    change(tree / "proxy")
    assert mode_in(tree).startswith(f"interpreted: {reason}")


def test_an_installed_package_needs_the_sources_in_python_only(tree: Path) -> None:
    gone("**/*.pxd", "**/*.pyx")(tree / "proxy")
    assert mode_in(tree) == "compiled: "
