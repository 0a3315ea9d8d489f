"""examples/workers.py as a stranger would run it: workers that share their metrics, and are killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from shm_metrics.names import found, remove
from tests.kit.companion import ROOT
from tests.kit.examples import demonstrate
from tests.kit.ports import free_port, refused
from tests.kit.waiting import eventually

PROGRAM = [sys.executable, "examples/workers.py"]
PATIENCE = 20.0
COUNT = 'workers_requests_total{code="200"}'


class Workers:
    """The program, on a port and in shared memory of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.name = f"test-workers-{os.getpid()}-{self.port}"
        self._running: list[subprocess.Popen[bytes]] = []
        self.start()

    def start(self) -> None:
        command = [*PROGRAM, "--port", str(self.port), "--name", self.name]
        self.parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        self._running.append(self.parent)
        assert self.parent.stdout
        assert b"serving" in self.parent.stdout.readline()

    def end(self, signum: signal.Signals) -> int:
        """All of it, by a signal to the parent. Returns the exit code."""
        self.parent.send_signal(signum)
        code = self.parent.wait(PATIENCE)
        eventually(lambda: refused(f"127.0.0.1:{self.port}"), within=PATIENCE, what="the workers are gone")
        return code

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as response:
            answer: bytes = response.read()
        return answer.decode()

    def worker(self) -> int:
        """The pid of one that answers."""
        return int(self.get("/").removeprefix("worker "))

    def metrics(self) -> dict[str, float]:
        lines = self.get("/metrics").splitlines()
        return {name: float(value) for name, _, value in (one.rpartition(" ") for one in lines if one[0] != "#")}

    def memory(self) -> list[str]:
        """The segments of that name."""
        return [one.name for one in found() if self.name in one.name]

    def close(self) -> None:
        for one in self._running:
            one.kill()
            one.wait(PATIENCE)
            assert one.stdout
            one.stdout.close()
        for name in self.memory():
            remove(name)


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    try:
        yield made
        made.end(signal.SIGTERM)
    finally:
        made.close()


def test_any_worker_answers_for_all(workers: Workers) -> None:
    asked = 0
    pids: set[int] = set()
    while len(pids) < 2:
        pids.add(workers.worker())
        asked += 1
        assert workers.metrics()[COUNT] == asked
    metrics = workers.metrics()
    assert metrics["workers_request_seconds_count"] == metrics['workers_request_seconds_bucket{le="+Inf"}'] == asked
    eventually(lambda: workers.metrics()["workers_living"] == 4, within=PATIENCE, what="all of them are there")


def test_what_a_killed_worker_counted_stays_and_another_takes_its_place(workers: Workers) -> None:
    killed = workers.worker()
    os.kill(killed, signal.SIGKILL)
    eventually(
        lambda: (workers.metrics()["workers_replaced_total"], workers.metrics()["workers_living"]) == (1, 4),
        within=PATIENCE,
        what="another one is there",
    )
    assert workers.worker() != killed
    assert workers.metrics()[COUNT] == 2


def test_no_request_harms_a_worker(workers: Workers) -> None:
    for nonsense in (b"\r\n\r\n", b"GET\r\n\r\n", b"\0 \xff \n\r\n\r\n", b"GET /die/counted HTTP/1.1\r\n\r\n", b""):
        with socket.create_connection(("127.0.0.1", workers.port), PATIENCE) as client:
            client.sendall(nonsense)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
    metrics = workers.metrics()
    assert (metrics['workers_requests_total{code="404"}'], metrics["workers_replaced_total"]) == (4, 0)


def test_counters_go_on_after_a_crash_of_all_and_are_gone_after_an_orderly_end(workers: Workers) -> None:
    workers.worker()
    assert workers.end(signal.SIGKILL) == -signal.SIGKILL
    assert len(workers.memory()) == 1
    workers.start()
    workers.worker()
    assert workers.metrics()[COUNT] == 2
    assert workers.end(signal.SIGTERM) == 0
    assert workers.memory() == []
    workers.start()
    assert workers.metrics()[COUNT] == 0


def test_the_demo_is_exact() -> None:
    told = demonstrate("examples/workers.py", "--demo")
    assert "must have been counted  9950\ncounted                 9950, and 9950 in the histogram\n" in told
    assert told.endswith("The total is exact.\n")
