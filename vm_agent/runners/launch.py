"""What is done in a new process before it becomes the sidecar: a program of its own, run by file and never imported.

    python -I -S -B launch.py [WORD=VALUE ...] -- COMMAND ARGUMENT ...

Code between fork and exec is unsafe as soon as there are threads (`subprocess`, preexec_fn), so the agent starts
this, which changes itself and then executes the command. In this order, of which each step takes rights away that
those before it need:

    cgroup=PATH        move into a group: its file cgroup.procs; several times
    oom=N              /proc/self/oom_score_adj
    nice=N             setpriority(2)
    nofile=N           RLIMIT_NOFILE; RLIMIT_CORE is 0 always
    listen=FD,FD...    these become 3, 4, ...; LISTEN_FDS and LISTEN_PID are set, sd_listen_fds(3)
    library=DIRECTORY  where python-prctl is
    caps=N,N...        capabilities that stay, all others are dropped from the bounding set; without it all stay
    groups=N,N... gid=N uid=N

What only makes the sidecar yield less (group, OOM score, nice, limits) is told on standard error if it fails; a right
that cannot be dropped, or a user that cannot be become, is the end, with the exit codes of systemd.exec(5). The
environment, the working directory and the standard streams are the agent's to set. It imports only what starts fast.
"""

import os
import sys
from typing import NoReturn

EXIT_FDS, EXIT_EXEC, EXIT_CAPABILITIES, EXIT_GROUP, EXIT_USER = 202, 203, 218, 216, 217
FIRST_LISTENER = 3  # SD_LISTEN_FDS_START
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2  # linux/prctl.h


def main(arguments: list[str]) -> NoReturn:
    """Change this process by the words before ``--``, and become what stands after it."""
    cut = arguments.index("--")
    command = arguments[cut + 1 :]
    groups: list[str] = []
    said: dict[str, str] = {}
    for word in arguments[:cut]:
        name, _, value = word.partition("=")
        if name == "cgroup":
            groups.append(value)
        said[name] = value
    os.umask(0o077)
    _bounds(groups, said)
    _step(EXIT_FDS, "the listeners cannot be passed on", lambda: _listen(_numbers(said.get("listen", ""))))
    _drop(said)
    try:
        os.execvpe(command[0], command, os.environ)  # noqa: S606  an argument list, no shell
    except OSError as error:
        _fail(EXIT_EXEC, f"{command[0]} cannot be executed: {error.strerror}")


def _bounds(groups: list[str], said: dict[str, str]) -> None:
    """What makes it yield."""
    import resource  # noqa: PLC0415  what is imported late is not paid for by an error

    for path in groups:
        _try(f"it does not join {path}", lambda path=path: _write(path, "0"))
    if "oom" in said:
        _try("no OOM score", lambda: _write("/proc/self/oom_score_adj", said["oom"]))
    if "nice" in said:
        _try("no other priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, int(said["nice"])))
    if "nofile" in said:
        files = int(said["nofile"])
        _try("no other limit of open files", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _drop(said: dict[str, str]) -> None:
    """User and capabilities, in the only order that works."""
    sys.path.append(said["library"])
    import _prctl  # noqa: PLC0415  the agent says where it is
    import prctl  # noqa: PLC0415  the same

    kept = set(_numbers(said["caps"])) if "caps" in said else None
    if kept is not None:
        _step(EXIT_CAPABILITIES, "capabilities cannot be dropped", lambda: _narrow(kept))
    if "uid" in said:
        import ctypes  # noqa: PLC0415  now: the user may not be able to read it; python-prctl has no ambient ones

        libc = ctypes.CDLL(None, use_errno=True)

        def keep(capabilities: set[int]) -> None:
            """Effective again after setuid(2), and ambient, so that they outlive the exec."""
            flags = (_prctl.CAP_EFFECTIVE, _prctl.CAP_PERMITTED, _prctl.CAP_INHERITABLE)
            every = range(_prctl.CAP_LAST_CAP + 1)
            prctl.set_caps(*((number, flag, number in capabilities) for number in every for flag in flags))
            for number in capabilities:
                if libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

        uid, gid = int(said["uid"]), int(said["gid"])
        _step(EXIT_GROUP, "groups cannot be set", lambda: os.setgroups(_numbers(said.get("groups", ""))))
        _step(EXIT_GROUP, f"group {gid} cannot be become", lambda: os.setresgid(gid, gid, gid))
        prctl.set_keepcaps(True)
        _step(EXIT_USER, f"user {uid} cannot be become", lambda: os.setresuid(uid, uid, uid))
        if kept is not None:
            _step(EXIT_CAPABILITIES, "capabilities cannot be kept", lambda: keep(kept))
    _step(EXIT_CAPABILITIES, "no_new_privs cannot be set", lambda: prctl.set_no_new_privs(1))


def _narrow(kept: set[int]) -> None:
    """Take all but these out of the bounding set, capabilities(7): all that this kernel knows."""
    import _prctl  # noqa: PLC0415  numbers, where prctl itself has names only

    with open("/proc/sys/kernel/cap_last_cap") as file:  # noqa: PTH123  pathlib takes longer to import than the rest
        last = int(file.read())
    for number in range(last + 1):
        if number not in kept and _prctl.prctl(_prctl.PR_CAPBSET_READ, number):
            _prctl.prctl(_prctl.PR_CAPBSET_DROP, number)


def _listen(fds: list[int]) -> None:
    """Put the descriptors where sd_listen_fds(3) looks for them."""
    if not fds:
        return
    import fcntl  # noqa: PLC0415  only when there are any

    aside = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_LISTENER + len(fds)) for fd in fds]
    for fd in fds:
        os.set_inheritable(fd, False)
    for place, fd in enumerate(aside):
        os.dup2(fd, FIRST_LISTENER + place)
    os.environ["LISTEN_FDS"] = str(len(fds))
    os.environ["LISTEN_PID"] = str(os.getpid())


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123  pathlib takes longer to import than the rest
        file.write(text)


def _try(what: str, step: object) -> None:
    try:
        step()  # type: ignore[operator]
    except (OSError, ValueError) as error:
        sys.stderr.write(f"started with less than was asked for: {what}: {error}\n")


def _step(code: int, what: str, step: object) -> None:
    try:
        step()  # type: ignore[operator]
    except (OSError, ValueError) as error:
        _fail(code, f"{what}: {error}")


def _fail(code: int, what: str) -> NoReturn:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
