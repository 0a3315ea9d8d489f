"""The receiving side against a source that is driven by hand, well or badly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from hotswap.chain import Chain, Record
from hotswap.errors import (
    BindFailed,
    DeadlinePassed,
    DestinationFailed,
    HotswapError,
    ProtocolError,
    SourceHung,
    Superseded,
)
from hotswap.faults import Faults
from hotswap.handover import wire
from hotswap.handover.channel import Channel, to_memfd
from hotswap.handover.destination import DestinationAttempt
from hotswap.handover.ownership import OwnershipPipe
from hotswap.handover.rounds import Limits, digest
from hotswap.handover.states import Destination, State
from tests.hotswap.toy import ADDRESS, LIMITS, Heir, Other, Toy, hello, own_pidfd, play

RESOURCES = [
    wire.ListenerEntry("control", "", ""),
    wire.ListenerEntry("handover", "", ""),
    wire.ListenerEntry("server", "web", ADDRESS),
]
CHAIN = Chain([Record(1, "1.0", "build", "config", [], "/", 1, 0.0, "cold")])


class Taking:
    """A destination attempt, and this test as its source."""

    def __init__(self, **how: Any) -> None:
        self.server = Toy()
        self.heir = Heir(self.server)
        self.pipe = OwnershipPipe.fresh()
        self.clients: dict[int, socket.socket] = {}
        self.changes: dict[int, int] = {}  # of what was sent, by serial
        self.pidfd = how.pop("pidfd", -1)
        limits = Limits(**{name: how.pop(name, getattr(LIMITS, name)) for name in Limits.__struct_fields__})
        assert not how
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.other = Other(ours)
        self.attempt = DestinationAttempt(Channel(theirs), self.server, self.heir, limits=limits, faults=Faults([]))
        self.attempt.begin(hello())

    # -- the steps of a source -----------------------------------------------------------------------

    async def called(self) -> wire.Hello:
        """HELLO."""
        said, [pidfd] = await self.other.expect_with_fds(wire.Hello)
        os.close(pidfd)
        return said

    def proof(self) -> int:
        """A pidfd of the source."""
        return own_pidfd() if self.pidfd < 0 else os.dup(self.pidfd)

    async def welcomed(self) -> None:
        """Everything up to PIPE."""
        await self.called()
        self.say_welcome()
        self.say_resources()
        self.say_lock()
        self.say_pipe()

    def say_welcome(self) -> None:
        self.other.say(wire.Welcome(1, {"line": 1}, 2, 0, 10.0), self.proof())

    def say_resources(self) -> None:
        self.other.say(wire.Listeners(RESOURCES), *null(len(RESOURCES)))

    def say_lock(self) -> None:
        self.other.say(wire.Lock(), *null(1))

    def say_pipe(self) -> None:
        self.other.say(wire.Pipe(), self.pipe.read_end, close=False)

    def item(self, serial: int, state: bytes = b"", changes: int = 0) -> tuple[wire.Item, list[int]]:
        """A value with the descriptors that go with it."""
        known = serial in self.changes
        self.changes[serial] = changes
        fds = []
        if not known:
            client, server = socket.socketpair()
            client.settimeout(10)
            self.clients[serial] = client
            fds.append(server.detach())
        large = len(state) > wire.INLINE_VALUE
        if large:
            fds.append(to_memfd(state))
        return wire.Item("line", serial, changes, b"" if large else state, not known, large), fds

    async def round(self, states: dict[int, bytes], *, number: int = 1, changes: int = 0) -> wire.RoundDone:
        """One round with these values; what the destination says about it."""
        self.other.say(wire.Round(number))
        self.values(states, changes=changes)
        self.other.say(wire.RoundEnd(number))
        done = await self.other.expect(wire.RoundDone)
        assert done.number == number
        return done

    def values(self, states: dict[int, bytes], *, changes: int = 0) -> None:
        made = [self.item(serial, state, changes) for serial, state in states.items()]
        self.other.say(wire.Values([item for item, _ in made]), *(fd for _, fds in made for fd in fds))

    def say_final(self, *fds: int, **changes: Any) -> None:
        """The last pass, as it should be but for `changes`."""
        order = sorted(self.changes)
        fields: dict[str, Any] = {
            "connections": len(order),
            "digest": digest(order, [self.changes[serial] for serial in order]),
            "shared": b"shared",
            "chain": CHAIN.encode(),
        }
        self.other.say(wire.Round(99, final=True))
        self.other.say(wire.Final(**{**fields, **changes}), *fds)

    async def owned(self, states: dict[int, bytes] | None = None) -> None:
        """Everything up to OWNED."""
        await self.welcomed()
        await self.round(states or {1: b"one", 2: b"two"})
        self.pipe.put()
        self.say_final()
        await self.other.expect(wire.Prepared)
        await self.other.expect(wire.Owned)

    def abort(self) -> None:
        """What a source does whose attempt failed."""
        self.pipe.put_abort()
        self.other.close()

    # -- the outcome -----------------------------------------------------------------------------------

    def state(self) -> State:
        return self.attempt.state

    async def over(self) -> State:
        return await self.attempt.over

    async def left(self, kind: type[HotswapError], words: str) -> None:
        """It ends itself for this reason and has touched nothing."""
        assert await self.over() is Destination.LEFT
        failure = self.heir.failure
        assert type(failure) is kind, repr(failure)
        assert words in str(failure)
        self.never_ticked()

    def never_ticked(self) -> None:
        assert "start" not in self.heir.calls
        assert "start_cold" not in self.heir.calls
        assert not self.server.ticking

    def close(self) -> None:
        self.attempt._close()
        if (pidfd := self.attempt.detach_pidfd()) >= 0:
            os.close(pidfd)
        self.other.close()
        self.pipe.close()
        if self.attempt.state is not Destination.ALONE:
            self.heir.close()
        self.server.close()
        for client in self.clients.values():
            client.close()


def null(count: int) -> list[int]:
    """Descriptors of nothing in particular."""
    return [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]


@contextlib.asynccontextmanager
async def taking(**how: Any) -> AsyncIterator[Taking]:
    made = Taking(**how)
    try:
        yield made
    finally:
        made.close()


def scenario(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """A test that runs in an event loop with a deadline."""

    def run() -> None:
        async def bounded() -> None:
            await test()

        play(bounded())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@contextlib.contextmanager
def mortal() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process to die in place of the source, and its pidfd."""
    with subprocess.Popen(["sleep", "60"]) as process:
        pidfd = os.pidfd_open(process.pid)
        try:
            yield process, pidfd
        finally:
            os.close(pidfd)
            process.kill()


