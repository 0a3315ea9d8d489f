"""A question that reached a generation which gave everything away: passed on to the one that owns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from hotswap.errors import HotswapError
from hotswap.http import Response

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECONDS: Final = 5.0
"""For the whole answer. The destination opens its doors within milliseconds of owning."""


async def ask_successor(control: Path, path: str, headers: Mapping[str, str]) -> Response:
    """What the owner of that control socket answers to ``GET path``, be it an error. Raises `HotswapError` for none."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(control))
            writer.write(f"GET {path} HTTP/1.1\r\nHost: hotswap\r\n{fields}\r\n".encode("latin-1"))
            try:
                answer = await reader.read(-1)
            finally:
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        status = int(line.split(" ")[1])
    except (OSError, TimeoutError, ValueError, IndexError) as error:
        raise HotswapError(f"another generation took over meanwhile, and does not answer: {error!r}") from None
    told = dict(one.split(": ", 1) for one in lines if ": " in one)
    if told.get("Content-Length") != str(len(body)):
        raise HotswapError("another generation took over meanwhile, and ended in the middle of its answer")
    kept: dict[str, str] = {name: told[name] for name in ("Vary", "Content-Encoding") if name in told}
    return Response(status, body, told.get("Content-Type", "application/json"), kept)
