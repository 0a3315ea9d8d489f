"""The door: strangers of every kind are turned away, logged once, and never in the way of a real destination."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from hotswap.errors import Busy, PermissionDenied, ProtocolError
from hotswap.handover import greeter, wire
from hotswap.handover.channel import Channel
from hotswap.handover.greeter import WAITING, Greeter
from tests.hotswap.handover.ends import Other, hello, own_pidfd
from tests.hotswap.toy import no_leak, open_descriptors, play

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

GARBAGE = [b"\0", b"GET / HTTP/1.1\r\n\r\n", b"\x9f" * 100, b"\x91" * 60_000, b"x" * 70_000]


class Door:
    """A greeter on an abstract socket, which anybody can reach."""

    def __init__(self, peers: frozenset[int]) -> None:
        self.name = f"\0hotswap-test-{os.getpid()}-{id(self)}"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.name)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.listener.listen(128)
        self.admitted: list[tuple[Channel, wire.Hello, int]] = []
        self.busy = False
        self.greeter = Greeter(self.listener.fileno(), self._admit, lambda: self.busy, peers)
        self._callers: list[Other] = []

    def _admit(self, channel: Channel, said: wire.Hello, pidfd: int) -> None:
        self.admitted.append((channel, said, pidfd))

    def call(self) -> Other:
        """Somebody connects."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(self.name)
        self._callers.append(Other(sock))
        return self._callers[-1]

    async def until(self, number: int) -> None:
        """Wait until so many were admitted; the scenario has a deadline."""
        while len(self.admitted) < number:  # noqa: ASYNC110  `Admit` is a plain call
            await asyncio.sleep(0)

    async def still_opens(self) -> None:
        """A real destination gets in."""
        before = len(self.admitted)
        self.call().say(hello(token=f"real-{before}"), own_pidfd())
        await self.until(before + 1)
        assert self.admitted[-1][1].token == f"real-{before}"

    def close(self) -> None:
        if self.greeter._listener.fileno() >= 0:
            self.greeter.stop()
        self.listener.close()
        for caller in self._callers:
            caller.close()
        for channel, _, pidfd in self.admitted:
            channel.close()
            os.close(pidfd)


@contextlib.asynccontextmanager
async def door(peers: frozenset[int] = frozenset()) -> AsyncIterator[Door]:
    made = Door(peers)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with no_leak():
        yield


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def refused(caller: Other, kind: type[Any]) -> None:
    """The caller hears why, and then the end."""
    assert (await caller.expect(wire.Refused)).code == kind.exit_code
    await caller.ended()


# -- who comes in --------------------------------------------------------------------------------------------


def test_a_destination_comes_in_with_its_hello_and_its_proof_of_life() -> None:
    async def run() -> None:
        async with door() as case:
            case.call().say(hello(token="abc"), own_pidfd())
            await case.until(1)
            channel, said, pidfd = case.admitted[0]
            assert said == hello(token="abc")
            assert open_descriptors()[str(pidfd)] == "anon_inode:[pidfd]"
            channel.send(wire.Lock())
            await case._callers[0].expect(wire.Lock)

    play(run())


def test_what_comes_after_hello_is_left_for_whoever_was_given_the_channel() -> None:
    async def run() -> None:
        async with door() as case:
            caller = case.call()
            caller.say(hello(), own_pidfd())
            caller.say(wire.Prepared())
            await case.until(1)
            received = case.admitted[0][0].receive()
            assert received is not None
            assert received.message == wire.Prepared()

    play(run())


def test_a_caller_in_no_hurry_comes_in() -> None:
    async def run() -> None:
        async with door() as case:
            slow = case.call()
            await case.still_opens()
            slow.say(hello(token="slow"), own_pidfd())
            await case.until(2)
            assert case.admitted[1][1].token == "slow"

    play(run())


