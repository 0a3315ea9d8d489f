"""`hotswap-agent`: the daemon, and what is asked of it. A command is imported when it is asked for."""

from __future__ import annotations

import sys

import click

from hotswap import __version__
from hotswap.cli.lazy import Commands

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


@click.group(
    cls=Commands,
    program="hotswap-agent",
    targets=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: see docs/exit-codes.md. NAME is the 'name' of a spec.",
)
@click.version_option(
    __version__, prog_name="hotswap-agent", message=f"%(prog)s %(version)s (Python {sys.version.split()[0]})"
)
def main() -> None:
    """Look after the sidecars of this machine: start, watch, upgrade, judge, take back."""


if __name__ == "__main__":
    main(prog_name="hotswap-agent")
