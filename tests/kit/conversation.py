"""Bytes that keep flowing through a connection and back, compared one by one, while a test does something else."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from tests.kit.http import Closed
from tests.kit.waiting import eventually

PIECE = 3000  # bytes of the longest piece
WINDOW = 4  # pieces under way: together less than any pipe between two programs holds
PAUSE = 0.02  # seconds between two looks
PATIENCE = 20.0


class Speaker(Protocol):
    """The client's end: `TlsClient`, `Client` or `Piped`."""

    unread: bytes

    def send(self, data: bytes) -> None:
        """All of it."""

    def more(self) -> bytes:
        """At least one more byte into `unread`; empty at the end."""


class Conversation:
    """A thread that sends pieces and takes them back from an echoing server. A context manager that finishes it.

    Pieces are digits that end with a newline: to some programs letters are commands, and some wait for whole lines.
    """

    def __init__(self, speaker: Speaker, seed: str = "") -> None:
        self.speaker = speaker
        self.taken = 0
        """Bytes that came back."""
        self.failure: BaseException | None = None
        self._random = random.Random(seed)
        self._under_way = b""
        self._pieces = 0
        self._going = True
        self._asked: Callable[[], None] | None = None
        self._pause = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def turn(self) -> None:
        """Wait until everything that is under way now, and more, came back. Raises what went wrong."""
        turn_all([self])

    def between(self, action: Callable[[], None]) -> None:
        """Do this in a moment at which nothing is under way, and wait until it is done."""
        self.ask(action)
        self.wait_done()

    def ask(self, action: Callable[[], None]) -> None:
        """The same without waiting for it."""
        self._asked = action

    def wait_done(self) -> None:
        """Until what was asked for is done. Raises what went wrong."""
        self._wait(lambda: self._asked is None, "nothing is under way")

    def wait_taken(self, count: int) -> None:
        """Until so many bytes came back. Raises what went wrong."""
        self._wait(lambda: self.taken >= count, "bytes come back")

    def _wait(self, check: Callable[[], bool], what: str) -> None:
        eventually(lambda: self.failure or check(), within=PATIENCE, what=what)
        self._raise()

    def finish(self) -> int:
        """Take the rest back; how many bytes came back in all. Raises what went wrong."""
        self._going = False
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"{len(self._under_way)} bytes never came back"
        self._raise()
        return self.taken

    def _raise(self) -> None:
        if self.failure:
            raise AssertionError(f"after {self.taken} bytes: {self.failure!r}") from self.failure

    def _run(self) -> None:
        try:
            while self._going or self._under_way:
                self._exchange()
                self._pause.wait(PAUSE)
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it
            self.failure = error

    def _exchange(self) -> None:
        asked = self._asked
        if asked and not self._under_way:
            asked()
            self._asked = None
        while self._going and not asked and self._pieces < WINDOW:
            piece = bytes(self._random.choices(b"0123456789", k=self._random.randrange(PIECE))) + b"\n"
            self._under_way += piece
            self._pieces += 1
            self.speaker.send(piece)
        if self._under_way:
            self._take_back()

    def _take_back(self) -> None:
        speaker = self.speaker
        if not speaker.unread and not speaker.more():
            raise Closed(f"ended with {len(self._under_way)} bytes under way")
        data, speaker.unread = speaker.unread, b""
        assert self._under_way.startswith(data), f"{data[:100]!r} came for {self._under_way[:100]!r}"
        self._under_way = self._under_way[len(data) :]
        self._pieces -= data.count(b"\n")
        self.taken += len(data)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self._going = False
            self._under_way = b""
            self._thread.join(PATIENCE)


def turn_all(conversations: Sequence[Conversation]) -> None:
    """`Conversation.turn` of all of them at once."""
    targets = [one.taken + WINDOW * PIECE + 1 for one in conversations]
    for one, target in zip(conversations, targets, strict=True):
        one.wait_taken(target)
