"""What `hotswap doctor` looks at. A check looks only: it takes no lock, removes nothing, disturbs nobody.

A package that declares, say, ``tls = "proxy.tls.doctor:tls"`` in the entry-point group ``hotswap.checks`` adds a check;
one in ``hotswap.remedies`` is carried out by `hotswap doctor --fix`, and yields what it did.
"""

from __future__ import annotations

import array
import importlib.util
import os
import platform
import re
import resource
import select
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, version
from pathlib import Path
from typing import Literal

import msgspec

from hotswap import errors
from hotswap.control_client import PATH_LIMIT, ControlClient, is_held, names

Level = Literal["ok", "note", "problem"]

OLDEST_PYTHON = (3, 11)
ENOUGH_FILES = 4096
FILES_A_CONNECTION = 2  # downstream and upstream
BACKLOG = 4096  # what the listeners ask for
ANSWER_SECONDS = 2.0
OURS = ("hotswap", "proxy", "shm_metrics")
LIBRARIES = {
    "msgspec": (0, 18, 6),
    "click": (8, 1),
    "PyYAML": (6, 0),
    "posix-ipc": (1, 3),
    "rich": (13, 0),
    "python-prctl": (1, 8, 1),
    "pyOpenSSL": (25, 2),
    "cryptography": (45, 0),
}
GROUP = "hotswap.checks"
REMEDIES = "hotswap.remedies"
LONGEST_SOCKET_NAME = "handover.sock"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at; `remedy` says what to do unless it is fine."""

    check: str
    level: Level
    message: str
    remedy: str = ""


def python() -> Iterator[Finding]:
    """The interpreter."""
    if sys.version_info < OLDEST_PYTHON:
        yield Finding("python", "problem", f"Python {platform.python_version()} is too old", "use Python 3.11 or newer")
    else:
        yield Finding("python", "ok", f"Python {platform.python_version()}, {sys.executable}")


def kernel() -> Iterator[Finding]:
    """The system calls that a handover stands on, tried out."""
    missing = [name for name, attempt in KERNEL.items() if not _works(attempt)]
    if missing:
        remedy = "use Linux 5.3 or newer; in a container, let the seccomp profile permit these calls"
        yield Finding("kernel", "problem", f"Linux {platform.release()}: {', '.join(missing)} do not work here", remedy)
    else:
        yield Finding("kernel", "ok", f"Linux {platform.release()}: {', '.join(KERNEL)} work")


def _works(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except (OSError, AttributeError, ImportError):
        return False
    return True


def _epoll() -> None:
    select.epoll().close()


def _pidfd() -> None:
    os.close(os.pidfd_open(os.getpid()))


def _memfd() -> None:
    os.close(os.memfd_create("hotswap-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))


def _descriptor_passing() -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [left.fileno()]))])
        _data, fds, _flags, _address = socket.recv_fds(right, 1, 1)
        for fd in fds:
            os.close(fd)
        if len(fds) != 1:
            raise OSError("no descriptor arrived")


def _credentials() -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        left.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        left.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)


def _subreaper() -> None:
    import_module("prctl").get_child_subreaper()


KERNEL: dict[str, Callable[[], None]] = {
    "epoll": _epoll,
    "pidfd": _pidfd,
    "memfd": _memfd,
    "descriptor passing": _descriptor_passing,
    "peer credentials": _credentials,
    "subreaper": _subreaper,
}


def open_files() -> Iterator[Finding]:
    """The limit on open files, which bounds the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    message = (
        f"{soft} open files allowed (hard limit {hard}): about {max(soft - 100, 0) // FILES_A_CONNECTION} connections"
    )
    if soft < min(hard, ENOUGH_FILES) or soft < ENOUGH_FILES:
        remedy = f"raise it before the start: 'ulimit -n {max(hard, ENOUGH_FILES)}', LimitNOFILE= in a unit"
        yield Finding("open files", "note", message, remedy)
    else:
        yield Finding("open files", "ok", message)


