"""The giving side against a destination that is driven by hand, well or badly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

import pytest

from hotswap.errors import (
    AttemptFailed,
    ConnectionsLost,
    DeadlinePassed,
    DestinationFailed,
    HotswapError,
    LeftBehind,
    ProtocolError,
)
from hotswap.handover import wire
from hotswap.handover.channel import Channel, from_memfd, to_memfd
from hotswap.handover.holder import Wishes
from hotswap.handover.rounds import Limits, digest
from hotswap.handover.states import Source, State
from tests.hotswap.toy import ADDRESS, LIMITS, Other, Owner, Toy, give, hello, no_leak, own_pidfd, play

ONE_ROUND = {"rounds": 1}  # whatever is dirty then is left for the freeze


class Giving:
    """A source attempt, and this test as its destination."""

    def __init__(self, server: Toy, **how: Any) -> None:
        self.server = server
        self.owner = Owner(server)
        self.events: list[dict[str, Any]] = []
        self.pipe = -1
        self.held: dict[int, int] = {}  # descriptors received, by serial
        self.seen: dict[int, bytes] = {}  # states received, by serial
        self.closed: list[int] = []
        pidfd = how.pop("pidfd", None)
        wishes = Wishes(how.pop("dry_run", False), how.pop("require_all", False))
        limits = Limits(**{name: how.pop(name, getattr(LIMITS, name)) for name in Limits.__struct_fields__})
        assert not how
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.other = Other(theirs)
        self.attempt = give(Channel(ours), self.owner, hello(), wishes, limits, self.events)
        self.attempt.begin({"line": 1}, own_pidfd() if pidfd is None else pidfd)

    # -- the steps of a destination ------------------------------------------------------------------

    async def welcome(self) -> wire.Welcome:
        """WELCOME and what comes with it."""
        welcome = await self.other.expect(wire.Welcome)
        await self.other.expect(wire.Listeners)
        await self.other.expect(wire.Lock)
        _, [self.pipe] = await self.other.expect_with_fds(wire.Pipe)
        return welcome

    async def round(self, *problems: wire.Problem) -> int:
        """One round, taken in and answered; its number."""
        begun = await self.copied()
        self.other.say(wire.RoundDone(begun.number, len(self.seen), list(problems)))
        return begun.number

    async def copied(self) -> wire.Round:
        """One round, taken in and not answered yet."""
        begun = await self.other.expect(wire.Round)
        assert not begun.final
        while not isinstance(message := await self.take(), wire.RoundEnd):
            pass
        assert message.number == begun.number
        return begun

    async def final(self) -> wire.Final:
        """The last pass."""
        assert (await self.other.expect(wire.Round)).final
        while not isinstance(message := await self.take(), wire.Final):
            pass
        return message

    async def take(self) -> wire.AnyMessage:
        """One message; values and descriptors are noted."""
        message, fds, _ = await self.other.next()
        if isinstance(message, wire.Values):
            for item in message.items:
                self.note(item, fds)
        elif isinstance(message, wire.Closed):
            self.closed += message.serials
        for fd in fds:
            os.close(fd)
        return message

    def note(self, item: wire.Item, fds: list[int]) -> None:
        if item.with_fd:
            self.held[item.serial] = fds.pop(0)
        self.seen[item.serial] = from_memfd(fds.pop(0)) if item.in_memfd else item.state

    def take_byte(self) -> bytes:
        """What the pipe holds now, if anything."""
        try:
            return os.read(self.pipe, 16)
        except BlockingIOError:
            return b""

    async def own(self) -> None:
        """Everything up to OWNED."""
        await self.welcome()
        await self.round()
        await self.final()
        self.other.say(wire.Prepared())
        assert self.take_byte() == b"O"
        self.other.say(wire.Owned())

    # -- the outcome ---------------------------------------------------------------------------------

    async def over(self) -> HotswapError | None:
        """Wait for the end; why it failed."""
        await self.attempt.over
        return self.attempt.failure

    def state(self) -> State:
        return self.attempt.state

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop turn until something is so; the whole scenario has a deadline."""
        while not condition():  # noqa: ASYNC110  what a machine does inside sends no event
            await asyncio.sleep(0)

    async def taken_back(self, kind: type[HotswapError], words: str = "") -> None:
        """The attempt fails for this reason, and the server is as if it had never been."""
        failure = await self.over()
        assert isinstance(failure, kind), repr(failure)
        assert failure.exit_code == kind.exit_code
        assert words in str(failure)
        assert self.attempt.state is Source.SERVING
        assert self.server.ticking
        assert "retire" not in self.server.calls
        assert self.owner.calls.count("freeze") == self.owner.calls.count("thaw")
        if self.pipe >= 0:
            assert self.take_byte() == b"A", "who reads the pipe later must find the abort"
        for serial, client in self.server.clients.items():
            self.server.answer(serial, b"still here")
            assert client.recv(100) == b"still here"

    def close(self) -> None:
        self.attempt._close()
        if (pidfd := self.attempt.detach_pidfd()) >= 0:
            os.close(pidfd)
        self.other.close()
        self.owner.close()
        self.server.close()
        for fd in [self.pipe, *self.held.values()]:
            if fd >= 0:
                os.close(fd)


