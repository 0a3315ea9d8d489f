"""The patrol: everything that nobody would notice otherwise, looked at now and then, and whenever somebody asks.

It changes nothing. Each check first looks, in a thread and for a bounded time, and then judges, which is pure; one that
fails is a finding itself. What is new and what is gone goes once into the history, also across ends of the agent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shm_metrics.names import FOLDER, segment_name
from vm_agent.inspection import (
    certificates,
    damage,
    disks,
    drift,
    generations,
    limits,
    listening,
    lives,
    logs,
    processes,
    segments,
    subject,
)
from vm_agent.inspection.errands import Errands, Overdue
from vm_agent.inspection.findings import Finding, ordered
from vm_agent.inspection.processes import Process
from vm_agent.inspection.subject import Subject
from vm_agent.lifecycle.states import State
from vm_agent.network.sockets import Watch
from vm_agent.runners.plan import AGENT_DIRECTORY

if TYPE_CHECKING:
    from vm_agent.daemon import Daemon
    from vm_agent.history import Entry

log = logging.getLogger("vm_agent")

CHECK_SECONDS: Final = 10.0
RELEASE_SECONDS: Final = 60.0  # every file of a release is read
AT_ONCE: Final = 4
_FIRST_SECONDS: Final = 20.0  # for sidecars to start, when the agent begins
_REMEMBERED: Final = 5000  # entries of the history

Check = Callable[[], Iterable[Finding]]
"""Looks and judges. Blocks."""
Known = dict[tuple[str, str, str], Finding]
Scanned = tuple[dict[int, Process], dict[str, frozenset[int]]]


class Patrol:
    """Of one agent. All methods belong to the event loop's thread."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._errands = Errands()
        self._turn = asyncio.Lock()
        self._watches: dict[str, Watch] = {}
        self._logs: dict[str, logs.Log] = {}
        self._known: Known | None = None

    # -- again and again --------------------------------------------------------------------------

    async def walk(self) -> None:
        """Forever: a patrol every `settings.patrol` seconds."""
        seconds = self._daemon.settings.patrol
        await asyncio.sleep(min(seconds, _FIRST_SECONDS))
        while True:
            try:
                await self.findings()
            except Exception:
                log.exception("the patrol failed")
            await asyncio.sleep(seconds)

    def _note(self, found: list[Finding], unseen: Collection[str]) -> None:
        history = self._daemon.desk.history
        if self._known is None:
            self._known = remembered(history.entries(limit=_REMEMBERED))
        new, gone = changes(self._known, found, unseen)
        self._known = {key: one for key, one in self._known.items() if key[0] in unseen} | {
            one.key: one for one in found
        }
        for one in new:
            facts = {"finding": one.what, "place": one.place, "severity": one.severity, "remedy": one.remedy}
            history.note(one.sidecar, FOUND, one.text, **facts)
        for one in gone:
            text = f"{one.what} {one.place}".strip()
            history.note(one.sidecar, MENDED, text, finding=one.what, place=one.place)

    # -- one patrol -------------------------------------------------------------------------------

    async def findings(self) -> list[Finding]:
        """A patrol right now, the worst first. Takes some seconds at most, and does not fail."""
        async with self._turn:
            unseen: set[str] = set()
            found = ordered(await self._look(unseen))
            self._note(found, unseen | {one.sidecar for one in found if one.what == "patrol"})
            return found

    async def _look(self, unseen: set[str]) -> list[Finding]:
        """`unseen` gets the names of sidecars that were looked at in part only."""
        found: list[Finding] = []
        drivers = list(self._daemon.desk.drivers.values())
        answers = await asyncio.gather(*(subject.look(driver) for driver in drivers), return_exceptions=True)
        subjects = [one for one in answers if isinstance(one, Subject)]
        for driver, answer in zip(drivers, answers, strict=True):
            if isinstance(answer, asyncio.CancelledError):
                raise answer
            if isinstance(answer, BaseException):
                found.append(failed(driver.name, "status", answer))
        self._watches = {one.name: self._watches.get(one.name) or Watch() for one in subjects}
        unseen.update(one.name for one in subjects if one.busy or one.silence)
        everybody, holding = await self._scanned(subjects, found)
        if not everybody:
            unseen.update(one.name for one in subjects)
        there = {one.name: self._generations(one, everybody, holding) for one in subjects}
        checks = [*self._of_machine(subjects)]
        for one in subjects:
            checks += self._of_sidecar(one, there[one.name])
        slots = asyncio.Semaphore(AT_ONCE)

        async def turn(sidecar: str, name: str, check: Check, seconds: float) -> list[Finding]:
            async with slots:
                return await self._checked(sidecar, name, check, seconds)

        for some in await asyncio.gather(*(turn(*one) for one in checks)):
            found += some
        return found

    async def _scanned(self, subjects: list[Subject], found: list[Finding]) -> Scanned:
        """All processes, and who holds which sidecar's lock; nothing if that fails."""

        def scan() -> Scanned:
            everybody = processes.everybody()
            runtime_dir = Path(self._daemon.settings.runtime_dir)
            locks = {one.name: runtime_dir / one.name / "lock" for one in subjects}
            return everybody, processes.holders(locks, everybody)

        try:
            return await self._errands.run("processes", scan, CHECK_SECONDS)
        except Exception as error:  # noqa: BLE001  as below
            found.append(failed("", "processes", error))
            return {}, {}

    async def _checked(self, sidecar: str, name: str, check: Check, seconds: float) -> list[Finding]:
        try:
            return await self._errands.run(f"{sidecar}: {name}", lambda: [*check()], seconds)
        except Exception as error:  # noqa: BLE001  a check that fails is a finding
            return [failed(sidecar, name, error)]

    def _of_machine(self, subjects: list[Subject]) -> Iterator[tuple[str, str, Check, float]]:
        daemon = self._daemon
        releases, settings, now = daemon.desk.releases, daemon.settings, time.time()
        yield "", "specs", lambda: lives.broken(daemon.broken), CHECK_SECONDS
        yield "", "disks", lambda: self._disks(subjects), CHECK_SECONDS
        cared_for = {segment_name(one.name, Path(settings.runtime_dir)) for one in subjects if one.spec is not None}
        yield "", "segments", lambda: segments.judge(segments.look(), cared_for, now), CHECK_SECONDS
        own = partial(certificates.look_at_own, settings.http)
        yield "", "certificates", lambda: certificates.judge("", own(), now), CHECK_SECONDS
        yield "", "logs", lambda: self._volumes(subjects), CHECK_SECONDS
        for version, users in damage.by_version(subjects).items():
            place = str(releases.directory / version)
            look = partial(damage.look, version, releases)
            judge = partial(damage.judge, version, subjects=users, place=place)
            yield "", f"release {version}", partial(_after, look, judge), RELEASE_SECONDS

    def _of_sidecar(self, one: Subject, others: list[Process]) -> Iterator[tuple[str, str, Check, float]]:
        desk, now, name = self._daemon.desk, time.time(), one.name
        runtime_dir = Path(self._daemon.settings.runtime_dir)
        drain = generations.DRAIN if one.spec is None else generations.drain_of(one.spec.config)
        checks: dict[str, Check] = {
            "state": lambda: lives.judge(one),
            "drift": lambda: drift.judge(one, drift.look(one, desk), now),
            "generations": lambda: generations.judge(one, others, drain, now),
            "access logs": lambda: self._grown(name, logs.look(one, time.monotonic())),
            "certificates": lambda: certificates.judge(name, certificates.look(one), now),
            "limits": lambda: limits.judge(one, limits.look(one)),
            "interception": lambda: listening.judge_led(one, listening.led(one)),
            "held listeners": lambda: listening.judge_held(one, desk.runner.kind, runtime_dir),
        }
        if one.told is not None and one.rests:
            known = {process.pid for process in others}
            checks["listeners"] = lambda: listening.judge(one, listening.look(one, self._watches[name], known))
        for what, check in checks.items():
            if one.state is not State.ABSENT or what in {"state", "generations"}:
                yield name, what, check, CHECK_SECONDS

    # -- parts of checks, in threads --------------------------------------------------------------

    def _generations(
        self, one: Subject, everybody: dict[int, Process], holding: dict[str, frozenset[int]]
    ) -> list[Process]:
        desk = self._daemon.desk
        arguments = () if one.spec is None else desk.launch(one.spec).command[1:]
        places: tuple[Path, ...] = (desk.releases.link(one.name),)
        if one.spec is not None and any(name in word for word in one.spec.command for name in ("{config}", "{name}")):
            places = (*places, desk.releases.directory)  # nobody else's command has these arguments
        return generations.of(everybody.values(), holding.get(one.name, frozenset()), arguments, places)

    def _disks(self, subjects: list[Subject]) -> Iterator[Finding]:
        settings, releases = self._daemon.settings, self._daemon.desk.releases
        places = [
            ("state", Path(settings.state)),
            ("runtime_dir", Path(settings.runtime_dir)),
            ("specs", Path(settings.specs)),
        ]
        places.append(("shared memory", FOLDER))
        specs = [one.spec for one in subjects if one.spec is not None]
        places += [(f"the configuration of {spec.name}", Path(spec.config).parent) for spec in specs]
        yield from disks.judge(disks.look(places))
        for disk in disks.look([("state", Path(settings.state))]):
            yield from disks.judge_room(disk, disks.needed(releases))

    def _volumes(self, subjects: list[Subject]) -> Iterator[Finding]:
        settings = self._daemon.settings
        written = [Path(settings.runtime_dir) / AGENT_DIRECTORY / f"{one.name}.log" for one in subjects]
        found = logs.look_at_machine(Path(settings.state), written, time.monotonic())
        yield from self._grown("", found)

    def _grown(self, sidecar: str, found: list[logs.Log]) -> Iterator[Finding]:
        yield from logs.judge(sidecar, found, self._logs)
        self._logs.update(logs.later(self._logs, found))