def backlog() -> Iterator[Finding]:
    """The kernel's cap on the queue of a listener, where connections wait during a freeze."""
    try:
        somaxconn = int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        return
    if somaxconn < BACKLOG:
        remedy = f"sysctl -w net.core.somaxconn={BACKLOG}"
        yield Finding("backlog", "note", f"listeners queue {somaxconn} connections at most", remedy)
    else:
        yield Finding("backlog", "ok", f"listeners may queue {somaxconn} connections")


def secrets() -> Iterator[Finding]:
    """Environment variables that write secrets to disk."""
    path = os.environ.get("SSLKEYLOGFILE")
    if path:
        message = f"SSLKEYLOGFILE is set: TLS secrets would be written to {path}"
        yield Finding("secrets", "problem", message, "unset SSLKEYLOGFILE; with it a proxy refuses to start")
    else:
        yield Finding("secrets", "ok", "SSLKEYLOGFILE is not set")


def packages() -> Iterator[Finding]:
    """Whether our import names are ours: another distribution owns the name `proxy`, too."""
    owners = packages_distributions()
    home = Path(__file__).resolve().parents[2]
    clashes = False
    for name in OURS:
        others = sorted({owner for owner in owners.get(name, ()) if owner.lower() != "hotswap"})
        if others:
            clashes = True
            message = f"the import name {name} also belongs to the distribution {', '.join(others)}"
            yield Finding(
                "packages", "problem", message, f"pip uninstall {' '.join(others)}, or use a venv for hotswap alone"
            )
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.origin:
            clashes = True
            yield Finding("packages", "problem", f"the package {name} cannot be found", "install hotswap again")
        elif Path(spec.origin).resolve().parents[1] != home:
            clashes = True
            message = f"'import {name}' finds {spec.origin}, which is not hotswap's"
            yield Finding("packages", "problem", message, "start in another directory, or set PYTHONSAFEPATH=1")
    if not clashes:
        yield Finding("packages", "ok", f"{', '.join(OURS)} are imported from {home}")


def libraries() -> Iterator[Finding]:
    """The libraries and their versions."""
    found = []
    for name, oldest in LIBRARIES.items():
        wanted = ".".join(map(str, oldest))
        try:
            installed = version(name)
        except PackageNotFoundError:
            yield Finding("libraries", "problem", f"{name} is not installed", f"pip install '{name}>={wanted}'")
            continue
        if tuple(int(digits) for digits in re.findall(r"\d+", installed)[: len(oldest)]) < oldest:
            message = f"{name} {installed} is older than {wanted}"
            yield Finding("libraries", "problem", message, f"pip install '{name}>={wanted}'")
        else:
            found.append(f"{name} {installed}")
    if found:
        yield Finding("libraries", "ok", ", ".join(found))


def runtime(directory: Path) -> Iterator[Finding]:
    """The runtime directory, and each name in it."""
    try:
        info = directory.stat()
    except FileNotFoundError:
        yield Finding("runtime directory", "ok", f"{directory} does not exist yet; the first start makes it")
        return
    except OSError as error:
        remedy = "run this as the user that runs the servers, or as root"
        yield Finding("runtime directory", "problem", f"{directory}: {error.strerror}", remedy)
        return
    finding = _private(directory, info)
    yield finding or Finding("runtime directory", "ok", f"{directory} belongs to uid {info.st_uid}, mode {_mode(info)}")
    try:
        found = names(directory)
    except errors.PermissionDenied as error:
        yield Finding("runtime directory", "problem", str(error))
        return
    for name in found:
        yield from _name(directory, name)


