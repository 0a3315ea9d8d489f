"""`hotswap-agent completion`: the script that makes a shell complete this command."""

from __future__ import annotations

import click

from hotswap.cli.completion import script


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  hotswap-agent completion bash > ~/.local/share/bash-completion/completions/hotswap-agent
    zsh:   hotswap-agent completion zsh > "${fpath[1]}/_hotswap-agent"
    fish:  hotswap-agent completion fish > ~/.config/fish/completions/hotswap-agent.fish
    """  # noqa: D301  click leaves lines alone after a true backspace
    click.echo(script(ctx.find_root().command, "hotswap-agent", shell))
