"""One generation of a server: comes to own, serves, gives everything to the next, ends.

    server = MyServer()                                  # a hotswap.Swappable
    sys.exit(Generation("echo", server).run())

How it comes to own is decided by one rule, the same by hand, under systemd and in a container: a
generation that finds another one answering on ``handover.sock`` takes over from it; only who gets the lock
starts cold; lock held and no answer by the deadline: exit `OwnerHung`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NoReturn

from hotswap import __version__, idling, keeper, lineage, listeners, news, spawn, supervisor, turns
from hotswap.address import Address
from hotswap.build import of_program
from hotswap.chain import Chain, Intent
from hotswap.container import Container
from hotswap.errors import (
    AlreadyRunning,
    AttemptFailed,
    BindFailed,
    Busy,
    Draining,
    HotswapError,
    NotRunning,
    OwnerHung,
    Superseded,
    UsageError,
)
from hotswap.estate import Estate, Identity
from hotswap.faults import Faults
from hotswap.handover import wire
from hotswap.handover.channel import Channel
from hotswap.handover.destination import DestinationAttempt
from hotswap.handover.rounds import Limits
from hotswap.handover.states import Destination
from hotswap.log import fields, say_who
from hotswap.place import here, sign
from hotswap.runtime import Runtime, default_runtime_dir
from hotswap.serving import MoreRoutes, Serving
from hotswap.standbys import Standby
from hotswap.succession import Afterwards
from hotswap.swappable import Schema, Swappable

log = logging.getLogger("hotswap")

_RETRY_SECONDS = 0.02  # between two looks at lock and socket; neither can be waited for
_TURN_SECONDS = 0.2  # between two calls while another one takes over


class Generation:
    """Runs `server` under `name`, in whichever role there is. See the module text.

    `takeover`: ``auto`` takes over from a generation that serves the name (but never from one that
    superseded this very build and configuration), ``require`` takes over or exits, ``never`` exits with
    `AlreadyRunning` if the name is served; ``newer`` takes over from another build or configuration only. A generation
    that `hotswap upgrade` started always takes over. `container`: what follows from where it runs. `peers`:
    users besides our own and root that may be on the other side.
    """

    def __init__(
        self,
        name: str,
        server: Swappable,
        *,
        runtime_dir: Path | None = None,
        takeover: str = "auto",
        version: str = __version__,
        build: str = "",
        config_id: str = "",
        stay_as_keeper: bool = False,
        container: Container | None = None,
        limits: Limits | None = None,
        admin: Address | None = None,
        admin_routes: MoreRoutes | None = None,
        control_routes: MoreRoutes | None = None,
        peers: frozenset[int] = frozenset(),
    ) -> None:
        if takeover not in {"auto", "require", "never", "newer"}:
            raise UsageError(f"takeover is auto, require, never or newer, not {takeover!r}")
        build = build or of_program(version)
        self._identity = Identity(name, version, build, config_id, spawn.own_command(), str(Path.cwd()))
        say_who(name, 0)
        self._server = server
        self._limits, self._admin = limits or Limits(), admin
        self._admin_routes, self._control_routes = admin_routes, control_routes
        self.token = spawn.inherited_token()  # of the upgrade that had it started, or come
        self._report = spawn.inherited_report()
        spawn.keep_to_ourselves()
        self._supervisor = supervisor.Supervisor.of_environment()
        self._passed, self._dropped = supervisor.by_address(supervisor.passed())
        self._stood = idling.stood_by()  # as which generation, -1: it did not
        self._bereft = self._stood >= 0 and not self.token
        self._takeover = "require" if self.token else "never" if self._bereft else takeover
        self._container = container or Container()
        self._runtime = Runtime(runtime_dir or default_runtime_dir(), name, peers)
        self._keeper = keeper.prepare() if keeper.wanted(stay_as_keeper) else None
        self._serving: Serving | None = None
        self._estate: Estate | None = None
        self._chain = Chain()
        self._number, self._how = 1, "cold"
        self._adopted = False
        self._waits = self._waited = False  # for its turn

    def run(self) -> int:
        """Serve until the end; returns the exit code. Raises `HotswapError` if it never comes to own."""
        try:
            self._runtime.prepare()
            with asyncio.Runner(loop_factory=self._server.new_loop) as runner:
                code = runner.run(self._live())
        except HotswapError as error:
            spawn.report(self._report, error)
            raise
        if self._keeper is not None and self._serving is not None and self._serving.successor_spawned:
            self._keeper.become()
        if self._afterwards == "stands by":
            self._stand_by(self._number, bereft=True)
        if self._afterwards == "waits":
            idling.become(None, None)
        return code

    def _stand_by(self, generation: int, *, bereft: bool = False, rest: bool = False) -> NoReturn:
        identity = self._identity
        standby = Standby(generation, identity.version, identity.build, self._container.revision, here())
        idling.become(self._runtime.control_path, standby, bereft=bereft, rest=rest)

    async def _live(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end_inert, number)
        loop.add_signal_handler(signal.SIGHUP, log.info, "SIGHUP: the configuration was read just now")
        loop.add_signal_handler(signal.SIGUSR1, self._server.reopen)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, idling.SIGNALS)  # see `idle.ENDING`
        await self._come_to_own()
        if self._serving is None:
            raise HotswapError("owner without a serving side: a bug")
        code = await self._serving.ended
        await self._serving.finish()
        log.info("ended", extra=fields(gave_away=self._serving.gave_away))
        if self._afterwards != "ends":  # whoever tells it to end from here on tells what it becomes
            signal.pthread_sigmask(signal.SIG_BLOCK, idling.SIGNALS)
        return code

    @property
    def _afterwards(self) -> Afterwards:
        """See `Succession.afterwards`."""
        idles = self._serving is not None and self._container.after_handover == "idle"
        return self._serving.succession.afterwards if self._serving is not None and idles else "ends"

    def _end_inert(self, number: int) -> None:
        """While inert there is nothing to tidy up. A signal in the same turn as the byte comes to an owner."""
        if self._serving is None:
            os._exit(128 + number)
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)  # after `Serving.open`

    # -- coming to own ----------------------------------------------------------------------------

    async def _come_to_own(self) -> None:
        until = time.monotonic() + self._limits.attempt
        while True:
            if self._takeover != "never" and await self._take_over():
                return
            lock = self._runtime.try_lock()
            if lock is not None:
                # Somebody may have come up between the two looks: ask once more before taking the sockets.
                if self._takeover != "never" and await self._take_over():
                    os.close(lock)
                    return
                self._start_first(lock)
                return
            if self._bereft:  # somebody else was faster, and may fail all the same
                self._stand_by(self._stood, bereft=True, rest=True)
            if self._takeover == "never":
                raise AlreadyRunning(
                    f"it is running already; `hotswap upgrade {self._identity.name}` replaces it, "
                    "or start with --takeover=auto"
                )
            if self._waits:  # whoever holds the lock has answered
                until = time.monotonic() + self._limits.attempt
                self._waits = False
                await asyncio.sleep(_TURN_SECONDS)
            if time.monotonic() >= until:
                raise OwnerHung(
                    f"somebody holds {self._runtime.lock_path} and does not answer: find out who by "
                    f"`fuser -v {self._runtime.lock_path}` and end it"
                )
            await asyncio.sleep(_RETRY_SECONDS)

    async def _take_over(self) -> bool:
        """True if this generation owns now; False if nobody answers (any more)."""
        sock = self._runtime.connect()
        if sock is None:
            return False
        gc.disable()
        channel = Channel(sock, self._runtime.peers)
        attempt = DestinationAttempt(channel, self._server, self, limits=self._limits, faults=Faults.armed())
        attempt.begin(self._hello())
        state = await attempt.over
        owns = state in {Destination.STARTED, Destination.COLD}
        if owns:
            gc.freeze()  # what was restored lives as long as its connection: nothing for the collector
        gc.enable()
        return owns

    def _hello(self) -> wire.Hello:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        identity = self._identity
        return wire.Hello(
            protocol=Schema(wire.PROTOCOL_OLDEST, wire.PROTOCOL_NEWEST),
            schemas=dict(self._server.schemas()),
            wanted=[str(spec.address) for spec in self._server.wanted()],
            version=identity.version,
            build=identity.build,
            config_id=identity.config_id,
            token=self.token,
            takeover=self._takeover,
            nofile=soft,
            open_fds=sum(1 for _ in Path("/proc/self/fd").iterdir()),
            command=identity.command[:256],
            cwd=identity.cwd,
            pid=os.getpid(),
            revision=self._container.revision,
            place=here(),
        )

    def _start_first(self, lock: int) -> None:
        if self._takeover == "require" and not self.token:
            raise NotRunning(f"--takeover=require, and nobody serves {self._identity.name}: start it without")
        control, handover = self._runtime.bind()
        self._estate = Estate(lock, control, handover)
        lineage.read(self._runtime.path, self._chain, f"{self._identity.build}/{self._identity.config_id}")
        self._bind(self._estate, {}, reuse=True)
        gc.collect()
        gc.freeze()  # modules and configuration stay: a collection while serving need not look at them
        self.start()

    def _bind(self, estate: Estate, inherited: Mapping[str, int], *, reuse: bool) -> None:
        """Inherit or bind the listeners and the admin address."""
        wanted = self._server.wanted()
        # A takeover by a process that a supervisor started: these are copies of what came from the source.
        for address in self._passed.keys() & inherited.keys():
            os.close(self._passed.pop(address))
        offered = {**self._passed, **inherited}
        estate.server, surplus = listeners.resolve(wanted, offered, reuse=reuse)
        admin = "" if self._admin is None else str(self._admin)
        if estate.admin_address != admin:
            if estate.admin >= 0:
                surplus[estate.admin_address] = estate.admin
            estate.admin = surplus.pop(admin, -1)
            if self._admin is not None and estate.admin < 0:
                estate.admin = listeners.bind(self._admin, reuse=reuse)
            estate.admin_address = admin
        for address, fd in surplus.items():
            os.close(fd)
            self._dropped.append(supervisor.name_of(address))
            if address in self._passed:
                log.warning("the supervisor passed what no listener wants", extra=fields(address=address))
        self._adopted = True
        self._server.guard(estate.lock)
        self._server.adopt({spec.name: estate.server[str(spec.address)] for spec in wanted})

    # -- handover.destination.Taker ---------------------------------------------------------------

    def adopt(self, entries: list[tuple[wire.ListenerEntry, int]], lock: int, generation: int) -> None:
        """See `Taker`."""
        self._number = generation  # also if the source dies before its history came
        by_purpose = {entry.purpose: (entry, fd) for entry, fd in entries}
        if not {"control", "handover"} <= by_purpose.keys():
            raise BindFailed("the serving generation did not pass on its runtime sockets")
        Chain.decode(Chain().encode())  # the first one takes 2 ms, for its types: not in the freeze
        self._estate = Estate(lock, by_purpose["control"][1], by_purpose["handover"][1])
        if "admin" in by_purpose:
            entry, fd = by_purpose["admin"]
            self._estate.admin, self._estate.admin_address = fd, entry.address
        self._how = "upgrade" if self.token else "takeover"
        inherited = {entry.address: fd for entry, fd in entries if entry.purpose == "server"}
        self._server.accept_descriptors({entry.name: fd for entry, fd in entries if entry.purpose == "own"})
        self._bind(self._estate, inherited, reuse=False)

    def restore_chain(self, chain: bytes, generation: int) -> None:
        """See `Taker`."""
        self._chain = Chain.decode(chain)
        self._number = generation

    def start(self) -> None:
        """See `Taker`. Clients that wait for it to go on come before all else."""
        estate = self._estate
        if estate is None:
            raise HotswapError("owner without listeners: a bug")
        turns.take(turns.SHORT)
        estate.listen(self._server.wanted())
        if self._how in {"upgrade", "takeover"}:
            self._server.start()
            self._own(estate)
        else:
            self._own(estate)
            self._server.start()

    def start_cold(self) -> None:
        """See `Taker`."""
        if not self._adopted:
            failure = AttemptFailed("the source died, and this generation could not bind its listeners")
            self.leave(failure, settled=False)
        self._how = "crash"
        if not self._chain.records:  # the source died before it told its history
            lineage.read(self._runtime.path, self._chain, f"{self._identity.build}/{self._identity.config_id}")
        self._server.abandon()
        self.start()

    def told(self, figures: wire.Bye, lost: int) -> None:
        """See `Taker`."""
        record = self._chain.current()
        if record is not None:
            record.downtime_ms, record.listeners = figures.downtime_ms, figures.listeners
            record.connections, record.in_flight = figures.connections, figures.in_flight
        news.took_over(self._server, figures, lost)

    def leave(self, failure: HotswapError | None, *, settled: bool) -> None:
        """See `Taker`. It returns if there will be another attempt."""
        failure = failure or AttemptFailed("the serving generation took the attempt back and serves on")
        waits = self._container.if_busy == "wait" and not self.token and self._estate is None
        if waits and isinstance(failure, Busy | Draining):
            if not self._waited:
                log.info("waiting for its turn", extra=fields(reason=str(failure)))
            self._waits = self._waited = True
            return
        idles = self._container.after_handover == "idle" and settled
        if idles and isinstance(failure, Superseded):
            log.info("not taking over: %s", failure)
            self._stand_by(max(self._stood, 0))
        if idles and self._stood >= 0:  # it was told to come, and is not needed, or cannot
            log.warning("not taking over: %s", failure)
            self._stand_by(self._stood, bereft=True, rest=True)
        log.error("not taking over: %s", failure)
        spawn.report(self._report, failure)
        logging.shutdown()
        sys.stderr.flush()
        os._exit(failure.exit_code)

    def _own(self, estate: Estate) -> None:
        """From here on this process answers for the name."""
        self._runtime.share()
        if estate.admin >= 0:
            listeners.listen(estate.admin, 128)
        if self._how != "cold":
            listeners.listen(estate.control, 128)
            listeners.listen(estate.handover, 128)
        identity = self._identity
        self._chain.supersede(self._number)
        intent, self._chain.intent = self._chain.intent, None
        if intent is None or self._how == "crash":
            intent = Intent()
        how = intent.how or self._how
        news.owning(self._server, self._number, how)
        container = self._container
        self._chain.newest = max(self._chain.newest, container.revision)
        record = identity.record(self._number, how, time.time(), restores=intent.restores, revision=container.revision)
        self._chain.add(record)
        sign(estate.lock)
        self._serving = Serving(
            identity,
            self._server,
            self._runtime,
            estate,
            self._chain,
            limits=self._limits,
            admin_routes=self._admin_routes,
            control_routes=self._control_routes,
            bake=intent.bake,
            supervisor=self._supervisor,
            returns=container.after_handover == "idle",
        )
        loop = asyncio.get_running_loop()
        loop.call_soon(partial(self._serving.open, self._dropped, crashed=self._how == "crash"))
        loop.call_soon(lineage.write, self._runtime.path, self._chain)
        say_who(identity.name, self._number)
        log.info("serving", extra=fields(how=self._how, pid=os.getpid()))
