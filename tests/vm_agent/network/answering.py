"""Servers that say who they are, and clients that come again and again to hear it."""

from __future__ import annotations

import socket
import threading
from collections import Counter

from tests.kit.background import Background
from tests.kit.networks import Network
from tests.kit.waiting import eventually


class Answering(Background):
    """Sends its name, echoes a line, and again."""

    def __init__(self, network: Network, name: str, port: int) -> None:
        super().__init__()
        self.name = name
        self._sock = network.run(self._listen, port)
        self._open: list[socket.socket] = []

    @staticmethod
    def _listen(port: int) -> socket.socket:
        return socket.create_server(("::", port), family=socket.AF_INET6, backlog=256, dualstack_ipv6=True)

    def run(self) -> None:
        self._sock.settimeout(0.05)
        while not self.over.is_set():
            try:
                client, _ = self._sock.accept()
            except TimeoutError:
                continue
            client.settimeout(20)
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()
        self._sock.close()
        for client in self._open:
            client.close()

    def _serve(self, client: socket.socket) -> None:
        try:
            client.sendall(f"{self.name}\n".encode())
            while line := client.recv(100):
                client.sendall(line)
        except OSError:
            pass


class Caller:
    """A connection to one of them; `name` is who answered."""

    def __init__(self, host: str, port: int) -> None:
        self._sock = socket.create_connection((host, port), timeout=30)
        self.name = self._line()

    def echo(self) -> bool:
        """It goes on."""
        self._sock.sendall(b"hello\n")
        return self._line() == "hello"

    def close(self) -> None:
        self._sock.close()

    def _line(self) -> str:
        text = b""
        while not text.endswith(b"\n"):
            more = self._sock.recv(100)
            if not more:
                raise ConnectionError("ended")
            text += more
        return text.decode().strip()


def called(host: str, port: int) -> str:
    """Who answers there."""
    caller = Caller(host, port)
    caller.close()
    return caller.name


class Callers(Background):
    """Connect from this network one after the other, and count who answered, and what failed."""

    def __init__(self, network: Network, host: str, port: int) -> None:
        super().__init__()
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._network, self._host, self._port = network, host, port

    def run(self) -> None:
        self._network.run(self._call)

    def _call(self) -> None:
        while not self.over.is_set():
            try:
                self.answers[called(self._host, self._port)] += 1
            except OSError as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    def more(self, count: int) -> Counter[str]:
        """Wait for so many calls that begin from now on; who answered them."""
        # One may be under way, and have begun before.
        first = self.answers.total() + len(self.failures) + 1
        eventually(lambda: self.answers.total() + len(self.failures) >= first, within=60, what="a call")
        before = self.answers.copy()
        eventually(lambda: self.answers.total() - before.total() >= count or self.failures, within=60, what="calls")
        return self.answers - before
