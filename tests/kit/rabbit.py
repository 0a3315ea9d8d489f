"""A real RabbitMQ of a test: a node of its own on loopback, with an epmd, cookie and files of its own.

    with Rabbit() as rabbit:
        rabbit.addresses    # two doors of the same broker, for a change of broker
        rabbit.tls          # and one for TLS, if there is an authority

It takes about seven seconds to start. `Absent` says why there is none.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.kit.bolt_peers import Absent
from tests.kit.certificates import Authority
from tests.kit.ports import free_port, loopback, port_of
from tests.kit.waiting import eventually

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
PATIENCE = 90.0


class Rabbit:
    """A context manager."""

    def __init__(self, authority: Authority | None = None) -> None:
        if not SERVER.exists() or shutil.which("epmd") is None:
            raise Absent("rabbitmq-server is not installed")
        self.directory = Path(tempfile.mkdtemp(prefix="rabbit", dir="/tmp"))
        self.addresses = (loopback(), loopback())
        self.tls = loopback() if authority is not None else ""
        self._processes: list[subprocess.Popen[bytes]] = []
        self._log = self.directory / "log"
        self._configure(authority)

    def _configure(self, authority: Authority | None) -> None:
        lines = [f"listeners.tcp.{number} = {address}" for number, address in enumerate(self.addresses, 1)]
        lines += [
            "log.console = true",
            "log.console.level = warning",
            "disk_free_limit.absolute = 1MB",
            "vm_memory_high_watermark.absolute = 1GB",
        ]
        if authority is not None:
            pair = authority.issue("rabbit")
            lines += [
                f"listeners.ssl.1 = {self.tls}",
                f"ssl_options.cacertfile = {authority.file}",
                f"ssl_options.certfile = {pair.cert}",
                f"ssl_options.keyfile = {pair.key}",
                "ssl_options.verify = verify_none",
            ]
        (self.directory / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self.directory / "enabled_plugins").write_text("[].\n")

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        here = self.directory
        mapper = free_port()
        environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "HOME": str(here),  # the cookie's place
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"hotswap{mapper}@localhost",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(here / "mnesia"),
            "RABBITMQ_LOG_BASE": str(here / "logs"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(here / "pid"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            # In place of a shell that waits for it there is the node itself; and it does not spin while it waits.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-noinput -kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
            ),
        }
        with self._log.open("wb") as log:
            for argv in (["epmd", "-port", str(mapper), "-address", "127.0.0.1"], [str(SERVER)]):
                self._processes.append(
                    subprocess.Popen(
                        argv,
                        cwd=here,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        eventually(self._serves, within=PATIENCE, what="RabbitMQ serves")

    def _serves(self) -> bool:
        node = self._processes[-1]
        assert node.poll() is None, f"RabbitMQ ended:\n{self.log()}"
        with socket.socket() as probe:
            probe.settimeout(5)
            try:
                probe.connect(("127.0.0.1", port_of(self.addresses[-1])))
                probe.sendall(b"AMQP\0\0\x09\x01")
                return bool(probe.recv(1))
            except OSError:
                return False

    def log(self) -> str:
        """What it said."""
        return self._log.read_text(errors="replace")[-4000:] if self._log.exists() else ""

    def close(self) -> None:
        """End it and remove its files."""
        for process in reversed(self._processes):
            try:
                os.killpg(process.pid, signal.SIGKILL)  # a session of its own: its helpers, too
            except ProcessLookupError:
                pass
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
