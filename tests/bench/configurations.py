"""The configurations of the proxies under comparison: the same listeners, one worker thread each.

With a certificate every listener terminates TLS, 1.2 and 1.3, and exchanges keys by X25519; upstreams are plain. That
of HTTP speaks HTTP/2 instead if asked to: with a certificate by ALPN, without one to clients that begin with it.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.loadgen import Protocol
from tests.kit.certificates import Pair

CALLS: tuple[Protocol, ...] = ("bolt", "bolt16")
HOST = "svc.example.com"  # what the load generator asks for
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

Change = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes a listener of hotswap's configuration, and its cluster."""

NGINX = """\
daemon off; master_process {master}; worker_processes 1; pid {directory}/nginx.pid; error_log stderr warn;
worker_rlimit_nofile {files};
load_module {module};
events {{ worker_connections {files}; }}
stream {{
    {tls}
    server {{
        listen 127.0.0.1:{echo}{ssl} backlog=4096; proxy_pass 127.0.0.1:{echo_upstream};
        proxy_timeout 1h; proxy_connect_timeout 5s;
    }}
    server {{ listen 127.0.0.1:{bolt}{ssl} backlog=4096; proxy_pass 127.0.0.1:{bolt_upstream}; proxy_timeout 1h; }}
    server {{ listen 127.0.0.1:{bolt16}{ssl} backlog=4096; proxy_pass 127.0.0.1:{bolt16_upstream}; proxy_timeout 1h; }}
}}
http {{
    {tls}
    proxy_request_buffering off; proxy_max_temp_file_size 0; client_max_body_size 0; # pass bodies on, as the others do
    access_log off; keepalive_timeout 1h; keepalive_requests 1000000000;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    upstream app {{ server 127.0.0.1:{http_upstream}; keepalive 512; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{http}{ssl}{http2} backlog=4096; server_name {host};
        location /api {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""

NGINX_TLS = "ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3; ssl_ecdh_curve X25519;"

HAPROXY = """\
global
    nbthread 1
    {limits}
defaults
    {splice}
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    backlog 4096
listen echo
    mode tcp
    bind 127.0.0.1:{echo}{ssl}
    server upstream 127.0.0.1:{echo_upstream}
listen bolt
    mode tcp
    bind 127.0.0.1:{bolt}{ssl}
    server upstream 127.0.0.1:{bolt_upstream}
listen bolt16
    mode tcp
    bind 127.0.0.1:{bolt16}{ssl}
    server upstream 127.0.0.1:{bolt16_upstream}
listen http
    mode http
    option forwardfor
    bind 127.0.0.1:{http}{ssl}{http2}
    use_backend app if {{ hdr(host) -i {host} }} {{ path_beg /api }}
backend app
    mode http
    server upstream 127.0.0.1:{http_upstream}
"""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a proxy runs: a directory of its own, its ports by protocol, and those of its upstreams."""

    directory: Path
    ports: dict[Protocol, int]
    upstreams: dict[Protocol, int]
    certificate: Pair | None = None
    http2: bool = False

    @property
    def file(self) -> Path:
        """The configuration; Envoy goes by the ending, the others do not care."""
        return self.directory / "config.yaml"

    def fill(self, template: str, **values: object) -> str:
        """A template with ports in it, `{echo}` and `{echo_upstream}` for each protocol."""
        upstreams = {f"{protocol}_upstream": port for protocol, port in self.upstreams.items()}
        return template.format(**self.ports, **upstreams, directory=self.directory, host=HOST, **values)


def nginx_config(site: Site, *, master: bool) -> str:
    """For nginx, with a master process if it is to be reloaded."""
    pair = site.certificate
    return site.fill(
        NGINX,
        master="on" if master else "off",
        module=STREAM_MODULE,
        files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        tls=NGINX_TLS.format(cert=pair.cert, key=pair.key) if pair else "",
        ssl=" ssl" if pair else "",
        http2=" http2" if site.http2 else "",
    )


def haproxy_config(site: Site, *, splices: bool = False) -> str:
    """For haproxy, which wants certificate and key in one file. `splices`: whatever it can, if little is connected."""
    more = {
        "limits": "maxconn 5000\n    maxpipes 256" if splices else "maxconn 9500",
        "splice": "option splice-request\n    option splice-response" if splices else "",
    }
    if site.certificate is None:
        return site.fill(HAPROXY, ssl="", http2=" proto h2" if site.http2 else "", **more)
    both = site.directory / "both.pem"
    both.touch(mode=0o600)
    both.write_bytes(site.certificate.cert.read_bytes() + site.certificate.key.read_bytes())
    secure = f" ssl crt {both} ssl-min-ver TLSv1.2 curves X25519"
    return site.fill(HAPROXY, ssl=secure, http2=" alpn h2" if site.http2 else "", **more)


