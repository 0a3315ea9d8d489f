"""One worker as its crew sees it: a child process, the line to it, and what it said last."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import proxy
from hotswap.handover import wire
from hotswap.handover.channel import from_memfd, to_memfd
from hotswap.swappable import Passed, Reason, Saved
from proxy.workers import words
from proxy.workers.line import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.config.model import Config

PATIENCE = 5.0
"""Seconds that a worker may take to close its files."""
GIVING = (
    wire.Values,
    wire.Closed,
    words.RoundOver,
    words.Frozen,
    words.Follow,
    words.Waiting,
    words.Failed,
)
"""What is said for one attempt."""
_BATCH = wire.MAX_MESSAGE // 2
_ITEM = 64


class Hand:
    """A process that was started. `lost` is called when it is gone, or cannot be understood, with the reason."""

    def __init__(self, commission: words.Commission, scales: int, lost: Callable[[Hand, str], None]) -> None:
        """`scales`: the descriptor of their memory, which stays the caller's. Raises `OSError`."""
        self.number = commission.number
        memfd = to_memfd(commission.pack())
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        root = str(Path(proxy.__file__).parents[1])  # what runs here is to run there
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), root)))
        command = [sys.executable, "-P", "-m", "proxy.workers", str(theirs.fileno())]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    env={**os.environ, "PYTHONPATH": path},
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                )
        except OSError:
            ours.close()
            os.close(memfd)
            raise
        self.pid = self._process.pid
        self.line = Line(ours, self._took, lambda why: lost(self, why))
        self.ready = False
        """It said that it can be given anything."""
        self.counts = False
        """It was told where."""
        self.owns = False
        """It was told to tick."""
        self.attempt = 0
        """The one under way, as its crew has it; 0: none."""
        self.gives_for = 0
        """The one that it gives for, as far as it said. What comes for another is of no use: it was late."""
        self.trouble = ""
        """Why the attempt under way cannot be carried out with it."""
        self.values: dict[int, Passed] = {}
        self.staying: dict[int, Reason] = {}
        self.stragglers: frozenset[int] = frozenset()
        self.gave = False
        """All that it had was given once, in the attempt under way."""
        self.frozen = False
        self.settled = 0
        self.asked = 0
        """The number of the last `Settle`."""
        self.problems: dict[int, str] = {}
        self.failure = ""
        self.key = -1
        """The descriptor of its key for the next attempt."""
        self.plans = 0
        """The number of the last `Plan`."""
        self.planned: str | None = None
        """Why it refuses a changed configuration, empty if it does not; None: it did not say yet."""
        self.told = words.Told()
        self.looked = 0
        self.rows = words.Rows()
        self._items: list[wire.Item] = []
        self._fds: list[int] = []
        self._spent: list[int] = []
        self._size = 0
        self._now = 0.0
        self.line.say(words.Hire(), (memfd, scales), (memfd,))

    @property
    def lives(self) -> bool:
        """It is there, as far as anybody heard."""
        return self.line.fileno() >= 0

    # ---- what it says ----

    def _took(self, word: words.AnyWord, fds: list[int]) -> None:
        if isinstance(word, GIVING):
            if self.attempt and self.gives_for == self.attempt:
                self._given(word, fds)
        elif isinstance(word, words.Began):
            self.gives_for = word.attempt
        elif isinstance(word, words.Short):
            self.trouble = f"worker {self.number} gave what no descriptor was free for; raise RLIMIT_NOFILE"
        elif isinstance(word, words.Settled):
            self.settled = word.number
            self.problems.update(word.problems)
            self.failure = self.failure or word.failure
        elif isinstance(word, words.Told):
            self.told = word
            self.looked = max(self.looked, word.number)
            if word.rows is not None:
                self.rows = word.rows
        elif isinstance(word, words.Planned):
            if word.number == self.plans:
                self.planned = word.refusal
        elif isinstance(word, words.Spare):
            _close(self.key)
            self.key = fds.pop()
        elif isinstance(word, words.Ready):
            self.ready = True

    def _given(self, word: words.AnyWord, fds: list[int]) -> None:
        """For the attempt under way."""
        if isinstance(word, wire.Values):
            for item in word.items:
                self._keep(item, fds)
        elif isinstance(word, wire.Closed):
            for serial in word.serials:
                self.drop(serial)
        elif isinstance(word, words.RoundOver | words.Frozen):
            self.staying = {serial: Reason(*reason) for serial, reason in word.staying.items()}
            self.stragglers = frozenset(word.stragglers)
            self.gave = True
            self.frozen = isinstance(word, words.Frozen)
        elif isinstance(word, words.Follow):
            self._keep(word.item, fds)
        elif isinstance(word, words.Waiting):
            self.stragglers = frozenset(word.serials)
        elif isinstance(word, words.Failed):
            self.trouble = f"worker {self.number} cannot give its connections: {word.reason}"

    def _keep(self, item: wire.Item, fds: list[int]) -> None:
        """A value, or what changed of one."""
        fd = fds.pop(0) if item.with_fd else -1
        state = from_memfd(fds.pop(0)) if item.in_memfd else item.state
        known = self.values.get(item.serial)
        if known is None:
            self.values[item.serial] = Passed(Saved(item.kind, item.serial, item.changes, state, fd, self.number))
            return
        known.changes, known.state = item.changes, state
        if fd >= 0:
            _close(known.release())
            known.fd = fd

    def drop(self, serial: int) -> None:
        """A value is gone, or somebody else's now."""
        value = self.values.pop(serial, None)
        if value is not None:
            _close(value.release())

    def forget(self) -> None:
        """The attempt is over: what was given for it is of no use."""
        for serial in list(self.values):
            self.drop(serial)
        self.attempt, self.trouble = 0, ""
        self.staying = {}
        self.stragglers = frozenset()
        self.gave = self.frozen = False

    def take_key(self) -> int:
        """Its key for the attempt that begins, which is the caller's from here on."""
        key, self.key = self.key, -1
        return key

    def retired(self) -> None:
        """Another generation owns what it gave; its stragglers are still to come."""
        attempt, stragglers = self.attempt, self.stragglers
        self.forget()
        self.attempt, self.stragglers = attempt, stragglers

    # ---- what it is given ----

    def sockets(self, listeners: Mapping[str, int], word: Callable[[list[str], bool], words.Message]) -> None:
        """Listeners by name, in as many words as it takes; the last one says so."""
        names = [*listeners]
        for at in range(0, max(len(names), 1), wire.MAX_FDS):
            some = names[at : at + wire.MAX_FDS]
            self.say(word(some, at + wire.MAX_FDS >= len(names)), tuple(listeners[name] for name in some))

    def deliver(self, saved: Saved, now: float) -> None:
        """A value to be restored there. Its descriptor goes along."""
        in_memfd = len(saved.state) > wire.INLINE_VALUE
        count = (saved.fd >= 0) + in_memfd
        size = _ITEM + (0 if in_memfd else len(saved.state))
        if now != self._now or len(self._fds) + count > wire.MAX_FDS or self._size + size > _BATCH:
            self.send_off()
        self._now = now
        if saved.fd >= 0:
            self._fds.append(saved.fd)
        if in_memfd:
            self._fds.append(to_memfd(saved.state))
        state = b"" if in_memfd else saved.state
        self._items.append(
            wire.Item(saved.kind, saved.serial, saved.changes, state, saved.fd >= 0, in_memfd, saved.worker)
        )
        self._size += size

    def send_off(self) -> None:
        """Send what was collected."""
        if self._items:
            fds = tuple(self._fds)
            self.line.say(words.Deliver(self._now, self._items), fds, fds)
            self._items, self._fds, self._size = [], [], 0

    def plan(self, config: Config) -> None:
        """Have it look at a changed configuration; `planned` is its answer."""
        self.planned = None
        self.plans += 1
        self.say(words.Plan(self.plans, pickle.dumps(config)))

    def settle(self, shared: bytes | None, now: float) -> None:
        """Have it say when all of that is restored."""
        self.send_off()
        self.asked += 1
        self.line.say(words.Settle(self.asked, now, shared))

    def say(self, word: words.Message, fds: tuple[int, ...] = (), close: tuple[int, ...] = ()) -> None:
        """Send a word, after all values."""
        self.send_off()
        self.line.say(word, fds, close)

    # ---- its end ----

    def ended(self) -> bool:
        """Proven: it was reaped."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)

    def hang_up(self) -> None:
        """Speak to it no more, and forget what it gave. It ends when it hears nothing any more."""
        self.forget()
        _close(self.take_key())
        for fd in self._fds:
            _close(fd)
        self._items, self._fds = [], []
        self.line.hang_up()

    def part(self) -> None:
        """Hang up and reap it; if it does not end, it is killed. Nobody is served meanwhile."""
        self.hang_up()
        for _ in range(2):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
                return
            self.kill()


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
