"""Servers that nobody here wrote and that take plaintext and TLS on one port: nginx and haproxy.

plaintext or TLS --> front, looks at the first bytes --plaintext--> server --> what is behind
                                                     `--TLS-------> the same with a certificate
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.certificates import Pair
from tests.kit.ports import loopback, refused
from tests.kit.programs import PATIENCE, Piped, program
from tests.kit.waiting import eventually

KEPT = 2
"""Seconds that the servers of HTTP keep a connection without a request."""

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events {{ worker_connections 1024; }}
stream {{
    map $ssl_preread_protocol $server {{ "" unix:{folder}/plain; default unix:{folder}/secure; }}
    server {{ listen {address}; ssl_preread on; proxy_pass $server; preread_timeout 1h; proxy_timeout 1h; }}
}}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    keepalive_timeout {kept}s; keepalive_requests 1000000; client_header_timeout 1h;
    proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;
    server {{ listen unix:{folder}/plain; location / {{ proxy_pass http://{behind}; }} }}
    server {{
        listen unix:{folder}/secure ssl; ssl_certificate {cert}; ssl_certificate_key {key};
        location / {{ proxy_pass http://{behind}; }}
    }}
}}
"""

HAPROXY = """
defaults
    timeout connect 10s
    timeout client 1h
    timeout server 1h
frontend front
    mode tcp
    bind {address}
    tcp-request inspect-delay 1h
    tcp-request content accept if {{ req.len gt 0 }}
    use_backend to_secure if {{ req.ssl_hello_type 1 }}
    default_backend to_plain
backend to_plain
    mode tcp
    server plain unix@{folder}/plain
backend to_secure
    mode tcp
    server secure unix@{folder}/secure
frontend server
    mode {mode}
    bind unix@{folder}/plain
    bind unix@{folder}/secure ssl crt {folder}/both.pem
    default_backend behind
    {keeps}
backend behind
    mode {mode}
    server behind {behind}
"""


@contextmanager
def nginx_both_ways(folder: Path, pair: Pair, behind: str) -> Iterator[str]:
    """A server of HTTP/1.1 that gives requests on; its address."""
    folder.mkdir()
    (folder / "logs").mkdir()
    address, file = loopback(), folder / "nginx.conf"
    places = {"folder": folder, "address": address, "behind": behind, "cert": pair.cert, "key": pair.key}
    file.write_text(NGINX.format(**places, kept=KEPT))
    with _listening([program("nginx"), "-p", str(folder), "-c", str(file), "-e", "stderr"], folder, address):
        yield address


@contextmanager
def haproxy_both_ways(folder: Path, pair: Pair, behind: str, *, http: bool) -> Iterator[str]:
    """A server of HTTP/1.1 that gives requests on, or of bytes, which ends nothing by itself; its address."""
    folder.mkdir()
    address, file = loopback(), folder / "haproxy.cfg"
    (folder / "both.pem").write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
    mode, keeps = ("http", f"timeout http-keep-alive {KEPT}s") if http else ("tcp", "")
    file.write_text(HAPROXY.format(folder=folder, address=address, behind=behind, mode=mode, keeps=keeps))
    with _listening([program("haproxy"), "-db", "-f", str(file)], folder, address):
        yield address


@contextmanager
def _listening(argv: list[str], folder: Path, address: str) -> Iterator[None]:
    with Piped(argv, folder / "log") as running:

        def listens() -> bool:
            assert running.process.poll() is None, running.told()
            return not refused(address)

        eventually(listens, within=PATIENCE, what=f"{argv[0]} listens")
        yield