# -- a handover that succeeds ----------------------------------------------------------------------------


@scenario
async def test_from_hello_to_released() -> None:
    async with taking() as case:
        assert (await case.called()).wanted == [ADDRESS]
        case.say_welcome()
        case.say_resources()
        case.say_lock()
        case.say_pipe()
        done = await case.round({1: b"one", 2: b"two"})
        assert (done.restored, done.problems) == (2, [])
        assert case.server.chosen == {"line": 1}
        await case.round({2: b"two again"}, number=2, changes=1)
        case.say_final()
        await case.other.expect(wire.Prepared)
        case.never_ticked()
        case.pipe.put()
        await case.other.expect(wire.Owned)
        assert case.heir.calls == ["adopt", "start"]
        assert case.server.calls == ["adopt", "restore_shared", "start"]
        assert case.server.texts() == {1: b"one", 2: b"two again"}
        assert case.server.shared_state == b"shared"
        assert (case.heir.chain, case.heir.generation) == (CHAIN, 2)
        assert [entry for entry, _ in case.heir.entries] == RESOURCES
        case.server.answer(2, b"moved")
        assert case.clients[2].recv(100) == b"moved"
        case.other.say(wire.Bye(1.5, 1, 2, 0))
        await case.other.expect(wire.Released)
        assert await case.over() is Destination.STARTED
        assert case.heir.figures == wire.Bye(1.5, 1, 2, 0)


@scenario
async def test_a_byte_that_is_there_already_is_taken_at_once() -> None:
    async with taking() as case:
        await case.owned()
        assert case.server.ticking


@scenario
async def test_received_descriptors_are_never_inherited() -> None:
    async with taking() as case:
        await case.owned()
        fds = [fd for _, fd in case.heir.entries] + [case.heir.lock] + [line.fd for line in case.server.lines.values()]
        assert not any(os.get_inheritable(fd) for fd in fds)