FOUND, MENDED = "found", "mended"


def _after(
    look: Callable[[], list[str] | None], judge: Callable[[list[str] | None], Iterable[Finding]]
) -> Iterable[Finding]:
    return judge(look())


def failed(sidecar: str, name: str, error: BaseException) -> Finding:
    """A check that did not come to an end."""
    bug = "" if isinstance(error, OSError | Overdue) or hasattr(error, "exit_code") else f"{type(error).__name__}: "
    if bug:
        log.error("a check of the patrol failed", exc_info=error)
    return Finding(
        sidecar=sidecar,
        severity="warning",
        what="patrol",
        place=name,
        text=f"{name} could not be looked at: {bug}{error}",
        remedy="mend that, and look again: hotswap-agent inspect",
    )


def changes(known: Known, found: list[Finding], unseen: Collection[str]) -> tuple[list[Finding], list[Finding]]:
    """What is new or became worse or better than `known`, and what is gone; of the `unseen` sidecars nothing is."""
    new = [one for one in found if one.key not in known or known[one.key].severity != one.severity]
    there = {one.key for one in found}
    return new, [one for key, one in known.items() if key not in there and key[0] not in unseen]


def remembered(entries: Iterable[Entry]) -> Known:
    """What was found and not mended, by the history."""
    known: Known = {}
    for entry in entries:
        key = (entry.name, str(entry.facts.get("finding", "")), str(entry.facts.get("place", "")))
        if entry.what == FOUND and key[1]:
            known[key] = _as_noted(entry)
        elif entry.what == MENDED:
            known.pop(key, None)
    return known


def _as_noted(entry: Entry) -> Finding:
    facts = entry.facts
    return Finding(
        sidecar=entry.name,
        severity=facts.get("severity", "warning"),
        what=facts["finding"],
        place=str(facts.get("place", "")),
        text=entry.text,
        remedy=str(facts.get("remedy", "")),
    )
