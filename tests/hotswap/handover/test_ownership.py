from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from hotswap.handover.ownership import OwnershipPipe
from hotswap.handover.states import Event


@pytest.fixture
def pipe() -> Iterator[OwnershipPipe]:
    made = OwnershipPipe.fresh()
    yield made
    made.close()


def test_a_fresh_pipe_holds_nothing_and_never_blocks(pipe: OwnershipPipe) -> None:
    assert pipe.take() is Event.EMPTY


def test_neither_end_reaches_another_program(pipe: OwnershipPipe) -> None:
    assert not os.get_inheritable(pipe.read_end)
    assert not os.get_inheritable(pipe.write_end)


def test_the_byte_is_taken_once(pipe: OwnershipPipe) -> None:
    pipe.put()
    assert [pipe.take(), pipe.take()] == [Event.GOT_O, Event.EMPTY]


def test_an_abort_is_no_ownership(pipe: OwnershipPipe) -> None:
    pipe.put_abort()
    assert pipe.take() is Event.GOT_A


def test_a_byte_that_is_neither_gives_nothing(pipe: OwnershipPipe) -> None:
    os.write(pipe.write_end, b"X")
    assert pipe.take() is Event.EMPTY


def test_when_every_writer_is_gone_it_is_empty_and_what_was_put_is_still_there(pipe: OwnershipPipe) -> None:
    pipe.put()
    os.close(pipe.write_end)
    pipe.write_end = -1
    assert [pipe.take(), pipe.take()] == [Event.GOT_O, Event.EMPTY]


def test_of_two_who_take_at_the_same_time_one_has_it(pipe: OwnershipPipe) -> None:
    """The source's veto and the destination's taking: the kernel decides."""
    other = OwnershipPipe(os.dup(pipe.read_end))
    for _ in range(300):
        answers: list[Event] = []
        gate = threading.Barrier(2)

        def take(end: OwnershipPipe, gate: threading.Barrier = gate, answers: list[Event] = answers) -> None:
            gate.wait()
            answers.append(end.take())

        pipe.put()
        takers = [threading.Thread(target=take, args=(end,)) for end in (pipe, other)]
        for taker in takers:
            taker.start()
        for taker in takers:
            taker.join()
        assert sorted(answer.name for answer in answers) == ["EMPTY", "GOT_O"]
    other.close()


def test_closing_closes_what_this_side_holds_once(pipe: OwnershipPipe) -> None:
    read_end, write_end = pipe.read_end, pipe.write_end
    pipe.close()
    pipe.close()
    for fd in (read_end, write_end):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