@scenario
async def test_large_values_come_in_memory_files() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"L" * 100_000, 2: b"small", 3: b"M" * 50_000})
        await case.round({1: b"N" * 200_000}, number=2, changes=1)
        case.pipe.put()
        shared = b"S" * 300_000
        case.say_final(to_memfd(shared), shared=b"", shared_in_memfd=True)
        await case.other.expect(wire.Prepared)
        await case.other.expect(wire.Owned)
        assert case.server.texts() == {1: b"N" * 200_000, 2: b"small", 3: b"M" * 50_000}
        assert case.server.shared_state == shared


@scenario
async def test_what_the_source_closed_is_forgotten() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"one", 2: b"two"})
        case.other.say(wire.Closed([2, 77]))
        del case.changes[2]
        case.pipe.put()
        case.say_final()
        await case.other.expect(wire.Prepared)
        await case.other.expect(wire.Owned)
        assert list(case.server.lines) == [1]


@scenario
async def test_more_listeners_than_a_message_holds_come_in_several() -> None:
    async with taking() as case:
        await case.called()
        case.say_welcome()
        case.say_resources()
        entries = [wire.ListenerEntry("server", "", f"127.0.0.1:{port}") for port in range(1, wire.MAX_FDS + 1)]
        case.other.say(wire.Listeners(entries), *null(len(entries)))
        case.say_lock()
        case.say_pipe()
        await case.round({})
        assert len(case.heir.entries) == len(RESOURCES) + wire.MAX_FDS


# -- what cannot be restored -------------------------------------------------------------------------------


@scenario
async def test_a_value_it_has_no_place_for_is_reported_and_not_kept() -> None:
    async with taking() as case:
        await case.welcomed()
        case.server.refusing[2] = "too new"
        done = await case.round({1: b"one", 2: b"two"})
        assert done.problems == [wire.Problem(2, "too new")]
        case.other.say(wire.Closed([2]))
        del case.changes[2]
        case.pipe.put()
        case.say_final()
        await case.other.expect(wire.Prepared)
        await case.other.expect(wire.Owned)
        assert list(case.server.lines) == [1]


@scenario
async def test_one_that_was_restored_before_and_cannot_be_any_more_is_dropped() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"one", 2: b"two"})
        case.server.refusing[2] = "changed beyond recognition"
        done = await case.round({2: b"2"}, number=2, changes=1)
        assert [problem.serial for problem in done.problems] == [2]
        assert list(case.server.lines) == [1]


@scenario
async def test_any_number_of_problems_is_reported_in_portions() -> None:
    async with taking() as case:
        await case.welcomed()
        case.server.refusing = dict.fromkeys(range(150), "ü" * 1000)
        reported: list[int] = []
        number = 1
        done = await case.round(dict.fromkeys(range(152), b"x"))
        while done.problems:
            reported += [problem.serial for problem in done.problems]
            number += 1
            # The source knows only of these: the others may well have changed meanwhile.
            unknown = [serial for serial in range(150) if serial not in reported]
            done = await case.round(dict.fromkeys(unknown[:3], b"y"), number=number, changes=number)
        assert reported == list(range(150))
        assert sorted(case.server.lines) == [150, 151]


@scenario
async def test_a_value_of_the_last_pass_that_cannot_be_restored_is_the_end_of_the_attempt() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"one", 2: b"two"})
        case.server.refusing[2] = "too new"
        case.other.say(wire.Round(2, final=True))
        case.values({2: b"2"}, changes=1)
        case.say_final()
        unable = await case.other.expect(wire.Unable)
        assert "1 values of the last pass cannot be restored: too new" in unable.reason
        case.abort()
        await case.left(DestinationFailed, "cannot be restored")


@pytest.mark.parametrize(
    "changes", [{"connections": 3}, {"connections": 1}, {"digest": b"\0" * 16}, {"digest": b""}], ids=str
)
def test_a_count_or_digest_that_differs_is_the_end_of_the_attempt(changes: dict[str, Any]) -> None:
    async def run() -> None:
        async with taking() as case:
            await case.welcomed()
            await case.round({1: b"one", 2: b"two"})
            case.say_final(**changes)
            unable = await case.other.expect(wire.Unable)
            assert "count or digest differ" in unable.reason
            assert case.state() is Destination.DOOMED
            case.pipe.put()  # whatever it finds there: the values are not right
            assert case.pipe.take().name == "GOT_O", "a doomed destination does not look while the source lives"
            case.abort()
            assert await case.over() is Destination.LEFT
            case.never_ticked()

    play(run())


