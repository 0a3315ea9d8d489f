"""A group of commands, each imported when it is asked for: what starts often must start fast."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from hotswap.errors import HotswapError


class Commands(click.Group):
    """Finds its commands by name and turns expected errors into exit codes.

    `program`: what errors begin with. `targets`: where each command is, as ``module:attribute``.
    """

    def __init__(self, *arguments: Any, program: str, targets: Mapping[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._program = program
        self._targets = targets

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(self._targets)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        target = self._targets.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        return command(cmd_name, target, getattr(import_module(module), attribute))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except HotswapError as error:
            click.echo(f"{self._program}: {error}", err=True)
            ctx.exit(error.exit_code)


def command(name: str, target: str, found: object) -> click.Command:
    """What was found there, if it is a command. Raises `HotswapError`."""
    if not isinstance(found, click.Command):
        raise HotswapError(f"the command {name} is broken: {target} is no click command")
    return found
