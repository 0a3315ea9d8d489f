"""Upgrade a proxy live, five times, while clients of every kind are connected; count what they lose.

    make demo                    or    python examples/demo.py [--upgrades N]

An upstream and all clients live in this process; the proxy is the real one, and it is replaced by the real command,
``hotswap upgrade``. Exit code 0 means that nothing was lost: no failed request, no closed connection, no wrong byte.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import prctl
from websockets.asyncio.client import connect as connect_websocket
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket

COMMAND = [sys.executable, "-m", "hotswap.cli"]
BROWSERS, STREAMS, WEBSOCKETS, RAW = 20, 3, 3, 5
SECONDS_BETWEEN = 2.0
READY_WITHIN = 20.0  # seconds
BLOCK = 16 * 1024

CONFIG = """\
name: demo
runtime_dir: {runtime}
listeners:
  - name: web
    address: 127.0.0.1:{web}
    protocol: http1
    routes:
      - match: {{prefix: /chat}}
        cluster: chat
      - match: {{prefix: /}}
        cluster: app
  - name: db
    address: 127.0.0.1:{db}
    protocol: tcp
    cluster: db
clusters:
  - name: app
    endpoints: [127.0.0.1:{app_upstream}]
  - name: chat
    endpoints: [127.0.0.1:{chat_upstream}]
  - name: db
    endpoints: [127.0.0.1:{db_upstream}]
