"""Options that several commands share, also for the commands of other packages."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from hotswap.control_client import ControlClient, names, running_names
from hotswap.errors import HotswapError, NotRunning, UsageError
from hotswap.runtime import VARIABLE, default_runtime_dir

F = TypeVar("F", bound=Callable[..., Any])

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds from ``500ms``, ``30s``, ``5m``, ``2h``, ``1d``, ``1m30s`` or a plain number of seconds.

    Raises ValueError with the remedy.
    """
    parts = DURATION.findall(text.strip())
    whole = "".join(number + unit for number, unit in parts) == text.strip()
    if not parts or not whole or (len(parts) > 1 and not all(unit for _, unit in parts)):
        raise ValueError(f"{text!r} is not a duration: write a number and a unit, such as 500ms, 30s or 5m")
    return math.fsum(float(number) * UNITS[unit or "s"] for number, unit in parts)


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A click parameter type: seconds as a float, more than zero."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a duration."""
        if isinstance(value, float | int):
            return float(value)
        try:
            seconds = parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds <= 0:
            self.fail(f"{value!r} is too short: a duration is longer than nothing", param, ctx)
        return seconds


def runtime_dir_option(command: F) -> F:
    """``--runtime-dir``, as the argument `runtime_dir`: a Path."""
    return _runtime_dir(command, default_runtime_dir)


def optional_runtime_dir_option(command: F) -> F:
    """The same for a command that may find it in a file: None if neither an option nor the environment says it."""
    return _runtime_dir(command, None)


def _runtime_dir(command: F, default: Callable[[], Path] | None) -> F:
    return click.option(
        "--runtime-dir",
        type=click.Path(readable=False, path_type=Path),  # who may not read it is told so with an exit code of its own
        envvar=VARIABLE,
        default=default,
        help="Where the names have their sockets.  [env: HOTSWAP_RUNTIME_DIR; default: /run/hotswap for root, "
        "$XDG_RUNTIME_DIR/hotswap else]",
    )(command)


def json_option(command: F) -> F:
    """``--json``, as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def name_argument(*, required: bool = True) -> Callable[[F], F]:
    """NAME, completed with the names that run."""
    return click.argument("name", required=required, shell_complete=_complete_name)


def only_name(runtime_dir: Path) -> str:
    """The only name that has a runtime directory. Raises `NotRunning`, `UsageError`."""
    found = names(runtime_dir)
    if not found:
        raise NotRunning(f"nobody serves anything in {runtime_dir}")
    if len(found) > 1:
        raise UsageError(f"there are {', '.join(found)} in {runtime_dir}: say which")
    return found[0]


def client_of(runtime_dir: Path, name: str) -> ControlClient:
    """The control client of one name."""
    return ControlClient(runtime_dir, name)


def _complete_name(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        directory = ctx.params.get("runtime_dir") or default_runtime_dir()
        return [CompletionItem(name) for name in running_names(directory) if name.startswith(incomplete)]
    except (HotswapError, OSError):
        return []
