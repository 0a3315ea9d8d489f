"""A release as an environment of Python's: `python -m venv`, and pip, offline unless the settings say otherwise."""

from __future__ import annotations

from pathlib import Path

from vm_agent.releases.commands import Commands, complaint, last_lines
from vm_agent.releases.disk import full
from vm_agent.releases.staging import Staged
from vm_agent.spec.model import ReleaseSettings

CONFIGURED = "default"

# Prints what to start pip by: its own runner, which shows pip nothing of the packages beside it (pip 22.3 and later),
# or the wheel that the module ensurepip would install.
_PROBE = """
import glob, importlib.util, os, sysconfig
spec = importlib.util.find_spec("pip")
found = [os.path.join(place, "__pip-runner__.py") for place in (spec.submodule_search_locations or [])] if spec else []
places = [sysconfig.get_config_var("WHEEL_PKG_DIR") or ""]
spec = importlib.util.find_spec("ensurepip")
if spec and spec.origin:
    places.append(os.path.join(os.path.dirname(spec.origin), "_bundled"))
for place in filter(None, places):
    found += [os.path.join(wheel, "pip") for wheel in sorted(glob.glob(os.path.join(place, "pip-*.whl")))]
print(*[path for path in found if os.path.exists(path) or ".whl" in path], sep="\\n")
"""


class Failed(Exception):
    """A step of the installation failed; the text says which, how, and what to do."""


class Pip:
    """pip for one installation. The steps in their order; each raises `Failed` or `ReleaseError`."""

    def __init__(self, commands: Commands, settings: ReleaseSettings, stage: Path, staged: Staged) -> None:
        self._commands = commands
        self._settings = settings
        self._stage = stage
        self._staged = staged
        self._pip = ""

    async def find(self, own: str) -> None:
        """The pip of the configured interpreter, else of `own`, the one that runs the agent."""
        for interpreter in (self._settings.python, own):
            code, output = await self._commands.run([interpreter, "-I", "-c", _PROBE])
            if code != 0:
                raise Failed(
                    f"{interpreter} does not work (exit code {code}); "
                    f"set `releases.python` in agent.yaml to another interpreter:\n{last_lines(output)}"
                )
            if found := output.split("\n", 1)[0].strip():
                self._pip = found
                return
        raise Failed(
            f"{self._settings.python} has no pip of version 22.3 or later: install it (apt install python3-pip)"
        )

    async def choose(self) -> Path:
        """Of several wheels the one that fits this interpreter best, as pip sees it; else the sdist."""
        folder = self._stage / "candidates"
        found = self._staged.found
        if len(found.files) == 1:
            return folder / found.files[0]
        picked = self._stage / "picked"
        code, output = await self._commands.run(
            [
                *self._start(self._settings.python),
                "download",
                *_QUIET,
                "--no-index",
                "--no-deps",
                "--only-binary=:all:",
                f"--find-links={folder}",
                f"--dest={picked}",
                f"{found.name}==={_public(found.wheels, found.version)}",
            ]
        )
        if code == 0:
            return folder / next(picked.iterdir()).name
        if found.sdist and _NOTHING in output:
            return folder / found.sdist
        raise self._failed("pip finds no wheel that fits", code, output)

    async def make(self, target: Path) -> None:
        """An environment without anything in it."""
        code, output = await self._commands.run(
            [self._settings.python, "-I", "-m", "venv", "--without-pip", str(target)]
        )
        if code != 0:
            raise self._failed("python -m venv failed", code, output)

    async def install(self, chosen: Path, target: Path) -> None:
        """The release, and what it requires."""
        code, output = await self._commands.run(
            [
                *self._start(str(target / "bin" / "python")),
                "install",
                *_QUIET,
                "--no-warn-script-location",
                *self._index(),
                f"--find-links={self._stage / 'required'}",
                str(chosen),
            ]
        )
        if code != 0:
            raise self._failed(f"pip could not install {chosen.name}", code, output)

    def _start(self, interpreter: str) -> list[str]:
        return [interpreter, "-I", self._pip]

    def _index(self) -> list[str]:
        if self._settings.index == CONFIGURED:
            return []
        return [f"--index-url={self._settings.index}"] if self._settings.index else ["--no-index"]

    def _failed(self, what: str, code: int, output: str) -> Exception:
        if "No space left on device" in output or "Errno 28]" in output:
            return Failed(full())
        remedy = ""
        if _NOTHING in output:
            remedy = "\nput the wheels of what is missing into the source directory"
            if self._staged.left_out:
                remedy += (
                    f" and into SHA256SUMS (not listed there, so not used: {', '.join(self._staged.left_out[:20])})"
                )
            if not self._settings.index:
                remedy += ", or set `releases.index` in agent.yaml"
        return Failed(f"{what} (exit code {code}):\n{complaint(output)}{remedy}")


_NOTHING = "No matching distribution found"

_QUIET = (
    "--no-input",
    "--disable-pip-version-check",
    "--no-cache-dir",
    "--progress-bar=off",
)


def _public(wheels: tuple[str, ...], version: str) -> str:
    """The version as the file names have it, in which PEP 427 writes ``_`` for ``-``."""
    return wheels[0].split("-")[1].replace("_", "-") if wheels else version
