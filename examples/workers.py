"""Four worker processes that share one set of metrics: each of them answers /metrics for all.

    python examples/workers.py             serve, and print what to try
    python examples/workers.py --demo      10,000 requests while workers are killed; is the total exact?

As with gunicorn, a parent binds the socket and forks workers, which accept from it; a worker that dies is replaced. It
needs the standard library and `shm_metrics`, nothing else.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from selectors import EVENT_READ, DefaultSelector
from typing import IO, cast

from shm_metrics import Registry
from shm_metrics.exposition import CONTENT_TYPES, Exposition

WORKERS = 4
HOST = "127.0.0.1"
PATIENCE = 5.0  # seconds for a client to send its request, and for the demo to get an answer
REQUESTS, CLIENTS, DEATHS = 10_000, 8, 100  # of the demo
SETTLED: tuple[float, ...] = (DEATHS, WORKERS, 1)  # replaced, living, busy: the one that answers the scrape

TO_TRY = {
    "curl {url}/": "again and again: the pid is that of the worker",
    "curl {url}/metrics": "whoever answers, it is the sum",
    "kill -9 WORKER": "its counts stay, its gauges go, another one takes its place",
    "kill -9 {pid}": "the parent; start it again, and the counters go on",
}
WAITED_FOR = {signal.SIGCHLD, signal.SIGINT, signal.SIGTERM}


class Metrics:
    """What is counted. Made before the first fork: a child goes on with the same objects, and counts for itself."""

    def __init__(self, name: str) -> None:
        self.registry = Registry.open(name)
        requests = self.registry.counter("workers_requests_total", "Requests answered.", ("code",))
        self.found = requests.labels("200")  # looked up once, here, and not for each request
        self.not_found = requests.labels("404")
        self.seconds = self.registry.histogram("workers_request_seconds", "From the whole request to its answer.")
        self.busy = self.registry.gauge("workers_busy", "Workers that have a request now.")
        self.living = self.registry.gauge("workers_living", "Workers that are there now.")
        self.replaced = self.registry.counter("workers_replaced_total", "Workers that died and were replaced.")
        self._exposition = Exposition()

    def text(self) -> bytes:
        """For Prometheus: the sum of all workers, the dead ones too."""
        return b"".join(self._exposition.pieces(self.registry.collect(), "text"))


# ---- the parent ----


class Parent:
    """Keeps the workers there."""

    def __init__(self, metrics: Metrics, port: int, *, mortal: bool) -> None:
        self.metrics = metrics
        self.mortal = mortal
        self.listener = socket.create_server((HOST, port), backlog=128)
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self.workers: set[int] = set()
        self._lifeline, self._end = os.pipe()  # workers see the end of this pipe when their parent is gone

    def run(self) -> None:
        """Until SIGINT or SIGTERM."""
        signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)  # they wait for `sigwait`, and interrupt nothing
        for _ in range(WORKERS):
            self._fork()
        while signal.sigwait(WAITED_FOR) == signal.SIGCHLD:
            for pid in self._dead():
                self.metrics.replaced.inc()
                print(f"worker {pid} died; {self._fork()} takes its place", flush=True)
        os.close(self._end)
        while self.workers:
            os.waitpid(self.workers.pop(), 0)
        self.metrics.registry.unlink()  # else the memory stays, and the next start goes on where this one ended

    def _fork(self) -> int:
        pid = os.fork()
        if not pid:
            try:
                os.close(self._end)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
                Worker(self.metrics, mortal=self.mortal).run(self.listener, self._lifeline)
            except Exception:  # noqa: BLE001  # whatever it is, a child must not go on as a second parent
                traceback.print_exc()
            finally:
                os._exit(0)
        self.workers.add(pid)
        return pid

    def _dead(self) -> Iterator[int]:
        while self.workers and (pid := os.waitpid(-1, os.WNOHANG)[0]):
            self.workers.discard(pid)
            yield pid


# ---- a worker ----


class Worker:
    """Serves one request after the other."""

    def __init__(self, metrics: Metrics, *, mortal: bool) -> None:
        self.metrics = metrics
        self.mortal = mortal  # clients may kill it, which the demo does
        metrics.living.set(1)

    def run(self, listener: socket.socket, lifeline: int) -> None:
        with DefaultSelector() as selector:
            selector.register(listener, EVENT_READ)
            selector.register(lifeline, EVENT_READ)
            while all(key.fd != lifeline for key, _ in selector.select()):
                try:
                    client, _ = listener.accept()
                except BlockingIOError:  # another worker was faster
                    continue
                client.settimeout(PATIENCE)
                try:
                    with client:
                        self.serve(client)
                except OSError:
                    pass  # the client went

    def serve(self, client: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            more = client.recv(65536)
            if not more:
                return
            request += more
        self.metrics.busy.inc()
        try:
            client.sendall(self.answer([*request.split(b" ", 2), b""][1]))
        finally:
            self.metrics.busy.dec()

    def answer(self, path: bytes) -> bytes:
        began = time.perf_counter()
        if path == b"/metrics":  # itself not counted
            return response("200 OK", self.metrics.text(), CONTENT_TYPES["text"])
        if self.mortal and path == b"/die/uncounted":
            os.kill(os.getpid(), signal.SIGKILL)
        if path == b"/" or (self.mortal and path.startswith(b"/die/")):
            self.metrics.found.inc()
            answer = response("200 OK", b"worker %d\n" % os.getpid())
        else:
            self.metrics.not_found.inc()
            answer = response("404 Not Found", b"There is / and /metrics.\n")
        # Counted first and sent then: whoever has an answer finds it counted.
        self.metrics.seconds.observe(time.perf_counter() - began)
        if self.mortal and path == b"/die/counted":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


def response(status: str, body: bytes, kind: str = "text/plain") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


# ---- the demo: a client that knows what must have been counted ----


class Demo:
    """Clients that ask, and now and then have the worker die that answers.

    Where a worker dies is up to the client, though it is SIGKILL in earnest: a client that only sees its connection end
    cannot know whether that request was counted before, so nobody could tell whether a total is exact.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.counted = 0
        self.lost = 0
        self.scrapes = 0
        self.troubles: list[str] = []
        self._lock = threading.Lock()
        paths = ["/die/counted"] * (DEATHS // 2) + ["/die/uncounted"] * (DEATHS // 2)
        paths += ["/"] * (REQUESTS - DEATHS)
        random.shuffle(paths)
        self._paths = iter(paths)

    def run(self) -> None:
        clients = [threading.Thread(target=self._ask_all) for _ in range(CLIENTS)]
        over = threading.Event()
        scraper = threading.Thread(target=self._scrape_until, args=(over,))
        for thread in (scraper, *clients):
            thread.start()
        for thread in clients:
            thread.join()
        over.set()
        scraper.join()

    def _next(self) -> str | None:
        with self._lock:
            return next(self._paths, None)

    def _ask_all(self) -> None:
        while path := self._next():
            answer = self.ask(path)
            with self._lock:
                self.counted += path != "/die/uncounted"
                self.lost += not answer
                if path == "/" and not answer.startswith("worker "):
                    self.troubles.append(f"no answer but {answer!r}")

    def _scrape_until(self, over: threading.Event) -> None:
        """A counter never goes down, whoever dies."""
        before = 0.0
        while not over.is_set():
            now = self.total()
            self.scrapes += 1
            if now < before:
                self.troubles.append(f"the total fell from {before:.0f} to {now:.0f}")
            before = now

    def ask(self, path: str) -> str:
        """The body of the answer; nothing if the worker died instead."""
        with socket.create_connection((HOST, self.port), PATIENCE) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            answer = b""
            try:
                while more := sock.recv(65536):
                    answer += more
            except ConnectionResetError:
                pass
            return answer.partition(b"\r\n\r\n")[2].decode()

    def value(self, series: str) -> float:
        for line in self.ask("/metrics").splitlines():
            if line.startswith(f"{series} "):
                return float(line.split(" ")[-1])
        return 0.0

    def settled(self) -> tuple[float, ...]:
        """Replaced, living and busy workers, as soon as the parent has seen the last death."""
        until = time.monotonic() + PATIENCE
        while True:
            found = tuple(self.value(f"workers_{one}") for one in ("replaced_total", "living", "busy"))
            if found == SETTLED or time.monotonic() > until:
                return found

    def total(self) -> float:
        return self.value('workers_requests_total{code="200"}')


def demo() -> int:
    """Returns 0 if the total is exact."""
    name = f"workers-demo-{os.getpid()}"
    command = [sys.executable, __file__, "--name", name, "--port", "0", "--mortal"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        output = cast("IO[str]", server.stdout)
        port = int(output.readline().split(":")[2].split("/")[0])
        drain = threading.Thread(target=output.read)  # it tells of each death; somebody has to listen
        drain.start()
        clients = Demo(port)
        print(f"{REQUESTS} requests by {CLIENTS} clients to {WORKERS} workers; {DEATHS} kill -9 who answers them ...")
        began = time.perf_counter()
        clients.run()
        seconds = time.perf_counter() - began
        total, observed = clients.total(), clients.value("workers_request_seconds_count")
        replaced, living, busy = clients.settled()
        server.terminate()
        drain.join()
    print(f"{seconds:.1f} s; {clients.lost} clients lost their worker, {clients.scrapes} scrapes saw no total fall")
    print(f"must have been counted  {clients.counted}")
    print(f"counted                 {total:.0f}, and {observed:.0f} in the histogram")
    print(f"replaced                {replaced:.0f}; living {living:.0f}, busy {busy:.0f}")
    for trouble in clients.troubles:
        print(trouble)
    exact = total == observed == clients.counted and (replaced, living, busy) == SETTLED
    print("The total is exact." if exact and not clients.troubles else "The total is WRONG.")
    return int(not exact or bool(clients.troubles))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="run through it alone")
    parser.add_argument("--port", type=int, default=8000, help="of 127.0.0.1; 0: any")
    parser.add_argument("--name", default="workers", help="of the shared memory")
    parser.add_argument("--mortal", action="store_true", help="die when a client says so, as the demo does")
    chosen = parser.parse_args()
    if chosen.demo:
        return demo()
    parent = Parent(Metrics(chosen.name), chosen.port, mortal=chosen.mortal)
    url = f"http://{HOST}:{parent.port}"
    print(f"serving {url}/, try")
    for command, what in TO_TRY.items():
        print(f"    {command.format(url=url, pid=os.getpid()):<34}  # {what}", flush=True)
    parent.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
