"""Real generations of a small line server, and clients that check every line.

`EchoServer` is examples/echo_server.py; as a program this module runs it with the options that tests need:

    python -m tests.hotswap.echo '{"name": "echo", "runtime_dir": ..., "address": ..., ...}'
"""

from __future__ import annotations

import logging
import os
import runpy
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from hotswap import Generation, Limits
from hotswap.address import Address
from hotswap.container import Container
from hotswap.control_client import ControlClient
from hotswap.errors import HotswapError
from hotswap.faults import VARIABLE as FAULTS
from hotswap.log import set_up
from hotswap.server import Server
from hotswap.swappable import Took
from tests.kit.companion import ROOT
from tests.kit.offspring import Offspring, kill, run_state, wait_for_end, wait_for_stop
from tests.kit.ports import loopback, port_of
from tests.kit.supervisor import Played
from tests.kit.waiting import eventually

EXAMPLE = ROOT / "examples" / "echo_server.py"
PATIENCE = 20.0  # seconds for anything that takes a fraction of one
NEWS = "was told: "


class Options(msgspec.Struct, frozen=True):
    """What a generation is started with."""

    runtime_dir: str
    address: str
    name: str = "echo"
    takeover: str = "auto"
    build: str = "1"
    config_id: str = "c"
    limits: Limits = Limits(attempt=15.0, freeze=2.0, grace=0.3, release=5.0, drain=10.0, farewell=5.0)
    admin: str = ""
    container: Container = Container()


class Echo:
    """One name with its generations."""

    def __init__(self, directory: Path, offspring: Offspring) -> None:
        self.directory = directory
        self.offspring = offspring
        self.options = Options(str(directory / "run"), loopback())
        self.runtime = directory / "run" / "echo"
        self.log = directory / "log"
        self.faults = directory / "faults"
        self.supervisor: Played | None = None
        self._clients: list[Client] = []

    # -- generations -----------------------------------------------------------------------------------

    def command(self, **changes: Any) -> list[str]:
        """The command line of a generation."""
        options = msgspec.structs.replace(self.options, **changes)
        return [sys.executable, "-m", "tests.hotswap.echo", msgspec.json.encode(options).decode()]

    def launch(self, command: list[str] | None = None, **changes: Any) -> int:
        """Start a generation without waiting for it; its pid. With a supervisor that one passes on what it holds."""
        env = {**os.environ, "PYTHONPATH": str(ROOT), FAULTS: str(self.faults)}
        argv, fds = command or self.command(**changes), list[int]()
        if self.supervisor is not None:
            argv, fds = self.supervisor.starting(argv)
            env |= self.supervisor.environment
        return self.offspring.start(argv, env=env, cwd=ROOT, stderr=self.log, pass_fds=fds)

    def start(self, command: list[str] | None = None, **changes: Any) -> int:
        """Start a generation and wait until it serves; its pid."""
        pid = self.launch(command, **changes)
        self.wait_served_by(pid)
        return pid

    def wait_served_by(self, pid: int) -> dict[str, Any]:
        """Wait until this process answers as the owner."""

        def serving() -> dict[str, Any] | None:
            assert run_state(pid) not in "ZX-", f"process {pid} ended:\n{self.log_text()}"
            status = self.try_status()
            return status if status is not None and status["pid"] == pid and status["state"] == "serving" else None

        status = eventually(serving, within=PATIENCE, what=f"process {pid} serves")
        assert status is not None
        return status

    def exit_code(self, pid: int) -> int:
        """Wait for the end of a generation; negative for a signal."""
        return self.offspring.status(pid, within=PATIENCE)

    def log_text(self) -> str:
        """What all generations wrote."""
        return self.log.read_text() if self.log.exists() else ""

    def news(self) -> list[list[Any]]:
        """What servers were told of upgrades, in order: the name of the method, its arguments."""
        told = [line.partition(NEWS)[2] for line in self.log_text().splitlines() if NEWS in line]
        return [msgspec.json.decode(one) for one in told]

    # -- asking ------------------------------------------------------------------------------------------

    def control(self, timeout: float = PATIENCE) -> ControlClient:
        return ControlClient(Path(self.options.runtime_dir), self.options.name, timeout=timeout)

    def status(self) -> dict[str, Any]:
        return self.control().get("/status")

    def no_successor(self, pid: int) -> None:
        """The same generation serves, and every other one is gone."""
        status = self.status()
        assert (status["pid"], status["generation"], status["state"]) == (pid, 1, "serving")
        eventually(lambda: self.offspring.living() == [pid], within=PATIENCE, what="only the source is left")

    def try_status(self) -> dict[str, Any] | None:
        """The same, or None if nobody answers."""
        try:
            return self.control(timeout=1.0).get("/status")
        except HotswapError:
            return None

    def history(self) -> list[dict[str, Any]]:
        history: list[dict[str, Any]] = self.control().get("/history")["history"]
        return history

    def upgrade(self, **order: Any) -> dict[str, Any]:
        """POST /upgrade; the result."""
        last: dict[str, Any] = {}
        for event in self.control().events("/upgrade", order, timeout=PATIENCE):
            last = event
        return last

    # -- failures ------------------------------------------------------------------------------------------

    def arm(self, *faults: str) -> None:
        """The next attempt fails at these points."""
        self.faults.write_text("\n".join(faults) + "\n")

    def stop(self, pid: int) -> None:
        """SIGSTOP, and wait for it."""
        kill(pid, signal.SIGSTOP)
        wait_for_stop(pid, within=PATIENCE)

    def terminate(self, pid: int) -> None:
        kill(pid, signal.SIGTERM)

    def kill(self, pid: int) -> None:
        """SIGKILL, and wait for the end."""
        kill(pid, signal.SIGKILL)
        wait_for_end(pid, within=PATIENCE)

    # -- clients -------------------------------------------------------------------------------------------

    def client(self) -> Client:
        self._clients.append(Client(self.options.address))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.offspring.end()


