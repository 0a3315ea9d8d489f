"""Builds the hot modules of the data plane: Cython makes C of them, with their ``.pxd`` files. See proxy/compiled.py.

All else stands in pyproject.toml. Without Cython or a compiler the package is installed all the same, and runs
interpreted. The sources are compiled as they are, but for what only people, type checkers and the interpreter read:

* declarations of fields without a value: a ``.pxd`` says more;
* ``super()`` is spelled out: of a class whose base is known, that is a call in C.
"""

from __future__ import annotations

import ast
import logging
import os
import re
import runpy
from contextlib import chdir
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

try:
    from Cython.Build import cythonize
except ImportError:  # built without isolation, by somebody who has none
    cythonize = None

log = logging.getLogger("hotswap")

ROOT = Path(__file__).parent
PLANE = runpy.run_path(str(ROOT / "proxy" / "compiled.py"), run_name="setup")
MODULES: tuple[str, ...] = PLANE["MODULES"]
PREPARED = Path("build", "plane")
DIRECTIVES: dict[str, Any] = {
    "language_level": 3,
    "binding": True,  # functions that tell their names and arguments, as interpreted ones do
    "annotation_typing": False,  # a .pxd says it, and knows C
    "nonecheck": True,  # a field of None is an AttributeError, as it is interpreted, and no crash: 1 % of a request
    "warn.undeclared": False,
}
FLAGS = ["-O2", "-fno-strict-aliasing", "-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-g0"]
# The last: lines of C that nobody wrote are four fifths of the size, and every start reads all for its build id. Names
# of functions stay, which is what perf shows.
LINKING = ["-Wl,--build-id=sha1"]  # what a start takes for the content, see hotswap/build.py
TELLING = {"sdist", "egg_info", "dist_info"}
"""Commands that ask what would be built."""
STAMPS = '''"""What the compiled data plane was built from, see proxy/compiled.py. Made by a build."""

STAMPS = {
%s}
'''


def prepare(text: str, declared: str) -> str:
    """The source as it is compiled: every line stays where it was. `declared` is its ``.pxd``."""
    lines = text.split("\n")
    typed = set(re.findall(r"^cdef class (\w+)", declared, re.MULTILINE))
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ClassDef) or node.name not in typed:
            continue
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and statement.value is None:
                _blank(lines, statement)
        if node.bases:
            base = ast.unparse(node.bases[0])
            for number in range(node.lineno, node.end_lineno or node.lineno):
                lines[number] = re.sub(r"super\(\)\.(\w+)\(\)", rf"{base}.\1(self)", lines[number])
                lines[number] = re.sub(r"super\(\)\.(\w+)\(", rf"{base}.\1(self, ", lines[number])
    return "\n".join(lines)


def _blank(lines: list[str], statement: ast.stmt) -> None:
    first, last = statement.lineno - 1, statement.end_lineno or statement.lineno
    lines[first:last] = [" " * statement.col_offset + "pass", *[""] * (last - first - 1)]


def extensions() -> list[Extension]:
    """The compiled modules, as C; none without Cython."""
    if cythonize is None:
        log.warning("Cython is not there, so the data plane will run interpreted")
        return []
    found = []
    for name in MODULES:
        source = ROOT.joinpath(*name.split("."))
        target = PREPARED.joinpath(*name.split("."))
        for package in target.parents[: name.count(".")]:
            package.mkdir(parents=True, exist_ok=True)
            _write(package / "__init__.py", "")
        in_c = source.with_suffix(".pyx")  # then the source in Python is its twin
        made_of = target.with_suffix(".pyx" if in_c.exists() else ".py")
        declared = source.with_suffix(".pxd").read_text()
        _write(made_of, in_c.read_text() if in_c.exists() else prepare(source.with_suffix(".py").read_text(), declared))
        _write(target.with_suffix(".pxd"), declared)
        where = str(made_of.relative_to(PREPARED))  # so tracebacks name it
        found.append(Extension(name, [where], extra_compile_args=FLAGS, extra_link_args=LINKING))
    with chdir(PREPARED):
        made: list[Extension] = cythonize(
            found, include_path=["."], compiler_directives=DIRECTIVES, nthreads=os.cpu_count() or 1, quiet=True
        )
    for extension in made:
        extension.optional = True  # Cython would forget it
        extension.sources = [str(PREPARED / one) for one in extension.sources]
        extension.depends = [str(PREPARED / one) for one in extension.depends]
    return made


def _write(path: Path, text: str) -> None:
    """Only if that is new: Cython and the compiler look at times."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


class BuildPlane(build_ext):
    """Builds them with the modules in C, and notes what they were built from."""

    def initialize_options(self) -> None:
        """Add them, unless nothing is to be built."""
        super().initialize_options()
        if set(self.distribution.commands) <= TELLING:
            return
        self.parallel = os.cpu_count()
        known = {extension.name for extension in self.distribution.ext_modules}
        self.distribution.ext_modules += [one for one in extensions() if one.name not in known]

    def build_extension(self, ext: Extension) -> None:
        """One that is optional may fail, also where there is no compiler at all, of which only the system complains."""
        try:
            super().build_extension(ext)
        except OSError as error:
            raise CompileError(str(error)) from error

    def run(self) -> None:
        """Build, then note."""
        super().run()
        built = {path: crc for name in MODULES for path, crc in PLANE["stamps"](name).items()}
        lines = [f'    "{path}": {crc},\n' for path, crc in built.items()]
        where = ROOT if self.inplace or self.editable_mode else Path(self.build_lib)
        (where / "proxy" / "_stamps.py").write_text(STAMPS % "".join(lines))


if __name__ == "__main__":
    setup(cmdclass={"build_ext": BuildPlane})
