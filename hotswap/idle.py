"""What stays of a generation whose container must not end: a process that stands by.

A container that exits is started again where the restart policy says so, with the old version. So after BYE, and if
something newer serves already, such a generation replaces itself by this program in a bare interpreter: some 8 MB,
and no work at all. It keeps one request to the owner's control socket open (see `hotswap.standbys`); told to take
over, it becomes the program again that it was. It exits 0 on SIGTERM or SIGINT.

    python -I -S -B idle.py '{"control": ..., "facts": {...}, "command": [...], "cwd": ...}'

Without ``control`` it stands by for nobody: an empty container. This module imports nothing but what comes with the
interpreter, since it runs alone: a file that is executed, not a part of the package. All it knows is in its argument.
"""

import json
import os
import signal
import socket
import sys
import time
from typing import Any, NoReturn

TOKEN_VARIABLE = "HOTSWAP_TOKEN"  # noqa: S105  a name, no secret; as in hotswap.spawn
NAME = "hotswap-idle"
SHORTEST, LONGEST = 0.1, 5.0
"""Seconds between two calls to a control socket where nobody wants to hear them."""
LINE_LIMIT = 4096


class Unheard(Exception):
    """Nobody answers, or not as an owner that knows what standing by is."""


def stand_by(control: str, facts: dict[str, Any]) -> str:
    """Wait until this owner says something; the token with which to take over. Raises `Unheard`, `OSError`."""
    body = json.dumps(facts).encode()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(control)
        head = f"POST /standby HTTP/1.1\r\nHost: hotswap\r\nContent-Length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body)
        answer = sock.makefile("rb")
        status = answer.readline(LINE_LIMIT).split()
        if len(status) < 2 or status[1] != b"200":
            raise Unheard(status)
        while line := answer.readline(LINE_LIMIT):
            if not line.startswith(b"{"):  # the rest of the head, the sizes of chunks
                continue
            event = json.loads(line)
            if event.get("event") == "take_over":
                return str(event["token"])
    return ""


def wait(control: str, facts: dict[str, Any]) -> str:
    """Stand by for whoever owns, one after the other."""
    pause = SHORTEST
    while True:
        began = time.monotonic()
        try:
            if token := stand_by(control, facts):
                return token
        except (OSError, Unheard, ValueError, KeyError):
            pass
        if time.monotonic() - began > LONGEST:
            pause = SHORTEST
        time.sleep(pause)
        pause = min(pause * 2, LONGEST)


def end(number: int, _frame: object) -> None:
    """Everything was given away."""
    os._exit(0 if number in (signal.SIGTERM, signal.SIGINT) else 128 + number)


def main(argument: str) -> NoReturn:
    """Never returns: it ends, or becomes another program."""
    told = json.loads(argument)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)  # PID 1 has no default ones, pid_namespaces(7)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)  # no reload, and nobody's remains to wait for
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        with open("/proc/self/comm", "w") as file:  # noqa: PTH123  pathlib takes longer to import than all the rest
            file.write(NAME)
    except OSError:
        pass
    if not told["control"]:
        while True:
            signal.pause()
    token = wait(told["control"], told["facts"])
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)  # what is ignored stays so through exec, signal(7)
    os.environ[TOKEN_VARIABLE] = token
    os.chdir(told["cwd"])
    os.execv(told["command"][0], told["command"])  # noqa: S606  its own command line


if __name__ == "__main__":
    main(sys.argv[1])
