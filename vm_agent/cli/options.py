"""Options that several commands share, and where the agent is found."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from hotswap.cli.options import json_option
from hotswap.errors import HotswapError
from vm_agent.client import AgentClient
from vm_agent.errors import SpecError

if TYPE_CHECKING:
    from vm_agent.spec.model import AgentSettings

__all__ = ["Where", "agent_option", "json_option", "name_argument", "settings_of", "settings_option", "wait_option"]

F = TypeVar("F", bound=Callable[..., Any])

VARIABLE = "HOTSWAP_AGENT_SOCKET"
SETTINGS = Path("/etc/hotswap/agent.yaml")
SOCKET = "agent.sock"
_COMPLETE_SECONDS = 1.0


@dataclass(frozen=True)
class Where:
    """The agent that is meant."""

    socket: Path | None
    settings: Path | None

    def client(self) -> AgentClient:
        """Asks it. Raises `SpecError` if settings have to say where it is, and cannot be used."""
        if self.socket is not None:
            return AgentClient(self.socket)
        try:
            settings = settings_of(self.settings)
        except SpecError as error:
            if self.settings is not None:
                raise
            raise SpecError(f"{error}\nsay where the agent is with --socket") from None
        return AgentClient(Path(settings.runtime_dir) / SOCKET)


def settings_of(path: Path | None) -> AgentSettings:
    """The settings in this file; None: in the usual one, or all defaults if there is none. Raises `SpecError`."""
    if path is None and not SETTINGS.exists():
        from vm_agent.spec.model import AgentSettings  # noqa: PLC0415  a query starts without YAML

        return AgentSettings()
    from vm_agent.spec.loader import load_settings  # noqa: PLC0415  the same

    return load_settings(path or SETTINGS)


def settings_option(command: F) -> F:
    """``--settings``, as the argument `settings`: a Path or None."""
    return click.option(
        "--settings",
        type=click.Path(path_type=Path),
        help=f"The settings of the agent.  [default: {SETTINGS}, if it is there]",
    )(command)


def agent_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--socket`` and ``--settings``, as the argument `where`."""

    @settings_option
    @click.option(
        "--socket",
        type=click.Path(path_type=Path),
        envvar=VARIABLE,
        help=f"The agent's socket.  [env: {VARIABLE}; default: {SOCKET} in runtime_dir of the settings]",
    )
    @functools.wraps(command)
    def found(*arguments: Any, socket: Path | None, settings: Path | None, **options: Any) -> Any:
        return command(*arguments, where=Where(socket, settings), **options)

    return found


def name_argument(*, required: bool = True) -> Callable[[F], F]:
    """NAME, completed with the sidecars that there are."""
    return click.argument("name", required=required, shell_complete=_complete_name)


def wait_option(command: F) -> F:
    """``--no-wait``, as the argument `wait`."""
    return click.option(
        "--wait/--no-wait", default=True, help="Wait for what comes of it, and show how it goes.  [default: wait]"
    )(command)


def _complete_name(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        client = Where(ctx.params.get("socket"), ctx.params.get("settings")).client()
        client.timeout = _COMPLETE_SECONDS
        names = [str(one.get("name")) for one in client.get("/status").get("sidecars") or ()]
    except (HotswapError, OSError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
