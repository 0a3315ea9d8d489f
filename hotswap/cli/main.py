"""The command group. A command is imported when it is asked for; other packages bring theirs by entry point.

A package that declares, say, ``run = "proxy.cli:run"`` in the entry-point group ``hotswap.commands``
adds `hotswap run`. So this package imports no sibling, and a command that cannot be imported is an
error of that command only.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module

import click

from hotswap import __version__
from hotswap.cli.lazy import BROKEN, Commands, command
from hotswap.container import is_empty
from hotswap.errors import HotswapError
from hotswap.points import Point, entry_points

GROUP = "hotswap.commands"

OWN_COMMANDS = {
    "upgrade": "hotswap.cli.upgrade:upgrade",
    "rollback": "hotswap.cli.upgrade:rollback",
    "status": "hotswap.cli.status:status",
    "connections": "hotswap.cli.connections:connections",
    "history": "hotswap.cli.history:history",
    "reload": "hotswap.cli.reload:reload",
    "drain": "hotswap.cli.drain:drain",
    "leave": "hotswap.cli.leave:leave",
    "probe": "hotswap.cli.probe:probe",
    "doctor": "hotswap.cli.doctor:doctor",
    "completion": "hotswap.cli.completion:completion",
}


class AllCommands(Commands):
    """Ours, and those of other packages, which cannot replace ours."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted({*super().list_commands(ctx), *(point.name for point in entry_points(group=GROUP))})

    def target(self, name: str) -> str | None:
        """Ours first."""
        found = (point.value for point in entry_points(group=GROUP, name=name))
        return super().target(name) or next(found, None)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        if cmd_name == "run" and is_empty(None, os.environ) and not {"-h", "--help"}.intersection(sys.argv):
            import_module("hotswap.idling").become(None, None)  # without all that it takes to serve
        for point in entry_points(group=GROUP, name=cmd_name):
            return _foreign(point)
        return None


def _foreign(point: Point) -> click.Command:
    gc.disable()  # modules leave no garbage, and to look for it again and again takes a fifth of a start
    try:
        return command(point.name, point.value, point.load())
    except (ImportError, AttributeError, SyntaxError) as error:
        return _broken(point, error)
    finally:
        gc.freeze()
        gc.enable()


def _broken(point: Point, error: Exception) -> click.Command:
    """Stands for a command of another package that cannot be imported, so that the others go on working."""

    def complain() -> None:
        raise HotswapError(
            f"the command {point.name} comes from {point.value}, which cannot be loaded: {error}; "
            f"see 'hotswap doctor', or install the package again"
        )

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(
        point.name, callback=complain, context_settings=settings, short_help=BROKEN, add_help_option=False
    )


@click.group(
    cls=AllCommands,
    program="hotswap",
    targets=OWN_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: see docs/exit-codes.md. NAME is the 'name' of the configuration.",
)
@click.version_option(
    __version__, prog_name="hotswap", message=f"%(prog)s %(version)s (Python {sys.version.split()[0]})"
)
def main() -> None:
    """Replace a running server by its next version while every client stays connected."""
