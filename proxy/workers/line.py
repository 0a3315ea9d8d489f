"""The line between a crew and one of its workers: a channel as in a handover, with words of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from hotswap.errors import ProtocolError
from hotswap.handover import wire
from hotswap.handover.channel import Channel, Received
from proxy.workers import words

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    Take = Callable[[Any, list[int]], None]


class Line(Channel):
    """One end. `took` gets each word with its descriptors, of which it takes what it keeps out of the list.

    `over` is called once, with a reason: the other end is gone, or nobody understands it.
    """

    __slots__ = ("_inbox", "_loop", "_over", "_owed", "_parts", "_took", "_writing")

    def __init__(self, sock: socket.socket, took: Take, over: Callable[[str], None]) -> None:
        super().__init__(sock)
        self._took = took
        self._over: Callable[[str], None] | None = over
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing = False
        self._owed = 0
        self._inbox: deque[Received] = deque()
        self._parts: list[bytes] = []

    def decode(self, data: bytes) -> words.AnyWord:
        """See `Channel`."""
        return words.decode(data)

    def truncated(self, fds: list[int]) -> words.AnyWord:
        """See `Channel`. Nobody's connections are lost for it: whoever hears this does without the word."""
        for fd in fds:
            os.close(fd)
        fds.clear()
        return words.Short()

    def acknowledge(self, count: int = 1) -> None:
        """See `Channel`. Before all that waits here: with descriptors both ways that may wait for these."""
        self._owed += count
        self._pay()

    def _pay(self) -> None:
        if self._owed and self._transmit(wire.encode(wire.Ack(self._owed)), ()):
            self._owed = 0

    def pump(self) -> None:
        """See `Channel`."""
        self._pay()
        super().pump()

    @property
    def wants_write(self) -> bool:
        """See `Channel`."""
        return bool(self._owed) or super().wants_write

    def attach(self) -> None:
        """Take words as they come, in the running loop."""
        if self._loop is None and not self.ended:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self.fileno(), self.read)
            self._follow()

    def say(self, word: words.Message, fds: tuple[int, ...] = (), close: tuple[int, ...] = ()) -> None:
        """Send it now or as soon as there is room. See `Channel.send`. To nobody it is lost."""
        if self.fileno() < 0:
            for fd in close:
                os.close(fd)
            return
        *parts, last = words.encode(word)
        for part in parts:
            self.send_bytes(part)
        self.send_bytes(last, fds, close)
        self._follow()

    def read(self) -> None:
        """Take all that is there."""
        try:
            while self._inbox or not self.ended:
                received = self._inbox.popleft() if self._inbox else self.receive()
                if received is None:
                    break
                self._take(received)
        except ProtocolError as error:
            self._end(str(error))
        else:
            if self.ended:
                self._end("it hung up")
            self._follow()

    def _take(self, received: Received) -> None:
        word, fds = received.message, received.fds
        with_fds = bool(fds) or isinstance(word, words.Short)
        if isinstance(word, words.Part):
            self._parts.append(word.data)
            return
        if isinstance(word, words.Rest):
            word = words.decode(b"".join([*self._parts, word.data]))
        self._parts.clear()
        try:
            self._took(word, fds)
        finally:
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)
            if with_fds and self.fileno() >= 0:
                self.acknowledge()

    def flush(self, until: float) -> bool:
        """Wait until everything is out, or it is `until`. Words that come meanwhile are taken later."""
        while self.sending and not self.ended:
            left = until - time.monotonic()
            if left <= 0:
                return False
            self.wait(left)
            self.pump()
            received = self.receive()
            if received is not None:
                self._inbox.append(received)
        if self._inbox and self._loop is not None:
            self._loop.call_soon(self.read)
        return True

    def _follow(self) -> None:
        """Ask the loop for room in the socket, only while it is needed."""
        fd = self.fileno()
        if self._loop is None or fd < 0:
            return
        if self.wants_write and not self._writing:
            self._writing = True
            self._loop.add_writer(fd, self._room)
        elif self._writing and not self.wants_write:
            self._writing = False
            self._loop.remove_writer(fd)

    def _room(self) -> None:
        self.pump()
        self._follow()

    def _end(self, why: str) -> None:
        over, self._over = self._over, None
        self.hang_up()
        if over is not None:
            over(why)

    def hang_up(self) -> None:
        """Close this end."""
        fd = self.fileno()
        if fd < 0:
            return
        if self._loop is not None:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
        self.ended = True
        self.close()


def wait_for(lines: Sequence[Line], done: Callable[[], bool], until: float) -> bool:
    """Take words of these lines, and of nobody else, until it is `done`. False: it is `until`, or nobody is left.

    For a freeze, and for a destination that is inert: there is nothing else to do.
    """
    while not done():
        left = until - time.monotonic()
        there = [line for line in lines if line.fileno() >= 0]
        if left <= 0 or not there:
            return False
        poll = select.poll()
        for line in there:
            poll.register(line, select.POLLIN | (select.POLLOUT if line.wants_write else 0))
        poll.poll(left * 1000)
        for line in there:
            line.pump()
            line.read()
    return True
