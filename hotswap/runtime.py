"""The runtime directory of one name: two sockets and a lock.

    <runtime>/<name>/control.sock    HTTP and JSON
    <runtime>/<name>/handover.sock   SOCK_SEQPACKET: the handover
    <runtime>/<name>/lock            flock, held for life by the owner of the name

Only the lock permits a cold start. The sockets are unlinked and bound only under the lock, after one
more attempt to connect. The lock belongs to the open file description, flock(2), so it travels in a
handover without a gap; nobody calls LOCK_UN, the kernel releases it with the last copy of the fd.

All of it is for one user alone. Where other users may take part (`peers`), they enter by a group that all have in
common, that of the directory: that is 2770 then, and what is in it 0660 and of that group. The group opens the
directory and no more: who may come in is asked of each one who calls.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import stat
from pathlib import Path

from hotswap.address import MAX_UNIX_PATH
from hotswap.errors import PermissionDenied, UsageError
from hotswap.log import fields
from hotswap.peers import admitted, peer_uid

log = logging.getLogger("hotswap")

VARIABLE = "HOTSWAP_RUNTIME_DIR"
_CONNECT_SECONDS = 1.0
_BACKLOG = 128
_COMMON_GROUP = "give both sides a common group: fsGroup in a pod, else --group-add and a directory with its setgid bit"


def default_runtime_dir() -> Path:
    """Where runtime directories live if nobody says otherwise."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    if os.geteuid() == 0:
        return Path("/run/hotswap")
    session = os.environ.get("XDG_RUNTIME_DIR")
    if not session:
        raise UsageError(f"no runtime directory: set {VARIABLE}, XDG_RUNTIME_DIR, or give --runtime-dir")
    return Path(session) / "hotswap"


class Runtime:
    """Paths and locks of one name. `peers` are users besides our own and root who may take part."""

    def __init__(self, base: Path, name: str, peers: frozenset[int] = frozenset()) -> None:
        self.name = name
        self.peers = peers
        self.path = base.absolute() / name
        self.control_path = self.path / "control.sock"
        self.handover_path = self.path / "handover.sock"
        self.lock_path = self.path / "lock"
        if len(os.fsencode(self.handover_path)) > MAX_UNIX_PATH:
            raise UsageError(
                f"{self.handover_path} is longer than a unix socket's path may be ({MAX_UNIX_PATH} bytes): "
                "use a shorter --runtime-dir"
            )

    def prepare(self) -> None:
        """Make the directory, and refuse one that others may write to. Raises `PermissionDenied`."""
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._make()
            info = self.path.stat()
        except OSError as error:
            raise PermissionDenied(
                f"the runtime directory {self.path} cannot be made: {error.strerror}; give another --runtime-dir"
            ) from None
        if not stat.S_ISDIR(info.st_mode):
            raise PermissionDenied(f"{self.path} is no directory: give another --runtime-dir")
        if info.st_uid not in admitted(self.peers):
            raise PermissionDenied(
                f"the runtime directory {self.path} belongs to uid {info.st_uid}: give another --runtime-dir, or list "
                f"{info.st_uid} in upgrade.peer_uids here, and {os.geteuid()} there"
            )
        if info.st_mode & (0o007 if self.peers else 0o077):
            remedy = "o-rwx" if self.peers else "0700"
            raise PermissionDenied(f"others may enter the runtime directory {self.path}: chmod {remedy} it")
        if self.peers:
            self._check_group(info)

    def _make(self) -> None:
        if not self.peers:
            with contextlib.suppress(FileExistsError):
                self.path.mkdir(mode=0o700)
            return
        mask = os.umask(0o007)
        try:
            self.path.mkdir(mode=0o770)  # with group and setgid bit of the one above, if that has the bit: mkdir(2)
        except FileExistsError:
            return
        finally:
            os.umask(mask)
        if not self.path.stat().st_mode & stat.S_ISGID:
            self.path.chmod(0o2770)

    def _check_group(self, info: os.stat_result) -> None:
        """Whether a directory that is there serves several users. Raises `PermissionDenied`."""
        owner, group, mode = info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)
        where = f"the runtime directory {self.path} of uid {owner}"
        if owner == os.geteuid():
            ours = group in {os.getegid(), *os.getgroups()} or mode & 0o2070 == 0o2070  # else `share` cannot help it
        else:
            ours = os.access(self.path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
        if not ours and mode & 0o070 != 0o070 and owner != os.geteuid():
            raise PermissionDenied(
                f"{where} admits nobody else (mode {mode:04o}): whoever serves there has to list {os.geteuid()} in "
                "upgrade.peer_uids, and to be upgraded under its own uid first"
            )
        if not ours:
            raise PermissionDenied(f"{where} is for group {group}, which this process is not in: {_COMMON_GROUP}")

    def share(self) -> None:
        """Open to the group what is there, as far as it is our own. For who owns; does nothing without peers.

        What there was before there were peers is opened by the first owner that has them.
        """
        if not self.peers:
            return
        wanted = {self.path: 0o2770, self.lock_path: 0o660, self.control_path: 0o660, self.handover_path: 0o660}
        for path, mode in wanted.items():
            try:
                _give(path, self.path.stat().st_gid, mode)
            except OSError as error:  # who is kept out by it is told why
                log.warning(
                    "the runtime directory is not open to others", extra=fields(path=path, error=error.strerror)
                )

    def try_lock(self) -> int | None:
        """The locked fd, or None while another generation holds it. Raises `PermissionDenied`."""
        try:
            fd = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise PermissionDenied(f"{self.lock_path}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def connect(self) -> socket.socket | None:
        """A connection to the serving generation, or None if nobody listens. Raises `PermissionDenied`."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(_CONNECT_SECONDS)
        try:
            sock.connect(str(self.handover_path))
        except PermissionError:
            sock.close()
            raise PermissionDenied(f"{self.handover_path} belongs to another user") from None
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError, TimeoutError, BlockingIOError):
            sock.close()
            return None
        uid = peer_uid(sock)
        if uid not in admitted(self.peers):
            sock.close()
            raise PermissionDenied(
                f"{self.name} is served by uid {uid}, who has no part in this: list {uid} in upgrade.peer_uids here, "
                f"and {os.geteuid()} there"
            )
        return sock

    def bind(self) -> tuple[int, int]:
        """Fresh (control, handover) sockets, listening. Only under the lock."""
        return (
            _listen(self.control_path, socket.SOCK_STREAM),
            _listen(self.handover_path, socket.SOCK_SEQPACKET),
        )

    def unlink(self) -> None:
        """Take the sockets away at the end of the chain. Only under the lock; the lock file stays."""
        for path in (self.control_path, self.handover_path):
            path.unlink(missing_ok=True)


def _give(path: Path, group: int, mode: int) -> None:
    """Let a file have that group and mode, if it is there and our own."""
    try:
        info = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    if info.st_uid != os.geteuid():
        return
    if info.st_gid != group:
        os.chown(path, -1, group, follow_symlinks=False)
    if stat.S_IMODE(info.st_mode) != mode:
        path.chmod(mode)


def _listen(path: Path, kind: socket.SocketKind) -> int:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        mask = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
        # Messages may arrive before accept(2): the listener must ask for their credentials already.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.setblocking(False)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise PermissionDenied(f"{path} cannot be bound: {error.strerror}") from None
    return sock.detach()
