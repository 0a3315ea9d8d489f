"""A small HTTP/1.1 and JSON server for the control socket and the admin address.

It serves listening sockets that somebody else bound, so they can be inherited from an earlier
generation and left to a later one: it never binds, unlinks or shuts a listener down. It runs on the
control plane's asyncio loop, one request a connection, and bounds everything a client can make it
spend: a slow, rude or half-dead client costs itself only.

    server = HttpServer({("GET", "/status"): status, ("POST", "/upgrade"): upgrade})
    server.start(listening_fd)
    ...
    server.stop()                    # the listener lives on in whoever else holds it
    await server.finish(5.0)         # answers under way

A route is an async function from `Request` to `Response` or `EventStream`. Errors it raises become
JSON: `HttpError` with its status, a `HotswapError` with its exit code, anything else a 500 whose
traceback is logged.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from hotswap.errors import HotswapError
from hotswap.http import (
    HEAD_LIMIT,
    BadRequest,
    EventStream,
    HttpError,
    Request,
    Response,
    complete_head,
    parse_head,
    response_head,
)
from hotswap.log import Once, fields
from hotswap.peers import admitted, peer_uid
from hotswap.wire import Wire

__all__ = ["BadRequest", "EventStream", "HttpError", "HttpServer", "Request", "Response", "Route"]

Route = Callable[[Request], Awaitable[Response | EventStream]]

CLIENT_LIMIT = 64  # connections at once, of which those without a complete request give way to newer ones
REQUEST_SECONDS = 10.0  # to send a request
WRITE_SECONDS = 10.0  # to take a piece of the answer
LINGER_SECONDS = 1.0  # for a client to see our answer and hang up
STRAY_LIMIT = 65536  # bytes from a client whose answer grows
ACCEPTS_A_WAKE = 32
RETRY_ACCEPT_SECONDS = 0.2  # after the process ran out of descriptors
OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

logger = logging.getLogger(__name__)


class _Phase(enum.Enum):
    READING = enum.auto()  # no complete request yet: may be cut off for a newer client
    ANSWERING = enum.auto()
    LINGERING = enum.auto()  # answered: may be cut off too


class _Client:
    """One accepted connection."""

    __slots__ = ("phase", "task", "uid", "wire")

    def __init__(self, wire: Wire, uid: int | None) -> None:
        self.wire = wire
        self.uid = uid
        self.phase = _Phase.READING
        self.task: asyncio.Task[None] | None = None

    def cut(self) -> None:
        """End it at once, whatever it does."""
        if self.task is not None:
            self.task.cancel()


class HttpServer:
    """Serves `routes` on one listening socket at a time. All methods belong to the loop's thread.

    On unix sockets a client must run under one of `allow_uids` (ours and root, if nobody says otherwise; SO_PEERCRED),
    else it gets 403 before a byte of its request is read; such strangers are logged once each. `wire` makes of
    an accepted socket what is spoken on it, such as TLS.
    """

    __slots__ = (
        "_by_path",
        "_clients",
        "_listener",
        "_loop",
        "_polled",
        "_request_seconds",
        "_retry",
        "_strangers",
        "_uids",
        "_wire",
    )

    def __init__(
        self,
        routes: Mapping[tuple[str, str], Route],
        *,
        allow_uids: frozenset[int] | None = None,
        request_seconds: float = REQUEST_SECONDS,
        wire: Callable[[socket.socket], Wire] = Wire,
    ) -> None:
        self._by_path: dict[str, dict[str, Route]] = {}
        for (method, path), route in routes.items():
            self._by_path.setdefault(path, {})[method] = route
        self._uids = admitted(frozenset()) if allow_uids is None else allow_uids
        self._request_seconds = request_seconds
        self._wire = wire
        self._clients: dict[_Client, None] = {}  # in the order of their arrival
        self._listener: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._polled = False
        self._retry: asyncio.TimerHandle | None = None
        self._strangers = Once()

    # -- the listener ---------------------------------------------------------------------------

    def start(self, fd: int) -> None:
        """Accept on `fd`, a socket that listens already. The server uses a duplicate; `fd` stays the caller's."""
        if self._listener is not None:
            raise RuntimeError("this server listens already")
        self._loop = asyncio.get_running_loop()
        self._listener = socket.socket(fileno=os.dup(fd))
        self._listener.setblocking(False)
        self.resume()

    def pause(self) -> None:
        """Accept nothing for now: new clients wait in the kernel's queue. Answers under way go on."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._polled and self._loop is not None and self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
        self._polled = False

    def resume(self) -> None:
        """Undo `pause`. Does nothing once stopped."""
        if self._listener is not None and self._loop is not None and not self._polled:
            self._loop.add_reader(self._listener.fileno(), self._accept)
            self._polled = True

    def stop(self) -> None:
        """Let go of the listener for good, without shutting it down. Answers under way go on."""
        self.pause()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def finish(self, seconds: float) -> None:
        """Wait for the answers under way, `seconds` at most, then cut off what is left.

        Clients that have not even sent a request by then get a second at most.
        """
        grace = min(seconds, LINGER_SECONDS)
        await self._settle(grace)
        for client in list(self._clients):
            if client.phase is not _Phase.ANSWERING:
                client.cut()
        await self._settle(max(seconds - grace, 0.0))
        for client in list(self._clients):
            client.cut()
        await self._settle(LINGER_SECONDS)

    @property
    def answering(self) -> bool:
        """A client has not got all of its answer."""
        return any(client.phase is not _Phase.LINGERING for client in self._clients)

    @property
    def clients(self) -> int:
        """Connections open now."""
        return len(self._clients)

    async def _settle(self, seconds: float) -> None:
        current = asyncio.current_task()
        tasks = [client.task for client in self._clients if client.task is not None and client.task is not current]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    # -- accepting ------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(ACCEPTS_A_WAKE):
            if self._listener is None or not self._polled:
                return
            try:
                sock, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in OUT_OF_DESCRIPTORS:
                    self._rest(error)
                    return
                continue  # the client is gone already: ECONNABORTED and its kin, accept(2)
            self._admit(sock)

    def _rest(self, error: OSError) -> None:
        """No descriptors left: polling the listener would spin."""
        if self._strangers.first("descriptors"):
            logger.warning("cannot accept, retrying", extra=fields(error=error.strerror))
        self.pause()
        if self._loop is not None:
            self._retry = self._loop.call_later(RETRY_ACCEPT_SECONDS, self.resume)

    def _admit(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if len(self._clients) >= CLIENT_LIMIT:
            self._make_room()
        if len(self._clients) >= CLIENT_LIMIT:
            sock.close()  # all of them are being answered
            return
        client = _Client(self._wire(sock), _peer_uid(sock))
        self._clients[client] = None
        client.task = asyncio.ensure_future(self._serve(client))
        # Not in _serve: a task that is cut off before its first step never runs any of it.
        client.task.add_done_callback(partial(self._release, client))

    def _make_room(self) -> None:
        """Cut off the oldest client that is not being answered."""
        for client in self._clients:
            if client.phase is not _Phase.ANSWERING:
                client.cut()
                del self._clients[client]
                return

    # -- one client -----------------------------------------------------------------------------

    async def _serve(self, client: _Client) -> None:
        try:
            await self._converse(client)
        except (OSError, TimeoutError):
            pass  # the client hung up or stopped reading: its own loss
        except asyncio.CancelledError:
            pass  # cut off, or the loop ends: nothing was promised
        except Exception:
            logger.exception("control client failed")

    def _release(self, client: _Client, _task: asyncio.Task[None]) -> None:
        self._clients.pop(client, None)
        client.wire.sock.close()

    async def _converse(self, client: _Client) -> None:
        if client.uid is not None and client.uid not in self._uids:
            if self._strangers.first(client.uid):
                logger.warning("refused a stranger on the control socket", extra=fields(uid=client.uid))
            answer: Response | EventStream = _refusal(
                403, f"this socket is not for uid {client.uid}, but for its owner, root, and upgrade.peer_uids"
            )
            head_only = False
        else:
            answer, head_only = await self._respond(client)
        if isinstance(answer, EventStream):
            await self._stream(client, answer)
        else:
            head = response_head(answer.status, answer.content_type, len(answer.body), answer.headers)
            await self._write(client, head if head_only else head + answer.body)
        client.phase = _Phase.LINGERING
        async with asyncio.timeout(LINGER_SECONDS):
            await client.wire.end()

    async def _respond(self, client: _Client) -> tuple[Response | EventStream, bool]:
        """The answer, and whether its body is to be left out (HEAD)."""
        opened = False
        try:
            async with asyncio.timeout(self._request_seconds):
                await client.wire.open()
                opened = True
                request = await _read_request(client)
        except TimeoutError:
            if not opened:
                raise
            return _refusal(408, f"the request did not arrive within {self._request_seconds:g} seconds"), False
        except HttpError as error:
            return _refusal(error.status, str(error)), False
        client.phase = _Phase.ANSWERING
        return await self._answer(request), request.method == "HEAD"

    async def _answer(self, request: Request) -> Response | EventStream:
        methods = self._by_path.get(request.path)
        if methods is None:
            return _refusal(404, f"no such path; there are {', '.join(sorted(self._by_path))}")
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            allowed = ", ".join(sorted(methods))
            refusal = _refusal(405, f"{request.path} takes {allowed}")
            return Response(refusal.status, refusal.body, headers={"Allow": allowed})
        if request.method == "POST" and "content-length" not in request.headers:  # else half an order would be one
            return _refusal(411, "send the body with a Content-Length, 0 for none")
        try:
            return await route(request)
        except HttpError as error:
            return _refusal(error.status, str(error))
        except HotswapError as error:
            return Response.json({"error": str(error), "exit_code": error.exit_code}, 409)
        except Exception as error:
            logger.exception("control request failed", extra=fields(method=request.method, path=request.path))
            return _refusal(500, f"internal error: {type(error).__name__}: {error}")

    async def _stream(self, client: _Client, stream: EventStream) -> None:
        news = asyncio.Event()
        stream.notify = news.set
        watched = asyncio.ensure_future(_until_gone(client, stream, news))
        try:
            await self._write(client, response_head(200, "application/x-ndjson", None))
            while not stream.over:
                news.clear()
                lines = stream.take()
                if lines:
                    await self._write(client, b"%x\r\n%b\r\n" % (len(lines), lines))
                else:
                    await news.wait()
            if not stream.broken:
                await self._write(client, b"0\r\n\r\n")
        finally:
            stream.abandon()
            watched.cancel()
            await asyncio.wait({watched})  # whoever reads next is the only one

    async def _write(self, client: _Client, data: bytes) -> None:
        async with asyncio.timeout(WRITE_SECONDS):
            await client.wire.send(data)


async def _until_gone(client: _Client, stream: EventStream, news: asyncio.Event) -> None:
    """A watcher that hangs up gives its place away at once, and not with the next event, which may be hours away.

    So does one that goes on talking: it has nothing to say, and reading it would leave time for nobody else.
    """
    left = STRAY_LIMIT
    try:
        while left > 0 and (piece := await client.wire.recv(4096)):
            left -= len(piece)
    except OSError:
        pass
    stream.abandon()
    news.set()


def _peer_uid(sock: socket.socket) -> int | None:
    """The uid at the other end of a unix socket, None elsewhere."""
    return peer_uid(sock) if sock.family == socket.AF_UNIX else None


def _refusal(status: int, message: str) -> Response:
    return Response.json({"error": message}, status)


async def _read_request(client: _Client) -> Request:
    """Read one request. Raises `HttpError` for what cannot be answered otherwise, OSError if the client left."""
    wire = client.wire
    data = b""
    while not complete_head(data):
        piece = await wire.recv(HEAD_LIMIT)
        if not piece:
            raise ConnectionAbortedError("the client left before its request was complete")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    request, length = parse_head(head, client.uid)
    request.names = wire.names
    if request.headers.get("expect", "").lower() == "100-continue" and len(body) < length:
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    pieces = [body]
    left = length - len(body)
    while left > 0:
        piece = await wire.recv(min(left, 65536))
        if not piece:
            raise ConnectionAbortedError("the client left before its request was complete")
        pieces.append(piece)
        left -= len(piece)
    request.body = b"".join(pieces)[:length]
    return request
