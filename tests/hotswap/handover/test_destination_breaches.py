"""The receiving side against a source that breaks the protocol."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hotswap.errors import (
    ProtocolError,
)
from hotswap.handover import wire
from hotswap.handover.states import Destination
from tests.hotswap.handover.ends import hello
from tests.hotswap.handover.taking import RESOURCES, Taking, null, scenario, taking
from tests.hotswap.toy import play

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
