"""`hotswap-agent run`: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
from pathlib import Path

import click

from hotswap.errors import HotswapError
from hotswap.log import LogFormat, say_who, set_up
from vm_agent.cli.options import settings_of, settings_option
from vm_agent.daemon import Daemon

LOG_LEVELS = ("debug", "info", "warning", "error")

log = logging.getLogger("vm_agent")


@click.command()
@settings_option
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form of log lines."
)
@click.option(
    "--log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True, help="Least level logged."
)
def run(settings: Path | None, log_format: LogFormat, log_level: str) -> None:
    """Look after the sidecars in the foreground, until SIGTERM or SIGINT; they go on. Logs to standard error.

    SIGHUP has it read specs and certificates anew, which it does by itself when they change.
    """
    set_up(log_format, log_level)
    say_who("agent", 0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # it may hold listeners of hundreds of sidecars
    try:
        asyncio.run(Daemon(settings_of(settings)).run())
    except HotswapError as error:
        for line in str(error).splitlines():
            log.error(line)  # noqa: TRY400  a line for each thing to mend
        sys.exit(error.exit_code)
