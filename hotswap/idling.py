"""Becoming idle: this process turns into `hotswap.idle`, with all it has to know as its argument."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from hotswap import idle, spawn
from hotswap.log import fields

if TYPE_CHECKING:
    from hotswap.standbys import Standby

log = logging.getLogger("hotswap")

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""They wait until the other program can take them: PID 1 would lose them, and others would die of them."""


def become(control: Path | None, standby: Standby | None) -> NoReturn:
    """Stand by for the owner of that control socket; without one, for nobody. Every descriptor but 0, 1, 2 closes."""
    facts = {} if standby is None else msgspec.to_builtins(standby)
    told = {
        "control": "" if control is None else str(control),
        "facts": facts,
        "command": spawn.own_command(),
        "cwd": str(Path.cwd()),
    }
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    log.info("idle", extra=fields(stands_by=control is not None))
    sys.stdout.flush()
    sys.stderr.flush()
    arguments = [sys.executable, "-I", "-S", "-B", idle.__file__, json.dumps(told)]
    os.execv(sys.executable, arguments)  # noqa: S606  the same process, another program
    raise AssertionError("exec returned")
