"""What the system is asked for, so that keys do not leave the process. Each in a process of its own: it stays so."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from hotswap.errors import ConfigError
from proxy.tls.secrecy import refuse_key_log

PEEK = """
import os, resource, signal, sys
import prctl
from proxy.tls.secrecy import protect

def ordinary():
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    prctl.set_dumpable(1)  # as after execve; a change of the user clears it

ready, told = os.pipe()
victim = os.fork()
if not victim:
    ordinary()
    if sys.argv[1] == "protected":
        protect()
        protect()
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
    os.write(told, b".")
    signal.pause()
os.read(ready, 1)
ordinary()
try:
    open(f"/proc/{victim}/mem", "rb").close()
    print("open")
except PermissionError:
    print("closed")
finally:
    os.kill(victim, signal.SIGKILL)
"""


@pytest.mark.parametrize(("how", "memory"), [("protected", "closed"), ("not", "open")])
def test_memory_is_closed_to_others_of_the_same_user(how: str, memory: str) -> None:
    told = subprocess.run([sys.executable, "-c", PEEK, how], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == memory


LEFT = """
import ctypes
from proxy.tls.secrecy import protect

protect()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
place = libc.malloc(6000)  # about as large as what OpenSSL knows of a connection
ctypes.memset(place, 0x11, 6000)
libc.free(place)
print(ctypes.string_at(place, 6000).count(b"\\x11" * 4))  # one may be in an address that malloc keeps there
"""


SMALL = """
import ctypes
from proxy.tls.secrecy import protect, scrub

protect()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
places = [libc.malloc(size) for size in (24, 100, 150, 500, 1000, 1032)]
for place in places:
    ctypes.memset(place, 0x11, 24)
for place in places:
    libc.free(place)
before = sum(ctypes.string_at(place, 24).count(b"\\x11" * 4) for place in places)
scrub()
print(before > 0, sum(ctypes.string_at(place, 24).count(b"\\x11" * 4) for place in places))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep other pieces")
def test_small_pieces_are_overwritten_when_asked() -> None:
    told = subprocess.run([sys.executable, "-c", SMALL], check=True, capture_output=True, text=True)
    assert told.stdout.split() == ["True", "0"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc overwrites")
def test_memory_that_is_given_back_is_overwritten() -> None:
    """Reading it is forbidden; here it is still mapped."""
    told = subprocess.run([sys.executable, "-c", LEFT], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "0"


def test_crash_leaves_no_core() -> None:
    text = "import os, signal; from proxy.tls.secrecy import protect; protect(); os.kill(os.getpid(), signal.SIGABRT)"
    child = subprocess.Popen([sys.executable, "-c", text])
    _, status = os.waitpid(child.pid, 0)
    child.returncode = status
    assert status & 0x7F == 6
    assert not status & 0x80, "WCOREDUMP"


def test_key_log_in_the_environment_is_refused_with_a_reason() -> None:
    with pytest.raises(ConfigError, match=r"SSLKEYLOGFILE is in the environment: .*; unset SSLKEYLOGFILE"):
        refuse_key_log({"SSLKEYLOGFILE": "/tmp/keys"})
    refuse_key_log({})
    refuse_key_log({"SSLKEYLOGFILE": ""})