"""


@dataclass(slots=True)
class Tally:
    """What the clients saw."""

    opened: int = 0
    answers: int = 0
    troubles: list[str] = field(default_factory=list)
    closed: int = 0
    longest: float = 0.0  # seconds between a question and its answer
    longest_now: float = 0.0  # the same, since the last upgrade began

    def answered(self, waited: float) -> None:
        self.answers += 1
        self.longest = max(self.longest, waited)
        self.longest_now = max(self.longest_now, waited)


class Upstream:
    """Answers HTTP requests and streams, talks WebSocket, echoes raw bytes."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self._servers: list[Any] = []
        self._busy: set[asyncio.Task[Any]] = set()

    async def start(self) -> tuple[int, int, int]:
        app = await asyncio.start_server(self._app, "127.0.0.1", 0)
        chat = await serve_websocket(self._chat, "127.0.0.1", 0)
        db = await asyncio.start_server(self._db, "127.0.0.1", 0)
        self._servers = [app, chat, db]
        first, second, third = (next(iter(server.sockets)).getsockname()[1] for server in (app, chat, db))
        return first, second, third

    async def stop(self) -> None:
        """Once the proxy is gone, and with it every connection."""
        for server in self._servers:
            server.close()
        if self._busy:
            await asyncio.wait(self._busy, timeout=5)

    def _serving(self) -> None:
        """Remember who serves a connection."""
        if task := asyncio.current_task():
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)

    async def _app(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving()
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1]
                if path == b"/stream":
                    await self._stream(writer)
                else:
                    body = b"you asked for " + path
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        """A line every 50 ms until the demo is over, as one chunked response."""
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in itertools.count():
            if self.over.is_set():
                break
            line = b"line %d\n" % number
            writer.write(b"%x\r\n%b\r\n" % (len(line), line))
            await asyncio.sleep(0.05)
        writer.write(b"0\r\n\r\n")

    async def _chat(self, connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def _db(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving()
        try:
            while received := await reader.read(65536):
                writer.write(received)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()


class Clients:
    """Everybody who is connected through the proxy; each keeps its one connection from first to last."""

    def __init__(self, web: int, db: int) -> None:
        self.tally = Tally()
        self.over = asyncio.Event()
        self._web, self._db = web, db
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        kinds: list[tuple[int, str, Callable[[int], Coroutine[Any, Any, None]]]] = [
            (BROWSERS, "keep-alive client", self._browse),
            (STREAMS, "stream", self._follow_stream),
            (WEBSOCKETS, "WebSocket", self._chat),
            (RAW, "raw TCP client", self._check_echo),
        ]
        for count, kind, talk in kinds:
            for number in range(count):
                self._tasks.append(asyncio.create_task(self._guard(f"{kind} {number}", talk(number))))

    async def finish(self) -> None:
        """Let everybody end the exchange that is under way."""
        self.over.set()
        await asyncio.wait(self._tasks, timeout=10)
        for task in self._tasks:
            if not task.done():
                self.tally.troubles.append("a client still waits for its answer")
                task.cancel()

    async def _guard(self, name: str, talk: Coroutine[Any, Any, None]) -> None:
        self.tally.opened += 1
        try:
            await talk
        except (OSError, EOFError, ValueError) as error:
            self.tally.closed += isinstance(error, OSError | EOFError)
            self.tally.troubles.append(f"{name}: {error!r}")

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.over.wait(), seconds)
        except TimeoutError:
            pass

    async def _browse(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._web)
        for count in itertools.count():
            asked = time.monotonic()
            writer.write(b"GET /%d/%d HTTP/1.1\r\nHost: demo\r\n\r\n" % (number, count))
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(content_length(head))
            if not head.startswith(b"HTTP/1.1 200 ") or body != b"you asked for /%d/%d" % (number, count):
                raise ValueError(f"wrong answer {head[:40]!r} {body[:40]!r}")
            self.tally.answered(time.monotonic() - asked)
            if self.over.is_set():
                break
            await self._pause(0.02)
        writer.close()

    async def _follow_stream(self, _number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._web)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: demo\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        expected = itertools.count()
        while size := int(await reader.readline(), 16):
            chunk = (await reader.readexactly(size + 2))[:-2]
            for line in chunk.splitlines(keepends=True):
                if line != b"line %d\n" % next(expected):
                    raise ValueError(f"the stream skipped to {line!r}")
        writer.close()

    async def _chat(self, number: int) -> None:
        async with connect_websocket(f"ws://127.0.0.1:{self._web}/chat") as connection:
            for count in itertools.count():
                asked, text = time.monotonic(), f"client {number} says {count}"
                await connection.send(text)
                if await connection.recv() != text:
                    raise ValueError("another message came back")
                self.tally.answered(time.monotonic() - asked)
                if self.over.is_set():
                    break
                await self._pause(0.05)

    async def _check_echo(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._db)
        rng = random.Random(number)
        while not self.over.is_set():
            asked, block = time.monotonic(), rng.randbytes(BLOCK)
            writer.write(block)
            if zlib.crc32(await reader.readexactly(BLOCK)) != zlib.crc32(block):
                raise ValueError("the checksum is wrong")
            self.tally.answered(time.monotonic() - asked)
            await self._pause(0.05)
        writer.close()


def content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ValueError(f"no Content-Length in {head!r}")


class Proxy:
    """The generations of the proxy, one after the other."""

    def __init__(self, directory: Path, config: str) -> None:
        self.pids: list[int] = []
        self.log = directory / "proxy.log"
        self._config = directory / "demo.yaml"
        self._config.write_text(config)
        self._runtime = directory / "run"

    async def start(self) -> None:
        with self.log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *COMMAND, "run", "-c", self._config, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.pids.append(process.pid)
        deadline = time.monotonic() + READY_WITHIN
        while (await self.hotswap("status", "demo", "--json"))[0] != 0:
            if time.monotonic() > deadline or process.returncode is not None:
                raise RuntimeError(f"the proxy did not start:\n{self.log.read_text()}")
            await asyncio.sleep(0.1)

    async def hotswap(self, *arguments: str) -> tuple[int, str]:
        """Run one command; its exit code and output."""
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            env={**os.environ, "HOTSWAP_RUNTIME_DIR": str(self._runtime)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def serving_pid(self) -> int:
        _, output = await self.hotswap("status", "demo", "--json")
        pid = int(json.loads(output)["pid"])
        if pid not in self.pids:
            self.pids.append(pid)
        return pid

    def stop(self) -> None:
        """End the generations by their pids, politely first."""
        for pid in self.pids:
            end_process(pid)


def end_process(pid: int) -> None:
    """SIGTERM, and SIGKILL five seconds later."""
    try:
        death = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    waiting = select.poll()
    waiting.register(death, select.POLLIN)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if waiting.poll(0):
            break
        signal.pidfd_send_signal(death, number)
        waiting.poll(5000)
    os.close(death)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def say(text: str = "") -> None:
    print(text, flush=True)


async def upgrade(proxy: Proxy, tally: Tally) -> bool:
    """One upgrade, told as it happens. False if the command failed."""
    before, answers = await proxy.serving_pid(), tally.answers
    tally.longest_now = 0.0
    say("\n$ hotswap upgrade demo")
    code, output = await proxy.hotswap("upgrade", "demo")
    say("\n".join(f"  {line}" for line in output.rstrip().splitlines()))
    await asyncio.sleep(SECONDS_BETWEEN / 4)
    after = await proxy.serving_pid()
    say(
        f"  pid {before} served before, pid {after} serves now; {tally.answers - answers} answers meanwhile,"
        f" the slowest after {tally.longest_now * 1000:.0f} ms"
    )
    return code == 0 and after != before


async def play(directory: Path, upgrades: int) -> bool:
    """The whole demo. True if nothing was lost."""
    upstream = Upstream()
    app, chat, db = await upstream.start()
    ports = {"web": free_port(), "db": free_port()}
    config = CONFIG.format(runtime=directory / "run", app_upstream=app, chat_upstream=chat, db_upstream=db, **ports)
    proxy = Proxy(directory, config)
    began = time.monotonic()
    try:
        await proxy.start()
        say(f"A proxy, pid {proxy.pids[0]}: HTTP on 127.0.0.1:{ports['web']}, TCP on 127.0.0.1:{ports['db']}.")
        clients = Clients(**ports)
        clients.start()
        say(
            f"Its clients: {BROWSERS} with keep-alive requests, {STREAMS} endless streams, {WEBSOCKETS} WebSockets,"
            f" {RAW} raw TCP connections\nthat check every byte. Each keeps its one connection all the time."
        )
        await asyncio.sleep(SECONDS_BETWEEN)
        done = []
        for _ in range(upgrades):
            done.append(await upgrade(proxy, clients.tally))
            await asyncio.sleep(SECONDS_BETWEEN / 2)
        upstream.over.set()
        await clients.finish()
    finally:
        proxy.stop()
        await upstream.stop()
    tally = clients.tally
    pids = " -> ".join(map(str, proxy.pids))
    say(f"\n{sum(done)} of {upgrades} upgrades in {time.monotonic() - began:.0f} s: pids {pids}")
    say(f"  {tally.answers} requests, {len(tally.troubles)} failed")
    say(f"  {tally.opened} connections, {tally.closed} closed")
    say(f"  longest wait for an answer: {tally.longest * 1000:.0f} ms")
    for trouble in tally.troubles[:10]:
        say(f"  {trouble}")
    lost = bool(tally.troubles) or not all(done)
    say("Something was lost." if lost else "Nothing was lost.")
    if lost:
        say(f"\nThe proxy's log:\n{proxy.log.read_text()[-4000:]}")
    return not lost


def main() -> int:
    """Parse the command line, play, clean up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrades", type=int, default=5)
    arguments = parser.parse_args()
    prctl.set_child_subreaper(True)  # later generations become ours to end when the earlier ones are gone
    directory = Path(tempfile.mkdtemp(prefix="hs-demo"))
    try:
        return 0 if asyncio.run(play(directory, arguments.upgrades)) else 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