def test_a_change_that_was_never_copied_shows_in_the_digest() -> None:
    async def run() -> None:
        async with taking() as case:
            await case.welcomed()
            await case.round({1: b"one", 2: b"two"})
            case.changes[2] += 1  # it changed at the source, and nobody sent it
            case.say_final()
            await case.other.expect(wire.Unable)

    play(run())


@scenario
async def test_listeners_that_cannot_be_bound_are_told_with_their_own_code() -> None:
    async with taking() as case:
        case.heir.adopting_fails = BindFailed("127.0.0.1:80 cannot be bound")
        await case.welcomed()
        unable = await case.other.expect(wire.Unable)
        assert (unable.code, unable.reason) == (BindFailed.exit_code, "127.0.0.1:80 cannot be bound")
        # The source has not heard of it yet and goes on sending.
        case.other.say(wire.Round(1))
        case.values({1: b"one"})
        case.other.say(wire.RoundEnd(1))
        case.abort()
        await case.left(BindFailed, "127.0.0.1:80")
        assert case.server.lines == {}


@scenario
async def test_a_shared_state_that_cannot_be_restored_is_told() -> None:
    async with taking() as case:

        def refuse(_state: bytes, _now: float) -> None:
            raise HotswapError("counters of another kind")

        case.server.restore_shared = refuse  # type: ignore[assignment, method-assign]
        await case.welcomed()
        await case.round({})
        case.say_final()
        unable = await case.other.expect(wire.Unable)
        assert "counters of another kind" in unable.reason


@scenario
async def test_a_chain_that_cannot_be_read_is_told() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({})
        case.say_final(chain=b"\xc1")
        assert "shared state" in (await case.other.expect(wire.Unable)).reason


# -- what comes instead of the byte ------------------------------------------------------------------------


@scenario
async def test_a_refusal_ends_it_with_the_reason_of_the_source() -> None:
    async with taking() as case:
        await case.called()
        case.other.say(wire.Refused(Superseded.exit_code, "a later generation superseded this one"))
        await case.left(Superseded, "superseded this one")


@scenario
async def test_an_abort_ends_it() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"one"})
        case.say_final()
        await case.other.expect(wire.Prepared)
        case.abort()
        assert await case.over() is Destination.LEFT
        assert case.heir.failure is None, "nothing went wrong here: the source took it back"
        case.never_ticked()


@scenario
async def test_an_abort_in_the_middle_of_a_round_ends_it() -> None:
    async with taking() as case:
        await case.welcomed()
        case.other.say(wire.Round(1))
        case.values({1: b"one"})
        case.abort()
        assert await case.over() is Destination.LEFT
        case.never_ticked()


@scenario
async def test_the_end_of_the_channel_is_no_death() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"one"})
        case.other.close()
        while case.attempt.state is not Destination.DOOMED_LOOK:  # noqa: ASYNC110  no event tells
            await asyncio.sleep(0)
        case.never_ticked()
        case.pipe.put_abort()
        assert await case.over() is Destination.LEFT


@scenario
async def test_a_source_that_never_answers_is_hung() -> None:
    async with taking(attempt=0.05) as case:
        await case.called()
        await case.left(SourceHung, "accepted the call and does not answer")


@scenario
async def test_a_source_that_goes_silent_with_the_byte_in_hand_is_given_up() -> None:
    async with taking(attempt=0.5, freeze=0.1) as case:
        await case.welcomed()
        await case.round({1: b"one"})
        case.say_final()
        await case.other.expect(wire.Prepared)
        await case.left(DeadlinePassed, "did not come to an end in time")


@scenario
async def test_a_byte_beats_the_deadline_that_passed_while_this_process_stood_still() -> None:
    async with taking() as case:
        await case.welcomed()
        await case.round({1: b"one"})
        case.say_final()
        await case.other.expect(wire.Prepared)
        case.attempt.set_deadline(0.01, case.attempt._late)
        case.pipe.put()
        stand_still(0.05)
        assert not case.attempt.over.done()
        await case.other.expect(wire.Owned)


def stand_still(seconds: float) -> None:
    """As SIGSTOP and SIGCONT: this process does nothing meanwhile."""
    with contextlib.suppress(subprocess.TimeoutExpired), subprocess.Popen(["sleep", "60"]) as process:
        try:
            process.wait(seconds)
        finally:
            process.kill()


# -- a source that dies --------------------------------------------------------------------------------------


