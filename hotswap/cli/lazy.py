"""A group of commands, each imported when it is asked for: what starts often must start fast."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import CodeType
from typing import Any

import click
from click.shell_completion import CompletionItem

from hotswap.errors import HotswapError

BROKEN = "(cannot be loaded)"
"""What the list of commands says of such a one."""


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

    def target(self, name: str) -> str | None:
        """Where a command is, as ``module:attribute``; None if there is none."""
        return self._targets.get(name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them, without importing one: all together would import the proxy, for a quarter of a second."""
        self._listing(ctx).format_commands(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The same for those that begin so."""
        found = [
            CompletionItem(name, help=one.get_short_help_str())
            for name, one in self._listing(ctx).commands.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def _listing(self, ctx: click.Context) -> click.Group:
        listed: dict[str, click.Command] = {}
        for name in self.list_commands(ctx):
            text = docstring(self.target(name) or "")
            try:
                found = click.Command(name, help=text) if text else self.get_command(ctx, name)
            except HotswapError:
                found = click.Command(name, short_help=BROKEN)
            if found is not None:
                listed[name] = found
        return click.Group(commands=listed)

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


def docstring(target: str) -> str:
    """What the function of a command says of itself, out of the compiled module, which is not executed.

    Empty if it cannot be found there.
    """
    module, _, attribute = target.partition(":")
    try:
        spec = find_spec(module)
        code = getattr(spec.loader, "get_code")(module) if spec is not None else None  # noqa: B009 - not every loader
    except (ImportError, AttributeError, SyntaxError, ValueError):
        return ""
    for one in code.co_consts if code is not None else ():
        if isinstance(one, CodeType) and one.co_name == attribute and one.co_consts:
            return one.co_consts[0] if isinstance(one.co_consts[0], str) else ""
    return ""
