"""`hotswap-agent`: the daemon, and what is asked of it. A command is imported when it is asked for."""

from __future__ import annotations

import platform
from importlib import import_module
from typing import Any

import click

from hotswap import __version__
from hotswap.errors import HotswapError

COMMANDS = {
    "run": "vm_agent.cli.run:run",
    "check": "vm_agent.cli.check:check",
    "status": "vm_agent.cli.status:status",
    "apply": "vm_agent.cli.apply:apply",
    "upgrade": "vm_agent.cli.upgrade:upgrade",
    "rollback": "vm_agent.cli.upgrade:rollback",
    "pause": "vm_agent.cli.pause:pause",
    "resume": "vm_agent.cli.pause:resume",
    "history": "vm_agent.cli.history:history",
    "inspect": "vm_agent.cli.patrol:inspect",
    "completion": "vm_agent.cli.completion:completion",
}


class Commands(click.Group):
    """The group that finds its commands by name and turns expected errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except HotswapError as error:
            click.echo(f"hotswap-agent: {error}", err=True)
            ctx.exit(error.exit_code)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: see docs/exit-codes.md. NAME is the 'name' of a spec.",
)
@click.version_option(
    __version__, prog_name="hotswap-agent", message=f"%(prog)s %(version)s (Python {platform.python_version()})"
)
def main() -> None:
    """Look after the sidecars of this machine: start, watch, upgrade, judge, take back."""


if __name__ == "__main__":
    main(prog_name="hotswap-agent")
