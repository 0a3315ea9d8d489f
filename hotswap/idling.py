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


def stood_by() -> int:
    """The generation as which this process stood by; -1: it did not. Out of the environment."""
    told = os.environ.pop(idle.STOOD_VARIABLE, "")
    return int(told) if told.isascii() and told.isdigit() else -1


def become(
    control: Path | None, standby: Standby | None, *, bereft: bool = False, rest: bool = False
) -> NoReturn:
    """Stand by for the owner of that control socket; without one, for nobody. Every descriptor but 0, 1, 2 closes.

    `bereft`: there is an owner, and if nobody listens it died. `rest`: not so soon, somebody takes its place.
    """
    facts = {} if standby is None else msgspec.to_builtins(standby)
    told = {
        "control": "" if control is None else str(control),
        "facts": facts,
        "bereft": bereft,
        "rest": rest,
        "command": spawn.own_command(),
        "cwd": str(Path.cwd()),
    }
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    if log.hasHandlers():
        log.info("idle", extra=fields(stands_by=control is not None))
    else:  # an empty container, before anything was set up
        sys.stderr.write("hotswap: an empty container: idle\n")
    sys.stdout.flush()
    sys.stderr.flush()
    text = json.dumps(told)
    try:
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-B", idle.__file__, text])  # noqa: S606  another program
    except OSError as error:  # the interpreter is gone, or this user may not read it: it stays as it is
        log.warning("idle, in all its size", extra=fields(reason=error.strerror))
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        idle.main(text)
