"""Work in the network namespace of a process: setns(2), in a thread of its own, since a thread has one namespace.

Sockets made there stay there. A thread of its own it is in any case: pyroute2 runs an event loop of its own for each
call, and refuses to in a thread that runs one already.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)


def inside(pid: int, work: Callable[[], T]) -> T:
    """Do it where process `pid` has its network; 0: where the agent has its own. Blocks; raises what `work` raises.

    Raises `OSError` too if the process is gone or the namespace may not be entered, which takes CAP_SYS_ADMIN, and
    CAP_SYS_PTRACE to look at a process of somebody else. The agent's own namespace takes neither.
    """
    answers: list[T] = []
    errors: list[BaseException] = []

    def threaded() -> None:
        try:
            if pid and not _same(pid):
                _enter(pid)
            answers.append(work())
        except BaseException as error:  # noqa: BLE001  it is raised below
            errors.append(error)

    thread = threading.Thread(target=threaded, name="network", daemon=True)
    thread.start()
    thread.join()
    for error in errors:
        raise error
    return answers[0]


def _same(pid: int) -> bool:
    theirs, ours = Path(f"/proc/{pid}/ns/net").stat(), Path("/proc/thread-self/ns/net").stat()
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def _enter(pid: int) -> None:
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(namespace, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), f"/proc/{pid}/ns/net")
    finally:
        os.close(namespace)
