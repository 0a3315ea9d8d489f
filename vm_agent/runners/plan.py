"""From a `Launch` to the command line of `launch.py`, and to what has to be there before."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import prctl

from vm_agent.errors import StartFailed
from vm_agent.runners.base import Launch
from vm_agent.runners.cgroups import nice_for
from vm_agent.spec.lists import CAPABILITIES

AGENT_DIRECTORY = ".agent"
"""In the runtime directory: notify sockets and logs. Its dot keeps it apart from every sidecar's own."""

LAUNCHER = Path(__file__).with_name("launch.py")
_LIBRARY = Path(prctl.__file__).parent


@dataclass(frozen=True)
class Account:
    """Whom a sidecar runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def account_of(launch: Launch) -> Account | None:
    """None: the agent's own. Raises `StartFailed`."""
    if not launch.user:
        return None
    try:
        entry = pwd.getpwnam(launch.user)
    except KeyError:
        raise StartFailed(
            f"{launch.name}: there is no user {launch.user}: make it, 'useradd --system {launch.user}', or name "
            "another one under run.user"
        ) from None
    if entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        who = pwd.getpwuid(os.geteuid()).pw_name
        raise StartFailed(
            f"{launch.name}: only root can start it as {launch.user}, and the agent runs as {who}: run the agent as "
            "root, or leave run.user out"
        )
    return Account(entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(launch.user, entry.pw_gid)))


def capability_numbers(launch: Launch) -> list[int]:
    """The numbers of its capabilities. Raises `StartFailed` for one there is not."""
    numbers = set()
    for name in launch.capabilities:
        if name.upper() not in CAPABILITIES:  # python-prctl does not know the latest by name
            raise StartFailed(f"{launch.name}: there is no capability {name}; they are listed in capabilities(7)")
        numbers.add(CAPABILITIES.index(name.upper()))
    return sorted(numbers)


def command(launch: Launch, account: Account | None, doors: list[str], *, listen: list[int], nice: bool) -> list[str]:
    """The whole command line. `doors`: cgroup.procs files; `nice`: no group has a weight for it."""
    words = [f"cgroup={path}" for path in doors]
    if own_score() != launch.limits.oom_score_adj:
        words.append(f"oom={launch.limits.oom_score_adj}")
    if nice and nice_for(launch.limits.cpu_weight):
        words.append(f"nice={nice_for(launch.limits.cpu_weight)}")
    if launch.limits.open_files is not None:
        words.append(f"nofile={launch.limits.open_files}")
    if listen:
        words.append(f"listen={','.join(map(str, listen))}")
    words.append(f"library={_LIBRARY}")
    if os.geteuid() == 0:
        words.append(f"caps={','.join(map(str, capability_numbers(launch)))}")
    if account is not None:
        words += [f"groups={','.join(map(str, account.groups))}", f"gid={account.gid}", f"uid={account.uid}"]
    return [sys.executable, "-I", "-S", "-B", str(LAUNCHER), *words, "--", *launch.command]


def own_score() -> int:
    """This process's OOM score adjustment, which its offspring inherits."""
    try:
        return int(Path("/proc/self/oom_score_adj").read_text())
    except (OSError, ValueError):
        return 0


def clean_environment() -> dict[str, str]:
    """For a program of a release: nothing of the agent's own, such as PYTHONPATH, by which it would import ours."""
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    found["PYTHONSAFEPATH"] = "1"  # nothing is imported from the working directory
    return found


def environment(launch: Launch, notify: Path, names: list[str]) -> dict[str, str]:
    """All that the sidecar gets: nothing of the agent's but where programs, zones and languages are."""
    found = clean_environment()
    found["HOTSWAP_RUNTIME_DIR"] = str(launch.runtime_dir)
    found.update(launch.environment)
    found["NOTIFY_SOCKET"] = str(notify)
    if launch.watchdog:
        found["WATCHDOG_USEC"] = str(round(launch.watchdog * 1e6))
    if names:
        found["LISTEN_FDNAMES"] = ":".join(names)
    return found


def uid_of(account: Account | None) -> int:
    """As a number."""
    return os.geteuid() if account is None else account.uid


def agents_directory(launch: Launch) -> Path:
    """Make the directory of the agent's own things: entered by all, listed by nobody. Raises `StartFailed`."""
    path = launch.runtime_dir / AGENT_DIRECTORY
    try:
        launch.runtime_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.mkdir(mode=0o711, exist_ok=True)
        _check(path, os.geteuid())
        path.chmod(0o711)
    except OSError as error:
        raise _unwritable(launch, error) from None
    return path


def prepare(launch: Launch, account: Account | None) -> None:
    """Make the sidecar's own directory, 0700, its user's. Raises `StartFailed`.

    What a user before left in it that no other may open goes away.
    """
    uid, gid = uid_of(account), -1 if account is None else account.gid
    own = launch.runtime_dir / launch.name
    try:
        own.mkdir(mode=0o700, exist_ok=True)
        if own.lstat().st_uid != uid:
            for name in ("lock", "control.sock", "handover.sock"):
                (own / name).unlink(missing_ok=True)
            os.chown(own, uid, gid, follow_symlinks=False)
        _check(own, uid)
    except OSError as error:
        raise _unwritable(launch, error) from None


def _unwritable(launch: Launch, error: OSError) -> StartFailed:
    return StartFailed(f"{launch.name}: {error.filename}: {error.strerror}; the agent needs to write there")


def _check(directory: Path, uid: int) -> None:
    info = directory.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != uid or info.st_mode & 0o022:
        raise StartFailed(
            f"{directory} is not a directory that only its user writes to (uid {uid}): somebody else made it; remove it"
        )
