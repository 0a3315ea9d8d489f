"""What stays of a source that may not exit: a tiny process that waits for the owner.

PID 1 of a container must live as long as the container, and supervisord or runit restart whatever
exits. So after BYE such a source becomes a keeper: it replaces itself by a bare interpreter that
forwards signals to its remaining direct children, reaps orphans, and leaves as the last of them
left. It goes on through later upgrades: generation 3, spawned by generation 2, falls to the keeper
when generation 2 exits, because the keeper is a subreaper (PR_SET_CHILD_SUBREAPER, prctl(2)). If
generation 2 was told to end meanwhile, generation 3 is told so then: a generation that has given
everything away heeds no signal any more, and who stops a container means all that is in it.

    keeper = prepare()          # at start, if `wanted(...)`
    ...
    keeper.become()             # instead of exiting; never returns
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

import prctl

VARIABLE = "HOTSWAP_KEEPER"

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)

# The keeper's whole program. It uses nothing but built-in modules, so it does not matter what
# became of the installed package. The signals are blocked before exec and stay blocked: none is lost,
# and PID 1 gets them although it has no handler (the kernel drops only unblocked ones).
SOURCE = """# Keeper of a hotswap generation: forwards signals, exits as the last generation does.
import os, signal, sys
try:
    with open("/proc/self/comm", "w") as file:
        file.write("hotswap-keeper")
except OSError:
    pass
forwarded = {int(word) for word in sys.argv[1].split(",")}
watched = forwarded | {signal.SIGCHLD}
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, watched)
me = os.getpid()

def children():
    try:
        with open("/proc/self/task/%d/children" % me) as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        pass
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open("/proc/%d/stat" % int(entry)) as file:
                if int(file.read().rpartition(")")[2].split()[1]) == me:
                    found.append(int(entry))
        except (OSError, ValueError):
            pass
    return found

def leave(status):
    if os.WIFSIGNALED(status) and me != 1:
        number = os.WTERMSIG(status)
        try:
            import resource
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        except (ImportError, OSError):
            pass
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(me, number)
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))

def pass_on(number, but):
    pids = children()
    for pid in pids:
        if pid not in but:
            try:
                os.kill(pid, number)
            except OSError:
                pass
    return set(pids)

last = 1 << 8
ending, told = 0, set()  # who was asked to end; whoever falls to this process later is asked, too
while True:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        leave(last)
    if pid:
        last = status
        told.discard(pid)
        if ending:
            told |= pass_on(ending, told)
        continue
    number = signal.sigwait(watched)
    if number in forwarded:
        heard = pass_on(number, ())
        if number in (signal.SIGTERM, signal.SIGINT):
            ending, told = number, heard
"""


class Keeper:
    """The means to become a keeper, held in memory from the start."""

    __slots__ = ("_arguments", "_interpreter")

    def __init__(self) -> None:
        self._interpreter = sys.executable
        numbers = ",".join(str(int(number)) for number in FORWARDED)
        # Isolated, no site, no bytecode: as little start-up as there can be.
        self._arguments = [self._interpreter, "-I", "-S", "-B", "-c", SOURCE, numbers]

    def become(self) -> NoReturn:
        """Turn this process into the keeper of its children. Every descriptor but 0, 1, 2 closes.

        If the interpreter is gone from the disk, this process keeps watch as it is.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
        try:
            os.execv(self._interpreter, self._arguments)  # noqa: S606  the same process, another program
        except OSError:
            sys.argv = ["-c", self._arguments[-1]]
            exec(SOURCE, {"__name__": "keeper"})  # noqa: S102  our own text, not input
        os._exit(1)


def wanted(asked: bool) -> bool:
    """Whether this process should stay as a keeper after BYE.

    PID 1 always; otherwise who is asked to, unless it descends from a keeper: one is enough. The variable may be its
    own, if it stood by meanwhile.
    """
    return os.getpid() == 1 or (asked and os.environ.get(VARIABLE) in {None, str(os.getpid())})


def prepare() -> Keeper:
    """Become a subreaper, and tell the generations to come that there is a keeper."""
    prctl.set_child_subreaper(True)
    os.environ[VARIABLE] = str(os.getpid())
    return Keeper()