@scenario
async def test_one_that_dies_before_it_gave_anything_leaves_a_clean_start() -> None:
    with mortal() as (process, pidfd):
        async with taking(pidfd=pidfd) as case:
            await case.called()
            case.say_welcome()
            case.say_resources()
            case.say_lock()
            process.kill()
            case.other.close()
            assert await case.over() is Destination.ALONE
            assert case.heir.calls == []
            for fd in (*(fd for _, fd in case.attempt._listeners), case.attempt._lock):
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.fstat(fd)  # the lock's copy above all: nobody could ever start cold


@scenario
async def test_one_that_dies_while_copying_leaves_the_listeners() -> None:
    with mortal() as (process, pidfd):
        async with taking(pidfd=pidfd) as case:
            await case.welcomed()
            await case.round({1: b"one"})
            process.kill()
            assert await case.over() is Destination.COLD
            assert case.heir.calls == ["adopt", "start_cold"]
            assert case.server.lines == {}


@scenario
async def test_one_that_dies_with_the_byte_out_leaves_everything() -> None:
    with mortal() as (process, pidfd):
        async with taking(pidfd=pidfd) as case:
            await case.welcomed()
            await case.round({1: b"one"})
            case.pipe.put()
            case.say_final()
            process.kill()
            process.wait()
            assert await case.over() is Destination.STARTED
            assert case.heir.calls == ["adopt", "start"]
            assert case.server.texts() == {1: b"one"}


@scenario
async def test_one_that_dies_with_a_doomed_one_leaves_the_listeners() -> None:
    with mortal() as (process, pidfd):
        async with taking(pidfd=pidfd) as case:
            await case.welcomed()
            await case.round({1: b"one"})
            case.pipe.put()
            case.say_final(connections=5)
            await case.other.expect(wire.Unable)
            process.kill()
            assert await case.over() is Destination.COLD
            assert case.server.lines == {}


@scenario
async def test_one_that_dies_before_bye_is_not_missed() -> None:
    with mortal() as (process, pidfd):
        async with taking(pidfd=pidfd) as case:
            await case.owned()
            process.kill()
            assert await case.over() is Destination.STARTED
            assert case.server.ticking


# -- stragglers ----------------------------------------------------------------------------------------------


@scenario
async def test_a_straggler_is_owned_on_receipt() -> None:
    async with taking() as case:
        await case.owned({1: b"one"})
        for serial, text in ((7, b"late"), (8, b"L" * 100_000)):
            item, fds = case.item(serial, text)
            case.other.say(wire.Straggler(item), *fds)
        case.other.say(wire.Bye())
        await case.other.expect(wire.Released)
        assert case.server.texts() == {1: b"one", 7: b"late", 8: b"L" * 100_000}
        case.server.answer(7, b"moved")
        assert case.clients[7].recv(100) == b"moved"


@scenario
async def test_a_bad_straggler_costs_itself_only() -> None:
    async with taking() as case:
        case.server.refusing[7] = "too new"
        await case.owned({1: b"one"})
        item, fds = case.item(7, b"late")
        case.other.say(wire.Straggler(item), *fds)
        item, fds = case.item(8, b"fine")
        case.other.say(wire.Straggler(item), *fds)
        case.other.say(wire.Bye())
        await case.other.expect(wire.Released)
        assert case.server.texts() == {1: b"one", 8: b"fine"}
        assert case.clients[7].recv(100) == b"", "its client must hear of it"


# -- a source that breaks the protocol -------------------------------------------------------------------------


async def calling(case: Taking) -> None:
    await case.called()


async def halfway_in(case: Taking) -> None:
    await case.called()
    case.say_welcome()
    case.say_lock()


async def receiving(case: Taking) -> None:
    await case.welcomed()
    await case.round({1: b"one"})


async def prepared(case: Taking) -> None:
    await receiving(case)
    case.say_final()
    await case.other.expect(wire.Prepared)


def value(**changes: Any) -> wire.Values:
    fields: dict[str, Any] = {"kind": "line", "serial": 1, "changes": 1, **changes}
    return wire.Values([wire.Item(**fields)])


