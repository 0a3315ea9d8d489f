"""How long a cold start takes, from exec to the first answer, and what `hotswap` imports meanwhile.

Files are in the page cache and bytecode is written: each program is started once before it counts. A client knocks
until somebody listens, and asks. Killed processes leave nothing that the next one would have to tidy up.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.bench.configurations import CALLS, HOST, Site
from tests.bench.proxies import Hall, Proxy
from tests.kit.processes import Instance, hotswap

REQUEST = f"GET /api HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
KNOCK = 0.0005  # seconds between two knocks
PATIENCE = 30.0
IMPORT = re.compile(r"import time: +(\d+) \| +(\d+) \| +(\S+)")
MOST_PACKAGES = 8
LOOKS = 5

CLIENT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Takes anybody. Made once: that would take longer than nginx's start."""
CLIENT.check_hostname, CLIENT.verify_mode = False, ssl.CERT_NONE


class Plan(msgspec.Struct):
    """What to measure."""

    starts: int = 20
    upgrades: int = 10


class Row(msgspec.Struct):
    """One program. Seconds, a figure per start."""

    name: str
    version: str
    tls: bool
    wall: list[float]
    cpu: list[float]  # user and system, of the process until it is killed right after the answer


class Imports(msgspec.Struct):
    """What a start imports before it serves, and right after it. Milliseconds as `python -X importtime` has them."""

    tls: bool
    modules: int
    total: float
    later: int  # modules
    packages: list[tuple[str, int, float]]  # name, modules, milliseconds by themselves


class Command(msgspec.Struct):
    """One command of people and probes. Seconds, a figure per run."""

    name: str
    wall: list[float]


class Result(msgspec.Struct):
    """Everything of one run."""

    rows: list[Row]
    imports: list[Imports]
    commands: list[Command]
    missing: dict[str, str] = {}


class Written(Instance):
    """Is not started by the hall."""

    def start(self, *options: str) -> int:
        """Nothing yet."""
        return 0


@dataclass(slots=True)
class Ready(Hall):
    """Prepares programs and keeps their command lines, to be started again and again."""

    commands: dict[str, list[str]] = field(default_factory=dict)

    def _start(self, name: str, version: str, site: Site, command: list[str]) -> Proxy:
        self.commands[name] = command
        return Proxy(name, version, 0, site.ports, site.upstreams)

    def ours(self) -> Proxy:
        """hotswap with a listener of tcp and one of HTTP/1.1: Bolt would have to be imported."""
        proxy = self.hotswap(run=Written)
        assert proxy.instance is not None
        config = proxy.instance.config
        for part in ("listeners", "clusters"):
            config[part] = [one for one in config[part] if one["name"] not in CALLS]
        proxy.instance.write_config()
        self.commands[proxy.name] = proxy.instance.command("--log-level", "warning")
        return proxy


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    result = Result([], [], [])
    for tls in (False, True):
        with Ready(tls=tls) as hall:
            proxies = [hall.ours(), *filter(None, (hall.nginx(), hall.haproxy(), hall.envoy()))]
            result.missing |= hall.missing
            rows = {proxy.name: Row(proxy.name, proxy.version, tls, [], []) for proxy in proxies}
            with _upstreams(proxies):
                for number in range(plan.starts + 1):
                    for proxy in proxies:  # in turn: who disturbs one disturbs all
                        wall, cpu = _once(hall.commands[proxy.name], proxy, tls=tls)
                        if number:
                            rows[proxy.name].wall.append(wall)
                            rows[proxy.name].cpu.append(cpu)
                looks = [_imports(proxies[0], tls=tls) for _ in range(LOOKS)]
                result.imports.append(min(looks, key=lambda one: one.total))  # the one that was disturbed least
            result.rows.extend(rows.values())
            for row in rows.values():
                say(f"{row.name}, {tls=}: {min(row.wall) * 1000:.0f} ms at best")
    result.commands = _commands(plan)
    return result


def _environment(proxy: Proxy | None = None) -> dict[str, str]:
    found = dict(os.environ) if proxy is None or proxy.instance is None else dict(proxy.instance.environment)
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found


@contextmanager
def _upstreams(proxies: list[Proxy]) -> Iterator[None]:
    """One answer for each request, at the ports where the proxies expect it."""
    listeners = [socket.create_server(("127.0.0.1", proxy.upstreams["http"])) for proxy in proxies]
    for listener in listeners:
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
    try:
        yield
    finally:
        for listener in listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        try:
            while connection.recv(65536):
                connection.sendall(ANSWER)
        except OSError:
            pass  # the proxy was killed


def _once(command: list[str], proxy: Proxy, *, tls: bool) -> tuple[float, float]:
    """Seconds from exec to the first answer, and of CPU."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=_environment(proxy), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _ask(proxy.ports["http"], process, tls=tls)
        wall = time.perf_counter() - began
    finally:
        process.kill()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = -signal.SIGKILL
    return wall, usage.ru_utime + usage.ru_stime


def _ask(port: int, process: subprocess.Popen[Any], *, tls: bool) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
            break
        except ConnectionRefusedError:
            assert process.poll() is None, f"{process.args!r} ended"
            assert time.monotonic() < until, f"{process.args!r} does not listen"
            time.sleep(KNOCK)
    if tls:
        connection = CLIENT.wrap_socket(connection)
    with connection:
        connection.sendall(REQUEST)
        found = connection.recv(4096)
    assert found.startswith(b"HTTP/1.1 200"), found


# ---- imports ----


def _imports(proxy: Proxy, *, tls: bool) -> Imports:
    """Of one more start, at which we look."""
    assert proxy.instance is not None
    command = proxy.instance.command()
    command[: len(hotswap())] = [hotswap()[0], "-X", "importtime", *hotswap()[1:]]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=_environment(proxy), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _ask(proxy.ports["http"], process, tls=tls)
            status = proxy.instance.status
            until = time.monotonic() + PATIENCE
            while status().server["to_import"]:
                assert time.monotonic() < until, "it goes on importing"
                time.sleep(KNOCK)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        return counted(log.read(), tls=tls)


def counted(log: str, *, tls: bool) -> Imports:
    """What the log of a start says of imports."""
    before, _, after = log.partition(" serving ")
    found = [(int(one[1]), one[3].partition(".")[0]) for one in IMPORT.finditer(before)]
    modules, micros = Counter(name for _, name in found), Counter[str]()
    for own, name in found:
        micros[name] += own
    largest = [(name, modules[name], own / 1000) for name, own in micros.most_common(MOST_PACKAGES)]
    later = len(IMPORT.findall(after))
    return Imports(tls, len(found), sum(micros.values()) / 1000, later, largest)


# ---- commands ----


def _commands(plan: Plan) -> list[Command]:
    """What an upgrade takes from the order to the answer, and what is run often."""
    with Hall() as hall:
        proxy = hall.hotswap()
        instance = proxy.instance
        assert instance is not None
        instance.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        arguments = ["--runtime-dir", str(instance.runtime_dir)]
        ways: dict[str, list[str]] = {
            "hotswap upgrade": ["upgrade", instance.name, *arguments],
            "hotswap status": ["status", instance.name, *arguments],
            "hotswap check": ["check", "-c", str(instance.config_file)],
            "hotswap --help": ["--help"],
        }
        return [_command(name, [*hotswap(), *way], instance, plan.upgrades) for name, way in ways.items()]


def _command(name: str, command: list[str], instance: Instance, runs: int) -> Command:
    found = Command(name, [])
    for number in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, env=instance.environment, cwd=instance.directory, capture_output=True, check=True)
        if number:
            found.wall.append(time.perf_counter() - began)
    return found
