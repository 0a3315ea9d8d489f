"""`hotswap completion`: the script that makes a shell complete this command."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from hotswap.errors import UsageError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  hotswap completion bash > ~/.local/share/bash-completion/completions/hotswap
    zsh:   hotswap completion zsh > "${fpath[1]}/_hotswap"
    fish:  hotswap completion fish > ~/.config/fish/completions/hotswap.fish
    """  # noqa: D301  click leaves lines alone after a true backspace
    click.echo(script(ctx.find_root().command, "hotswap", shell))


def script(command: click.Command, program: str, shell: str) -> str:
    """What makes `shell` complete `program`. Raises `UsageError`."""
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"this version of click completes nothing in {shell}")
    variable = f"_{program}_COMPLETE".replace("-", "_").upper()  # where click looks
    return kind(command, {}, program, variable).source()
