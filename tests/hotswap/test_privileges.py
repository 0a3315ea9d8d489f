"""What a process has left, and what those have that it starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hotswap import privileges

BIND = 1 << 10  # CAP_NET_BIND_SERVICE, linux/capability.h

PROGRAM = """
import subprocess, sys
from hotswap.privileges import drop
print("kept:", *drop({*filter(None, sys.argv[1].split(","))}))
print(open("/proc/self/status").read())
subprocess.run(["cat", "/proc/self/status"], check=True)
"""


@pytest.fixture(autouse=True)
def as_root() -> None:
    if os.geteuid():
        pytest.skip("not root")


def dropped(keep: str) -> tuple[str, list[dict[str, int]]]:
    """(what it printed, the sets of itself and of a program that it started)."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, keep], capture_output=True, text=True, check=True)
    sets: list[dict[str, int]] = []
    for line in done.stdout.splitlines():
        name, _, value = line.partition(":")
        if name == "Name":
            sets.append({})
        elif name.startswith("Cap"):
            sets[-1][name] = int(value, 16)
        elif name == "NoNewPrivs":
            sets[-1][name] = int(value)
    return done.stdout, sets


def test_it_and_what_it_starts_keep_what_they_need_and_nothing_else() -> None:
    said, sets = dropped("CAP_NET_BIND_SERVICE")
    assert "kept: CAP_NET_BIND_SERVICE" in said
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    assert sets == [{"NoNewPrivs": 1, **dict.fromkeys(names, BIND)}] * 2


def test_nothing_may_be_kept() -> None:
    said, sets = dropped("")  # no name of a capability
    assert "kept:\n" in said
    assert {value for one in sets for name, value in one.items() if name != "NoNewPrivs"} == {0}


def test_what_it_never_had_is_not_kept() -> None:
    program = PROGRAM + 'print("again:", *drop({"CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN"}))'
    argv = [sys.executable, "-c", program, "CAP_NET_BIND_SERVICE"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "again: CAP_NET_BIND_SERVICE\n" in done.stdout


def test_this_process_tells_what_it_may() -> None:
    assert privileges.has("CAP_NET_BIND_SERVICE")
