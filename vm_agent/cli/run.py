"""`hotswap-agent run`: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
import logging
import os
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
    """Look after the sidecars, in the foreground.

    Until SIGTERM or SIGINT; the sidecars go on. Logs to standard error. SIGHUP has it read specs and certificates anew,
    which it does by itself when they change.
    """
    set_up(log_format, log_level)
    say_who("agent", 0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # it may hold listeners of hundreds of sidecars
    try:
        asyncio.run(_serve(Daemon(settings_of(settings))))
    except HotswapError as error:
        for line in str(error).splitlines():
            log.error(line)  # noqa: TRY400  a line for each thing to mend
        sys.exit(error.exit_code)


async def _serve(daemon: Daemon) -> None:
    """To its end, and no longer: a thread that waits for the answer of a sidecar has nobody to tell it to any more."""
    await daemon.run()
    logging.shutdown()
    sys.stderr.flush()
    os._exit(0)
