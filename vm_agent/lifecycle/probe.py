"""One health check: GET on the control socket of a sidecar, or of an http:// URL; bounded in time and size.

    await ask("/ready", runtime_dir / name / "control.sock", 1.0)
    await ask("http://127.0.0.1:8080/healthz", socket, 1.0)

Ready is an answer below 400, as for the probes of Kubernetes and for the `app` of a proxy. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from hotswap.control_client import CONTROL_SOCKET

HEAD_LIMIT: Final = 16 * 1024
"""Bytes of a head."""
BODY_LIMIT: Final = 4 * 1024
"""Bytes of a body that are looked at; a longer one is none the worse."""
TEXT_LIMIT: Final = 200
_FULL_SECONDS: Final = 0.02  # between attempts while the socket's queue is full, as in a freeze
_READY: Final = range(200, 400)


@dataclass(frozen=True)
class Answer:
    """What came of it."""

    ready: bool
    """It said yes."""
    reachable: bool
    """It said something. False: nobody is there, or nothing came in time."""
    text: str
    """For people, one line."""


class _Nonsense(Exception):
    """What came is no answer."""


def control_socket(runtime_dir: Path, name: str) -> Path:
    """Where a path is asked for."""
    return runtime_dir / name / CONTROL_SOCKET


async def ask(where: str, control: Path, timeout: float) -> Answer:
    """Ask. `where`: a path, asked on the `control` socket, or an http:// URL; `timeout`: seconds, for all of it.

    Never raises: what goes wrong is the answer. One whose head came in time counts, however slow its body is.
    """
    heard: list[int] = []
    try:
        async with asyncio.timeout(timeout):
            text = await _asked(where, control, heard)
    except TimeoutError:
        text = "" if heard else f"no answer within {timeout:g} s"
    except _Nonsense as error:
        return Answer(ready=False, reachable=True, text=f"{where}: {error}")
    except (OSError, ValueError) as error:
        text = "" if heard else getattr(error, "strerror", None) or str(error)
    if heard:
        text = f"{heard[0]}: {text}" if text else str(heard[0])
    return Answer(ready=any(one in _READY for one in heard), reachable=bool(heard), text=f"{where}: {text}")


async def _asked(where: str, control: Path, heard: list[int]) -> str:
    """What a refusal says. The status is `heard` as soon as it is there."""
    url = None if where.startswith("/") else urlsplit(where)
    request = _request(where, url)
    reader, writer = await (_by_path(control) if url is None else _by_url(url))
    try:
        writer.write(request)
        heard.append(await _status(reader))
        return "" if heard[0] in _READY else await _first_line(reader)
    finally:
        writer.close()


async def _by_path(control: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        while True:
            try:
                sock.connect(str(control))
            except BlockingIOError:  # the queue is full: connect(2) on unix sockets does not wait then
                await asyncio.sleep(_FULL_SECONDS)
            else:
                return await asyncio.open_connection(sock=sock, limit=HEAD_LIMIT)
    except BaseException:
        sock.close()
        raise


async def _by_url(url: SplitResult) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(url.hostname, url.port or 80, limit=HEAD_LIMIT)


def _request(where: str, url: SplitResult | None) -> bytes:
    if url is None:
        target, host = where, "hotswap"
    elif url.scheme != "http" or not url.hostname:
        raise ValueError("a health check is a path such as /ready, or a URL that begins with http://")
    else:
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        host = url.netloc.rpartition("@")[2]
    if any(not "!" <= one <= "~" for one in target + host):
        raise ValueError("a health check has printable ASCII characters and no spaces")
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: hotswap-agent\r\nConnection: close\r\n\r\n".encode()


async def _status(reader: asyncio.StreamReader) -> int:
    """Of the final response. Raises `_Nonsense`, and OSError if the connection ends before it."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial and not b"HTTP/1.".startswith(error.partial[:7]):
                raise _Nonsense("this is not HTTP") from None
            raise ConnectionResetError("the connection ended before the answer") from None
        except asyncio.LimitOverrunError:
            raise _Nonsense(f"the head of the answer is longer than {HEAD_LIMIT} bytes") from None
        version, _, rest = head.partition(b" ")
        if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
            raise _Nonsense("this is not HTTP")
        status = int(rest[:3])
        if status >= 200:
            return status


async def _first_line(reader: asyncio.StreamReader) -> str:
    """What the body says, made fit for a log."""
    body = b""
    while len(body) < BODY_LIMIT and b"\n" not in body.strip():
        piece = await reader.read(BODY_LIMIT - len(body))
        if not piece:
            break
        body += piece
    line = body.strip().partition(b"\n")[0].decode(errors="replace")
    return "".join(one if one.isprintable() else " " for one in line).strip()[:TEXT_LIMIT]
