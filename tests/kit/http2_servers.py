"""Servers of HTTP/2 from apt, in front of one folder: nghttpd and nginx, in plaintext."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from tests.kit.ports import free_port, refused
from tests.kit.programs import program
from tests.kit.waiting import eventually

PATIENCE = 60.0


@contextmanager
def running(argv: list[str], port: int) -> Iterator[int]:
    """The port, once it listens there."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: not refused(f"127.0.0.1:{port}"), within=PATIENCE, what=f"{argv[0]} listens")
        yield port
    finally:
        process.terminate()
        process.wait()


def nghttpd(site: Path) -> AbstractContextManager[int]:
    """With all files of `site`."""
    port = free_port()
    return running([program("nghttpd"), "--no-tls", "-a", "127.0.0.1", "-d", str(site), str(port)], port)


def nginx(site: Path) -> AbstractContextManager[int]:
    """The same; it takes POST, too, and closes connections by GOAWAY after a thousand requests, as it comes."""
    port, folder = free_port(), site.parent
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; user root; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
        events {{ }}
        http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
          fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
          server {{ listen 127.0.0.1:{port} http2; root {site}; error_page 405 =200 $uri; }} }}"""
    )
    return running([program("nginx"), "-p", str(folder), "-c", str(config), "-e", f"{folder}/error.log"], port)


SERVERS: Final[dict[str, Callable[[Path], AbstractContextManager[int]]]] = {"nghttpd": nghttpd, "nginx": nginx}
