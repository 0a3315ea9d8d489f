"""Two containers: both pid 1, and nothing in common but a descriptor."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shm_metrics import Registry
from shm_metrics.layout import Geometry
from tests.kit.companion import ROOT
from tests.kit.offspring import source_of
from tests.kit.waiting import eventually
from tests.shm_metrics.children import close, read

PATIENCE = 30.0
NAMESPACES = ["unshare", "--pid", "--mount", "--ipc", "--fork", "--mount-proc", "--kill-child"]

INSIDE = """
import os, socket, sys
from shm_metrics import Process, Registry
assert os.getpid() == 1
channel = socket.socket(fileno=int(sys.argv[1]))
_, (fd,), _, _ = socket.recv_fds(channel, 1, 1)
registry = Registry.join(fd)
os.close(fd)
registry.counter("a_total", "A.").inc(int(sys.argv[2]))
registry.gauge("now", "Now.").set(int(sys.argv[2]))
registry.tell(Process(int(sys.argv[2])))
while channel.recv(1):
    channel.send(b"%d" % sum(one.members[0].cells[0] for one in registry.collect() if one.shape.name == "a_total"))
"""


class Container:
    """A process that is pid 1."""

    def __init__(self, fd: int, amount: int) -> None:
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(PATIENCE)
        command = [*NAMESPACES, sys.executable, "-c", INSIDE, str(theirs.fileno()), str(amount)]
        self.process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        theirs.close()
        socket.send_fds(self.channel, [b"."], [fd])

    def counted(self) -> int:
        """What it reads."""
        self.channel.send(b"?")
        return int(self.channel.recv(100))

    def kill(self) -> None:
        """The process itself, not the one that made the namespaces."""
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(children) as listed:  # noqa: PTH123 - a file of the kernel
            pid = int(listed.read())
        assert source_of(pid) == self.process.pid
        os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self.channel.close()


@contextmanager
def container(fd: int, amount: int) -> Iterator[Container]:
    one = Container(fd, amount)
    try:
        yield one
    finally:
        one.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces")
def test_two_that_are_both_pid_1_are_two() -> None:
    if subprocess.run([*NAMESPACES, "true"], check=False, capture_output=True, timeout=PATIENCE).returncode:
        pytest.skip("no namespaces here")
    registry = Registry.unnamed(Geometry(slots=4, cells=512, definitions=4096))
    with container(registry.fd, 100) as one:
        assert one.counted() == 100
        with container(registry.fd, 7) as other:
            assert other.counted() == 107
            assert one.counted() == 107
            assert read(registry) == {("a_total",): 107.0, ("now",): 107.0}
            assert [process.number for process in registry.processes()] == [7, 100]
            one.kill()
            eventually(lambda: registry.processes()[1:] == [], within=PATIENCE, what="its death is noticed")
            assert read(registry) == {("a_total",): 107.0, ("now",): 7.0}
            assert other.counted() == 107
    eventually(lambda: registry.alone, within=PATIENCE, what="the end of the other is noticed")
    assert read(registry) == {("a_total",): 107.0, ("now",): 0.0}
    close(registry)