def _private(path: Path, info: os.stat_result) -> Finding | None:
    """What is wrong with the owner and the mode, if anything."""
    check = "runtime directory"
    if not stat.S_ISDIR(info.st_mode):
        return Finding(check, "problem", f"{path} is no directory", f"remove it: rm {path}")
    if info.st_uid not in (0, os.geteuid()):
        message = f"{path} belongs to uid {info.st_uid}, we are uid {os.geteuid()}"
        return Finding(check, "problem", message, f"chown {os.geteuid()} {path}, or run this as its owner")
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not info.st_mode & stat.S_ISVTX:
        message = f"{path} has mode {_mode(info)}: others may replace what is in it"
        if path.is_mount():  # Kubernetes makes an emptyDir so, and nobody in the pod could change it
            return Finding(check, "note", f"{message}; it is a volume: mount it nowhere else")
        return Finding(check, "problem", message, f"chmod go-w {path}")
    return None


def _shared(info: os.stat_result) -> bool:
    """A name's directory that several users have, see `hotswap.runtime`."""
    return stat.S_ISDIR(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o2770


def _mode(info: os.stat_result) -> str:
    return f"{stat.S_IMODE(info.st_mode):04o}"


def _name(directory: Path, name: str) -> Iterator[Finding]:
    home = directory / name
    check = f"name {name}"
    info = home.stat()
    if _shared(info):
        message = f"{home} is open to the group {info.st_gid}, as upgrade.peer_uids makes it"
        yield Finding(
            check, "note", message, f"if {name} is to be for one user alone: take that key out, chmod 0700 {home}"
        )
    elif (wrong := _private(home, info)) is not None:
        yield msgspec.structs.replace(wrong, check=check)
    elif stat.S_IMODE(info.st_mode) & 0o077:
        yield Finding(check, "problem", f"{home} has mode {_mode(info)}", f"chmod 0700 {home}")
    if len(os.fsencode(home / LONGEST_SOCKET_NAME)) > PATH_LIMIT:
        remedy = "choose a shorter runtime directory or name"
        yield Finding(check, "problem", f"{home} is too long for unix sockets", remedy)
        return
    holders = _lock_holders(home / "lock")
    if not is_held(home / "control.sock"):
        yield _unheld(check, home, holders)
        return
    try:
        status = ControlClient(directory, name, ANSWER_SECONDS).get("/status")
    except errors.HotswapError as error:
        remedy = f"'kill -CONT {_pids(holders)}' if it was stopped; else end it with SIGKILL and start it anew"
        yield Finding(check, "problem", str(error), remedy)
        return
    yield Finding(check, "ok", f"generation {status.get('generation')}, {status.get('state')}, pid {status.get('pid')}")


def _unheld(check: str, home: Path, holders: list[int] | None) -> Finding:
    if holders:
        message = f"nobody listens on {home / 'control.sock'}, but process {_pids(holders)} holds the lock"
        remedy = f"it starts or hangs; if that lasts, end it: kill -KILL {_pids(holders)}"
        return Finding(check, "problem", message, remedy)
    message = f"{home} is stale: its last owner ended without a trace"
    return Finding(check, "note", message, f"nothing needs to be done, the next start cleans it; or rm -r {home}")


def _pids(holders: list[int] | None) -> str:
    return " ".join(str(pid) for pid in holders or ()) or "PID"


def _lock_holders(lock: Path) -> list[int] | None:
    """Who is on record for this flock, read from /proc/locks: trying the lock could get in somebody's way.

    The pid is that of the generation that took the lock, maybe long gone: the lock moves on with its
    descriptor. So what matters is whether there is one. None if that cannot be known.
    """
    try:
        inode = lock.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    held = [line.split() for line in lines]
    return [
        int(words[4]) for words in held if len(words) > 5 and words[1] == "FLOCK" and words[5].endswith(f":{inode}")
    ]


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    python,
    kernel,
    libraries,
    packages,
    open_files,
    backlog,
    secrets,
)


def others(group: str = GROUP) -> Iterator[Finding]:
    """The checks of other packages, or what their remedies did. One that cannot be loaded is a finding, too."""
    for point in entry_points(group=group):
        try:
            check = point.load()
        except (ImportError, AttributeError, SyntaxError) as error:
            message = f"the check comes from {point.value}, which cannot be loaded: {error}"
            yield Finding(point.name, "problem", message, "install the package again")
        else:
            yield from check()
