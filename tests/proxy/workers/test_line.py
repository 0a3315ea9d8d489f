"""The line between a crew and a worker: words in order, with their descriptors, whatever is full meanwhile."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hotswap.handover import wire
from hotswap.handover.channel import WINDOW
from proxy.workers import words
from proxy.workers.line import Line, wait_for


class End:
    """One end, and what came there."""

    def __init__(self, sock: socket.socket) -> None:
        self.heard: list[Any] = []
        self.fds: list[int] = []
        self.over = ""
        self.line = Line(sock, self._took, self._over)

    def _took(self, word: Any, fds: list[int]) -> None:
        self.heard.append(word)
        self.fds += fds
        fds.clear()

    def _over(self, why: str) -> None:
        self.over = why


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    both = End(one), End(other)
    yield both
    for end in both:
        end.line.hang_up()
        for fd in end.fds:
            os.close(fd)


def soon() -> float:
    return time.monotonic() + 5.0


def test_more_descriptors_than_the_window_takes_come_in_order(ends: tuple[End, End]) -> None:
    one, other = ends
    for number in range(3 * WINDOW):
        fd = os.open("/dev/null", os.O_RDONLY)
        one.line.say(words.Look(number), (fd,), (fd,))
    assert one.line.sending
    assert wait_for([one.line, other.line], lambda: len(other.heard) == 3 * WINDOW, soon())
    assert [word.number for word in other.heard] == [*range(3 * WINDOW)]
    assert len(set(other.fds)) == 3 * WINDOW
    assert wait_for([one.line, other.line], lambda: not one.line.sending, soon())


def test_waiting_ends_with_the_other(ends: tuple[End, End]) -> None:
    one, other = ends
    other.line.hang_up()
    assert not wait_for([one.line], lambda: False, soon())
    assert one.over == "it hung up"
    one.line.say(words.Freeze())  # to nobody


def test_waiting_ends_in_time(ends: tuple[End, End]) -> None:
    one, _ = ends
    assert not wait_for([one.line], lambda: False, time.monotonic() + 0.01)
    assert not one.over


def test_words_that_come_during_a_flush_are_taken_afterwards(ends: tuple[End, End]) -> None:
    one, other = ends
    other.line.say(words.Thaw())
    for _ in range(WINDOW + 1):
        fd = os.open("/dev/null", os.O_RDONLY)
        one.line.say(words.Freeze(), (fd,), (fd,))
    assert not one.line.flush(time.monotonic() + 0.01)  # nobody reads
    assert one.heard == []
    one.line.read()
    assert one.heard == [words.Thaw()]


def test_nonsense_ends_it(ends: tuple[End, End]) -> None:
    one, other = ends
    other.line.send(wire.Bye())
    one.line.read()
    assert "not a word" in one.over


def test_descriptors_go_both_ways_at_once(ends: tuple[End, End]) -> None:
    """Each side waits for the other to acknowledge what it sent, behind what it cannot send yet."""
    one, other = ends
    for end in ends:
        for number in range(3 * WINDOW):
            fd = os.open("/dev/null", os.O_RDONLY)
            end.line.say(words.Look(number), (fd,), (fd,))
    lines = [one.line, other.line]
    assert wait_for(lines, lambda: len(one.heard) == len(other.heard) == 3 * WINDOW, soon())
