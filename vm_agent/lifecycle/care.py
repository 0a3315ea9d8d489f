"""What is done for a sidecar that runs, again and again: is it there, how does it do, is it as the spec wants it.

A look at the process follows at once when the runner says that something changed. A process that died is started anew
by the runner, not here; one that hangs is killed here, so that the runner does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hotswap.errors import HotswapError
from hotswap.log import fields
from shm_metrics import MetricsError
from shm_metrics.names import segment_name
from vm_agent.lifecycle import judge, vitals
from vm_agent.lifecycle.health import Health
from vm_agent.lifecycle.probe import ask, control_socket
from vm_agent.lifecycle.states import UPGRADING, Event, State
from vm_agent.lifecycle.vitals import Vitals
from vm_agent.lifecycle.wishes import wish
from vm_agent.network import interception, rules

if TYPE_CHECKING:
    from vm_agent.lifecycle.driver import Driver
    from vm_agent.lifecycle.memory import Operation
    from vm_agent.runners.base import Running
    from vm_agent.spec.model import Spec, UpgradePolicy

log = logging.getLogger("vm_agent")

_SAMPLE_SECONDS = 5.0
_MINUTE = 60.0
_DIES_SECONDS = 10.0
_DEATHS_A_MINUTE = 5  # that stand in the history one by one
_INTERCEPT_SECONDS = 60.0  # rules that somebody flushed are put back
_CONFIG_LIMIT = 1 << 20  # bytes
_SEEN_SECONDS = 5.0


class Care:
    """Of one sidecar."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._task: asyncio.Task[None] | None = None
        self._soon = asyncio.Event()
        self._health = Health()
        self._restarts = -1
        self._unready = 0.0
        """Since when it starts, on the monotonic clock; 0: it serves."""
        self._pid = 0
        self._deaths: list[float] = []
        self._baseline = judge.Baseline()
        self._sampled = float("-inf")
        self._applied: Spec | None = None
        """The spec whose limits and interception are in effect."""
        self._intercepted = float("-inf")
        self.trouble: HotswapError | None = None
        """Why limits or interception are not as the spec has them."""

    # -- beginning and end ------------------------------------------------------------------------

    def begin(self) -> None:
        """It serves. Called again after each upgrade."""
        self._baseline = judge.Baseline()  # of the release that serves now
        if self._task is None or self._task.done():
            name = self._driver.name
            self._task = asyncio.get_running_loop().create_task(self._look_after(), name=f"{name}: care")
        self._soon.set()

    def end(self) -> None:
        """It does not any more, or the agent ends."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def leave(self) -> None:
        """It is gone for good: nothing leads traffic to it any more. Raises `HotswapError`."""
        if self._driver.memory.intercepted:
            await asyncio.to_thread(interception.remove, self._driver.name)
            self._driver.memory.intercepted = False
        self._applied = None
        self._health = Health()

    def look_soon(self) -> None:
        """Something changed."""
        self._soon.set()

    def health_told(self) -> dict[str, Any]:
        """For people and ``--json``."""
        return {"word": self._health.word, "text": self._health.text}

    @property
    def awaited(self) -> bool:
        """Traffic is to be led to it, and nobody knows yet whether that works."""
        spec = self._driver.spec
        pending = spec is not None and bool(spec.intercept) and spec != self._applied and self.trouble is None
        return pending and self._driver.memory.state is State.SERVING

    @property
    def timed(self) -> int:
        """Requests whose duration the next release will be held against."""
        before = self._baseline.before
        return 0 if before is None else before.timed.total

    # -- again and again --------------------------------------------------------------------------

    async def _look_after(self) -> None:
        while True:
            spec = self._driver.spec or self._driver.memory.spec
            interval = 2.0 if spec is None else spec.health.interval
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._soon.wait()
            soon = self._soon.is_set()
            self._soon.clear()
            try:
                await self._look(spec, soon=soon)
            except HotswapError as error:
                self._driver.desk.history.note_once(self._driver.name, "trouble", str(error))
            except Exception:
                log.exception("looking after it failed", extra=fields(sidecar=self._driver.name))

    async def _look(self, spec: Spec | None, *, soon: bool) -> None:
        driver = self._driver
        running = await driver.desk.runner.look(driver.name)
        await self._process(running)
        if spec is None or running is None or driver.memory.state is State.STOPPING:
            return
        if not running.ready:  # it starts, and the runner knows how long it may
            self._health = Health()
            await self._give_up(spec)
            return
        self._unready = 0.0
        if not soon:
            await self._check_health(spec)
        if driver.memory.state is State.SERVING:
            await self._mend_link(running)
            await self._have_it(spec, running)
            await self._follow_config(spec)
            await self._sample()

    async def _process(self, running: Running | None) -> None:
        driver = self._driver
        if running is None:
            if driver.memory.state in {State.SERVING, *UPGRADING}:
                driver.note("died", "and was not started anew")
                driver.happened(Event.LOST, "nothing runs any more")
            return
        if running.restarts > self._restarts >= 0:
            self._deaths = [at for at in self._deaths if time.monotonic() - at < _MINUTE] + [time.monotonic()]
            if len(self._deaths) <= _DEATHS_A_MINUTE:
                driver.note("died", running.ending or "its end is not known", restarts=running.restarts)
            else:
                driver.desk.history.note_once(driver.name, "dies again and again", running.ending)
            self._health = Health()
        self._restarts = running.restarts
        if running.pid != self._pid and driver.memory.state is State.SERVING:
            with contextlib.suppress(HotswapError):  # it was started just now, or it hangs: health checks tell
                status = await driver.sidecar.status()
                if status.get("state") == "serving":
                    self._pid = running.pid
                    driver.serving = await driver.sidecar.release(status)
                    driver.consider()

    async def _give_up(self, spec: Spec) -> None:
        """A release that does nothing but die keeps no other one out: nobody is there to hand anything over."""
        driver, now = self._driver, time.monotonic()
        current = driver.desk.releases.current(driver.name) or ""
        self._unready = self._unready or now
        if driver.memory.state is not State.SERVING or now - self._unready < max(spec.run.start_timeout, _DIES_SECONDS):
            return
        wanted = wish(spec, driver.memory, current, None, "", datetime.now().astimezone())
        if wanted.event is not Event.OUTDATED or driver.desk.upgrading(driver.name):
            return
        self._unready = 0.0
        driver.note("given up", f"release {current} does not come back, and {spec.release} is wanted")
        await driver.desk.runner.stop(driver.name, spec.run.stop_timeout)  # one that drains has its time
        driver.happened(Event.LOST, f"release {current} did not come back")

    async def _mend_link(self, running: Running) -> None:
        """What serves is what a crash brings back: also where somebody removed the link, or upgraded by hand."""
        driver = self._driver
        serving, bad = driver.serving, driver.memory.condemned
        if not serving or running.pid != self._pid or (bad is not None and bad.release == serving):
            return
        releases = driver.desk.releases
        if releases.current(driver.name) != serving and releases.get(serving) is not None:
            releases.point(driver.name, serving)
            driver.note("link mended", f"it leads to release {serving}, which serves")

    async def _check_health(self, spec: Spec) -> None:
        driver, health = self._driver, spec.health
        control = control_socket(Path(driver.desk.settings.runtime_dir), driver.name)
        before = self._health.word
        self._health = msgspec.structs.replace(self._health, failures=health.failures)
        self._health = self._health.after(await ask(health.http, control, health.timeout))
        word = self._health.word
        if word != before and "unknown" not in {before, word}:
            driver.note(word, self._health.text)
        if word == "hangs" and driver.memory.state is State.SERVING:
            driver.note("killed", f"it did not answer {health.failures} times; it is started anew, listeners are held")
            self._health = Health()
            await driver.desk.runner.kill(driver.name)

    async def kill(self, why: str) -> None:
        """It hangs; what follows it is what the link names."""
        self._driver.note("killed", why)
        with contextlib.suppress(HotswapError):  # it is gone already, or not the runner's
            await self._driver.desk.runner.kill(self._driver.name)

    async def _have_it(self, spec: Spec, running: Running) -> None:
        """`_apply`, and tell how it went."""
        before, awaited = self.trouble, self.awaited
        try:
            await self._apply(spec, running)
            self.trouble = None
        except HotswapError as error:
            self.trouble = error
            if before is None or str(before) != str(error):
                self._driver.note("trouble", str(error))
        if awaited:
            self._driver.consider()

    async def _apply(self, spec: Spec, running: Running) -> None:
        """Limits and interception as the spec has them. Tried again until the spec changes or it works."""
        driver, now = self._driver, time.monotonic()
        if spec == self._applied and not (spec.intercept and now - self._intercepted >= _INTERCEPT_SECONDS):
            return
        if spec.intercept or driver.memory.intercepted:
            driver.memory.intercepted = True
            driver.remember()
            if await asyncio.to_thread(interception.apply, rules.plan(spec), running.pid):
                driver.note("intercepts", f"{len(spec.intercept)} rules lead traffic to it")
            self._intercepted = now
        if spec != self._applied:
            for shortfall in await driver.desk.runner.limit(driver.desk.launch(spec)):
                driver.desk.history.note_once(driver.name, "limits", shortfall)
        self._applied = spec

    async def _follow_config(self, spec: Spec) -> None:
        """A configuration that changed is taken in place, once; one that is refused changes nothing."""
        driver = self._driver
        if driver.memory.paused or spec.release != driver.serving:
            return  # what comes next reads it anyway
        digest = await asyncio.to_thread(_digest, spec.config)
        if not digest or digest == driver.memory.config:
            return
        known, driver.memory.config = driver.memory.config, digest
        driver.remember()
        if not known:
            return
        try:
            answer = await driver.sidecar.reload()
        except HotswapError as error:
            driver.note("refused", f"the changed {spec.config}, serving as before: {error}")
        else:
            driver.note("reloaded", str(answer.get("message") or spec.config))

    # -- judging ----------------------------------------------------------------------------------

    async def _sample(self) -> None:
        now = time.time()
        if now - self._sampled >= _SAMPLE_SECONDS:
            self._sampled = now
            found = await self.vitals()
            if found is not None:
                self._baseline = self._baseline.add(found)

    async def vitals(self) -> Vitals | None:
        """What it has counted up to now; None if it does not tell."""
        driver = self._driver
        name = segment_name(driver.name, Path(driver.desk.settings.runtime_dir))
        now = time.time()
        with contextlib.suppress(MetricsError, OSError):
            found = await asyncio.to_thread(vitals.counted, name, now)
            if found is not None:
                return found
        with contextlib.suppress(HotswapError):
            found = vitals.told(await driver.sidecar.metrics(), now)
            if found is not None:
                return found
        with contextlib.suppress(HotswapError):
            return vitals.tallied(await driver.sidecar.status(brief=False), now)
        return None

    async def begin_bake(self, policy: UpgradePolicy, now: float) -> judge.Bake:
        """What the next release is to be judged by: written down before it owns."""
        return judge.begin(policy, self._baseline, await self.vitals(), now)

    async def judge(self, operation: Operation, bake: judge.Bake, now: float) -> judge.Verdict:
        """How the release that bakes does. `now`: seconds since the epoch, as all that is written down."""
        running = await self._driver.desk.runner.look(self._driver.name)
        deaths = 0 if running is None else max(running.restarts - operation.restarts, 0)
        return bake.judge(await self.vitals(), deaths, self._health, now)


async def seen(drivers: Sequence[Driver]) -> list[tuple[Running | None, str]]:
    """What runs of each, or why that is not known: a bus that does not answer keeps nobody from looking at the rest."""

    async def look(driver: Driver) -> tuple[Running | None, str]:
        runner = driver.desk.runner
        try:
            async with asyncio.timeout(_SEEN_SECONDS):
                return await runner.look(driver.name), ""
        except TimeoutError:
            return None, f"what runs is not known: no answer of {runner.kind} within {_SEEN_SECONDS:g} s"
        except HotswapError as error:
            return None, f"what runs is not known: {error}"

    return await asyncio.gather(*(look(driver) for driver in drivers))


def _digest(file: str) -> str:
    """Of a file's content; empty if it cannot be read, which is no change."""
    try:
        with Path(file).open("rb") as stream:
            return hashlib.sha256(stream.read(_CONFIG_LIMIT)).hexdigest()
    except OSError:
        return ""
