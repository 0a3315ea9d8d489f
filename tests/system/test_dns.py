"""A real name server, dnsmasq, whose answers change under load and across an upgrade."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.load import Plan
from tests.kit.ports import free_port, loopback
from tests.kit.processes import PATIENCE, Instance
from tests.kit.programs import program
from tests.kit.stage import Stage
from tests.kit.waiting import eventually

pytestmark = pytest.mark.all


class NameServer:
    """dnsmasq on a port of loopback; TTL one second."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.hosts = directory / "names"
        self.hosts.write_text("")
        self._argv = [
            program("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
            "--pid-file=",
            f"--port={self.port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--local=/test/", "--local-ttl=1",
            f"--addn-hosts={self.hosts}", f"--user={pwd.getpwuid(os.getuid()).pw_name}",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._argv)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def says(self, *addresses: str) -> None:
        self.hosts.write_text("".join(f"{one} app.test\n" for one in addresses))
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)


@pytest.fixture
def names(stage: Stage) -> Iterator[NameServer]:
    made = NameServer(stage.directory)
    yield made
    made.stop()


def edge(stage: Stage, names: NameServer, *addresses: str) -> tuple[Instance, str]:
    port = free_port()
    stage.upstreams(*[("http", f"{one}:{port}") for one in addresses])
    web = loopback()
    instance = stage.instance(
        {
            "name": "edge",
            "dns": {"nameservers": [f"127.0.0.1:{names.port}"], "timeout": "300ms"},
            "listeners": [{"name": "web", "address": web, "protocol": "http1", "cluster": "app"}],
            "clusters": [{"name": "app", "endpoints": [f"app.test.:{port}"]}],
        }
    )
    instance.start()
    return instance, web


def becomes(instance: Instance, *addresses: str) -> None:
    eventually(
        lambda: instance.status().server["dns"][0]["addresses"] == list(addresses), within=PATIENCE, what=str(addresses)
    )


def test_answers_change_under_load_and_across_upgrades_and_nothing_fails(stage: Stage, names: NameServer) -> None:
    names.says("127.0.0.2")
    names.start()
    instance, web = edge(stage, names, "127.0.0.2", "127.0.0.3")
    becomes(instance, "127.0.0.2")
    load = stage.load(Plan(http=web, busy=8, streams=2, rate=80, stream_seconds=2))
    names.says("127.0.0.2", "127.0.0.3")
    becomes(instance, "127.0.0.2", "127.0.0.3")
    assert instance.upgrade("--require-all").exit_code == 0
    names.says("127.0.0.3")
    becomes(instance, "127.0.0.3")
    load.turn()
    names.stop()
    eventually(lambda: instance.status().server["dns"][0]["failures"], within=PATIENCE, what="nobody answers")
    assert instance.upgrade("--require-all").exit_code == 0
    assert instance.status().server["dns"][0]["addresses"] == ["127.0.0.3"], "the last good answer moves"
    names.says("127.0.0.2")
    names.start()
    becomes(instance, "127.0.0.2")
    report = load.finish()
    assert report.failures == []
    assert "app.test.: 127.0.0.2" in instance.hotswap("status", "edge").stdout


def test_many_addresses_come_over_tcp(stage: Stage, names: NameServer) -> None:
    many = [f"127.0.2.{number}" for number in range(1, 101)]  # 1.6 KB, so cut short over UDP
    names.says(*many)
    names.start()
    instance, _ = edge(stage, names, "127.0.0.2")
    becomes(instance, *many)
