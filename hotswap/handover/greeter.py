"""The door of a serving generation: who calls on ``handover.sock``, and whether it may come in.

Anybody who can reach the socket can call. A stranger (another uid) hears so and is closed before a byte is
read; a caller has `PATIENCE` seconds to say HELLO, and at most `WAITING` callers are listened to at once.
What fails here is logged once per kind of stranger and disturbs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from functools import partial

from hotswap.errors import Busy, PermissionDenied, ProtocolError
from hotswap.handover import wire
from hotswap.handover.channel import Channel, Received, Stranger
from hotswap.log import Once, fields
from hotswap.peers import admitted, peer_uid

log = logging.getLogger("hotswap.handover")

PATIENCE = 2.0  # seconds
WAITING = 8
_ACCEPTS_A_WAKE = 32
_PAUSE = 0.5  # seconds

Admit = Callable[[Channel, wire.Hello, int], None]


class Greeter:
    """Accepts on the handover listener; passes on (channel, HELLO, pidfd of the caller).

    `peers` are users besides our own and root who are no strangers.
    """

    def __init__(self, fd: int, admit: Admit, busy: Callable[[], bool], peers: frozenset[int] = frozenset()) -> None:
        self._listener = socket.socket(fileno=os.dup(fd))
        self._listener.setblocking(False)
        self._admit = admit
        self._busy = busy
        self._peers = peers
        self._loop = asyncio.get_running_loop()
        self._callers: dict[Channel, asyncio.TimerHandle] = {}  # in the order of their arrival
        self._once = Once()
        self._pause: asyncio.TimerHandle | None = None
        self._open()

    def _open(self) -> None:
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def stop(self) -> None:
        """Listen to nobody any more; the listening socket itself lives on in its other copies."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for channel in list(self._callers):
            self._dismiss(channel)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_A_WAKE):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if self._once.first(error.errno):
                    log.warning("cannot accept on the handover socket", extra=fields(error=error.strerror))
                # Out of descriptors: the caller stays in the queue, and asking again at once would only spin.
                self._loop.remove_reader(self._listener.fileno())
                self._pause = self._loop.call_later(_PAUSE, self._open)
                return
            self._receive_caller(sock)

    def _receive_caller(self, sock: socket.socket) -> None:
        uid = peer_uid(sock)
        if uid not in admitted(self._peers):
            self._log_stranger(uid)
            with sock, contextlib.suppress(OSError):
                sock.send(wire.encode(_not_you(uid)), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            return
        channel = Channel(sock, self._peers)
        if self._busy():
            channel.send(wire.Refused(Busy.exit_code, "another attempt is under way; try again when it is over"))
            channel.close()
            return
        if len(self._callers) >= WAITING:
            self._dismiss(next(iter(self._callers)))
        self._callers[channel] = self._loop.call_later(PATIENCE, self._dismiss, channel)
        self._loop.add_reader(channel.fileno(), partial(self._listen_to, channel))

    def _log_stranger(self, uid: int) -> None:
        if self._once.first(("uid", uid)):
            log.warning("a stranger called on the handover socket", extra=fields(uid=uid))

    def _listen_to(self, channel: Channel) -> None:
        try:
            received = channel.receive()
        except Stranger as stranger:
            self._log_stranger(stranger.uid)
            channel.send(_not_you(stranger.uid))
            self._dismiss(channel)
            return
        except ProtocolError as error:
            if self._once.first("garbage"):
                log.warning(
                    "a caller on the handover socket does not speak the protocol", extra=fields(error=str(error))
                )
            channel.send(wire.Refused(ProtocolError.exit_code, "this is no HELLO that this version understands"))
            self._dismiss(channel)
            return
        if received is not None:
            self._check(channel, received)
        elif channel.ended:
            self._dismiss(channel)

    def _check(self, channel: Channel, received: Received) -> None:
        message, fds = received.message, received.fds
        if isinstance(message, wire.Hello) and len(fds) == 1 and not self._busy():
            self._loop.remove_reader(channel.fileno())
            self._callers.pop(channel).cancel()
            self._admit(channel, message, fds[0])
            return
        for fd in fds:
            os.close(fd)
        refusal = (
            Busy("another attempt is under way") if self._busy() else ProtocolError("HELLO with a pidfd was expected")
        )
        channel.send(wire.Refused(refusal.exit_code, str(refusal)))
        self._dismiss(channel)

    def _dismiss(self, channel: Channel) -> None:
        timer = self._callers.pop(channel, None)
        if timer is not None:
            timer.cancel()
        self._loop.remove_reader(channel.fileno())
        channel.close()


def _not_you(uid: int) -> wire.Refused:
    return wire.Refused(
        PermissionDenied.exit_code,
        f"uid {uid} has no part in this: run it as the user that serves, or list {uid} in upgrade.peer_uids there",
    )