def three_connections(*, unfinished: Collection[int] = ()) -> Toy:
    server = Toy()
    server.connect(1, 2, 3, text=b"before")
    server.unfinished = set(unfinished)
    return server


@contextlib.asynccontextmanager
async def giving(server: Toy | None = None, **how: Any) -> AsyncIterator[Giving]:
    """A `Giving` that leaves no descriptor open, whatever happens in the block."""
    server = server or three_connections()
    made = Giving(server, **how)
    try:
        yield made
    finally:
        made.close()


def scenario(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """A test that runs in an event loop with a deadline, and leaks nothing."""

    def run() -> None:
        async def bounded() -> None:
            await test()

        with no_leak():
            play(bounded())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@contextlib.contextmanager
def mortal() -> Any:
    """A process to die in place of the destination."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            yield process
        finally:
            process.kill()


# -- a handover that succeeds --------------------------------------------------------------------------


@scenario
async def test_from_welcome_to_released() -> None:
    async with giving() as case:
        welcome = await case.welcome()
        assert (welcome.generation, welcome.connections, welcome.schemas) == (2, 3, {"line": 1})
        assert case.server.copies_elsewhere
        await case.round()
        assert case.seen == {1: b"before", 2: b"before", 3: b"before"}
        final = await case.final()
        assert not case.server.ticking
        assert (final.connections, final.digest) == (3, digest([1, 2, 3], [0, 0, 0]))
        assert case.take_byte() == b"O"
        case.other.say(wire.Prepared())
        case.other.say(wire.Owned())
        bye = await case.other.expect(wire.Bye)
        assert (bye.listeners, bye.connections, bye.in_flight) == (1, 3, 1)
        assert not case.attempt.over.done(), "the listeners are held until RELEASED"
        case.other.say(wire.Released())
        await case.over()
        assert case.state() is Source.GONE
        assert case.owner.calls == ["freeze", "retired"]
        assert (case.owner.kept, set(case.owner.wanted)) == ([], {ADDRESS})
        os.write(case.held[2], b"moved")
        assert case.server.clients[2].recv(100) == b"moved"


@scenario
async def test_the_byte_is_in_the_pipe_before_final_is_out() -> None:
    async with giving() as case:
        await case.welcome()
        await case.round()
        await case.final()
        assert case.take_byte() == b"O"
        case.other.say(wire.Owned())
        await case.other.expect(wire.Bye)


@scenario
async def test_what_changed_is_copied_again_and_what_closed_is_taken_back() -> None:
    async with giving() as case:
        await case.welcome()
        await case.copied()
        case.server.receive(2, b"after")
        case.server.forget(3)
        case.server.connect(9, text=b"new")
        case.seen.clear()
        case.other.say(wire.RoundDone(1, 3, []))
        final = await case.final()
        assert case.seen == {2: b"after", 9: b"new"}
        assert case.closed == [3]
        assert (final.connections, final.digest) == (3, digest([1, 2, 9], [0, 1, 0]))
        assert set(case.held) == {1, 2, 3, 9}


@scenario
async def test_rounds_go_on_until_the_rest_is_small() -> None:
    server = Toy()
    server.connect(*range(100), text=b"x")
    async with giving(server, budget=10 * 6e-6, value_cost=6e-6) as case:
        await case.welcome()
        for dirty in (50, 20, 11):
            begun = await case.copied()
            for serial in range(dirty):
                server.receive(serial, b"y")
            case.other.say(wire.RoundDone(begun.number, 0, []))
        await case.round()
        await case.final()
        rounds = [(event["copied"], event["left"]) for event in case.events if event["event"] == "round"]
        assert rounds == [(100, 50), (50, 20), (20, 11), (11, 0)]
        assert case.attempt.outcome.rounds == 4


@scenario
async def test_large_states_travel_in_sealed_memory() -> None:
    server = Toy()
    server.connect(1, text=b"L" * (wire.INLINE_VALUE + 1))
    server.connect(2, text=b"S" * wire.INLINE_VALUE)
    server.shared_state = b"C" * 200_000
    async with giving(server) as case:
        await case.welcome()
        await case.round()
        assert case.seen == server.texts()
        assert (await case.other.expect(wire.Round)).final
        final, [memfd] = await case.other.expect_with_fds(wire.Final)
        assert final.shared_in_memfd
        assert from_memfd(memfd) == server.shared_state
        case.take_byte()
        case.other.say(wire.Owned())
        await case.other.expect(wire.Bye)


@scenario
async def test_a_chain_and_a_shared_state_that_fit_alone_do_not_burst_the_message_together() -> None:
    async with giving() as case:
        case.server.shared_state = b"C" * (wire.INLINE_VALUE - 1)
        case.owner.chain_state = lambda: b"H" * (wire.INLINE_VALUE - 1)  # type: ignore[method-assign]
        await case.welcome()
        await case.round()
        assert (await case.final()).shared_in_memfd


@pytest.mark.parametrize("size", [1, 8_000, 20_000, wire.INLINE_VALUE, wire.INLINE_VALUE + 1])
def test_states_of_any_size_fit_their_messages(size: int) -> None:
    async def run() -> None:
        server = Toy()
        for serial in range(40):
            server.connect(serial, text=b"x" * (size - serial % 2))
        async with giving(server) as case:
            await case.welcome()
            await case.round()
            assert case.seen == server.texts()

    play(run())


# -- what cannot move ----------------------------------------------------------------------------------


@scenario
async def test_what_the_destination_cannot_restore_is_kept() -> None:
    async with giving() as case:
        await case.welcome()
        await case.round(wire.Problem(2, "line too new"))
        assert await case.round() == 2, "another round must tell what else cannot be restored"
        assert case.server.staying() == {2: "line too new"}
        final = await case.final()
        assert case.closed == [2]
        assert final.connections == 2
        case.take_byte()
        case.other.say(wire.Owned())
        await case.other.expect(wire.Bye)
        case.other.say(wire.Released())
        await case.over()
        assert case.owner.kept == [2]
        assert list(case.server.lines) == [2]
        assert case.attempt.outcome.kept == {"line too new": 1}


@scenario
async def test_what_stays_is_never_copied_nor_counted_as_dirty() -> None:
    server = Toy()
    server.connect(1, 2, 3)
    server.reasons[3] = "cannot"
    async with giving(server, budget=0.0, value_cost=1.0) as case:
        await case.welcome()
        await case.round()
        assert set(case.held) == {1, 2}
        assert (await case.final()).connections == 2
        assert case.events[-2]["left"] == 0


@scenario
async def test_require_all_refuses_before_anything_is_frozen() -> None:
    async with giving(require_all=True) as case:
        await case.welcome()
        await case.round(wire.Problem(2, "line too new"))
        await case.taken_back(LeftBehind, "1 connections cannot move (line too new)")
        assert "freeze" not in case.server.calls
        assert case.owner.calls == ["end_destination"]


@scenario
async def test_require_all_is_content_when_everything_moves() -> None:
    async with giving(require_all=True) as case:
        await case.own()
        await case.other.expect(wire.Bye)


@scenario
async def test_a_dry_run_goes_as_far_as_prepared_and_puts_no_byte() -> None:
    async with giving(dry_run=True) as case:
        await case.welcome()
        await case.round()
        final = await case.final()
        assert final.connections == 3
        assert case.take_byte() == b""
        assert case.server.ticking
        case.other.say(wire.Prepared())
        assert await case.over() is None
        assert case.state() is Source.SERVING
        assert case.attempt.outcome.rehearsed
        assert case.attempt.outcome.connections == 3
        assert case.take_byte() == b"A"
        assert case.server.calls == []
        assert case.owner.calls == ["end_destination"]


# -- stragglers ------------------------------------------------------------------------------------------


@scenario
async def test_a_straggler_follows_when_it_has_become_a_value() -> None:
    async with giving(three_connections(unfinished={2, 3})) as case:
        await case.welcome()
        await case.round()
        final = await case.final()
        assert (final.connections, final.stragglers) == (1, [2, 3])
        assert case.take_byte() == b"O"
        case.other.say(wire.Owned())
        await case.until(lambda: "retired" in case.owner.calls)
        assert sorted(case.owner.kept) == [2, 3], "ticked by the source alone until each is sent"
        case.server.receive(3, b"L" * 100_000)
        case.server.unfinished = {2}
        message, fds = await case.other.expect_with_fds(wire.Straggler)
        case.note(message.item, fds)
        assert case.seen[3] == b"L" * 100_000
        assert 3 not in case.server.lines, "two owners"
        os.write(case.held[3], b"moved")
        assert case.server.clients[3].recv(100) == b"moved"
        case.server.forget(2)  # its handshake failed
        await case.other.expect(wire.Bye)


@scenario
async def test_a_straggler_that_takes_too_long_is_kept() -> None:
    async with giving(three_connections(unfinished={2}), stragglers=0.05) as case:
        await case.own()
        await case.other.expect(wire.Bye)
        assert list(case.server.lines) == [2]


@scenario
async def test_who_calls_on_the_source_later_does_not_hold_up_the_goodbye() -> None:
    async with giving(three_connections(unfinished={2}), stragglers=60.0) as case:
        await case.own()
        await case.until(lambda: "retired" in case.owner.calls)
        case.server.connect(10)
        case.server.unfinished = {10}
        await case.other.expect(wire.Straggler)
        await case.other.expect(wire.Bye)
        assert list(case.server.lines) == [10]


@scenario
async def test_a_straggler_that_cannot_be_saved_costs_the_others_nothing() -> None:
    async with giving(three_connections(unfinished={2, 3})) as case:
        await case.own()
        await case.until(lambda: "retired" in case.owner.calls)
        case.server.lines[2].text = None  # type: ignore[assignment]
        case.server.unfinished = set()
        assert (await case.other.expect(wire.Straggler)).item.serial == 3
        await case.other.expect(wire.Bye)
        assert list(case.server.lines) == [2]


# -- time --------------------------------------------------------------------------------------------------


@scenario
async def test_a_destination_that_restores_for_ever_is_given_up() -> None:
    async with giving(attempt=0.5) as case:
        await case.welcome()
        await case.copied()
        await case.taken_back(DeadlinePassed, "copying was not done in time")


@scenario
async def test_a_destination_that_stops_reading_in_the_freeze_is_given_up() -> None:
    server = Toy()
    server.connect(*range(200), text=b"x")
    async with giving(server, rounds=1, freeze=0.1) as case:
        await case.welcome()
        begun = await case.copied()
        for serial in server.lines:
            server.receive(serial, b"y" * wire.INLINE_VALUE)  # 6 MB: more than the socket takes
        case.other.say(wire.RoundDone(begun.number, 200, []))
        await case.taken_back(DeadlinePassed, "stopped reading in the middle of the freeze")
        assert server.calls == ["freeze", "thaw"]
        assert "end_destination" in case.owner.calls


@scenario
async def test_a_destination_that_does_not_take_the_byte_loses_it() -> None:
    async with giving(freeze=0.05) as case:
        await case.welcome()
        await case.round()
        await case.final()
        case.other.say(wire.Prepared())
        await case.taken_back(DeadlinePassed, "did not take over in time after the freeze")


@scenario
async def test_one_that_took_the_byte_and_went_silent_is_waited_for() -> None:
    async with giving(freeze=0.5, grace=0.02) as case:
        await case.welcome()
        await case.round()
        await case.final()
        assert case.take_byte() == b"O"
        await case.until(lambda: case.owner.calls == ["freeze", "end_destination"])
        assert case.state() is Source.WAITING
        assert not case.server.ticking, "the byte is out: whoever holds it may tick"
        case.other.say(wire.Owned())  # it was about to
        await case.other.expect(wire.Bye)
        case.other.say(wire.Released())
        await case.over()
        assert case.state() is Source.GONE


@scenario
async def test_a_missing_release_does_not_keep_the_source_for_ever() -> None:
    async with giving(release=0.05) as case:
        await case.own()
        await case.other.expect(wire.Bye)
        await case.over()
        assert case.state() is Source.GONE


@scenario
async def test_cancelled_before_the_commit_it_is_taken_back() -> None:
    async with giving() as case:
        await case.welcome()
        await case.copied()
        case.attempt.cancel(AttemptFailed("told to end"))
        await case.taken_back(AttemptFailed, "told to end")


@scenario
async def test_cancelled_in_the_freeze_it_is_taken_back() -> None:
    async with giving() as case:
        await case.welcome()
        await case.round()
        await case.final()
        assert case.attempt.frozen
        case.attempt.cancel(AttemptFailed("told to end"))
        await case.taken_back(AttemptFailed, "told to end")


@scenario
async def test_cancelled_after_the_commit_it_is_finished_all_the_same() -> None:
    async with giving(three_connections(unfinished={2}), stragglers=60.0) as case:
        await case.own()
        await case.until(lambda: "retired" in case.owner.calls)
        case.attempt.cancel(AttemptFailed("too late"))
        case.server.unfinished = set()
        await case.other.expect(wire.Straggler)
        await case.other.expect(wire.Bye)
        case.attempt.cancel(AttemptFailed("too late"))
        await asyncio.sleep(0)
        assert case.state() is Source.LEAVING
        case.other.say(wire.Released())
        assert await case.over() is None


# -- a destination that fails ----------------------------------------------------------------------------


@scenario
async def test_one_that_is_unable_after_the_freeze_says_why() -> None:
    async with giving() as case:
        await case.welcome()
        await case.round()
        await case.final()
        case.other.say(wire.Unable(14, "count or digest differ"))
        await case.taken_back(DestinationFailed, "count or digest differ")
        assert case.server.calls == ["freeze", "thaw"]


@scenario
async def test_one_that_is_unable_while_copying_says_why() -> None:
    async with giving() as case:
        await case.welcome()
        await case.copied()
        case.other.say(wire.Unable(8, "127.0.0.1:80 cannot be bound"))
        await case.taken_back(DestinationFailed, "127.0.0.1:80 cannot be bound")


@scenario
async def test_one_that_hangs_up_while_copying_changes_nothing() -> None:
    async with giving() as case:
        await case.welcome()
        await case.copied()
        case.other.close()
        assert await case.over() is None
        assert case.state() is Source.SERVING
        assert case.server.calls == []


@scenario
async def test_one_that_hangs_up_after_the_freeze_without_the_byte_loses_it() -> None:
    async with giving() as case:
        await case.welcome()
        await case.round()
        await case.final()
        case.other.close()
        assert await case.over() is None
        assert case.state() is Source.SERVING
        assert case.server.calls == ["freeze", "thaw"]
        assert case.take_byte() == b"A"


@scenario
async def test_one_that_dies_with_the_byte_before_owned_has_done_nothing() -> None:
    with mortal() as process:
        async with giving(pidfd=os.pidfd_open(process.pid)) as case:
            await case.welcome()
            await case.round()
            await case.final()
            assert case.take_byte() == b"O"
            case.other.close()
            await case.until(lambda: case.attempt.state is Source.WAITING)
            assert not case.server.ticking, "the end of the channel is no death"
            process.kill()
            assert await case.over() is None
            assert case.state() is Source.SERVING
            assert case.server.calls == ["freeze", "thaw"]
            assert case.attempt.peer_dead


@pytest.mark.parametrize("said_bye", [False, True])
def test_one_that_dies_as_owner_before_released_gives_the_listeners_back(said_bye: bool) -> None:
    async def run() -> None:
        with mortal() as process:
            async with giving(
                three_connections(unfinished=set() if said_bye else {2}),
                pidfd=os.pidfd_open(process.pid),
                stragglers=60.0,
            ) as case:
                await case.own()
                if said_bye:
                    await case.other.expect(wire.Bye)
                process.kill()
                failure = await case.over()
                assert type(failure) is ConnectionsLost
                assert case.state() is Source.ALONE
                assert case.owner.calls == ["freeze", "retired", "take_listeners"]

    play(run())


@scenario
async def test_one_that_dies_with_released_on_its_way_is_gone_for_good() -> None:
    with mortal() as process:
        async with giving(pidfd=os.pidfd_open(process.pid)) as case:
            await case.own()
            await case.other.expect(wire.Bye)
            case.other.say(wire.Released())
            process.kill()  # both are there when the loop looks: the message counts
            process.wait()
            assert await case.over() is None
            assert case.state() is Source.GONE


# -- a destination that breaks the protocol ----------------------------------------------------------------


async def nothing_yet(case: Giving) -> None:
    """Right after WELCOME."""
    await case.welcome()


async def a_round(case: Giving) -> None:
    """With a round to be answered."""
    await case.welcome()
    await case.copied()


async def frozen(case: Giving) -> None:
    """With FINAL received."""
    await case.welcome()
    await case.round()
    await case.final()


BREACHES: list[tuple[Callable[[Giving], Awaitable[None]], wire.Message, int, str]] = [
    (nothing_yet, hello(), 0, "a source was sent Hello"),
    (nothing_yet, wire.Lock(), 1, "a source was sent Lock"),
    (a_round, wire.Final(0, b"", b"", b""), 0, "a source was sent Final"),
    (a_round, wire.Bye(), 0, "a source was sent Bye"),
    (a_round, wire.RoundDone(7, 3, []), 0, "ROUND_DONE 7 out of turn"),
    (a_round, wire.Prepared(), 0, "PREPARED out of turn in state COPYING"),
    (a_round, wire.Owned(), 0, "OWNED out of turn in state COPYING"),
    (a_round, wire.Released(), 0, "RELEASED out of turn in state COPYING"),
    (frozen, wire.RoundDone(1, 3, []), 0, "ROUND_DONE 1 out of turn"),
    (frozen, wire.Released(), 0, "RELEASED out of turn in state OFFERED"),
    (frozen, wire.Welcome(1, {}, 1, 1, 1.0), 3, "a source was sent Welcome"),
]


@pytest.mark.parametrize(
    ("until", "message", "fds", "words"), BREACHES, ids=[f"{b[0].__name__}-{type(b[1]).__name__}" for b in BREACHES]
)
def test_a_message_out_of_turn_ends_the_attempt_and_nothing_else(
    until: Callable[[Giving], Awaitable[None]], message: wire.Message, fds: int, words: str
) -> None:
    async def run() -> None:
        async with giving() as case:
            await until(case)
            case.other.say(message, *(own_pidfd() for _ in range(fds)))
            await case.taken_back(ProtocolError, words)
            assert "end_destination" in case.owner.calls

    with no_leak():
        play(run())


@pytest.mark.parametrize("until", [nothing_yet, a_round, frozen])
@pytest.mark.parametrize("garbage", [b"\0", b"\x91\xa5OWNED\xff", b"\x92\xa8PREPARED", b"\x91" * 5000])
def test_garbage_ends_the_attempt_and_nothing_else(until: Callable[[Giving], Awaitable[None]], garbage: bytes) -> None:
    async def run() -> None:
        async with giving() as case:
            await until(case)
            with socket.socket(fileno=os.dup(case.other.channel.fileno())) as raw:
                raw.send(garbage)
            await case.taken_back(ProtocolError, "not a handover message")

    with no_leak():
        play(run())


@scenario
async def test_a_flood_of_acknowledgements_opens_nothing() -> None:
    async with giving() as case:
        for _ in range(100):
            case.other.say(wire.Ack(2**62))
        await case.own()
        await case.other.expect(wire.Bye)


@pytest.mark.parametrize("kind", ["file", "pipe", "memfd"])
def test_a_proof_of_life_that_is_no_pidfd_is_refused(kind: str) -> None:
    async def run() -> None:
        if kind == "file":
            fd = os.open("/dev/null", os.O_RDONLY)
        elif kind == "memfd":
            fd = to_memfd(b"Pid:\t1\n")
        else:
            fd, writer = os.pipe()
            os.close(writer)
        async with giving(pidfd=fd) as case:
            refused = await case.other.expect(wire.Refused)
            assert (refused.code, "no pidfd" in refused.reason) == (ProtocolError.exit_code, True)
            await case.taken_back(ProtocolError, "no pidfd")
            assert not case.server.copies_elsewhere

    with no_leak():
        play(run())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("until", [a_round, frozen])
def test_a_message_of_another_user_is_not_believed(until: Callable[[Giving], Awaitable[None]]) -> None:
    """The channel may have been inherited by, or passed on to, a process of less right."""

    async def run() -> None:
        async with giving() as case:
            await until(case)
            fd = case.other.channel.fileno()
            message = wire.RoundDone(1, 3, []) if until is a_round else wire.Owned()
            program = f"import os, socket; os.setuid(65534); socket.socket(fileno={fd}).send({wire.encode(message)!r})"
            argv = [sys.executable, "-I", "-c", program]
            stranger = await asyncio.create_subprocess_exec(*argv, pass_fds=[fd])
            await case.taken_back(ProtocolError, "uid 65534")
            assert await stranger.wait() == 0

    play(run())


# -- a server that fails -----------------------------------------------------------------------------------


def failing(*_: object) -> Any:
    raise ZeroDivisionError("a bug of the server")


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("freeze", "source.freeze failed"),
        ("save_shared", "source.send_final failed"),
        ("in_flight", "could not be processed"),
    ],
)
def test_a_bug_of_the_server_costs_the_attempt_only(method: str, words: str) -> None:
    async def run() -> None:
        server = Toy()
        server.connect(1, 2)
        setattr(server, method, failing)
        async with giving(server) as case:
            await case.welcome()
            await case.round()
            failure = await case.over()
            assert words in str(failure)
            assert case.state() is Source.SERVING
            assert server.ticking
            assert case.take_byte() == b"A"

    play(run())


@scenario
async def test_a_value_that_cannot_be_saved_costs_the_attempt_only() -> None:
    async with giving() as case:
        case.server.lines[2].save = failing  # type: ignore[assignment, method-assign]
        await case.welcome()
        await case.taken_back(HotswapError, "a value could not be saved: ZeroDivisionError")
