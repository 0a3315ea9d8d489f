"""Network namespaces of a test: a client's and a proxy's, joined by a veth pair; and nft rules in the latter.

A process inherits the namespace of the thread that starts it, so whoever starts one does it by `Network.run`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest

T = TypeVar("T")

CLONE_NEWNET = 0x40000000  # linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)


def needed() -> None:
    """Skip without root, nft or ip."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [name for name in ("nft", "ip") if shutil.which(name, path=path) is None]
    reason = f"{' and '.join(missing)} not installed" if missing else "not root" if os.geteuid() else ""
    if reason:
        pytest.skip(reason)


def command(*argv: str, text: str = "") -> None:
    """Run a program; its words are the failure."""
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    done = subprocess.run(argv, input=text, text=True, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}\n{text}"


def inside(netns: Path, work: Callable[..., T], *arguments: Any) -> T:
    """Do it in this namespace, in a thread of its own; sockets and processes made there stay there. See setns(2)."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def enter() -> None:
        fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            assert _libc.setns(fd, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            answers.append(work(*arguments))
        except BaseException as error:  # noqa: BLE001  it is raised below
            errors.append(error)
        finally:
            os.close(fd)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    for error in errors:
        raise error
    return answers[0]


class Network:
    """One namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        command("ip", "netns", "add", name)
        command("ip", "-n", name, "link", "set", "lo", "up")

    def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do it inside, in a thread of its own; sockets and processes made there stay there."""
        return inside(Path("/run/netns") / self.name, work, *arguments)

    def rules(self, text: str) -> None:
        """One transaction of nft."""
        command("ip", "netns", "exec", self.name, "nft", "-f", "-", text=text)


class Networks:
    """`client` (10.77.0.1, fd77::1) and `proxy` (10.77.0.2, fd77::2). A context manager."""

    def __enter__(self) -> Self:
        needed()
        unique = uuid.uuid4().hex[:8]
        self.client, self.proxy = Network(f"hs{unique}c"), Network(f"hs{unique}p")
        ends = [(self.client, "a", 1), (self.proxy, "b", 2)]
        pair = ["peer", "name", f"{unique}b", "netns", self.proxy.name]
        command("ip", "link", "add", "name", f"{unique}a", "netns", self.client.name, "type", "veth", *pair)
        for network, end, number in ends:
            command("ip", "-n", network.name, "addr", "add", f"10.77.0.{number}/24", "dev", unique + end)
            command("ip", "-n", network.name, "addr", "add", f"fd77::{number}/64", "dev", unique + end, "nodad")
            command("ip", "-n", network.name, "link", "set", unique + end, "up")
        for family in ("-4", "-6"):
            command("ip", "-n", self.proxy.name, family, "rule", "add", "fwmark", "1", "lookup", "100")
            local = ["local", "default", "dev", "lo", "table", "100"]
            command("ip", "-n", self.proxy.name, family, "route", "add", *local)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for network in (self.client, self.proxy):
            command("ip", "netns", "del", network.name)