BREACHES: list[tuple[str, Callable[[Taking], Awaitable[None]], wire.Message, int, str]] = [
    ("a HELLO", calling, hello(), 1, "a destination was sent Hello"),
    ("an OWNED", receiving, wire.Owned(), 0, "a destination was sent Owned"),
    ("WELCOME without a pidfd", calling, wire.Welcome(1, {}, 2, 0, 1.0), 0, "WELCOME carries one pidfd"),
    ("WELCOME with two", calling, wire.Welcome(1, {}, 2, 0, 1.0), 2, "WELCOME carries one pidfd"),
    ("WELCOME with another thing", calling, wire.Welcome(1, {}, 2, 0, 1.0), 1, "no pidfd"),
    ("WELCOME twice", halfway_in, wire.Welcome(1, {}, 2, 0, 1.0), 1, "WELCOME carries one pidfd"),
    ("WELCOME later", receiving, wire.Welcome(1, {}, 2, 0, 1.0), 1, "out of turn in state RECEIVING"),
    ("too few listeners", halfway_in, wire.Listeners(RESOURCES), 2, "LISTENERS does not match"),
    ("too many listeners", halfway_in, wire.Listeners(RESOURCES), 4, "LISTENERS does not match"),
    ("LISTENERS later", receiving, wire.Listeners(RESOURCES), 3, "out of turn in state RECEIVING"),
    ("LOCK without one", calling, wire.Lock(), 0, "LOCK carries one"),
    ("LOCK twice", halfway_in, wire.Lock(), 1, "LOCK carries one"),
    ("PIPE before LOCK", calling, wire.Pipe(), 1, "after LOCK"),
    ("PIPE without one", halfway_in, wire.Pipe(), 0, "PIPE carries one"),
    ("PIPE twice", receiving, wire.Pipe(), 1, "out of turn in state RECEIVING"),
    (
        "STRAGGLER before the byte",
        prepared,
        wire.Straggler(wire.Item("line", 9, 0)),
        0,
        "out of turn in state PREPARED",
    ),
    ("BYE before the byte", prepared, wire.Bye(), 0, "out of turn in state PREPARED"),
    ("a value without its descriptor", receiving, value(serial=9, with_fd=True), 0, "without its descriptors"),
    ("a value without its memory", receiving, value(in_memfd=True), 0, "without its descriptors"),
    ("a value with another's memory", receiving, value(in_memfd=True), 1, "no memfd"),
    ("a value with a second descriptor", receiving, value(with_fd=True), 1, "second descriptor"),
    ("an unknown value without a first", receiving, value(serial=9), 0, "without its first"),
    ("values with a descriptor too many", receiving, value(), 1, "more descriptors than announced"),
]


@pytest.mark.parametrize(("name", "until", "message", "fds", "words"), BREACHES, ids=[breach[0] for breach in BREACHES])
def test_a_breach_of_the_protocol_ends_it(
    name: str, until: Callable[[Taking], Awaitable[None]], message: wire.Message, fds: int, words: str
) -> None:
    async def run() -> None:
        async with taking() as case:
            await until(case)
            case.other.say(message, *null(fds))
            await case.left(ProtocolError, words)

    play(run())


@pytest.mark.parametrize("until", [calling, halfway_in, receiving, prepared])
@pytest.mark.parametrize("garbage", [b"\0", b"\x91\xa5FINAL\xff", b"\x92\xa6VALUES\x01"])
def test_garbage_ends_it(until: Callable[[Taking], Awaitable[None]], garbage: bytes) -> None:
    async def run() -> None:
        async with taking() as case:
            await until(case)
            with socket.socket(fileno=os.dup(case.other.channel.fileno())) as raw:
                raw.send(garbage)
            await case.left(ProtocolError, "not a handover message")

    play(run())


@scenario
async def test_a_memory_file_that_can_still_be_written_to_is_refused() -> None:
    async with taking() as case:
        await receiving(case)
        unsealed = os.memfd_create("value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(unsealed, b"x" * 50_000)
        case.other.say(value(in_memfd=True), unsealed)
        await case.left(ProtocolError, "not sealed")


@scenario
async def test_after_the_commit_nothing_the_source_sends_can_hurt() -> None:
    async with taking() as case:
        await case.owned()
        case.other.say(wire.Final(0, b"", b"", b""))
        case.other.say(value(with_fd=True), *null(1))
        case.other.say(wire.Closed([1, 2]))
        case.other.say(wire.Lock(), *null(1))
        with socket.socket(fileno=os.dup(case.other.channel.fileno())) as raw:
            raw.send(b"garbage")
        case.other.say(wire.Bye())
        await case.other.expect(wire.Released)
        assert await case.over() is Destination.STARTED
        assert case.server.texts() == {1: b"one", 2: b"two"}
        assert case.server.ticking
