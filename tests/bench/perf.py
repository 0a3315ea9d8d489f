"""perf(1), for what it counts and what it samples while something is done.

It is told by a pipe when to begin and to end, so that nothing else is counted. Virtual machines often have no counter
of cycles, so the samples are of the clock of the CPU; moments at which the kernel allows no interrupt are found a
little later, at the next one at which it does.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.kit.waiting import readable

PATIENCE = 60.0  # seconds for it to begin, and to end
EVERY = 997  # samples a second of CPU: none of the rhythms that programs have
STACK = 16384  # bytes of it that a sample keeps
TOTAL = "raw_syscalls:sys_enter"
CALLS = (
    *("read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg", "sendfile64", "splice"),
    *("epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "poll", "getsockopt", "setsockopt", "ioctl", "fcntl"),
    *("socket", "connect", "accept4", "shutdown", "close", "futex", "getrandom", "mmap", "munmap", "brk"),
)
"""System calls that are counted by name. Each costs perf a moment, and all that there are a quarter of a minute."""
OTHERS = "others"
KERNEL = "[kernel.kallsyms]"
REMEDY = "apt package linux-perf, run as root on a kernel with tracepoints"

T = TypeVar("T")


class Frame(NamedTuple):
    """A function, and the file that it is in."""

    name: str
    path: str

    @property
    def file(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def in_kernel(self) -> bool:
        """Whether it is the kernel's."""
        return self.path == KERNEL


Stack = tuple[Frame, ...]
"""From the outermost to the function under way."""


def available() -> bool:
    """Whether it can count system calls and sample here."""
    if shutil.which("perf") is None:
        return False
    probe = ["perf", "stat", "-e", TOTAL, "-e", "cpu-clock", "--", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def system_calls(pid: int, work: Callable[[], T]) -> tuple[T, dict[str, int]]:
    """What the work returns, and how many system calls of each name a process made meanwhile; none that it did not."""
    events = [TOTAL, *(f"syscalls:sys_enter_{name}" for name in CALLS)]
    with tempfile.TemporaryDirectory(prefix="hsb") as directory:
        found = Path(directory) / "counts"
        options = [word for event in events for word in ("-e", event)]
        done = _during(["stat", "-x", ",", "-o", str(found), "-p", str(pid), *options], work)
        return done, counts_of(found.read_text())


def counts_of(text: str) -> dict[str, int]:
    """What `perf stat -x ,` wrote, by names of system calls."""
    counts: Counter[str] = Counter()
    total = 0
    for line in text.splitlines():
        value, _, event, *_ = [*line.split(","), "", "", ""]
        if event == TOTAL:
            total = int(value)
        elif value.isdigit() and int(value):
            counts[event.removeprefix("syscalls:sys_enter_")] = int(value)
    if more := total - counts.total():
        counts[OTHERS] = more
    return dict(counts)


def samples(pid: int, work: Callable[[], T]) -> tuple[T, Counter[Stack]]:
    """What the work returns, and the stacks of a process meanwhile, with how often each was found."""
    with tempfile.TemporaryDirectory(prefix="hsb") as directory:
        data = str(Path(directory) / "data")
        options = ["-q", "-e", "cpu-clock", "-F", str(EVERY), "--call-graph", f"dwarf,{STACK}"]
        done = _during(["record", *options, "-p", str(pid), "-o", data], work)
        script = ["perf", "script", "-i", data, "--no-inline", "-F", "ip,sym,dso"]
        text = subprocess.run(script, capture_output=True, text=True, errors="replace", check=True).stdout
        return done, Counter(stacks_of(text))


def stacks_of(text: str) -> Iterator[Stack]:
    """Those that `perf script -F ip,sym,dso` wrote: a paragraph each, with the innermost function first."""
    for paragraph in text.split("\n\n"):
        lines = [re.fullmatch(r"\s*[0-9a-f]+ (.+) \((.+)\)\s*", line) for line in paragraph.splitlines()]
        if stack := [Frame(pretty(line[1]), line[2]) for line in lines if line]:
            yield tuple(reversed(stack))


def pretty(symbol: str) -> str:
    """A symbol as its author knows it: `proxy.tcp.Relay.take` for what Cython makes of that."""
    symbol = re.sub(r"(@@?[A-Z_0-9.]+|\.(part|constprop|isra|cold)(\.\d+)?)+$", "", symbol)
    if found := re.fullmatch(r"__pyx_(?:f|pf|pw|fuse_\d+)_(\d.*)", symbol):
        return _demangled(found[1])
    return re.sub(r"^(__GI_)?(___?libc_|__(?=writev|readv|send|recv))?", "", symbol) or symbol


def _demangled(rest: str) -> str:
    """`5proxy_3tcp_5Relay_take`: names with their length before, the last one with an ordinal or nothing."""
    parts = []
    while found := re.match(r"(\d+)", rest):
        begin = found.end()
        end = begin + int(found[1])
        if end >= len(rest) or rest[end] != "_":
            break
        parts.append(rest[begin:end])
        rest = rest[end + 1 :]
    return ".".join([*parts, re.sub(r"^\d+", "", rest)])


def _during(arguments: list[str], work: Callable[[], T]) -> T:
    """Run perf, which looks only while the work is done. Raises `RuntimeError` with its words if it cannot."""
    command, told = os.pipe()
    heard, answer = os.pipe()
    words = ["perf", arguments[0], "-D", "-1", "--control", f"fd:{command},{answer}", *arguments[1:]]
    process = subprocess.Popen(
        words, pass_fds=(command, answer), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    os.close(command)
    os.close(answer)
    try:
        _order(process, told, heard, b"enable\n")
        done = work()
        _order(process, told, heard, b"disable\n")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
        os.close(told)
        os.close(heard)
    return done


def _order(process: subprocess.Popen[bytes], told: int, heard: int, command: bytes) -> None:
    os.write(told, command)
    if not (readable(heard, within=PATIENCE) and os.read(heard, 64).startswith(b"ack")):
        process.kill()
        raise RuntimeError(f"perf does not work: {process.communicate()[0].decode(errors='replace')}")
