"""The process of a worker: a reactor of its own, told by the crew what to do with it.

It has no lock, no control socket and no signals: it ends when the crew says so, hangs up or dies.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import prctl

import hotswap
import proxy
import shm_metrics
from hotswap import privileges, turns
from hotswap.build import fingerprint
from hotswap.errors import HotswapError
from hotswap.handover import wire
from hotswap.handover.channel import from_memfd
from hotswap.log import say_who, set_up
from hotswap.swappable import Reason, Saved
from proxy import ondemand, protocols
from proxy.config.model import AppConfig
from proxy.config.reach import capabilities
from proxy.encryption.control import carry_out, concerned, entries
from proxy.later import Later
from proxy.portion import PORTION
from proxy.server import ProxyServer
from proxy.ticker import Loop
from proxy.tls.secrecy import keep_secrets
from proxy.workers import words
from proxy.workers.changes import Planning, has_secrets
from proxy.workers.giving import Giving
from proxy.workers.line import Line
from proxy.workers.lodger import Lodger
from proxy.workers.scales import Scales

BEAT = 0.25
"""Seconds between two words of how it is."""
HURRY = 0.05
"""The same while it drains."""

log = logging.getLogger("proxy")


class NoHeart:
    """The application is checked by the crew alone."""

    def start(self, config: AppConfig, told: Callable[[str], None]) -> None:
        """See `proxy.app.Heart`."""

    def stop(self) -> None:
        """See `proxy.app.Heart`."""


def build() -> str:
    """What tells this code from any other."""
    return fingerprint([Path(one).parent for one in (hotswap.__file__, proxy.__file__, shm_metrics.__file__)])


class Duty:
    """What a worker does, by the words that it hears."""

    def __init__(self, fd: int) -> None:
        self._line = Line(socket.socket(fileno=fd), self._took, self._over)
        self._line.attach()
        self._server: ProxyServer | None = None
        self._giving: Giving | None = None
        self._lock = -1
        self._number = 0
        self._name = ""
        self._problems: dict[int, str] = {}
        self._planning: Planning
        self._sockets_so_far: dict[str, int] = {}
        self._keyless = False
        self._loop = asyncio.get_running_loop()

    # ---- words ----

    def _took(self, word: words.AnyWord, fds: list[int]) -> None:
        try:
            self._WORDS[type(word)](self, word, fds)
        except HotswapError as error:
            log.error("a worker cannot go on: %s", error)  # noqa: TRY400  the text says it all
            self._leave(error.exit_code)
        except Exception:
            log.exception("a bug ended a worker")
            self._leave(1)

    def _over(self, why: str) -> None:
        log.debug("a worker ends: %s", why)
        self._leave(0)

    def _leave(self, code: int) -> None:
        if self._server is not None:
            self._server.sinks.flush()
        sys.stderr.flush()
        os._exit(code)

    @property
    def server(self) -> ProxyServer:
        """There once it was hired."""
        if self._server is None:
            raise HotswapError("a worker that was not hired: a bug")
        return self._server

    def _hire(self, _word: words.Hire, fds: list[int]) -> None:
        commission = words.Commission.unpack(from_memfd(fds.pop(0)))
        voice = commission.voice
        set_up(voice.log_format, voice.log_level)
        self._number = commission.number
        self._name = f"{commission.config.name}/{commission.number}"
        say_who(self._name, 0)
        if build() != commission.build:
            raise HotswapError(
                "the installed package is not the one that serves: `hotswap upgrade` brings workers back"
            )
        if voice.drop_privileges:
            privileges.drop({"CAP_NET_BIND_SERVICE", *capabilities(commission.config)})
        if has_secrets(commission.config):
            keep_secrets()
        PORTION.be(commission.number, commission.config.workers)
        server = self._server = ProxyServer(
            commission.config,
            heart=NoHeart,
            later=Later((*ondemand.MODULES, *protocols.MODULES)),
            home=Lodger(commission.config, commission.directory),
        )
        self._planning = Planning(server, self._line)
        server.ticker.attach()
        server.reactor.acceptor.scales = Scales(fds[0], commission.number)
        gc.collect()
        gc.freeze()
        self._spare_key()
        self._line.say(words.Ready())
        self._beat()

    def _sockets(self, word: words.Sockets, fds: list[int]) -> None:
        listeners = self._together(word.names, fds)
        if word.last:
            self.server.adopt(listeners)
            self._sockets_so_far = {}

    def _together(self, names: list[str], fds: list[int]) -> dict[str, int]:
        self._sockets_so_far.update(zip(names, fds, strict=True))
        fds.clear()
        return self._sockets_so_far

    def _guard(self, _word: words.Guard, fds: list[int]) -> None:
        self._lock = fds.pop()

    def _metrics(self, _word: words.Metrics, fds: list[int]) -> None:
        self.server.home.accept(fds[0])

    def _key(self, word: words.Key, fds: list[int]) -> None:
        gc.disable()
        self.server.later.finish()  # connections of any kind may come
        self.server.reactor.tls.take_vault(fds[0], word.worker)

    def _short(self, _word: words.Short, _fds: list[int]) -> None:
        raise HotswapError("what the crew sent was lost, for no descriptor was free: raise RLIMIT_NOFILE")

    def _new_key(self, _word: words.NewKey, _fds: list[int]) -> None:
        self._spare_key()

    def _spare_key(self) -> None:
        try:
            fd = self.server.reactor.tls.spare_vault()
        except OSError as error:  # no attempt can be made until there is one
            self._keyless = True
            log.warning("no key for the next upgrade: %s", error.strerror)
            return
        self._keyless = False
        self._line.say(words.Spare(), (fd,), (fd,))

    # ---- as a part of a destination ----

    def _deliver(self, word: words.Deliver, fds: list[int]) -> None:
        for item in word.items:
            fd = fds.pop(0) if item.with_fd else -1
            state = from_memfd(fds.pop(0)) if item.in_memfd else item.state
            try:
                self.server.restore(Saved(item.kind, item.serial, item.changes, state, fd, item.worker), word.now)
            except HotswapError as error:
                self._problems[item.serial] = str(error)

    def _closed(self, word: wire.Closed, _fds: list[int]) -> None:
        for serial in word.serials:
            self.server.forget(serial)

    def _settle(self, word: words.Settle, _fds: list[int]) -> None:
        self.server.later.finish()  # long before the last pass, for which everybody waits
        failure = ""
        if word.shared is not None:
            try:
                self.server.restore_shared(word.shared, word.now)
                self.server.reactor.acceptor.accepted = 0  # the crew has those
            except (HotswapError, msgspec.DecodeError) as error:
                failure = str(error)
        self._line.say(words.Settled(word.number, self._problems, failure))
        self._problems = {}

    def _own(self, word: words.Own, _fds: list[int]) -> None:
        server = self.server
        server.reactor.next_serial = word.first
        server.home.upgrades.number = word.generation
        turns.take(turns.SHORT)
        server.start()
        server.arrived.clear()  # the crew counts what came
        gc.freeze()
        gc.enable()
        say_who(self._name, word.generation)

    # ---- as a part of a source ----

    def _agree(self, word: words.Agree, _fds: list[int]) -> None:
        self._done()
        self.server.agree(word.chosen, frozenset(word.wanted))
        self.server.reactor.tls.use_spare()
        self._spare_key()
        gc.disable()  # as in the crew: a collection over thousands of connections stops everything, and finds nothing
        self._giving = Giving(self.server, self._line, word.attempt)

    def _done(self) -> None:
        gc.enable()
        if self._giving is not None:
            self._giving.stop()
            self._giving = None

    def _keep(self, word: words.Keep, _fds: list[int]) -> None:
        self.server.keep(word.serials, Reason(word.reason, word.word))

    def _freeze(self, _word: words.Freeze, _fds: list[int]) -> None:
        self.server.freeze()
        if self._giving is not None:
            self._giving.freeze()

    def _thaw(self, _word: words.Thaw, _fds: list[int]) -> None:
        self._done()
        self.server.thaw()

    def _retire(self, word: words.Retire, _fds: list[int]) -> None:
        server = self.server
        turns.take(turns.USUAL)
        server.retire(word.kept, {name: server.listeners[name].fd for name in word.removed})
        if self._giving is not None:
            self._giving.follow()
        self._tell(words.Look(0))  # it may be idle, and all wait for that

    def _sharing(self, word: words.Sharing, _fds: list[int]) -> None:
        if not word.shared:
            self._done()
        self.server.sharing(word.shared)
        self._tell(words.Look(0))

    def _abandon(self, _word: words.Abandon, _fds: list[int]) -> None:
        self._done()
        self.server.abandon()

    # ---- at any time ----

    def _announce(self, _word: words.Announce, _fds: list[int]) -> None:
        self.server.announce_drain()

    def _drain(self, word: words.Drain, _fds: list[int]) -> None:
        self.server.drain(word.deadline)
        self._tell(words.Look(0))

    def _reopen(self, _word: words.Reopen, _fds: list[int]) -> None:
        self.server.reopen()

    def _plan(self, word: words.Plan, _fds: list[int]) -> None:
        self._planning.plan(word)

    def _apply(self, word: words.Apply, fds: list[int]) -> None:
        added = self._together(word.added, fds)
        if word.last:
            self._planning.apply(word.number, added)
            self._sockets_so_far = {}

    def _beats(self, word: words.Beat, _fds: list[int]) -> None:
        self.server.app.load(word.state)
        self.server.app.apply()

    def _obey(self, word: words.Obey, _fds: list[int]) -> None:
        carry_out(self.server, word.order)

    def _look(self, word: words.Look, _fds: list[int]) -> None:
        server = self.server
        server.gauges.share()
        server.home.remain()
        self._tell(word)

    def _end(self, _word: words.End, _fds: list[int]) -> None:
        self.server.close()
        self._leave(0)

    def _beat(self) -> None:
        if self._keyless:
            self._spare_key()
        self._tell(words.Look(0))
        self._loop.call_later(HURRY if self.server.reactor.draining else BEAT, self._beat)

    def _rows(self) -> words.Rows:
        return words.Rows(self.server.connections(), entries(self.server, concerned(self.server)))

    def _tell(self, asked: words.Look) -> None:
        server = self.server
        usage = resource.getrusage(resource.RUSAGE_SELF)
        tally = server.tally()
        told = words.Told(
            asked.number,
            server.count(),
            server.in_flight(),
            server.reactor.acceptor.accepted,
            tally.requests,
            tally.failed,
            tally.crashes,
            usage.ru_utime + usage.ru_stime,
            server.idle(),
            self._rows() if asked.rows else None,
            {one.address: (one.connections, one.answered, one.failed) for one in server.listeners.values()},
        )
        self._line.say(told)

    _WORDS: Mapping[type, Callable[[Any, Any, list[int]], None]] = {
        words.Hire: _hire,
        words.Short: _short,
        words.Sockets: _sockets,
        words.Guard: _guard,
        words.Metrics: _metrics,
        words.Key: _key,
        words.Deliver: _deliver,
        wire.Closed: _closed,
        words.Settle: _settle,
        words.Own: _own,
        words.Agree: _agree,
        words.NewKey: _new_key,
        words.Keep: _keep,
        words.Freeze: _freeze,
        words.Thaw: _thaw,
        words.Retire: _retire,
        words.Sharing: _sharing,
        words.Abandon: _abandon,
        words.Announce: _announce,
        words.Drain: _drain,
        words.Reopen: _reopen,
        words.Plan: _plan,
        words.Apply: _apply,
        words.Beat: _beats,
        words.Obey: _obey,
        words.Look: _look,
        words.End: _end,
    }


async def _serve(fd: int) -> None:
    Duty(fd)
    await asyncio.get_running_loop().create_future()  # it leaves by `os._exit`


def main() -> None:
    """`python -m proxy.workers FD`: started by a crew, see `proxy.workers.hand`."""
    fd = int(sys.argv[1])
    os.set_inheritable(fd, False)
    prctl.set_pdeathsig(signal.SIGKILL)
    # A supervisor may tell all processes of a service: what is to be done the crew says.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(_serve(fd))  # a crew that is dead by now has hung up