# -- who does not --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: f"{garbage[:8]!r}x{len(garbage)}")
def test_garbage_is_refused_and_logged_once(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with door() as case:
            for _ in range(3):
                caller = case.call()
                with socket.socket(fileno=os.dup(caller.channel.fileno())) as raw:
                    raw.send(garbage)
                await refused(caller, ProtocolError)
            await case.still_opens()

    play(run())
    assert warnings(caplog) == ["a caller on the handover socket does not speak the protocol"]


def test_half_a_hello_is_refused() -> None:
    """A datagram is whole or nothing: half of it is no message."""

    async def run() -> None:
        async with door() as case:
            for cut in (1, 10, -1):
                caller = case.call()
                with socket.socket(fileno=os.dup(caller.channel.fileno())) as raw:
                    raw.send(wire.encode(hello())[:cut])
                await refused(caller, ProtocolError)
            await case.still_opens()

    play(run())


@pytest.mark.parametrize("message", [wire.Prepared(), wire.Owned(), wire.Released(), wire.Bye()], ids=repr)
def test_another_message_than_hello_is_refused(message: wire.Message) -> None:
    async def run() -> None:
        async with door() as case:
            caller = case.call()
            caller.say(message)
            await refused(caller, ProtocolError)
            await case.still_opens()

    play(run())


@pytest.mark.parametrize("pidfds", [0, 2, 253])
def test_a_hello_with_another_number_of_descriptors_is_refused_and_none_is_kept(pidfds: int) -> None:
    async def run() -> None:
        async with door() as case:
            caller = case.call()
            caller.say(hello(), *(own_pidfd() for _ in range(pidfds)))
            await refused(caller, ProtocolError)
            await case.still_opens()

    play(run())


def test_a_hello_that_is_too_large_for_its_fields_is_refused() -> None:
    async def run() -> None:
        async with door() as case:
            for changes in ({"wanted": ["x"] * 1025}, {"token": "x" * 257}, {"command": ["x"] * 257}, {"pid": -1}):
                caller = case.call()
                said = msgspec.msgpack.encode(msgspec.structs.replace(hello(), **changes))
                with socket.socket(fileno=os.dup(caller.channel.fileno())) as raw:
                    raw.send(said)
                await refused(caller, ProtocolError)
            await case.still_opens()

    play(run())


def test_while_an_attempt_is_under_way_everybody_else_is_told_so() -> None:
    async def run() -> None:
        async with door() as case:
            early = case.call()
            while not case.greeter._callers:  # noqa: ASYNC110  no event tells that it was accepted
                await asyncio.sleep(0)
            case.busy = True
            late = case.call()
            await refused(late, Busy)
            early.say(hello(), own_pidfd())
            await refused(early, Busy)
            case.busy = False
            await case.still_opens()

    play(run())


def test_who_says_nothing_is_sent_away_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greeter, "PATIENCE", 0.05)

    async def run() -> None:
        async with door() as case:
            await case.call().ended()
            await case.still_opens()

    play(run())


def test_who_hangs_up_at_once_is_forgotten() -> None:
    async def run() -> None:
        async with door() as case:
            for _ in range(50):
                case.call().close()
            await case.still_opens()
            assert case.greeter._callers == {}

    play(run())


def test_however_many_call_and_wait_the_oldest_make_room() -> None:
    async def run() -> None:
        async with door() as case:
            callers = [case.call() for _ in range(3 * WAITING)]
            for caller in callers[: 2 * WAITING]:
                await caller.ended()
            assert len(case.greeter._callers) == WAITING
            await case.still_opens()
            callers[-1].say(hello(token="last"), own_pidfd())
            await case.until(2)

    play(run())


