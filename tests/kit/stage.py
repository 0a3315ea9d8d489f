"""One test's whole set-up: upstreams, a proxy, clients, a capture; taken down in reverse, whatever happens.

listener   protocol   upstream
web        http1      http
raw        tcp        tcp
rpc        bolt       bolt, if there is such an upstream

With an authority all listeners speak TLS, and clusters do if the upstreams do.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tests.kit.capture import Capture, Segment
from tests.kit.certificates import Authority, Pair
from tests.kit.companion import ROOT
from tests.kit.load import Load, Plan
from tests.kit.offspring import Offspring
from tests.kit.ports import loopback, port_of
from tests.kit.processes import PATIENCE, Config, Instance
from tests.kit.segments import remove_segments
from tests.kit.upstreams import Kind, Upstreams
from tests.kit.waiting import eventually, ever_longer

T = TypeVar("T")

# The mixture of the storm, and a small one with at least one connection of every kind.
STORM = Plan(busy=200, idle=100, streams=20, uploads=20, websockets=10, raw=50)
BREEZE = Plan(
    busy=12, idle=4, streams=3, uploads=3, websockets=2, raw=4, rate=60, raw_rate=30, stream_seconds=2, upload_pause=1
)


USUAL: tuple[tuple[Kind, str], ...] = (("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0"))


class TooSoon(AssertionError):
    """A client was done before the first upgrade was."""


class Stage:
    """Use it as a context manager, best by the fixture `stage`."""

    def __init__(self) -> None:
        self._exits = ExitStack()
        # Short, since the paths of unix sockets are.
        self.directory = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
        self._exits.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self._exits.callback(self._remove_segments)
        self.offspring = Offspring(self.directory)
        self._exits.callback(self.offspring.end)
        self.instances: list[Instance] = []
        self.through: tuple[str, ...] = ()
        """What upstreams and clients are started through: nsenter(1), if the stage is elsewhere."""

    def close(self) -> None:
        """End every process, remove every file."""
        self._exits.close()

    def _remove_segments(self) -> None:
        """Generations that were killed leave their metrics, on purpose."""
        for instance in self.instances:
            remove_segments(instance.name, instance.runtime_dir)
        for lock in self.directory.glob("agent/run/*/lock"):  # of an agent's sidecars
            remove_segments(lock.parent.name, lock.parent.parent)

    def show(self) -> None:
        """Print what the generations said, for the report of a failed test."""
        for instance in self.instances:
            print(f"--- {instance.name}: {instance.config_file.read_text()}")
            print(f"--- {instance.name}: {instance.log_tail(200)}")

    def upstreams(self, *places: tuple[Kind, str], tls: Pair | None = None) -> Upstreams:
        """Started upstreams, an http and a tcp one unless said otherwise."""
        started = Upstreams(*(places or USUAL), tls=tls, through=self.through)
        self._exits.callback(started.stop)
        return started.wait()

    def instance(self, config: Config, tree: Path = ROOT) -> Instance:
        """An instance that is not started; it will run the packages of `tree`."""
        directory = self.directory / str(len(self.instances))
        directory.mkdir()
        config.setdefault("runtime_dir", str(self.directory / "run"))
        made = Instance(directory, self.offspring, config, tree)
        self.instances.append(made)
        self._exits.callback(made.close)
        return made

    def edge(self, upstreams: Upstreams | None = None, **changes: Any) -> Edge:
        """The usual instance, serving: `web` before the http upstream, `raw` before the tcp one."""
        behind = upstreams or self.upstreams()
        edge = Edge(self, behind, **changes)
        edge.instance.start()
        return edge

    def load(self, plan: Plan) -> Load:
        """Running clients."""
        started = Load(plan, self.through)
        self._exits.callback(started.stop)
        return started.wait()

    def inside(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do it where the stage is: sockets that are made by it belong there."""
        return work(*arguments)

    def capture(self, ports: list[int]) -> Capture:
        """A started capture. Raises `Unpermitted`."""
        capture = self.inside(Capture, ports)
        self._exits.callback(capture.close)
        return capture