class Client:
    """Sends lines and checks that each comes back, once, in order, with its number."""

    def __init__(self, address: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port_of(address)), timeout=PATIENCE)
        self._unread = b""
        self.lines = 0
        self.total = 0

    def send(self, text: bytes) -> None:
        self.sock.sendall(text)

    def line(self) -> bytes:
        """The next line from the server."""
        while b"\n" not in self._unread:
            data = self.sock.recv(65536)
            assert data, "the server closed the connection"
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def expect(self, text: bytes) -> None:
        """The next line is this one, with the next number of this client; the total only grows."""
        numbers, _, echoed = self.line().partition(b": ")
        number, _, total = numbers.partition(b" of ")
        self.lines += 1
        assert (int(number), echoed) == (self.lines, text)
        assert int(total) > self.total
        self.total = int(total)

    def say(self, text: bytes) -> None:
        """One line there and back."""
        self.send(text + b"\n")
        self.expect(text)

    def close(self) -> None:
        self.sock.close()


class Talking(Server):
    """Writes to the log what it is told."""

    def owning(self, generation: int, how: str) -> None:
        self._say("owning", generation, how)

    def took_over(self, took: Took) -> None:
        self._say("took_over", took.downtime, dict(took.phases), dict(took.stayed), took.lost)

    def kept_on(self, how: str, *, thawed: bool) -> None:
        self._say("kept_on", how, thawed)

    def _say(self, *what: object) -> None:
        logging.getLogger("hotswap").info("%s%s", NEWS, msgspec.json.encode(what).decode())


def main(argument: str) -> int:
    options = msgspec.json.decode(argument, type=Options)
    set_up("text", "info")
    server = type("TalkingServer", (Talking, runpy.run_path(str(EXAMPLE))["EchoServer"]), {})(options.address)
    try:
        return Generation(
            options.name,
            server,
            runtime_dir=Path(options.runtime_dir),
            takeover=options.takeover,
            container=options.container,
            build=options.build,
            config_id=options.config_id,
            limits=options.limits,
            admin=Address.parse(options.admin) if options.admin else None,
        ).run()
    except HotswapError as error:
        logging.getLogger("hotswap").error("%s", error)  # noqa: TRY400  the text says it all
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