def envoy_config(site: Site) -> dict[str, Any]:
    """For Envoy."""

    def address(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    def typed(kind: str, **fields: Any) -> dict[str, Any]:
        return {"@type": f"type.googleapis.com/envoy.extensions.filters.{kind}", **fields}

    def listener(port: int, name: str, config: dict[str, Any]) -> dict[str, Any]:
        chain = {"filters": [{"name": name, "typed_config": config}], **_envoy_tls(site)}
        return {"address": address(port), "filter_chains": [chain]}

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
        codec_type="HTTP2" if site.http2 else "AUTO",
        route_config={"virtual_hosts": [host]},
        http_filters=[router],
    )
    return {
        "static_resources": {
            "listeners": [
                *(listener(site.ports[name], "tcp", relayed[name]) for name in relays),
                listener(site.ports["http"], "http", http),
            ],
            "clusters": [
                *(cluster(name, site.upstreams[name]) for name in relays),
                cluster("app", site.upstreams["http"]),
            ],
        }
    }


def _envoy_tls(site: Site) -> dict[str, Any]:
    pair = site.certificate
    if pair is None:
        return {}
    files = {"certificate_chain": {"filename": str(pair.cert)}, "private_key": {"filename": str(pair.key)}}
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificates": [files],
            "tls_params": {"ecdh_curves": ["X25519"]},
            "alpn_protocols": ["h2"] if site.http2 else [],
        },
    }
    return {"transport_socket": {"name": "tls", "typed_config": context}}


def hotswap_config(site: Site, **upgrade: Any) -> dict[str, Any]:
    """For the proxy of this tree, with routes and timeouts."""
    config: dict[str, Any] = {
        "name": "bench",
        "runtime_dir": str(site.directory / "run"),
        "metrics": {"shared": False},  # it is killed in the end, and would leave them there
        "listeners": [
            {"name": "echo", "address": f"127.0.0.1:{site.ports['echo']}", "protocol": "tcp", "cluster": "echo"},
            *(
                {"name": name, "address": f"127.0.0.1:{site.ports[name]}", "protocol": "bolt", "cluster": name}
                for name in CALLS
            ),
            {
                "name": "http",
                "address": f"127.0.0.1:{site.ports['http']}",
                "protocol": "http1",
                "keepalive_timeout": "1h",
                "http2": site.http2,
                "routes": [
                    {"match": {"host": "other.example.com", "prefix": "/"}, "cluster": "echo"},
                    {"match": {"host": HOST, "prefix": "/api"}, "cluster": "app"},
                ],
            },
        ],
        "clusters": [
            {"name": "echo", "endpoints": [f"127.0.0.1:{site.upstreams['echo']}"], "idle_timeout": "1h"},
            {"name": "app", "endpoints": [f"127.0.0.1:{site.upstreams['http']}"], "max_idle": 512},
            # The upstream there knows calls only, and waits for its turn for longer than heartbeats would.
            *(
                {"name": name, "endpoints": [f"127.0.0.1:{site.upstreams[name]}"], "heartbeat_interval": "1h"}
                for name in CALLS
            ),
        ],
        "upgrade": {"deadline": "60s", **upgrade},
    }
    if site.certificate is not None:
        for listener in config["listeners"]:
            listener["tls"] = {"certificates": [dict(site.certificate.config)]}
    return config


def changed(config: dict[str, Any], change: Change, protocol: Protocol, directory: Path) -> dict[str, Any]:
    """The same with what `change` makes of the listener of a protocol."""
    listener = next(one for one in config["listeners"] if one["name"] == protocol)
    name = listener["routes"][-1]["cluster"] if "routes" in listener else listener["cluster"]
    cluster = next(one for one in config["clusters"] if one["name"] == name)
    config["clusters"].append({**cluster, "name": f"{name}-next"})  # where a split or a mirror goes
    change(listener, cluster)
    if "access_log" in listener:
        listener["access_log"] = {**listener["access_log"], "to": str(directory / "access.log")}
    again: dict[str, Any] = json.loads(json.dumps(config))  # nothing in it twice: YAML would write an alias
    return again
