"""Calls to systemd over D-Bus: jeepney reads and writes the messages, this file the socket.

As root directly on systemd's own socket, where there is no bus between: no Hello, no names, no match rules, and it
works without a bus daemon (org.freedesktop.systemd1(5)). Everybody else goes over the system bus, where polkit decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, Parser, new_method_call
from jeepney.auth import BEGIN, make_auth_external
from jeepney.bus_messages import message_bus

from hotswap.errors import HotswapError
from hotswap.log import fields

log = logging.getLogger("hotswap.agent")

PRIVATE = Path("/run/systemd/private")
SYSTEM_BUS = Path("/run/dbus/system_bus_socket")
SYSTEMD = "org.freedesktop.systemd1"
CALL_SECONDS = 25.0  # as libdbus and sd-bus
CONNECT_SECONDS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds between attempts to connect again


class BusError(HotswapError):
    """systemd said no; `name` is the D-Bus name of its error."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"systemd: {text or name}")
        self.name = name


class BusLost(BusError):
    """The connection broke before the answer came: the order may have been carried out or not."""


class Bus:
    """One connection that comes back by itself, as after ``systemctl daemon-reexec``."""

    def __init__(
        self, on_signal: Callable[[Message], None], on_return: Callable[[], None], path: Path | None = None
    ) -> None:
        """`on_return`: the connection is there again, and signals may have been missed."""
        private = os.geteuid() == 0 and PRIVATE.exists()
        self.path = path or (PRIVATE if private else SYSTEM_BUS)
        self._direct = self.path == PRIVATE
        self._on_signal, self._on_return = on_signal, on_return
        self._serials = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._there = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, and stay connected. Raises `HotswapError`."""
        try:
            reader = await self._connect()
        except (OSError, EOFError, TimeoutError) as error:
            raise HotswapError(f"systemd does not answer on {self.path}: {str(error) or 'it took too long'}") from None
        reading = asyncio.ensure_future(self._read(reader))
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._introduce()
        except BaseException as error:
            reading.cancel()
            self._drop()
            if isinstance(error, TimeoutError):
                raise HotswapError(f"systemd does not answer on {self.path}") from None
            raise
        self._keeping = asyncio.ensure_future(self._keep(reading))

    async def close(self) -> None:
        """Say nothing more."""
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        self._drop()

    async def call(self, address: DBusAddress, member: str, signature: str = "", body: tuple[Any, ...] = ()) -> Any:
        """What a method returns, as a tuple. Raises `BusError`; `BusLost` if there is no connection in the end."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._there.wait()
                return await self._call(new_method_call(address, member, signature or None, body))
        except TimeoutError:
            raise BusLost("", f"no answer to {member} within {CALL_SECONDS:g} s") from None

    async def _call(self, message: Message) -> Any:
        if self._writer is None:
            raise BusLost("", "not connected")
        serial = next(self._serials)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[serial] = future
        try:
            self._writer.write(message.serialise(serial))
            answer = await future
        finally:
            self._waiting.pop(serial, None)
        if answer.header.message_type is MessageType.error:
            text = answer.body[0] if answer.body and isinstance(answer.body[0], str) else ""
            raise BusError(answer.header.fields.get(HeaderFields.error_name, ""), text)
        return answer.body

    # -- the connection ---------------------------------------------------------------------------

    async def _connect(self) -> asyncio.StreamReader:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(self.path)
            try:
                # In one piece, as sd-bus does: systemd does not look at a message that comes together with BEGIN until
                # another one follows it.
                writer.write(b"\0" + make_auth_external() + BEGIN)
                answer = await reader.readline()
                if not answer.startswith(b"OK "):
                    raise EOFError(f"it said {answer!r} to our user id")
            except BaseException:
                writer.close()
                raise
        self._writer = writer
        return reader

    async def _introduce(self) -> None:
        """Be heard on a bus, and have systemd send signals."""
        if not self._direct:
            await self._call(message_bus.Hello())
            await self._call(message_bus.AddMatch(MatchRule(type="signal", sender=SYSTEMD)))
        await self._call(new_method_call(manager("org.freedesktop.systemd1.Manager"), "Subscribe"))
        self._there.set()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Until it ends."""
        parser = Parser()
        try:
            while data := await reader.read(65536):
                parser.add_data(data)
                while (message := parser.get_next_message()) is not None:
                    self._dispatch(message)
        except OSError:
            pass
        finally:
            self._drop()

    def _dispatch(self, message: Message) -> None:
        kind = message.header.message_type
        if kind is MessageType.signal:
            self._on_signal(message)
        elif kind in {MessageType.method_return, MessageType.error}:
            future = self._waiting.get(message.header.fields.get(HeaderFields.reply_serial, 0))
            if future is not None and not future.done():
                future.set_result(message)

    def _drop(self) -> None:
        self._there.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(BusLost("", "the connection broke before the answer came"))

    async def _keep(self, reading: asyncio.Future[None]) -> None:
        """Connect again whenever it broke."""
        try:
            while True:
                await asyncio.wait([reading])
                log.warning("connection to systemd lost", extra=fields(socket=str(self.path)))
                pause = FIRST_PAUSE
                while not self._there.is_set():
                    await asyncio.sleep(pause)
                    pause = min(LONGEST_PAUSE, pause * 2)
                    try:
                        reading = asyncio.ensure_future(self._read(await self._connect()))
                        async with asyncio.timeout(CONNECT_SECONDS):
                            await self._introduce()
                    except (OSError, EOFError, TimeoutError, BusError):
                        reading.cancel()
                log.info("connected to systemd again", extra=fields(socket=str(self.path)))
                self._on_return()
        finally:
            reading.cancel()


def manager(interface: str, path: str = "/org/freedesktop/systemd1") -> DBusAddress:
    """systemd, or one of its units."""
    return DBusAddress(path, SYSTEMD, interface)
