"""Private keys and traffic secrets stay in this process: no core dump has them, and no other process of this user.

    RLIMIT_CORE 0        no core file: setrlimit(2), core(5)
    PR_SET_DUMPABLE 0    none that goes to a program either, no ptrace(2), no /proc/PID/mem for others of the same
                         user: prctl(2); root still may
    M_PERTURB            memory that is given back is overwritten: mallopt(3), of glibc. OpenSSL gives back what it knew
                         of a connection as it is, traffic secrets included

All are asked for before the first key is read. Programs that this process starts can be dumped again (execve(2)),
until they ask for the same.
"""

from __future__ import annotations

import ctypes
import os
import resource
from typing import TYPE_CHECKING

import prctl

from hotswap.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_LOG = "SSLKEYLOGFILE"

_M_PERTURB = -6  # malloc.h
_FILL = 0xA5  # any byte but 0, which turns it off
_SMALL = range(24, 1033, 16)
"""The sizes of pieces that glibc keeps at hand for each thread (tcache, malloc/malloc.c)."""
_KEPT_EACH = 16
"""As many of each; 7 before glibc 2.41."""


def keep_secrets() -> None:
    """Private keys are about to be read, at the start or at the first reload with TLS. Raises `ConfigError`."""
    refuse_key_log(os.environ)
    protect()


def protect() -> None:
    """Once and for all."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl.set_dumpable(0)
    # No other way leads to the memory of an SSL object that is freed. The cost per request, of 100 bytes to 20 KB, was
    # below what two runs of one build differ by.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other libraries have none, or one that does nothing
        mallopt(_M_PERTURB, _FILL)


def scrub() -> None:
    """Overwrite the small pieces of memory that were given back in this thread: M_PERTURB leaves them as they are.

    OpenSSL writes the master secret of TLS 1.2 into such a one, on the way into a session ticket. For whoever gave its
    connections away; it takes a millisecond.
    """
    libc = ctypes.CDLL(None)
    take, give_back = libc.malloc, libc.free
    take.argtypes, take.restype = [ctypes.c_size_t], ctypes.c_void_p
    give_back.argtypes, give_back.restype = [ctypes.c_void_p], None
    for size in _SMALL:
        pieces = [piece for piece in (take(size) for _ in range(_KEPT_EACH)) if piece]
        for piece in pieces:
            ctypes.memset(piece, 0, size)
            give_back(piece)


def refuse_key_log(environ: Mapping[str, str]) -> None:
    """Raises `ConfigError` if this process, or one that it starts, would write all secrets of TLS into a file."""
    if environ.get(KEY_LOG):
        raise ConfigError(
            f"{KEY_LOG} is in the environment: it has programs write the secrets of their TLS connections into a file, "
            f"which is refused where tls is configured; unset {KEY_LOG}"
        )
