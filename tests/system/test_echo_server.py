"""examples/echo_server.py as a stranger would run it: a server of under 100 lines that is upgraded live."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hotswap.echo import EXAMPLE, PATIENCE, Echo
from tests.kit.offspring import Offspring, wait_for_stop
from tests.kit.waiting import eventually


class Example(Echo):
    """The program itself instead of its class with options."""

    program = EXAMPLE

    def launch(self, command: list[str] | None = None, **changes: object) -> int:
        os.environ["ECHO_DIR"] = self.options.runtime_dir
        try:
            return super().launch(command or [sys.executable, str(self.program), self.options.address])
        finally:
            del os.environ["ECHO_DIR"]


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    made = Example(tmp_path, Offspring())
    try:
        yield made
        print(made.log_text())
    finally:
        made.close()


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 100


def test_lines_half_lines_and_counters_outlive_upgrades(example: Example) -> None:
    example.start()
    talker, halfway, idle = example.client(), example.client(), example.client()
    for generation in range(2, 5):
        talker.say(b"before")
        halfway.send(b"hal")
        result = example.upgrade()
        assert (result["ok"], result["generation"], result["connections"]) == (True, generation, 3)
        halfway.send(b"f\n")
        halfway.expect(b"half")
        talker.say(b"after")
    idle.say(b"at last")
    assert idle.total == 3 * 3 + 1
    assert example.status()["server"] == {"lines": 10}


def test_what_a_slow_reader_did_not_take_yet_moves_byte_for_byte(example: Example) -> None:
    example.start()
    slow = example.client()
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    lines = [b"%06d" % number + b"x" * 994 for number in range(9000)]
    writer = threading.Thread(target=slow.send, args=(b"".join(line + b"\n" for line in lines),))
    writer.start()  # blocks once the server stops reading: it holds answers nobody takes
    try:
        for _ in range(3):
            assert example.upgrade()["ok"]
        for line in lines:
            slow.expect(line)
    finally:
        slow.sock.shutdown(socket.SHUT_RDWR)
        writer.join(PATIENCE)


def test_clients_that_talk_all_the_time_notice_nothing(example: Example) -> None:
    example.start()
    stop = threading.Event()
    failures: list[BaseException] = []

    def talk(number: int) -> None:
        client = example.client()
        try:
            while not stop.is_set():
                client.say(b"line of %d" % number)
        except (AssertionError, OSError) as failure:
            failures.append(failure)

    talkers = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for talker in talkers:
        talker.start()
    try:
        for _ in range(4):
            assert example.upgrade()["ok"]
            assert failures == []
    finally:
        stop.set()
        for talker in talkers:
            talker.join(PATIENCE)
    assert failures == []
    status = example.status()
    assert status["generation"] == 5
    assert status["server"]["lines"] > 100


def test_a_client_in_the_accept_queue_is_served_by_the_next_generation(example: Example) -> None:
    first = example.start()
    example.arm("source.put_byte.before:stop")
    second = example.launch([sys.executable, str(EXAMPLE), example.options.address, "again"])
    wait_for_stop(first, within=PATIENCE)
    waiting = example.client()  # the kernel completes the handshake; nobody accepts
    waiting.send(b"early\n")
    os.kill(first, signal.SIGCONT)
    example.wait_served_by(second)
    waiting.expect(b"early")


def test_half_closed_and_reset_clients_cost_themselves_only(example: Example) -> None:
    pid = example.start()
    steady, closing, resetting = example.client(), example.client(), example.client()
    for client in (steady, closing, resetting):
        client.say(b"hello")
    closing.send(b"last\n")
    closing.sock.shutdown(socket.SHUT_WR)
    closing.expect(b"last")
    assert closing.sock.recv(100) == b""
    resetting.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    resetting.close()
    eventually(lambda: example.status()["connections"] == 1, within=PATIENCE, what="one is left")
    steady.say(b"still here")
    assert cpu_seconds(pid) < 5, "it spins"
    assert example.upgrade()["connections"] == 1
    steady.say(b"and here")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_run_again_after_a_change_it_takes_over(example: Example, tmp_path: Path) -> None:
    """The way the text at its top says. The second one runs other code, so nobody superseded it."""
    first = example.start()
    client = example.client()
    client.say(b"one")
    changed = tmp_path / "echo_server.py"
    for generation in (2, 3):
        shutil.copy(EXAMPLE, changed)
        with changed.open("a") as source:
            source.write(f"# generation {generation}\n")
        second = example.start([sys.executable, str(changed), example.options.address])
        assert example.exit_code(first) == 0
        client.say(b"again")
        first = second
    assert example.status()["generation"] == 3