async def calls_of_nobody(case: Door, calls: int) -> list[bytes]:
    """What another user hears, who says HELLO so many times."""
    program = (
        "import os, socket, sys; os.setuid(65534)\n"
        f"hello = {wire.encode(hello(token='nobody'))!r}\n"
        f"for _ in range({calls}):\n"
        "    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        f"    s.connect({case.name!r})\n"
        "    try:\n"
        "        socket.send_fds(s, [hello], [os.pidfd_open(os.getpid())])\n"
        "    except BrokenPipeError:\n"
        "        pass\n"
        "    try:\n"
        "        told = s.recv(1000)\n"
        "    except ConnectionResetError:  # once\n"
        "        told = s.recv(1000)\n"
        "    print(told.hex())\n"
    )
    nobody = await asyncio.create_subprocess_exec(sys.executable, "-I", "-c", program, stdout=asyncio.subprocess.PIPE)
    told, _ = await nobody.communicate()
    assert nobody.returncode == 0
    return [bytes.fromhex(line) for line in told.decode().splitlines()]


@needs_root
def test_another_user_hears_why_before_a_byte_is_read_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with door() as case:
            for told in await calls_of_nobody(case, 3):
                refusal = wire.decode(told)
                assert isinstance(refusal, wire.Refused)
                assert refusal.code == PermissionDenied.exit_code
                assert "list 65534 in upgrade.peer_uids" in refusal.reason
            assert case.admitted == []
            await case.still_opens()

    play(run())
    assert warnings(caplog) == ["a stranger called on the handover socket"]


@needs_root
def test_a_peer_comes_in_under_its_own_uid(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with door(frozenset({65534})) as case:
            asked = asyncio.ensure_future(calls_of_nobody(case, 1))
            await case.until(1)
            channel, said, pidfd = case.admitted.pop()
            assert said.token == "nobody"
            os.close(pidfd)
            channel.close()
            assert await asked == [b""]

    play(run())
    assert warnings(caplog) == []


@needs_root
def test_a_connection_opened_by_us_and_used_by_another_is_sent_away() -> None:
    async def run() -> None:
        async with door() as case:
            caller = case.call()
            fd = caller.channel.fileno()
            program = (
                "import os, socket; os.setuid(65534)\n"
                f"socket.send_fds(socket.socket(fileno={fd}), [{wire.encode(hello())!r}], [os.pidfd_open(os.getpid())])"
            )
            stranger = await asyncio.create_subprocess_exec(sys.executable, "-I", "-c", program, pass_fds=[fd])
            await caller.ended()
            assert await stranger.wait() == 0
            assert case.admitted == []
            await case.still_opens()

    play(run())


# -- the listener --------------------------------------------------------------------------------------------


def test_stopped_it_leaves_the_listener_to_its_next_owner() -> None:
    async def run() -> None:
        async with door() as case:
            waiting = case.call()
            case.greeter.stop()
            waiting.say(hello(token="waited"), own_pidfd())
            await asyncio.sleep(0)
            assert case.admitted == []
            case.greeter = Greeter(case.listener.fileno(), case._admit, lambda: False)
            await case.until(1)
            assert case.admitted[0][1].token == "waited"

    play(run())


def test_stopped_it_hangs_up_on_those_it_listens_to() -> None:
    async def run() -> None:
        async with door() as case:
            caller = case.call()
            while not case.greeter._callers:  # noqa: ASYNC110  no event tells that it was accepted
                await asyncio.sleep(0)
            case.greeter.stop()
            await caller.ended()

    play(run())


def test_out_of_descriptors_it_neither_spins_nor_loses_the_caller(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(greeter, "_PAUSE", 0.05)

    async def run() -> None:
        async with door() as case:
            caller = case.call()
            caller.say(hello(token="patient"), own_pidfd())
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            free = os.open(os.devnull, os.O_RDONLY)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            try:
                while case.greeter._pause is None:  # noqa: ASYNC110  no event tells
                    await asyncio.sleep(0)
                assert not asyncio.get_running_loop().remove_reader(case.greeter._listener.fileno()), "it spins"
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await case.until(1)
            assert case.admitted[0][1].token == "patient"

    play(run())
    assert warnings(caplog) == ["cannot accept on the handover socket"]
