"""A worker as its crew sees it: here the test is the worker, and says things late, too long, or more than once."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hotswap.errors import HotswapError, Refused
from hotswap.handover import wire
from proxy.config.loader import loads
from proxy.voice import Voice
from proxy.workers import words
from proxy.workers.hand import Hand
from proxy.workers.hands import Hands
from proxy.workers.line import Line, wait_for
from tests.kit.descriptors import no_free_descriptor

CONFIG = """\
name: edge
workers: 2
listeners: [{name: web, address: "127.0.0.1:80", protocol: http1, cluster: app}]
clusters: [{name: app, endpoints: ["127.0.0.1:9000"]}]
"""
REASON = ("listener api is not in the new configuration", "listener")


class Worker:
    """The process that was started, as far as anybody can tell."""

    pid = 4242

    def __init__(self, _command: list[str], pass_fds: tuple[int], **_: Any) -> None:
        self.heard: list[Any] = []
        self.fds: list[int] = []
        self.line = Line(socket.socket(fileno=os.dup(pass_fds[0])), self._took, lambda _why: None)
        self.ends = True
        STARTED.append(self)

    def _took(self, word: Any, fds: list[int]) -> None:
        self.heard.append(word)
        self.fds += fds
        fds.clear()

    def poll(self) -> int | None:
        return 0 if self.ends else None

    def wait(self, _seconds: float) -> int:
        return 0

    def send_signal(self, _number: int) -> None:
        pass


STARTED: list[Worker] = []


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(subprocess, "Popen", Worker)
    yield
    for worker in STARTED:
        worker.line.hang_up()
        for fd in worker.fds:
            os.close(fd)
    STARTED.clear()


def commission() -> words.Commission:
    return words.Commission(loads(CONFIG).config, 1, "build", None, Voice("text", "info", drop_privileges=False))


@pytest.fixture
def hand() -> Iterator[Hand]:
    scales = os.memfd_create("scales")
    made = Hand(commission(), scales, lambda _hand, _why: None)
    os.close(scales)
    yield made
    made.part()


@pytest.fixture
def worker(hand: Hand) -> Worker:
    return STARTED[-1]


def heard(worker: Worker, hand: Hand, done: Callable[[], bool]) -> bool:
    return wait_for([worker.line, hand.line], done, time.monotonic() + 5.0)


def agree(hand: Hand, worker: Worker, attempt: int) -> None:
    hand.attempt = attempt
    worker.line.say(words.Began(attempt))


def value(worker: Worker, serial: int) -> socket.socket:
    """Give a connection; the client of it."""
    client, ours = socket.socketpair()
    with ours:
        item = wire.Item("tcp.downstream", serial, 1, b"state", True, False)
        worker.line.say(wire.Values([item]), (ours.fileno(),))
    client.settimeout(5.0)
    return client


def test_what_is_given_for_the_attempt_is_there(hand: Hand, worker: Worker) -> None:
    agree(hand, worker, 1)
    with value(worker, 7):
        worker.line.say(words.RoundOver({}, [8]))
        assert heard(worker, hand, lambda: hand.gave)
        assert [*hand.values] == [7]
        assert hand.stragglers == {8}
        worker.line.say(words.Frozen({}, []))
        assert heard(worker, hand, lambda: hand.frozen)
        hand.forget()


def test_what_was_late_counts_for_no_other_attempt(hand: Hand, worker: Worker) -> None:
    """Else the crew would take a worker for frozen that ticks again, and commit what is not true any more."""
    agree(hand, worker, 1)
    hand.forget()
    hand.attempt = 2  # the worker did not hear of it yet
    with value(worker, 7) as client:
        worker.line.say(words.RoundOver({}, []))
        worker.line.say(words.Frozen({}, []))
        worker.line.say(words.Ready())
        assert heard(worker, hand, lambda: hand.ready)
        assert not hand.gave
        assert not hand.frozen
        assert client.recv(1) == b"", "nobody keeps a connection that its worker closed"
    agree(hand, worker, 2)
    worker.line.say(words.RoundOver({}, []))
    assert heard(worker, hand, lambda: hand.gave)
    assert not hand.frozen


def test_a_connection_that_comes_after_the_end_of_an_attempt_is_not_kept(hand: Hand, worker: Worker) -> None:
    agree(hand, worker, 1)
    with value(worker, 7) as client:
        assert heard(worker, hand, lambda: 7 in hand.values)
        hand.forget()
        assert client.recv(1) == b""
    with value(worker, 8) as client:
        worker.line.say(words.Ready())
        assert heard(worker, hand, lambda: hand.ready)
        assert hand.values == {}
        assert client.recv(1) == b""


def test_stragglers_follow_after_the_commit(hand: Hand, worker: Worker) -> None:
    agree(hand, worker, 1)
    worker.line.say(words.Frozen({}, [9]))
    assert heard(worker, hand, lambda: hand.frozen)
    hand.retired()
    client, ours = socket.socketpair()
    with client, ours:
        item = wire.Item("http1.downstream", 9, 1, b"state", True, False)
        worker.line.say(words.Follow(item), (ours.fileno(),))
        worker.line.say(words.Waiting([]))
        assert heard(worker, hand, lambda: not hand.stragglers)
        assert [*hand.values] == [9]
        hand.forget()


def test_any_number_of_connections_may_stay(hand: Hand, worker: Worker) -> None:
    agree(hand, worker, 1)
    worker.line.say(words.RoundOver(dict.fromkeys(range(20_000), REASON), [*range(20_000, 40_000)]))
    worker.line.say(words.Frozen(dict.fromkeys(range(20_000), REASON), []))
    assert heard(worker, hand, lambda: hand.frozen)
    assert len(hand.staying) == 20_000
    hand.say(words.Retire([*range(20_000)], ["api"]))
    assert heard(worker, hand, lambda: isinstance(worker.heard[-1], words.Retire))
    assert worker.heard[-1].kept == [*range(20_000)]


def test_any_number_of_listeners_may_be_given(hand: Hand, worker: Worker) -> None:
    with open("/dev/null", "rb") as null:  # noqa: PTH123 - a descriptor
        hand.sockets({f"l{number}": null.fileno() for number in range(600)}, words.Sockets)
        assert heard(worker, hand, lambda: any(isinstance(word, words.Sockets) and word.last for word in worker.heard))
    names = [word.names for word in worker.heard if isinstance(word, words.Sockets)]
    assert [name for some in names for name in some] == [f"l{number}" for number in range(600)]
    hand.sockets({}, words.Sockets)
    assert heard(worker, hand, lambda: worker.heard[-1] == words.Sockets([], last=True))


def test_without_free_descriptors_an_attempt_fails_and_nobody_ends(hand: Hand, worker: Worker) -> None:
    agree(hand, worker, 1)
    worker.line.say(words.RoundOver({}, []))
    assert heard(worker, hand, lambda: hand.gave)
    with value(worker, 7) as client:
        with no_free_descriptor():
            hand.line.read()
        assert "RLIMIT_NOFILE" in hand.trouble
        assert client.recv(1) == b""
    assert hand.lives
    rows = words.Rows([{"id": number} for number in range(9000)])
    worker.line.say(words.Told(rows=rows))
    assert heard(worker, hand, lambda: len(hand.rows.connections) == 9000)
    hand.forget()
    assert hand.trouble == ""


def test_a_worker_that_cannot_give_says_why(hand: Hand, worker: Worker) -> None:
    agree(hand, worker, 1)
    worker.line.say(words.Failed("Too many open files"))
    assert heard(worker, hand, lambda: bool(hand.trouble))
    assert hand.trouble == "worker 1 cannot give its connections: Too many open files"


def test_an_answer_to_another_plan_is_none(hand: Hand, worker: Worker) -> None:
    config = loads(CONFIG).config
    hand.plan(config)
    hand.plan(config)
    worker.line.say(words.Planned(1, ""))
    worker.line.say(words.Ready())
    assert heard(worker, hand, lambda: hand.ready)
    assert hand.planned is None
    worker.line.say(words.Planned(2, "no"))
    assert heard(worker, hand, lambda: hand.planned == "no")


# ---- all of them ----


class Kernel:
    """What is asked of it."""

    def clock(self) -> float:
        return time.monotonic()

    def open_files_limit(self) -> int:
        return 1 << 20


class Server:
    """What a crew is asked for by its hands."""

    def __init__(self) -> None:
        self.config = loads(CONFIG).config
        self.listeners: dict[str, Any] = {}
        self.reactor = self.home = self.upgrades = self
        self.kernel = Kernel()
        self.next_serial = self.number = 1

    def descriptors(self) -> dict[str, int]:
        return {}

    def save_shared(self, _now: float) -> bytes:
        return b""


def crew_of(server: Any, tmp_path: Path) -> Hands:
    return Hands(server, "build", tmp_path, Voice("text", "info", drop_privileges=False))


def test_a_place_that_could_not_be_filled_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def live() -> None:
        hands = crew_of(Server(), tmp_path)
        hands.recruit()
        hands.begin()
        (first,) = hands
        with monkeypatch.context() as patch:
            tried = asyncio.Event()

            def full(*_: Any, **__: Any) -> None:
                tried.set()
                raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

            patch.setattr(subprocess, "Popen", full)
            STARTED[0].line.hang_up()
            first.line.read()
            await asyncio.wait_for(tried.wait(), 5.0)
            assert hands.past == []
        async with asyncio.timeout(5.0):
            while not any(hands):  # noqa: ASYNC110 - a timer of theirs
                await asyncio.sleep(0.01)
        assert hands.past == [first.told]
        hands.part()
        os.close(hands._scales)

    asyncio.run(live())


def test_who_ended_while_another_generation_was_to_own_is_replaced_if_it_does_not(tmp_path: Path) -> None:
    async def live() -> None:
        hands = crew_of(Server(), tmp_path)
        hands.recruit()
        hands.begin()
        (first,) = hands
        first.line.attach()
        hands.owns = False
        STARTED[0].line.hang_up()
        first.line.read()
        assert not any(hands)
        hands.owns = True
        hands.fill()
        async with asyncio.timeout(5.0):
            while not any(hands):  # noqa: ASYNC110 - a timer of theirs
                await asyncio.sleep(0.01)
        hands.part()
        os.close(hands._scales)

    asyncio.run(live())


def test_one_that_takes_its_time_to_end_stops_nobody(tmp_path: Path) -> None:
    async def live() -> None:
        hands = crew_of(Server(), tmp_path)
        hands.recruit()
        hands.begin()
        (first,) = hands
        STARTED[0].ends = False
        before = time.monotonic()
        STARTED[0].line.hang_up()
        first.line.read()
        assert time.monotonic() - before < 1.0
        STARTED[0].ends = True
        hands.part()
        os.close(hands._scales)

    asyncio.run(live())


def test_an_attempt_needs_a_key_of_each(tmp_path: Path) -> None:
    async def live() -> None:
        hands = crew_of(Server(), tmp_path)
        hands.recruit()
        hands.begin()
        worker = STARTED[0]
        worker.line.say(words.Ready())
        with pytest.raises(Refused, match=r"worker 1 .*try again"):
            hands.check_ready()
        (hand,) = hands
        assert heard(worker, hand, lambda: words.NewKey() in worker.heard)
        fd = os.memfd_create("key")
        worker.line.say(words.Spare(), (fd,), (fd,))
        hands.check_ready()
        hands.forget()
        worker.line.say(words.Began(1))
        hand.attempt = 1
        worker.line.say(words.Failed("no"))
        with pytest.raises(HotswapError, match="cannot give its connections: no"):
            hands.wait(lambda one: one.frozen, 5.0, "freeze")
        hands.part()
        os.close(hands._scales)

    asyncio.run(live())