class Edge:
    """A proxy between clients and upstreams."""

    def __init__(
        self,
        stage: Stage,
        upstreams: Upstreams,
        *,
        tree: Path = ROOT,
        authority: Authority | None = None,
        **changes: Any,
    ) -> None:
        self.stage = stage
        self.upstreams = upstreams
        self.authority = authority
        self.web = loopback()
        self.raw = loopback()
        self.rpc = loopback() if len(upstreams.addresses) > 2 else ""
        config = configuration(self.web, self.raw, upstreams, rpc=self.rpc, **changes)
        if authority:
            secure(config, authority, behind=upstreams.secure)
        self.instance = stage.instance(config, tree)

    def plan(self, plan: Plan) -> Plan:
        """This mixture, addressed to the proxy."""
        trusted = str(self.authority.file) if self.authority else ""
        return msgspec.structs.replace(plan, http=self.web, tcp=self.raw, bolt_address=self.rpc, tls=trusted)

    def load(self, plan: Plan) -> Load:
        """Running clients of the proxy."""
        return self.stage.load(self.plan(plan))

    @property
    def ports(self) -> list[int]:
        """Those of the listeners and the upstreams."""
        addresses = [self.web, self.raw, *filter(None, [self.rpc]), *self.upstreams.addresses]
        return [port_of(address) for address in addresses if not address.startswith("unix:")]

    def run_through_upgrades(
        self, argv: list[str], upgrades: int, *, then: Callable[[subprocess.Popen[str]], object] | None = None
    ) -> str:
        """Run a client and upgrade while it is busy; what it printed.

        One that goes on until it is told is told by `then`, after all upgrades. Raises `TooSoon` if another saw none.
        """
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
            try:
                eventually(self._busy, within=PATIENCE, what="the client is busy")
                seen = 0
                while seen < upgrades and client.poll() is None:
                    done = self.instance.upgrade("--require-all")
                    assert done.exit_code == 0, done.text
                    seen += client.poll() is None
                assert seen == upgrades or not then, f"the client was done after {seen} upgrades"
                if not seen:
                    raise TooSoon(client.communicate()[0])
                if then:
                    then(client)
                output, _ = client.communicate(timeout=90)
            finally:
                client.kill()
        assert client.returncode == 0, output
        return output

    def run_for_long(self, argv: Callable[[float], list[str]], seconds: float, upgrades: int) -> tuple[str, float]:
        """The same with one that goes on for so many seconds, or for as many more as it takes to see an upgrade.

        What it printed, and the seconds.
        """
        for longer in ever_longer(seconds):
            with suppress(TooSoon):
                return self.run_through_upgrades(argv(longer), upgrades), longer
        raise AssertionError("no end")

    def _busy(self) -> bool:
        """A request is under way; of many clients that get their answers at once, few are ever seen so."""
        status = self.instance.status()
        return status.in_flight > 0 or status.connections > 1

    @contextmanager
    def nothing_ends(self) -> Iterator[list[Segment]]:
        """No FIN and no RST goes over the service ports inside. Raises `Unpermitted`."""
        capture = self.stage.capture(self.ports)
        capture.begin()
        seen: list[Segment] = []
        yield seen
        seen += capture.end()
        assert seen == [], f"{len(seen)} connections ended: {', '.join(map(str, seen[:10]))}"


def configuration(
    web: str, raw: str, upstreams: Upstreams, *, rpc: str = "", relay: bool = False, **changes: Any
) -> Config:
    """The configuration of `Edge`; `changes` replace top-level keys. With `relay` the web listener speaks tcp."""
    http, tcp = upstreams.addresses[:2]
    routes = [{"match": {"prefix": "/"}, "cluster": "app"}]
    # On a busy machine a storm outlasts the usual timeout of its clients that stay idle.
    http1: Config = {"protocol": "http1", "routes": routes, "keepalive_timeout": "10m"}
    speaks: Config = {"protocol": "tcp", "cluster": "app"} if relay else http1
    config: Config = {
        "name": "edge",
        "listeners": [
            {"name": "web", "address": web, **speaks},
            {"name": "raw", "address": raw, "protocol": "tcp", "cluster": "db"},
        ],
        "clusters": [{"name": "app", "endpoints": [http]}, {"name": "db", "endpoints": [tcp]}],
    }
    if rpc and "clusters" not in changes:
        config["listeners"].append({"name": "rpc", "address": rpc, "protocol": "bolt", "cluster": "calls"})
        config["clusters"].append({"name": "calls", "endpoints": [upstreams.addresses[2]]})
    return config | changes


def secure(config: Config, authority: Authority, *, behind: bool) -> None:
    """Let every listener of a configuration speak TLS, and, if what is `behind` does, every cluster."""
    pair = authority.issue("edge")
    for listener in config["listeners"]:
        listener["tls"] = {"certificates": [pair.config]}
    if behind:
        for cluster in config["clusters"]:
            cluster["tls"] = {"ca": str(authority.file)}
