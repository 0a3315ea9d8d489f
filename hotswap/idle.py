"""What stays of a generation whose container must not end: a process that stands by.

A container that exits is started again where the restart policy says so, with the old version. So after BYE, and if
something newer serves already, such a generation replaces itself by this program in a bare interpreter: some 8 MB,
and no work at all. It keeps one request to the owner's control socket open (see `hotswap.standbys`). Told to take over,
or if the owner dies, it becomes the program again that it was: clients wait for less than a second then, and not for
as long as it takes to start a container again. It exits 0 on SIGTERM or SIGINT.

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
STOOD_VARIABLE = "HOTSWAP_STOOD_BY"
"""The generation as which it stood by. Without a token the owner died: start cold, or go on standing by."""
NAME = "hotswap-idle"
SHORTEST, LONGEST = 0.1, 2.0
"""Seconds between two calls to a control socket where nobody wants to hear them."""
LINE_LIMIT = 4096
ENDING = (signal.SIGTERM, signal.SIGINT)
"""They wait while this program becomes another one: PID 1 would lose them, and serve on although it is to end."""


class Standing:
    """By one owner after the other. `token` is that of who says to take over; empty: the owner died."""

    def __init__(self, control: str, facts: dict[str, Any], *, bereft: bool = False, rest: bool = False) -> None:
        self._control = control
        self._body = json.dumps(facts).encode()
        self._pause = SHORTEST
        self._bereft = bereft  # of an owner that did not say that it would end
        # Somebody holds the lock, and does not listen yet: starting again would only be in its way.
        self._rest_until = time.monotonic() + LONGEST if rest else 0.0
        self.token = ""

    def wait(self) -> None:
        """Until there is something to do."""
        while True:
            began = time.monotonic()
            try:
                if self._stand_by():
                    return
            except (FileNotFoundError, ConnectionRefusedError):
                if self._bereft and time.monotonic() >= self._rest_until:
                    return
            except (OSError, ValueError, KeyError):
                pass  # it does not know what standing by is, or has no time for it
            if time.monotonic() - began > LONGEST:
                self._pause = SHORTEST
            time.sleep(self._pause)
            self._pause = min(self._pause * 2, LONGEST)

    def _stand_by(self) -> bool:
        """Listen to this owner, to its end. True: take over."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self._control)
            head = f"POST /standby HTTP/1.1\r\nHost: hotswap\r\nContent-Length: {len(self._body)}\r\n\r\n"
            sock.sendall(head.encode() + self._body)
            answer = sock.makefile("rb")
            while line := answer.readline(LINE_LIMIT):
                if not line.startswith(b"{"):  # the head, the sizes of chunks
                    continue
                event = json.loads(line)
                told = event.get("event")
                if told == "take_over":
                    self.token = str(event["token"])
                    return True
                self._bereft = told == "standing_by"  # and not "ended", or a refusal
                self._rest_until = 0.0
        return False


def end(number: int, _frame: object) -> None:
    """Everything was given away."""
    os._exit(0 if number in (signal.SIGTERM, signal.SIGINT) else 128 + number)


def main(argument: str) -> NoReturn:
    """Never returns: it ends, or becomes another program."""
    told = json.loads(argument)
    for number in ENDING:
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
    bereft, rest = told.get("bereft", False), told.get("rest", False)
    standing = Standing(told["control"], told["facts"], bereft=bereft, rest=rest)
    standing.wait()
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)  # what is ignored stays so through exec, signal(7)
    if standing.token:
        os.environ[TOKEN_VARIABLE] = standing.token
    os.environ[STOOD_VARIABLE] = str(told["facts"].get("generation", 0))
    os.chdir(told["cwd"])
    os.execv(told["command"][0], told["command"])  # noqa: S606  its own command line


if __name__ == "__main__":
    main(sys.argv[1])
